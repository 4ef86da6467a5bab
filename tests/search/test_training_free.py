import math

import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.search.training_free import ActivationScore
from tests.tiny_space import SPACE, ZEROED


def test_a_deeper_network_tells_more_examples_apart():
    score = ActivationScore(examples=8)
    assert score(SPACE.graph((3, 1, 1, 0))) > score(SPACE.graph((0, 1, 1, 0)))


def test_a_network_that_ignores_its_input_has_a_low_but_finite_score():
    """Codes of all 8 examples are equal in all 4 bits: the kernel is 4 everywhere, plus 1 on the diagonal."""
    assert ActivationScore(examples=8)(ZEROED.graph((0, 1))) == pytest.approx(math.log(1 + 8 * 4))


def test_the_seed_decides_the_score():
    graph = SPACE.graph((1, 1, 1, 0))
    assert ActivationScore(8)(graph) == ActivationScore(8)(graph) != ActivationScore(8, seed=1)(graph)


def test_a_network_without_relu_is_refused():
    b = GraphBuilder("linear")
    with pytest.raises(InputError, match="needs one input and at least one Relu"):
        ActivationScore()(b.build(b.gemm(b.input((1, 4)), 2)))
