import numpy as np
import pytest

from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.projection import project

A, B = (AS_BEFORE, Choice(kept=24), Choice(kept=8)), (AS_BEFORE, Choice(kept=16))
OPTIONS = {"a": A, "b": B}
MS = {"a": {None: 4.0, 24: 4.0, 8: 1.0}, "b": {None: 4.0, 16: 2.0}}  # the device does not reward 24 channels
HARM = {"a": {24: 0.1, 8: 3.0}, "b": {16: 1.0}}


def latency_ms(many):
    return np.array([sum(MS[layer][choices.get(layer, AS_BEFORE).kept] for layer in MS) for choices in many])


def harm(layer, choice):
    return HARM[layer].get(choice.kept, 0.0)


@pytest.mark.parametrize(
    ("target_ms", "choices", "ms"),
    [
        (8.0, {}, 8.0),
        (6.5, {"b": Choice(kept=16)}, 6.0),  # 2 ms for 1 are better than 3 ms for 3, and 24 channels save nothing
        (3.0, {"a": Choice(kept=8), "b": Choice(kept=16)}, 3.0),
        (1.0, {"a": Choice(kept=8), "b": Choice(kept=16)}, 3.0),  # the fastest that there is
    ],
)
def test_the_choices_save_the_most_for_their_harm(target_ms, choices, ms):
    assert project(OPTIONS, harm, latency_ms, target_ms, {}) == (choices, ms)


def test_what_was_not_needed_in_the_end_is_given_back():
    assert project(OPTIONS, harm, latency_ms, 5.0, {}) == ({"a": Choice(kept=8)}, 5.0)


def test_of_few_networks_the_least_harmful_one_is_found_where_single_steps_go_too_deep():
    """The deep cut of one layer saves the most for its harm; a little of both harms less."""
    options = dict.fromkeys("ab", (AS_BEFORE, Choice(kept=24), Choice(kept=8)))
    ms, harms = {None: 4.0, 24: 3.0, 8: 0.0}, {24: 0.5, 8: 1.5}

    def latency(many):
        return np.array([sum(ms[choices.get(layer, AS_BEFORE).kept] for layer in "ab") for choices in many])

    made = project(options, lambda _layer, choice: harms[choice.kept], latency, 6.0, {})
    assert made == (dict.fromkeys("ab", Choice(kept=24)), 6.0)


def test_layers_become_only_smaller_than_the_method_chose():
    assert project(OPTIONS, harm, latency_ms, 6.0, {"a": Choice(kept=8)}) == ({"a": Choice(kept=8)}, 5.0)


def test_a_learned_choice_is_taken_to_the_option_above_it():
    assert project(OPTIONS, harm, latency_ms, 9.0, {"a": Choice(kept=9)}) == ({"a": Choice(kept=24)}, 8.0)


def test_more_groups_are_a_smaller_choice():
    options = {"a": (AS_BEFORE, Choice(groups=2), Choice(groups=4))}
    ms = {None: 3.0, 2: 2.0, 4: 1.0}

    def latency(many):
        return np.array([ms[choices.get("a", AS_BEFORE).groups] for choices in many])

    made = project(options, lambda _layer, choice: choice.groups or 0.0, latency, 2.5, {"a": Choice(groups=4)})
    assert made == ({"a": Choice(groups=4)}, 1.0)


def test_a_network_that_is_fast_only_with_all_layers_small_is_found():
    """A border between two types costs more than one of the layers saves."""
    options = dict.fromkeys("ab", (AS_BEFORE, Choice(bits=8)))
    ms = {0: 4.0, 1: 5.0, 2: 2.0}  # by the number of layers with 8 bits

    def latency(many):
        return np.array([ms[sum(choice.bits == 8 for choice in choices.values())] for choices in many])

    made = project(options, lambda _layer, _choice: 1.0, latency, 3.0, {})
    assert made == (dict.fromkeys("ab", Choice(bits=8)), 2.0)
