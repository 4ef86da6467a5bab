"""Searches on the tiny space and an analytic device, whose latencies are its launches of 1 ms."""

import pytest

from hwprof.data.result import Met
from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.jobs.searching import search
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from tests.samples import noisy_device

pytestmark = pytest.mark.usefixtures("tiny_spaces")
DEVICE = noisy_device(0.001, 0.001)


def deepest(arch) -> float:
    return float(arch[0]) + arch[1] / 10


def find(store=None, score=deepest, **changes):
    asked = {"device": DEVICE, "target_ms": 6.0, "evaluations": 12, "options": Options(FAST), **changes}
    return search("space", score, store=store, **asked)


def test_the_winner_is_the_best_that_the_device_confirms():
    """A network of n convolutions has 2 n + 1 launches."""
    found = find(evaluations=32, strategy="random")
    assert found.winner.choices["arch"][0] == 1
    assert found.winner.met is Met.YES
    assert found.winner.latency("noisy").median == pytest.approx(5, rel=0.05)
    assert max(trial.latency_ms for trial in found.searched.trials) <= 6.0
    assert found.searched.refused > 0


def test_the_winner_is_kept_in_the_store():
    with Store() as store:
        found = find(store)
        assert store.results() == [found.winner]


def test_a_search_by_reference_is_not_computed_again(tmp_path, monkeypatch):
    (tmp_path / "scored.py").write_text("def score(arch):\n    return float(arch[0])\n")
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        found = find(store, "scored.py:score")
        again = find(store, "scored.py:score")
        assert again.searched is None
        assert again.winner == found.winner
        assert find(store, "scored.py:score", seed=1).searched is not None


def test_a_predictor_refuses_before_anything_is_scored(collected, tmp_path):
    from hwprof.jobs.predicting import train

    train(collected).save(tmp_path / "x.hwp")
    found = find(latency=tmp_path / "x.hwp", strategy="random", evaluations=32)
    assert found.winner.met is Met.YES
    assert {trial.arch[0] for trial in found.searched.trials} == {0, 1}


def test_a_training_is_a_score(tmp_path):
    (tmp_path / "blocks.py").write_text(
        "from hwprof.builder import GraphBuilder\n\n\nclass Space:\n    choices = (2, 2)\n\n    def graph(self, arch):\n"
        "        b = GraphBuilder('digits')\n        x = b.relu(b.conv(b.input((1, 1, 8, 8)), 4 * (arch[0] + 1), 3))\n"
        "        return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))\n\n\nSPACE = Space()\n"
    )
    asked = {"device": DEVICE, "target_ms": 50.0, "evaluations": 2, "options": Options(FAST)}
    with Store() as store:
        found = search(f"{tmp_path / 'blocks.py'}:SPACE", task="digits", epochs=1, finalists=1, store=store, **asked)
    assert 5 < found.winner.metric <= 100
    assert found.winner.task == "digits"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target_ms": 0.5}, r"within 0.5 ms; the least latency found is"),
        ({"target_ms": 0.0}, "positive number of ms"),
        ({"score": None}, "give --score or --task, and not both"),
        ({"task": "digits"}, "give --score or --task, and not both"),
        ({"epochs": 3}, "--epochs is for a score by training"),
        ({"workers": 0}, "at least one worker, not 0"),
        ({"strategy": "guess"}, "no search is named 'guess'"),
        ({"score": "table:none.csv"}, "none.csv"),
        ({"score": "nowhere.py:score"}, "leads to no object"),
        ({"latency": "none.hwp"}, "none.hwp"),
    ],
)
def test_bad_input_is_told_in_one_line(changes, reason):
    with pytest.raises(InputError, match=reason) as error:
        find(**changes)
    assert "\n" not in str(error.value)
