from pathlib import Path

import numpy as np
import pytest

from hwprof.data import dataset
from hwprof.data.dataset import Card, Entry
from hwprof.errors import InputError
from hwprof.jobs import importing
from hwprof.predictors import evaluation, learning

pytestmark = pytest.mark.usefixtures("tiny_spaces")
SHARED = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)


def written(folder: Path, latency_ms, space="space") -> Path:
    """A data set of all architectures of the tiny space, two of each graph; latency_ms(arch)."""
    archs = [tuple(map(int, arch)) for arch in np.ndindex(4, 4, 2, 2)]
    entries = [Entry(float(latency_ms(arch)), arch) for arch in archs]
    dataset.write(folder, Card(folder.name, "exact", space=space), entries)
    return folder


def test_a_latency_that_the_predictor_can_represent_is_predicted_exactly(tmp_path):
    folder = written(tmp_path / "launches", lambda arch: 2 * (arch[0] + 1) + 1)
    (few, many) = evaluation.evaluate(dataset.read(folder), "physical", [10, 30], seeds=2).figures
    assert (few.n, few.tested, many.n, many.tested) == (10, 34, 30, 34)
    assert many.mape < 0.5
    assert (many.within_5, many.within_10) == (100, 100)
    assert many.kendall == pytest.approx(1, abs=0.15)
    assert many.mape == pytest.approx(np.mean(many.mape_by_seed))
    assert len(many.mape_by_seed) == 2


def test_the_noise_floor_comes_from_equal_graphs(tmp_path):
    """The last position changes no graph, but the latency by 10 %: an oracle is wrong by 0.1 / 1.9 and 0.1 / 2.1."""
    folder = written(tmp_path / "noise", lambda arch: (arch[0] + 1) * (0.9 if arch[3] else 1.1))
    (figures,) = evaluation.evaluate(dataset.read(folder), "lut", [20], seeds=1).figures
    assert figures.noise_floor == pytest.approx(100 * (0.1 / 0.9 + 0.1 / 1.1) / 2)


def test_networks_measured_once_have_no_noise_floor(collected):
    (figures,) = evaluation.evaluate(dataset.read(collected), "physical", [10], seeds=1).figures
    assert figures.noise_floor is None


def test_a_measured_device_is_predicted_within_its_noise_and_the_intervals_hold(collected):
    found = evaluation.evaluate(dataset.read(collected), "physical", [20], seeds=3)
    assert (found.predictor, found.data, found.device, found.evidence) == (
        "physical",
        "tiny-noisy",
        "noisy",
        "analytic",
    )
    (figures,) = found.figures
    assert figures.mape < 3
    assert figures.coverage_90 > 60
    assert figures.fit_s > 0
    assert figures.predict_us > 0


def test_networks_that_compute_nothing_from_their_input_are_left_out(tmp_path):
    text = "arch,ms\n" + "".join(f"{c}-{z},{1 + c + z}\n" for c in range(2) for z in range(2))
    (tmp_path / "x.csv").write_text(text)
    card = Card("x", "d", space="zeroed", source="s", licence="l")
    importing.import_data(tmp_path / "x.csv", tmp_path / "x", card, ["arch"], "ms", "ms")
    with pytest.raises(InputError, match="has 2 networks of 4 whose output depends on their input; training on 2"):
        evaluation.evaluate(dataset.read(tmp_path / "x"), "physical", [2], seeds=5)


def test_a_trained_predictor_is_set_against_other_networks(collected, tmp_path):
    trained = learning.learn(dataset.read(collected), "physical")
    folder = written(tmp_path / "twice", lambda arch: 2 * (2 * (arch[0] + 1) + 1))
    (figures,) = evaluation.evaluate_trained(dataset.read(folder), trained).figures
    assert (figures.n, figures.tested) == (32, 64)
    assert figures.mape == pytest.approx(50, abs=3)  # it learned half of these latencies
    assert figures.fit_s is None


def test_a_trained_predictor_is_not_set_against_what_it_learned_from_or_another_space(collected, tmp_path):
    trained = learning.learn(dataset.read(collected), "physical")
    with pytest.raises(InputError, match="learned from data set tiny-noisy itself; --predictor physical tests it"):
        evaluation.evaluate_trained(dataset.read(collected), trained)
    other = written(tmp_path / "other", lambda arch: 1 + sum(arch), space="nasbench201")
    with pytest.raises(InputError, match="learned from networks of space; data set other has networks of nasbench201"):
        evaluation.evaluate_trained(dataset.read(other), trained)


@pytest.mark.parametrize(
    ("sizes", "seeds", "reason"),
    [([30], 1, "has 32 networks; training on 30 leaves fewer than 10"), ([], 1, "positive"), ([5], 0, "positive")],
)
def test_sizes_that_do_not_fit_are_refused(collected, sizes, seeds, reason):
    with pytest.raises(InputError, match=reason):
        evaluation.evaluate(dataset.read(collected), "physical", sizes, seeds)


@pytest.mark.skipif(SHARED is None, reason="needs the shared folder of other people's measurements")
def test_a_real_device_is_predicted_from_tens_of_networks(tmp_path):
    card = Card("gold_6240", "gold_6240", space="nasbench201", source="HELP", licence="MIT")
    file = SHARED / "nb201_latency_ms.parquet"
    data = importing.import_data(file, tmp_path / "all", card, ["arch"], "gold_6240", "ms").dataset
    part = learning.drawn(data, 150, 150, seed=0)
    dataset.write(tmp_path / "part", card, part.entries)
    (figures,) = evaluation.evaluate(dataset.read(tmp_path / "part"), "physical", [30], seeds=2).figures
    assert figures.mape < 12  # the floor is 6.6
    assert figures.kendall > 0.8
