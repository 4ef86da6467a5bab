"""The front of harm against latency, against all networks of small cases."""

import itertools

import pytest

from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.front import front

INT8 = Choice(bits=8)
SAVED = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
HARM = {"a": 8.0, "b": 1.0, "c": 3.0, "d": 0.2}
OPTIONS = dict.fromkeys(SAVED, (AS_BEFORE, INT8))


def harm(layer, choice):
    return HARM[layer] if choice.bits else 0.0


def separate(choices):
    return 20.0 - sum(SAVED[layer] for layer in choices)


def with_borders(choices):
    """Each change of type between neighbours costs 2 ms, so that one layer alone never pays."""
    line = [False, *(layer in choices for layer in SAVED), False]
    return 20.0 - 1.5 * len(choices) + sum(a != b for a, b in itertools.pairwise(line))


def all_points(latency_ms):
    for bits in itertools.product([False, True], repeat=len(SAVED)):
        choices = {layer: INT8 for layer, bit in zip(SAVED, bits, strict=True) if bit}
        yield latency_ms(choices), sum(HARM[layer] for layer in choices)


def test_a_front_ends_at_the_fastest_and_at_the_network_as_before():
    points = front(OPTIONS, harm, separate)
    assert (points[0].ms, set(points[0].choices)) == (10.0, set(SAVED))
    assert (points[-1].ms, points[-1].harm, points[-1].choices) == (20.0, 0.0, {})


@pytest.mark.parametrize("latency_ms", [separate, with_borders])
def test_no_network_betters_a_point_on_the_hull(latency_ms):
    points = front(OPTIONS, harm, latency_ms)
    assert all(a.ms < b.ms and a.harm > b.harm for a, b in itertools.pairwise(points))
    for price in (0.01, 0.1, 0.5, 1.0, 3.0, 10.0):
        best = min(ms + price * h for ms, h in all_points(latency_ms))
        assert min(p.ms + price * p.harm for p in points) == pytest.approx(best)


def test_layers_change_together_where_one_alone_would_be_slower():
    assert with_borders({"b": INT8}) > with_borders({})
    assert set(front(OPTIONS, harm, with_borders)[0].choices) == set(SAVED)


def test_a_layer_that_is_slower_with_the_choice_stays():
    assert front({"a": OPTIONS["a"]}, harm, lambda choices: 1.0 + len(choices))[0].choices == {}
