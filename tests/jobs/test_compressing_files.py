"""Compression of a file with samples, as the command line and Python ask for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.__main__ import run
from hwprof.builder import GraphBuilder
from hwprof.cli import compress as compress_command
from hwprof.compress.post_training import Settings
from hwprof.errors import InputError
from hwprof.jobs.compressing_files import compress_file
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from tests.compress.board import DEVICE, KernelBoard
from tests.compress.test_post_training import network, samples, whole_ms


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx_io.save(onnx_io.to_model(network()), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def compressed(model: Path, calibration, **changes):
    return compress_file(
        model, calibration, targets_ms=[0.7 * whole_ms()], device=DEVICE, folder=model.parent, store=None,
        options=Options(FAST, transport=KernelBoard()), **changes,
    )  # fmt: skip


def test_arrays_and_a_file_of_them_give_the_same_network(model: Path):
    np.savez(model.parent / "samples.npz", **samples())
    by_file, by_arrays = (compressed(model, given)[0] for given in (model.parent / "samples.npz", samples()))
    assert by_file.result.choices == by_arrays.result.choices != {}
    assert by_file.result.metric == by_arrays.result.metric


def test_that_the_weights_are_random_is_told(model: Path):
    told: list[str] = []
    graph = replace(onnx_io.load(model), warnings=("its weights are random",))
    unfit = {"x": np.full((2, 1, 8, 16, 16), np.nan)}  # ends the job early
    with pytest.raises(InputError, match="not finite"):
        compress_file(graph, unfit, device=DEVICE, folder=model.parent, options=Options(on_warning=told.append))
    assert told == ["small: its weights are random"]


def test_a_metric_is_named_by_its_file(model: Path):
    (model.parent / "metric_for_the_job.py").write_text("def score(found, exact):\n    return 7.0\n")
    reference = f"{model.parent}/metric_for_the_job.py:score"
    (made,) = compressed(model, samples(), metric=reference)
    assert (made.result.task, made.result.metric, made.result.baseline_metric) == (reference, 7.0, 7.0)


def test_a_metric_that_is_no_function_is_refused(model: Path):
    (model.parent / "number_for_the_job.py").write_text("score = 7\n")
    with pytest.raises(InputError, match="is not a function of two mappings of outputs"):
        compressed(model, samples(), metric=f"{model.parent}/number_for_the_job.py:score")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": np.zeros((2, 1, 8, 16, 16))}, "the calibration data have no array 'x'; they have z"),
        ({"x": np.zeros((2, 3, 5))}, r"an array of shape \(2, 3, 5\) holds no samples of input 'x'"),
        ({"x": np.zeros((2, 1, 8, 16, 16), complex)}, "an array of complex128 holds no samples of input 'x', float32"),
        ({"x": np.zeros((0, 1, 8, 16, 16))}, "holds no sample"),
        ({"x": np.full((2, 1, 8, 16, 16), np.nan)}, "hold values that are not finite"),
    ],
)
def test_samples_that_do_not_fit_are_told(model: Path, arrays, reason: str):
    with pytest.raises(InputError, match=reason):
        compressed(model, arrays)


def test_the_table_shows_the_error_of_outputs_in_place_of_a_metric(model: Path):
    (made,) = compressed(model, samples())
    row = compress_command._row(made)
    assert row["error of outputs"] == f"{made.result.output_error:.2g}"
    assert not row.keys() & {"metric", "baseline"}
    with_task = replace(made, result=replace(made.result, task="digits", metric=97.123, baseline_metric=98.0))
    row = compress_command._row(with_task)
    assert (row["metric"], row["baseline"]) == ("97.12", "98.00")
    assert "error of outputs" not in row


def test_a_largest_error_and_a_metric_exclude_each_other(model: Path):
    with pytest.raises(InputError, match="--max-error limits the error of the outputs"):
        compressed(model, samples(), metric=lambda _found, _exact: 1.0, settings=Settings(max_error=0.1))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--max-error", "0"], "the largest error of the outputs must be positive, such as 0.05, not 0"),
        (["--task", "digits"], "--calibration compresses without training, --task with; give one of them"),
        (["--method", "magnitude"], "method 'magnitude' needs --task"),
        (["--metric", "nowhere.py:score"], "'nowhere.py:score' does not lead to an object"),
    ],
)
def test_the_command_takes_samples_or_a_task(model: Path, given, told, capsys):
    np.savez(model.parent / "samples.npz", **samples())
    command = ["compress", str(model), "--calibration", str(model.parent / "samples.npz"), *given]
    assert run([*command, "--store", str(model.parent / "s.db")]) == 2
    assert told in capsys.readouterr().err


def test_the_command_says_what_a_bad_file_is(model: Path, capsys):
    (model.parent / "empty.npz").write_bytes(b"")
    command = ["compress", str(model), "--calibration", str(model.parent / "empty.npz")]
    assert run([*command, "--store", str(model.parent / "s.db")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "empty.npz cannot be read as a NumPy file" in line


def test_the_command_refuses_a_network_that_computes_with_integers(model: Path, capsys):
    b = GraphBuilder("integers")
    types = [("uint8", (1, 4)), ("float32", ()), ("uint8", ())]
    (product, *_) = b.nodes("DynamicQuantizeLinear", [b.input((1, 4), name="x")], types)
    onnx_io.save(onnx_io.to_model(b.build(product)), model)
    np.savez(model.parent / "samples.npz", x=np.zeros((4, 1, 4), np.float32))
    command = ["compress", str(model), "--calibration", str(model.parent / "samples.npz")]
    assert run([*command, "--store", str(model.parent / "s.db")]) == 2
    assert "computes with integers; give the float network" in capsys.readouterr().err


def test_a_metric_without_samples_is_refused(model: Path, capsys):
    assert run(["compress", str(model), "--metric", "my.py:score"]) == 2
    assert "--metric judges outputs on samples; also give --calibration" in capsys.readouterr().err
    assert run(["compress", str(model), "--max-error", "0.1"]) == 2
    assert "--max-error judges outputs on samples; also give --calibration" in capsys.readouterr().err
