from hwprof.compress.choice import Choice
from hwprof.compress.choices import chosen_graph
from hwprof.compress.int8 import Int8
from hwprof.testing import check_method
from hwprof.training import Hooks


def test_the_contract_of_methods_holds(opened):
    check_method(Int8, opened)


def test_every_layer_with_weights_gets_8_bits_and_there_is_nothing_to_decide(opened, no_cost):
    method = Int8()
    assert isinstance(method.attach(opened, no_cost), Hooks)
    assert method.options(opened.graph) == {}
    with_weights = {n.label for n in opened.graph.nodes if n.op in ("Conv", "Gemm")}
    assert with_weights <= method.choices().keys()
    assert set(method.choices().values()) == {Choice(bits=8)}


def test_a_layer_that_is_left_out_stays_float_and_the_graph_is_the_one_of_the_table(opened, no_cost):
    method = Int8()
    method.attach(opened, no_cost)
    first, *others = [n.label for n in opened.graph.nodes if n.op in ("Conv", "Gemm")]
    choices = dict.fromkeys(others, Choice(bits=8))
    mixed = method.finish(choices)
    assert mixed.graph.digest == chosen_graph(opened.graph, choices).digest
    assert mixed.graph.type_of({n.label: n for n in mixed.graph.nodes}[first].inputs[1]).dtype == "float32"
