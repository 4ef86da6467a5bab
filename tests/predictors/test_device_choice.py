import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hwprof.errors import InputError
from hwprof.predictors.device_choice import DeviceChoice, Pick
from hwprof.spaces.nasbench201 import SPACE
from tests.tiny_space import SPACE as TINY

ARCHS = list(itertools.product(range(4), range(4), range(4)))


class Line:
    choices = (4, 4, 4)


def latencies(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The second device is faster where the first choice is large; what is common to both is far larger."""
    rng = np.random.default_rng(0)
    common = np.exp(rng.normal(size=len(ARCHS)))
    ratio = np.array([0.4 * (arch[0] - 1.5) for arch in ARCHS]) + noise * rng.normal(size=len(ARCHS))
    return common, common * np.exp(-ratio)


def test_the_faster_device_is_told_although_the_latencies_cannot_be_predicted():
    picks = DeviceChoice(Line()).fit(ARCHS, *latencies(0.02)).pick([(0, 1, 2), (3, 1, 2)])
    assert picks == [Pick.FIRST, Pick.SECOND]


def test_what_is_within_the_errors_cannot_be_told():
    first, _ = latencies(0.0)
    second = first * np.exp(0.1 * np.random.default_rng(1).normal(size=len(first)))
    assert set(DeviceChoice(Line()).fit(ARCHS, first, second).pick(ARCHS)) == {Pick.CANNOT_TELL}


def test_the_log_ratio_is_that_of_the_first_to_the_second():
    choice = DeviceChoice(Line()).fit(ARCHS, *latencies(0.0))
    assert choice.log_ratio([(3, 0, 0)])[0] == pytest.approx(0.6, abs=0.02)


def test_graphs_are_taken_too():
    graphs = [TINY.graph((d, c, k, 0)) for d in range(4) for c in range(4) for k in range(2)]
    nodes = np.array([float(len(graph.nodes)) for graph in graphs])
    assert DeviceChoice().fit(graphs, nodes, 6.0 + 0.01 * nodes).pick([graphs[0], graphs[-1]]) == ["A", "B"]


def test_an_unfitted_choice_says_what_to_do():
    with pytest.raises(InputError, match="call fit"):
        DeviceChoice().pick([(0, 0, 0)])


@pytest.mark.parametrize("pair", [("raspi4", "gold_6240"), ("1080ti_1", "titanx_1"), ("2080ti_32", "essential_ph_1")])
def test_95_percent_of_the_decisions_are_right_on_devices_that_others_measured(pair):
    file = Path(__file__).parents[3] / "shared" / "data" / "nb201_latency_ms.parquet"
    if not file.is_file():
        pytest.skip("the measurements of others are not beside the repository (../shared/data)")
    rows = pq.read_table(file, columns=["arch", *pair]).to_pylist()[::7]
    archs = [SPACE.parse(row["arch"]) for row in rows]
    first, second = (np.array([row[name] for row in rows]) for name in pair)
    order = np.random.default_rng(0).permutation(len(rows))
    known, others = order[:200], order[200:]
    choice = DeviceChoice(SPACE).fit([archs[i] for i in known], first[known], second[known])
    picks = np.array(choice.pick([archs[i] for i in others]))
    decided = picks != Pick.CANNOT_TELL
    faster = np.where(first[others] <= second[others], Pick.FIRST, Pick.SECOND)
    assert decided.sum() > 50
    assert (picks == faster)[decided].mean() >= 0.95
