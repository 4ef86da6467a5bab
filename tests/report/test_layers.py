from hwprof.measurement import OperatorTime
from hwprof.report.layers import Layer, layers


def kernel(name: str, op: str, ns: float, *members: str) -> OperatorTime:
    return OperatorTime(name, op, ns, members or (name,))


def test_kernels_of_the_same_operators_are_one_layer():
    (layer,) = layers(
        [kernel("a", "FusedConv", 5.0, "a", "relu")], [kernel("a", "QLinearConv", 1.0), kernel("relu", "QLinearMul", 2)]
    )
    assert (layer.op, layer.before_ns, layer.after_ns, layer.ns) == ("Mul", 5.0, 3.0, -2.0)


def test_a_conversion_is_a_layer_of_its_own():
    found = layers([kernel("a", "Conv", 5.0)], [kernel("a", "QLinearConv", 1.0), kernel("a", "QuantizeLinear", 2.0)])
    assert [(layer.op, layer.is_conversion, layer.ns) for layer in found] == [
        ("Conv", False, -4.0),
        ("QuantizeLinear", True, 2.0),
    ]


def test_every_kernel_is_in_one_layer():
    before = [kernel("a", "Conv", 5.0, "i", "a"), kernel("b", "Conv", 3.0, "i", "b"), kernel("c", "Clip", 1.0)]
    after = [kernel("a", "Conv", 7.0, "a"), kernel("t", "Transpose", 2.0), kernel("i", "Identity", 1.0)]
    found = layers(before, after)
    assert sum(layer.ns for layer in found) == 10.0 - 9.0
    assert sum(len(layer.before) + len(layer.after) for layer in found) == 6


def test_the_difference_in_another_pass_is_that_of_the_same_kernels():
    layer = Layer((kernel("a", "Conv", 5.0),), (kernel("a", "QLinearConv", 1.0),))
    other = ([kernel("a", "Conv", 7.0), kernel("b", "Conv", 99.0)], [kernel("a", "QLinearConv", 4.0)])
    assert layer.ns_in(other) == -3.0
