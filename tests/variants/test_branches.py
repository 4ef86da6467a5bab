"""An If whose condition is known is the branch that it takes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwprof import onnx_io
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants import branches
from hwprof.variants.calibration import calibrate
from hwprof.variants.weights import load_weights


def network(path, condition: bool):
    """x + 1 or x * 2."""
    info = helper.make_tensor_value_info
    two = helper.make_tensor("two", TensorProto.FLOAT, (), [2.0])
    bodies = {}
    for key, op in (("then_branch", "Add"), ("else_branch", "Mul")):
        nodes = [helper.make_node(op, ["x", f"{key} two"], [f"{key} y"])]
        constant = helper.make_node("Constant", [], [f"{key} two"], value=two)
        ends = [info(f"{key} y", TensorProto.FLOAT, (3,))]
        bodies[key] = helper.make_graph([constant, *nodes], key, [], ends)
    graph = helper.make_graph(
        [helper.make_node("If", ["condition"], ["y"], **bodies)], "branches", [info("x", TensorProto.FLOAT, (3,))],
        [info("y", TensorProto.FLOAT, (3,))], [helper.make_tensor("condition", TensorProto.BOOL, (), [condition])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return onnx_io.load(path)


@pytest.mark.parametrize(("condition", "op"), [(True, "Add"), (False, "Mul")])
def test_a_stored_condition_takes_its_branch(tmp_path, condition, op):
    graph = network(tmp_path / "branches.onnx", condition)
    flat, arrays = branches.taken(graph, load_weights(graph))
    assert [node.op for node in flat.nodes] == [op, "Identity"]
    assert any(np.all(array == 2) for array in arrays.values())


def test_a_network_without_an_if_stays_what_it_is(tmp_path):
    graph = network(tmp_path / "branches.onnx", condition=True)
    flat, _ = branches.taken(graph)
    assert branches.taken(flat)[0] is flat


@pytest.mark.parametrize(("condition", "wanted"), [(True, [1.0, 2.5, 4.0]), (False, [-2.0, 1.0, 4.0])])
def test_a_branch_that_is_taken_is_calibrated_whole(tmp_path, condition, wanted):
    x = np.array([-1.0, 0.5, 2.0], np.float32)
    graph = calibrate(network(tmp_path / "branches.onnx", condition), [{"x": x}], tmp_path / "int8.onnx")
    program = lowering.lower(graph, load_weights(graph))
    (y,) = reference.run(program, {"x": x}).values()
    np.testing.assert_allclose(y, wanted, atol=0.05)
