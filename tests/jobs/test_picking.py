from dataclasses import replace

import pytest

from hwprof.data import dataset
from hwprof.errors import InputError
from hwprof.jobs.picking import pick_device
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def on(data, name, latency_ms):
    """The data set with other latencies, on another device."""
    entries = []
    for entry in data.entries:
        ms = latency_ms(entry.arch)
        same = dict.fromkeys(("latency_ms", "low_ms", "high_ms", "normalized_ms"), ms)
        entries.append(replace(entry, **same, normalized_low_ms=ms, normalized_high_ms=ms))
    return replace(data, card=replace(data.card, device_name=name), entries=tuple(entries))


@pytest.fixture
def pair(collected):
    data = dataset.read(collected)
    return on(data, "slow start", lambda arch: 5.0 + 0.1 * arch[1]), on(
        data, "slow steps", lambda arch: 1.0 + 2 * arch[0]
    )


def test_the_faster_device_is_named_for_an_architecture_and_for_a_graph(pair):
    assert pick_device((0, 0, 0, 0), *pair) == "slow steps"
    assert pick_device((3, 0, 0, 0), *pair) == "slow start"
    assert pick_device(SPACE.graph((3, 3, 1, 0)), *pair) == "slow start"


def test_one_device_is_no_choice(pair):
    with pytest.raises(InputError, match=r"two devices, not .* \(space on slow start\) and .* \(space on slow start\)"):
        pick_device((0, 0, 0, 0), pair[0], pair[0])


def test_too_few_networks_in_common_are_refused(pair):
    few = replace(pair[1], entries=pair[1].entries[:5])
    with pytest.raises(InputError, match="have 5 networks in common; 20 are needed"):
        pick_device((0, 0, 0, 0), pair[0], few)
