"""Each kind of bad input: one line on standard error, the right exit status."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from hwprof.__main__ import run
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.variants import spec

_OF_PROGRESS = re.compile(r"hwprof: (warning|\d+ s:)")  # a busy machine takes long


def save(path: Path, nodes: list[onnx.NodeProto], shape: list[int | str] | None = None, **graph: object) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "g", [x], [y], **graph)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    path.write_bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def relu(path: Path, shape: list[int | str] | None = None) -> Path:
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], shape)


@pytest.fixture
def status(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the command line. Returns its status and the one line that it told."""

    def run_in_folder(*arguments: object) -> tuple[int, str]:
        code = run([*map(str, arguments), "--store", str(tmp_path / "store.db"), "--fast"])
        told = capsys.readouterr()
        lines = [line for line in told.err.splitlines() if not _OF_PROGRESS.match(line)]
        assert len(lines) == 1, told.err
        assert "Traceback" not in told.err
        assert told.out == ""
        return code, lines[0]

    return run_in_folder


def test_a_missing_file(status):
    assert status("profile", "missing.onnx") == (2, "hwprof: cannot read missing.onnx: No such file or directory")


@pytest.mark.parametrize(
    "command", [("profile", "bert_tiny"), ("operators", "bert_tiny"), ("compare", "bert_tiny", "mobilenet_v3_small")]
)
def test_calibration_without_anything_to_quantize(status, command):
    code, line = status(*command, "--calibration", "data.npz")
    assert code == 2
    assert line == "hwprof: --calibration needs a quantized variant; also give --variant int8"


WITH_VARIANT = [
    ("profile", "missing.onnx"),
    ("compare", "missing.onnx"),
    ("operators", "missing.onnx"),
    ("explain", "missing.onnx"),
    ("collect", "--space", "missing", "-n", "3"),
    ("lut", "build", "missing.onnx", "-o", "t.json"),
    ("lut", "check", "missing.json", "missing.onnx"),
]


@pytest.mark.parametrize("command", WITH_VARIANT, ids=lambda command: " ".join(command[:2]))
def test_every_command_refuses_an_unknown_variant_alike_before_anything_else(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([*command, "--variant", "int7"]) == 2
    assert capsys.readouterr().err == f"hwprof: no variant is named 'int7'; examples: {spec.EXAMPLES}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", WITH_VARIANT[4:], ids=lambda command: " ".join(command[:2]))
def test_networks_without_weights_are_not_made_sparse(command, capsys):
    assert run([*command, "--variant", "sparse:0.9"]) == 2
    assert "'sparse:0.9' only changes weights" in capsys.readouterr().err


def test_calibration_for_a_variant_that_is_not_quantized(status):
    code, line = status("profile", "bert_tiny", "--variant", "fp16", "--calibration", "data.npz")
    assert (code, line) == (2, "hwprof: --calibration needs a quantized variant; also give --variant int8")


def test_an_unknown_workload_lists_the_known(status):
    code, line = status("profile", "mobilnet")
    assert code == 2
    assert "'mobilnet' is neither an .onnx file nor a workload; workloads: bert_base" in line


def test_a_device_in_the_place_of_a_model_is_told_where_to_go(status):
    code, line = status("profile", "openvino-1t")
    assert code == 2
    assert "'openvino-1t' is a device, not a model: give --device openvino-1t" in line
    assert "hwprof devices without a model lists the devices" in line


def test_a_text_file_named_onnx(status, tmp_path: Path):
    (tmp_path / "a.onnx").write_text("this is no model")
    code, line = status("profile", tmp_path / "a.onnx")
    assert code == 2
    assert "a.onnx" in line


def test_a_truncated_file(status, tmp_path: Path):
    whole = relu(tmp_path / "a.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    code, line = status("profile", tmp_path / "a.onnx")
    assert code == 2
    assert "a.onnx" in line


def test_a_cycle(status, tmp_path: Path):
    nodes = [helper.make_node("Add", ["x", "y"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    code, line = status("profile", save(tmp_path / "a.onnx", nodes))
    assert code == 2
    assert "cycle" in line


def test_an_empty_graph(status, tmp_path: Path):
    code, line = status("profile", save(tmp_path / "a.onnx", []))
    assert code == 2
    assert "a.onnx" in line


def test_a_dynamic_shape_that_was_not_given_says_what_to_type(status, tmp_path: Path):
    code, line = status("profile", relu(tmp_path / "a.onnx", ["n", 4]))
    assert code == 2
    assert "--shape x=" in line


def test_a_shape_that_does_not_fit(status, tmp_path: Path):
    code, line = status("profile", relu(tmp_path / "a.onnx", ["n", 4]), "--shape", "x=1,5")
    assert code == 2
    assert "x" in line


def test_a_shape_that_is_no_shape(status, tmp_path: Path):
    code, line = status("profile", relu(tmp_path / "a.onnx"), "--shape", "x:1,4")
    assert (code, line) == (2, "hwprof: --shape 'x:1,4' is not of the form NAME=1,3,224,224")


def test_a_custom_operator_is_named(status, tmp_path: Path):
    nodes = [helper.make_node("Strange", ["x"], ["y"], domain="my.domain")]
    code, line = status("profile", save(tmp_path / "a.onnx", nodes))
    assert code == 2
    assert "Strange" in line


def test_a_model_that_needs_more_memory_than_there_is(status, tmp_path: Path):
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2_000_000, 4_000_000])
    fill = helper.make_tensor("fill", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Constant", [], ["s"], value=shape),
        helper.make_node("ConstantOfShape", ["s"], ["c"], value=fill),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    code, line = status("profile", save(tmp_path / "a.onnx", nodes))
    assert code == 3
    assert "memory" in line


def test_more_threads_than_the_machine_grants(status, tmp_path: Path):
    device = tmp_path / "many.toml"
    device.write_text('schema = "hwprof.device/1"\nbackend = "onnxruntime"\nthreads = 512\n')
    code, line = status("profile", "bert_tiny", "--device", device)
    assert code == 3
    assert "512 threads" in line


def test_an_unknown_device_lists_the_known(status):
    code, line = status("profile", "bert_tiny", "--device", "nope")
    assert code == 2
    assert "no device is named 'nope'; known: cpu-1t" in line


def test_a_second_run_at_the_same_time(status):
    with machine_to_ourselves():
        code, line = status("profile", "bert_tiny")
    assert code == 3
    assert "another hwprof is measuring" in line


def test_a_store_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = run(["profile", "bert_tiny", "--store", str(tmp_path / "missing" / "s.db")])
    assert code == 3
    assert "cannot use the store" in capsys.readouterr().err


def test_an_option_that_does_not_exist(capsys: pytest.CaptureFixture[str]):
    assert run(["profile", "bert_tiny", "--nonsense"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("target", ["0", "150%", "narrow"])
def test_a_target_that_is_no_share(status, target: str):
    code, line = status("profile", "bert_tiny", "--target", target)
    assert code == 2
    assert "must be a share such as 5% or 0.05" in line


def test_compare_needs_two(status):
    assert status("compare", "bert_tiny") == (2, "hwprof: compare needs at least two networks")


def test_one_bad_model_among_good_ones_does_not_stop_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = relu(tmp_path / "good.onnx")
    code = run(["profile", str(good), "missing.onnx", "--fast", "--format", "csv", "--store", str(tmp_path / "s.db")])
    told = capsys.readouterr()
    assert code == 2
    assert told.out.splitlines()[1].startswith("good,")
    assert "missing.onnx" in told.err


def test_nan_outputs_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save(tmp_path / "nan.onnx", [helper.make_node("Sub", ["x", "x"], ["z"]),
                                        helper.make_node("Div", ["z", "z"], ["y"])])  # fmt: skip
    run(["profile", str(path), "--fast", "--store", str(tmp_path / "s.db")])
    assert "output 'y' holds NaN or infinite values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["explain", "a.onnx", "--nope"], "(see hwprof explain --help)"),
        (["fleet", "up", "--nope"], "(see hwprof fleet up --help)"),
        (["--nope"], "(see hwprof --help)"),
    ],
)
def test_an_option_that_is_not_there_points_to_the_help_of_its_command(arguments, advice, capsys):
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("hwprof: No such option: --nope ")
    assert told.endswith(f"{advice}\n")


@pytest.mark.parametrize("arguments", [[], ["fleet"], ["lut"]])
def test_a_group_of_commands_alone_shows_its_help_in_lines(arguments, capsys):
    assert run(arguments) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[0].startswith(" ".join(["Usage: hwprof", *arguments]))
    assert len(told) > 5


def test_a_compression_without_a_task_names_the_way_without_one(capsys):
    assert run(["compress", "x.onnx", "--target-ms", "1"]) == 2
    assert "--calibration samples.npz" in capsys.readouterr().err


def test_a_history_of_two_models_is_refused_with_what_shows_both(capsys):
    assert run(["history", "new", "old"]) == 2
    assert "history shows one model over time, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("profile", "missing.onnx", "--html"), ("profile", "missing.onnx", "--trace"),
        ("compare", "missing.onnx", "--html"), ("sweep", "missing.onnx", "--html"), ("history", "missing", "--html"),
        ("train", "missing", "-o"), ("report", "-o"), ("evaluate", "missing", "--plot"),
        ("lut", "build", "missing.onnx", "-o"), ("lut", "check", "missing.json", "-o"),
        ("lut", "convert", "missing.json"), ("lut", "plot", "missing.json", "cout", "-o"),
        ("store", "merge", "missing.db", "-o"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_file_that_cannot_be_written_is_refused_before_the_work(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([*command, "nowhere/out.html"]) == 3
    assert capsys.readouterr().err == "hwprof: cannot write 'nowhere/out.html': No such file or directory\n"
    assert not list(tmp_path.iterdir())
