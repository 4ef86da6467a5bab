import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor
from hwprof.onnx_io import proto


@pytest.mark.parametrize(
    ("code", "name"),
    [(TensorProto.FLOAT, "float32"), (TensorProto.DOUBLE, "float64"), (TensorProto.BFLOAT16, "bfloat16"),
     (TensorProto.UINT4, "uint4"), (TensorProto.BOOL, "bool")],
)  # fmt: skip
def test_element_types_have_one_spelling(code, name):
    assert proto.dtype_name(code) == name
    assert proto.dtype_code(name) == code


def test_an_element_type_that_onnx_lacks_is_named():
    with pytest.raises(InputError, match="no element type 'int5'"):
        proto.dtype_code("int5")


@pytest.mark.parametrize(
    "attributes",
    [
        {"i": 3, "f": 1e-5, "s": "text", "is": (1, 2), "fs": (0.1, 2.5), "ss": ("a", "b"), "none": ()},
        {"t": Constant("", "float32", (1,), (0.02,))},
        {"t": Constant("", "int64", (2, 1), (-1, 1 << 40))},
        {"g": Graph((Tensor("x", "float32", (2,)),), ("y",), (Node("Relu", ("x",), ("y",)),), name="body")},
    ],
)
def test_attributes_come_back_as_they_were(attributes):
    node = Node("Any", ("x",), ("y",), tuple(attributes.items()), "my", "name")
    back = proto.node_from_proto(proto.node_to_proto(node, proto.zeros), (("", 17),))
    assert back == node


def test_an_attribute_that_no_graph_can_hold_is_named():
    node = onnx.NodeProto(op_type="Odd", name="n")
    node.attribute.append(AttributeProto(name="a", type=AttributeProto.TYPE_PROTO))
    with pytest.raises(InputError, match="operator Odd 'n' has attribute 'a' of kind TYPE_PROTO"):
        proto.node_from_proto(node, ())


@pytest.mark.parametrize(
    "constant",
    [
        Constant("c", "bool", (3,), (True, False, True)),
        Constant("c", "int4", (3,), (-8, 7, -1)),
        Constant("c", "uint4", (2,), (15, 1)),
        Constant("c", "int64", (), (1 << 62,)),
        Constant("c", "float16", (2,), (0.5, 65504.0)),
        Constant("c", "bfloat16", (2,), (1.5, -3.0)),
        Constant("c", "float32", (2,), (0.1, float("-inf"))),
        Constant("c", "float64", (1,), (0.1234567890123,)),
    ],
)
def test_constants_come_back_as_they_were(constant):
    message = proto.tensor_proto(constant)
    onnx.checker.check_tensor(message)
    assert proto.static_from_proto(message) == constant


def test_a_large_tensor_keeps_its_type_only():
    floats = numpy_helper.from_array(np.zeros(proto.FLOATS_KEPT + 1, np.float32), "f")
    integers = numpy_helper.from_array(np.zeros((2, proto.INTEGERS_KEPT), np.int64), "i")
    assert proto.static_from_proto(floats) == Tensor("f", "float32", (65,))
    assert proto.static_from_proto(integers) == Tensor("i", "int64", (2, 4096))


def test_a_tensor_without_enough_values_is_named():
    message = TensorProto(name="short", data_type=TensorProto.INT64, dims=[3], raw_data=b"\0" * 8)
    with pytest.raises(InputError, match=r"values of tensor 'short' do not fill its shape \(3,\)"):
        proto.static_from_proto(message)


@pytest.mark.parametrize("shape", [None, [1, "n"], [1, -1]])
def test_a_type_is_known_only_with_all_its_dimensions(shape):
    assert proto.tensor_type(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)) is None


def test_an_unnamed_optional_input_stays_left_out():
    node = Node("Clip", ("x", "", "high"), ("y",))
    assert proto.node_from_proto(proto.node_to_proto(node, proto.zeros), ()) == node
