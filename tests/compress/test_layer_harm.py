"""The harm of each change of a layer, and the file that keeps it; a rewriting and a judge that count."""

from pathlib import Path

from hwprof.compress.choice import Choice
from hwprof.compress.layer_harm import LayerHarm, singles

CHANGES = [("a", Choice(bits=8)), ("a", Choice(rank=4)), ("b", Choice(bits=8)), ("b", Choice(kept=8))]


class Counted:
    """Both in one: the harm of a network is the number of characters of its choices."""

    def __init__(self) -> None:
        self.judged = 0

    def network(self, choices):
        return choices

    def harm(self, network) -> float:
        self.judged += 1
        return float(sum(len(layer) + len(singles(choice)) for layer, choice in network.items()))


def harms(path: Path) -> tuple[LayerHarm, Counted]:
    counted = Counted()
    return LayerHarm(counted, counted, path), counted


def test_the_harm_of_a_rank_and_of_8_bits_adds_up(tmp_path: Path):
    found, counted = harms(tmp_path / "h.json")
    assert found.of("a", Choice(rank=4, bits=8)) == found.of("a", Choice(rank=4)) + found.of("a", Choice(bits=8))
    assert counted.judged == 2


def test_a_run_that_goes_on_measures_only_the_rest(tmp_path: Path):
    first, counted = harms(tmp_path / "h.json")
    first.measure(CHANGES[:3], lambda _text: None)
    assert counted.judged == 3
    again, counted = harms(tmp_path / "h.json")
    told: list[str] = []
    again.measure(CHANGES, told.append)
    assert counted.judged == 1
    assert told == ["measures the error of 1 changes of 2 layers (3 are known from before)"]
    assert again.of("a", Choice(bits=8)) == first.of("a", Choice(bits=8))


def test_how_long_they_take_is_told_after_the_first(tmp_path: Path):
    told: list[str] = []
    harms(tmp_path / "h.json")[0].measure(CHANGES, told.append)
    assert [text.startswith("the errors take about ") for text in told] == [False, True]


def test_a_damaged_file_is_measured_anew(tmp_path: Path):
    for content in ("{", "[1, 2]", '{"a": null}', '{"a": "b"}'):
        (tmp_path / "h.json").write_text(content)
        found, counted = harms(tmp_path / "h.json")
        assert found.of("b", Choice(bits=8)) == 2.0
        assert counted.judged == 1


def test_which_error_is_measured_is_a_step(tmp_path: Path):
    steps: list[str] = []
    harms(tmp_path / "h.json")[0].measure(CHANGES[:2], lambda _text: None, steps.append)
    assert steps == ["error of outputs of change 1 of 2", "error of outputs of change 2 of 2"]
