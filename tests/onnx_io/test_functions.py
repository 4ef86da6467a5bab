"""Local functions that call each other without an end, or too often."""

import pytest
from onnx import ModelProto, TensorProto, helper

from hwprof.errors import InputError
from hwprof.onnx_io.functions import inlined

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def function(name: str, *called: str):
    """A function that applies others (Relu, or F and a number), one after the other."""
    nodes = [
        helper.make_node(op, [f"t{i}"], [f"t{i + 1}"], domain="own" if op != "Relu" else "")
        for i, op in enumerate(called)
    ]
    return helper.make_function("own", name, ["t0"], [f"t{len(called)}"], nodes, OPSETS)


def calling(op: str, *functions) -> ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain="own")], "g", [x], [y])
    return helper.make_model(graph, opset_imports=OPSETS, functions=functions)


def test_functions_that_call_others_are_inlined():
    model = inlined(calling("F1", function("F0", "Relu", "Relu"), function("F1", "F0", "F0")))
    assert [n.op_type for n in model.graph.node] == ["Relu"] * 4


def test_functions_that_double_their_size_26_times_are_counted_and_refused():
    functions = [function("F0", "Relu"), *(function(f"F{i}", f"F{i - 1}", f"F{i - 1}") for i in range(1, 27))]
    with pytest.raises(InputError, match="67,108,864 operators where they are called; at most 500,000"):
        inlined(calling("F26", *functions))


@pytest.mark.parametrize(
    "functions", [[function("F0", "F0")], [function("F0", "F1"), function("F1", "F0")]], ids=["itself", "each other"]
)
def test_a_recursive_function_is_named(functions):
    with pytest.raises(InputError, match="function 'F0' calls itself"):
        inlined(calling("F0", *functions))


@pytest.mark.parametrize("n", [150, 5000])
def test_a_chain_of_functions_has_an_end(n):
    functions = [function("F0", "Relu"), *(function(f"F{i}", f"F{i - 1}") for i in range(1, n))]
    with pytest.raises(InputError, match=r"inside of 100 others|cannot be inlined"):
        inlined(calling(f"F{n - 1}", *reversed(functions)))
