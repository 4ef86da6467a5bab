"""Every expectation here was worked out by hand, or is a figure that was published."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph
from hwprof.onnx_io import reading

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def write(folder: Path, text: str, name: str = "net.onnx") -> Path:
    """A model in ONNX's text format as a file."""
    path = folder / name
    path.write_bytes(parser.parse_model(text).SerializeToString())
    return path


def model(body: str, header: str = 'ir_version: 8, opset_import: ["" : 17]') -> str:
    return f"<{header}> {body}"


RELU = model("net (float[1, 3] x) => (float[1, 3] y) { y = Relu(x) }")
DYNAMIC = model("net (float[batch, 3, H, W] x) => (float[batch, 3, H, W] y) { y = Relu(x) }")
TWO_INPUTS = model(
    "net (int64[batch, seq] ids, int64[batch, seq] mask) => (int64[batch, seq] y) { y = Mul(ids, mask) }"
)


# -- what a file becomes -----------------------------------------------------------------------------


def test_a_graph_has_the_file_s_operators_types_stem_and_absolute_source(tmp_path, monkeypatch):
    write(tmp_path, RELU)
    monkeypatch.chdir(tmp_path)
    graph = onnx_io.load("net.onnx")
    assert [(n.op, n.inputs, n.outputs) for n in graph.nodes] == [("Relu", ("x",), ("y",))]
    assert (graph.shape("x"), graph.type_of("y").dtype, graph.name) == ((1, 3), "float32", "net")
    assert graph.opsets == (("", 17),)
    assert graph.source == str(tmp_path / "net.onnx")


# BatchNormalization's running statistics are no parameters; densenet121's file carries each gain and
# shift twice (2 x 41,824), since Caffe split a normalization in two; shufflenet is the authors' 1x, g=3.
@pytest.mark.parametrize(
    ("name", "parameters", "operators"),
    [
        ("bvlc_alexnet", 60_965_224, 24),
        ("densenet121", 7_978_856 + 83_648, 668),
        ("inception_v1", 6_998_552, 143),
        ("inception_v2", 11_214_888, 371),
        ("resnet50", 25_557_032, 176),
        ("shufflenet", 1_393_320, 203),
        ("squeezenet", 1_235_496, 66),
        ("vgg19", 143_667_240, 46),
        ("zfnet512", 87_250_536, 22),
    ],
)
def test_a_light_network_has_the_published_parameters_and_no_operator_that_makes_weights(name, parameters, operators):
    graph = onnx_io.load(LIGHT / f"light_{name}.onnx")
    statistics = {i for n in graph.nodes if n.op == "BatchNormalization" for i in n.inputs[3:5]}
    assert sum(w.numel for w in graph.weights if w.name not in statistics) == parameters
    assert len(graph.nodes) == operators
    assert not any(n.op == "ConstantOfShape" for n in graph.nodes)


def test_reading_what_was_written_gives_the_same_digest(tmp_path, tiny_graph):
    onnx_io.save(tiny_graph, tmp_path / "t.onnx")
    assert onnx_io.load(tmp_path / "t.onnx").digest == tiny_graph.digest


def test_reading_is_idempotent_for_a_network_that_was_folded(tmp_path):
    graph = onnx_io.load(LIGHT / "light_shufflenet.onnx")
    onnx_io.save(graph, tmp_path / "s.onnx")
    again = onnx_io.load(tmp_path / "s.onnx")
    assert again.digest == graph.digest
    assert {t.shape for t in again.weights} == {t.shape for t in graph.weights}


def test_operators_in_any_order_are_sorted(tmp_path):
    path = write(tmp_path, model("net (float[2] x) => (float[2] z) { z = Exp(y)  y = Relu(x) }"))
    assert [n.op for n in onnx_io.load(path).nodes] == ["Relu", "Exp"]


def test_shapes_of_a_network_that_computes_them_from_its_input_are_known(tmp_path):
    body = """net (float[N, 4, 6] x) => (y) {
        shape = Shape(x)  zero = Constant<value_int = 0>()  n = Gather(shape, zero)
        axes = Constant<value_ints = [0]>()  n1 = Unsqueeze(n, axes)
        rest = Constant<value_ints = [24]>()  target = Concat<axis = 0>(n1, rest)
        flat = Reshape(x, target)  y = Relu(flat)
    }"""
    graph = onnx_io.load(write(tmp_path, model(body)), {"x": (5, 4, 6)})
    assert [n.op for n in graph.nodes] == ["Reshape", "Relu"]
    assert graph.shape("y") == (5, 24)
    assert graph.constant_values == {"target": (5, 24)}


def test_a_control_flow_body_is_a_nested_graph_with_inferred_types(tmp_path):
    body = """net (bool c, float[2, 3] x) => (y) {
        y = If(c) <then_branch = t () => (float[2, 3] a) { a = Relu(x) },
                   else_branch = e () => (float[2, 3] b) { s = Exp(x)  b = Neg(s) }>
    }"""
    graph = onnx_io.load(write(tmp_path, model(body)))
    branch = graph.nodes[0].attribute("else_branch")
    assert isinstance(branch, Graph)
    assert [n.op for n in branch.nodes] == ["Exp", "Neg"]
    assert branch.shape("s") == (2, 3)
    assert graph.shape("y") == (2, 3)


def test_local_functions_are_inlined(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        net (float[2] x) => (float[2] y) { y = my.twice(x) }
        <domain: "my", opset_import: ["" : 17]>
        twice (a) => (b) { c = Relu(a)  b = Exp(c) }"""
    assert [n.op for n in onnx_io.load(write(tmp_path, text)).nodes] == ["Relu", "Exp"]


def test_an_operator_of_a_custom_domain_loads_and_what_follows_has_no_type(tmp_path):
    header = 'ir_version: 8, opset_import: ["" : 17, "my" : 1]'
    path = write(tmp_path, model("net (float[2] x) => (z) { y = my.Odd(x)  z = Relu(y) }", header))
    graph = onnx_io.load(path)
    assert [(n.op, n.domain) for n in graph.nodes] == [("Odd", "my"), ("Relu", "")]
    assert not graph.has_type("z")


def test_a_type_that_the_file_states_behind_a_custom_operator_is_used(tmp_path):
    header = 'ir_version: 8, opset_import: ["" : 17, "my" : 1]'
    path = write(tmp_path, model("net (float[2] x) => (z) <float[7] y> { y = my.Odd(x)  z = Relu(y) }", header))
    assert onnx_io.load(path).shape("z") == (7,)


def test_a_file_of_opset_7_loads(tmp_path):
    path = write(
        tmp_path, model("net (float[2] x) => (float[2] y) { y = Relu(x) }", 'ir_version: 3, opset_import: ["" : 7]')
    )
    assert onnx_io.load(path).opsets == (("", 7),)


def test_weights_of_a_type_that_numpy_lacks_are_types(tmp_path):
    kinds = {"scale": TensorProto.FLOAT, "point": TensorProto.FLOAT8E4M3FN}
    stored = [TensorProto(name=n, data_type=k, raw_data=bytes(4 if n == "scale" else 1)) for n, k in kinds.items()]
    node = helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["y"])
    x, y = helper.make_tensor_value_info("x", 1, [2]), helper.make_tensor_value_info("y", 17, [2])
    opset = helper.make_opsetid("", 19)
    net = helper.make_model(helper.make_graph([node], "net", [x], [y], stored), opset_imports=[opset])
    (tmp_path / "net.onnx").write_bytes(net.SerializeToString())
    graph = onnx_io.load(tmp_path / "net.onnx")
    assert {t.dtype for t in graph.weights} == {"float32", "float8e4m3fn"}
    assert graph.type_of("y").dtype == "float8e4m3fn"


# -- dynamic shapes ----------------------------------------------------------------------------------


def test_a_dynamic_shape_is_bound(tmp_path):
    assert onnx_io.load(write(tmp_path, DYNAMIC), {"x": (2, 3, 8, 9)}).shape("y") == (2, 3, 8, 9)


def test_a_symbol_that_inputs_share_is_given_once(tmp_path):
    graph = onnx_io.load(write(tmp_path, TWO_INPUTS), {"ids": (2, 16)})
    assert [t.shape for t in graph.inputs] == [(2, 16), (2, 16)]


def test_what_the_file_says_of_other_shapes_does_not_count(tmp_path):
    text = model("net (float[N, 3] x) => (float[1, 3] z) <float[1, 3] y> { y = Relu(x)  z = Exp(y) }")
    graph = onnx_io.load(write(tmp_path, text), {"x": (4, 3)})
    assert graph.shape("y") == graph.shape("z") == (4, 3)


def test_an_input_that_has_a_stored_default_is_a_weight(tmp_path):
    text = model("net (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = PRelu(x, w) }")
    graph = onnx_io.load(write(tmp_path, text))
    assert [t.name for t in graph.inputs] == ["x"]
    assert [t.name for t in graph.weights] == ["w"]


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (DYNAMIC, {}, r"input 'x' is \[batch, 3, H, W\]; for example \(its sizes are a guess\) --shape x=1,3,224,224$"),
        (TWO_INPUTS, {}, r"'mask' is \[batch, seq\]; for example \(.* guess\) --shape ids=1,128 --shape mask=1,128$"),
        (DYNAMIC, {"y": (1,)}, r"--shape names 'y', which is not an input; inputs: x$"),
        (DYNAMIC, {"x": (1, 3, 8)}, r"--shape x=1,3,8 has 3 dimensions; input 'x' is \[batch, 3, H, W\]$"),
        (DYNAMIC, {"x": (1, 4, 8, 8)}, r"--shape x=1,4,8,8 contradicts the network: input 'x' is \[batch, 3, H, W\]$"),
        (DYNAMIC, {"x": (1, 3, -8, 8)}, r"--shape x=1,3,-8,8 has a negative dimension"),
    ],
)
def test_a_shape_that_is_missing_or_wrong_is_named_in_one_line(tmp_path, text, shapes, message):
    with pytest.raises(InputError, match=message) as caught:
        onnx_io.load(write(tmp_path, text), shapes)
    assert "\n" not in str(caught.value)


def test_one_symbol_may_stand_for_several_sizes_as_runtimes_allow(tmp_path):
    text = model("net (float[n,n] x, float[n] w) => (float[n] y) { y = Sqrt(w) }")
    with pytest.raises(InputError, match=r"input 'w' is \[n\]"):
        onnx_io.load(write(tmp_path, text), {"x": (2, 3)})
    graph = onnx_io.load(write(tmp_path, text), {"x": (2, 3), "w": (5,)})
    assert [t.shape for t in graph.inputs] == [(2, 3), (5,)]


def test_a_dimension_of_length_0_is_a_size(tmp_path):
    text = model("net (float[1,0,4] past, float[1,2,4] x) => (float[1,2,4] y) { y = Concat<axis = 1>(past, x) }")
    assert onnx_io.load(write(tmp_path, text)).shape("past") == (1, 0, 4)
    dynamic = text.replace("[1,0,4]", "[1,n,4]")
    assert onnx_io.load(write(tmp_path, dynamic), {"past": (1, 0, 4)}).shape("past") == (1, 0, 4)


def test_local_functions_are_inlined_in_the_graph_and_in_the_model_that_runs(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (4,))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (4,))
    inner = [helper.make_node("Abs", ["a"], ["t"]), helper.make_node("Sqrt", ["t"], ["b"])]
    function = helper.make_function("own", "Root", ["a"], ["b"], inner, [helper.make_opsetid("", 17)])
    calls = [helper.make_node("Root", [a], [b], domain="own") for a, b in (("x", "h"), ("h", "y"))]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_model(
        helper.make_graph(calls, "g", [x], [y]), opset_imports=opsets, functions=[function], ir_version=8
    )
    onnx.save(made, tmp_path / "net.onnx")
    graph = onnx_io.load(tmp_path / "net.onnx")
    run = onnx_io.materialize(graph)
    assert [n.op for n in graph.nodes] == ["Abs", "Sqrt", "Abs", "Sqrt"]
    assert [tuple(n.output) for n in run.graph.node] == [n.outputs for n in graph.nodes]


# -- bad files ---------------------------------------------------------------------------------------


def error_of(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        onnx_io.load(path, shapes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    assert error_of(tmp_path / "no.onnx") == f"cannot read {tmp_path / 'no.onnx'}: No such file or directory"


@pytest.mark.parametrize("content", [b"# not a model\n" * 9, b"\x00\xff" * 50, b"PK\x03\x04 a zip file"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert "is not an ONNX model" in error_of(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share, tiny_graph):
    path = tmp_path / "net.onnx"
    onnx_io.save(tiny_graph, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in error_of(path)


def test_an_empty_file_holds_nothing_to_run(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    assert "without operators" in error_of(tmp_path / "net.onnx")


def test_a_graph_without_outputs_holds_nothing_to_run(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => () { y = Relu(x) }"))
    assert "without outputs" in error_of(path)


def test_a_cycle_is_named_by_an_operator_in_it(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => (float[1] y) { y = Add(x, z)  z = Relu(y) }"))
    assert error_of(path).endswith("the graph has a cycle through operator Add")


def test_an_input_of_an_operator_that_nothing_produces_is_named(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => (float[1] y) { y = Add(x, lost) }"))
    assert error_of(path).endswith("operator Add reads 'lost', which nothing produces")


def test_an_output_that_nothing_produces_is_named(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => (float[1] lost) { y = Relu(x) }"))
    assert error_of(path).endswith("output 'lost' is not produced by any operator")


def test_a_tensor_that_is_produced_twice_is_named(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => (float[1] y) { y = Relu(x)  y = Exp(x) }"))
    assert error_of(path).endswith("tensor 'y' is produced twice")


def test_an_attribute_that_occurs_twice_is_refused(tmp_path):
    text = model("net (float[1, 3] x) => (float[1, 3] y) { y = Elu <alpha = 1.0, alpha = 2.0> (x) }")
    with pytest.raises(InputError, match=r"net\.onnx: operator Elu '' has an attribute twice"):
        onnx_io.load(write(tmp_path, text))


def test_an_old_operator_set_is_refused_with_the_way_out(tmp_path):
    path = write(
        tmp_path, model("net (float[1] x) => (float[1] y) { y = Relu(x) }", 'ir_version: 3, opset_import: ["" : 6]')
    )
    assert "opset 6 is older than 7" in error_of(path)


def test_a_shape_that_does_not_fit_the_network_is_refused_with_the_operator(tmp_path):
    body = "net (float[N, K] x) => (y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"
    path = write(tmp_path, model(body))
    assert "MatMul" in error_of(path, {"x": (1, 4)})


def test_an_input_that_is_no_tensor_is_named(tmp_path):
    path = write(tmp_path, model("net (seq(float[1]) x) => (y) { y = SequenceLength(x) }"))
    assert "input 'x' is not a tensor" in error_of(path)


# -- external data -----------------------------------------------------------------------------------


def external(folder: Path, size: int = 4096) -> Path:
    """A network whose weight and whose Reshape target lie in net.bin."""
    weight = numpy_helper.from_array(np.ones((size // 16, 4), np.float32), "w")
    target = numpy_helper.from_array(np.array([2, -1]), "target")
    nodes = [helper.make_node("Reshape", ["x", "target"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", 1, [2, size // 16, 1])]
    outputs = [helper.make_tensor_value_info("y", 1, None)]
    net = helper.make_model(helper.make_graph(nodes, "net", inputs, outputs, [weight, target]))
    path = folder / "net.onnx"
    onnx.save(net, path, save_as_external_data=True, location="net.bin", size_threshold=0)
    return path


def test_external_data_is_used_for_shapes_only(tmp_path):
    graph = onnx_io.load(external(tmp_path))
    assert graph.constant_values == {"target": (2, -1)}
    assert [(t.name, t.shape) for t in graph.weights] == [("w", (256, 4))]
    assert graph.shape("y") == (2, 4)


def test_a_huge_external_file_is_not_read(tmp_path):
    """A sparse file of 64 GB, which no machine that runs this test could hold in memory."""
    tensor = TensorProto(name="w", data_type=1, dims=[1 << 17, 1 << 17], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="net.bin")
    with (tmp_path / "net.bin").open("wb") as stream:
        os.truncate(stream.fileno(), 4 << 34)
    x, y = (helper.make_tensor_value_info(n, 1, [1, 1 << 17]) for n in "xy")
    net = helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", [x], [y], [tensor])
    )
    (tmp_path / "net.onnx").write_bytes(net.SerializeToString())
    assert onnx_io.load(tmp_path / "net.onnx").weight_bytes == 1 << 36


def test_a_missing_external_file_is_named(tmp_path):
    path = external(tmp_path)
    (tmp_path / "net.bin").unlink()
    assert f"{tmp_path / 'net.bin'}, which is missing" in error_of(path)


def test_an_external_file_that_is_too_short_is_named(tmp_path):
    path = external(tmp_path)
    os.truncate(tmp_path / "net.bin", 4000)
    assert f"{tmp_path / 'net.bin'} ends before" in error_of(path)


def test_external_data_outside_the_folder_is_refused(tmp_path):
    path = external(tmp_path)
    net = onnx.load(path, load_external_data=False)
    net.graph.initializer[0].external_data[0].value = "../net.bin"
    path.write_bytes(net.SerializeToString())
    assert "outside the model's folder" in error_of(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "", "points outside the model's folder, to ''"),
        ("location", "net\0.bin", "points outside the model's folder"),
        ("location", "/etc/passwd", "points outside the model's folder"),
        ("location", "x" * 5000, "cannot be read: File name too long"),
        ("offset", "-16", "has the offset '-16', which is not a size"),
        ("offset", "9" * 30, "which is not a size"),
        ("offset", "many", "has the offset 'many', which is not a size"),
        ("length", "-1", "has the length '-1', which is not a size"),
        ("length", str(1 << 61), "ends before the weights"),
    ],
)
def test_a_place_of_external_data_that_cannot_be_is_named(tmp_path, key, value, message):
    path = external(tmp_path)
    net = onnx.load(path, load_external_data=False)
    for entry in net.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(net.SerializeToString())
    assert message in error_of(path)


def test_a_link_to_external_data_that_leads_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    path = external(tmp_path / "model")
    (tmp_path / "model" / "net.bin").rename(tmp_path / "net.bin")
    (tmp_path / "model" / "net.bin").symlink_to(tmp_path / "net.bin")
    assert "a link that leads out of its folder" in error_of(path)


def test_a_link_to_external_data_inside_of_the_folder_is_followed(tmp_path):
    path = external(tmp_path)
    (tmp_path / "net.bin").rename(tmp_path / "data")
    (tmp_path / "net.bin").symlink_to("data")
    assert onnx_io.load(path).constant_values == {"target": (2, -1)}


def test_a_model_in_a_hugging_face_cache_has_its_data(tmp_path):
    """There each file is a link snapshots/REVISION/NAME to blobs/HASH."""
    graph = onnx_io.load(in_cache(tmp_path))
    assert graph.constant_values == {"target": (2, -1)}
    weight, _ = onnx_io.materialize(graph).graph.initializer
    assert np.array_equal(numpy_helper.to_array(weight), np.ones((256, 4), np.float32))


def test_a_link_from_one_repository_of_the_cache_into_another_is_refused(tmp_path):
    path = in_cache(tmp_path)
    other = tmp_path / "models--other" / "blobs"
    other.mkdir(parents=True)
    (tmp_path / "models--own" / "blobs" / "net.bin").rename(other / "net.bin")
    path.with_name("net.bin").unlink()
    path.with_name("net.bin").symlink_to(other / "net.bin")
    assert "a link that leads out of its folder" in error_of(path)


def in_cache(folder: Path) -> Path:
    """`external` as huggingface_hub keeps it."""
    blobs, revision = folder / "models--own" / "blobs", folder / "models--own" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    revision.mkdir(parents=True)
    external(blobs)
    for name in ("net.onnx", "net.bin"):
        (revision / name).symlink_to(Path("..", "..", "blobs", name))
    return revision / "net.onnx"


# -- files that keep readers busy ---------------------------------------------------------------------


def test_a_network_that_makes_onnx_s_inference_take_all_memory_is_an_error(tmp_path, monkeypatch):
    """It keeps each of the ten billion numbers as a dimension of a shape."""
    monkeypatch.setattr(reading, "_LIMIT_BYTES", 1 << 28)
    text = model(
        "net (float[1] x) => (float[?] y) <int64 zero = {0}, int64 one = {1}, int64 n = {10000000000}>"
        " { r = Range (zero, n, one) c = Cast <to = 1> (r) y = Add (x, c) }"
    )
    with pytest.raises(EnvironmentUnfitError, match=r"net\.onnx: it takes more memory to read"):
        onnx_io.load(write(tmp_path, text))


def test_an_element_type_that_onnx_does_not_have_is_refused(tmp_path):
    net = parser.parse_model(RELU)
    net.graph.input[0].type.tensor_type.elem_type = 99
    path = tmp_path / "net.onnx"
    path.write_bytes(net.SerializeToString())
    assert "ONNX has no element type 99" in error_of(path)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    path = write(tmp_path, model("net (float[1] x) => (float[1] y) { middle = Relu(x) y = Relu(middle) }"))
    path.write_bytes(path.read_bytes().replace(b"middle", b"m\xffddle"))
    assert "not UTF-8" in error_of(path)


def test_a_stored_tensor_of_negative_size_is_refused(tmp_path):
    path = external(tmp_path)
    net = onnx.load(path)
    net.graph.initializer[0].dims[0] = -256
    path.write_bytes(net.SerializeToString())
    assert "a negative size in (-256, 4)" in error_of(path)


def test_functions_that_call_themselves_are_refused(tmp_path):
    path = write(
        tmp_path,
        '<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[1] x) => (float[1] y) { y = own.F(x) }'
        ' <domain: "own", opset_import: ["" : 17, "own" : 1]> F (a) => (b) { b = own.F(a) }',
    )
    assert "function 'F' calls itself" in error_of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_LIMIT_S", 0.1)
    os.mkfifo(tmp_path / "net.onnx")
    assert "it was not read within" in error_of(tmp_path / "net.onnx")


# -- real weights ------------------------------------------------------------------------------------


def test_materialize_gives_the_file_s_own_weights(tmp_path):
    net = onnx_io.materialize(onnx_io.load(external(tmp_path)))
    weights = {t.name: numpy_helper.to_array(t) for t in net.graph.initializer}
    assert (weights["w"] == 1.0).all()


def test_materialize_binds_the_shapes_that_were_given(tmp_path):
    net = onnx_io.materialize(onnx_io.load(write(tmp_path, DYNAMIC), {"x": (2, 3, 8, 9)}))
    dims = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in (*net.graph.input, *net.graph.output)]
    assert dims == [[2, 3, 8, 9], [2, 3, 8, 9]]


def test_materialize_of_a_built_graph_is_its_seeded_model(tiny_graph):
    assert onnx_io.materialize(tiny_graph, seed=3) == onnx_io.to_model(tiny_graph, seed=3)


def test_materialize_says_when_the_source_is_gone(tmp_path):
    graph = onnx_io.load(write(tmp_path, RELU))
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(InputError, match="cannot read"):
        onnx_io.materialize(graph)


def test_materialize_says_when_the_source_has_other_inputs(tmp_path):
    graph = onnx_io.load(write(tmp_path, RELU))
    write(tmp_path, RELU.replace("x", "other"))
    with pytest.raises(InputError, match="no longer has the input 'x'"):
        onnx_io.materialize(graph)


def test_an_empty_graph_cannot_be_built_either():
    with pytest.raises(InputError, match="needs at least one output"):
        GraphBuilder("empty").build()


# -- weights without values ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (90, 3, 3, 3)])
def test_stored_tensors_without_values_get_random_ones(tmp_path, shape):
    bare = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=shape)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Conv", ["x", "W"], ["y"])], "g", [x], [y], [bare])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    graph = onnx_io.load(tmp_path / "net.onnx")
    (weight,) = onnx_io.materialize(graph).graph.initializer
    drawn = numpy_helper.to_array(weight)
    assert (drawn.shape, drawn.std() > 0) == (shape, True)
    assert [(t.name, t.shape) for t in graph.weights] == [("W", shape)]
    assert graph.warnings == (
        "its weights are random: 1 of its 1 stored tensors have no values in the file ('W' is the first)",
    )
    assert Graph.from_json(graph.to_json()).warnings == graph.warnings


def test_a_file_with_all_its_values_has_no_warning(tmp_path):
    b = GraphBuilder("dense")
    onnx_io.save(b.build(b.gemm(b.input((4, 8)), 8)), tmp_path / "net.onnx")
    assert onnx_io.load(tmp_path / "net.onnx").warnings == ()
