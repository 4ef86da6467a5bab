import pytest

from hwprof.data import dataset
from hwprof.data.dataset import Card, Entry
from hwprof.data.summary import doubts, summarize


def test_a_summary_has_the_range_and_the_median(tmp_path):
    entries = [Entry(ms, (i, 0), low_ms=0.9 * ms, high_ms=1.1 * ms) for i, ms in enumerate((1.0, 2.0, 6.0))]
    found = summarize(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny", licence="MIT"), entries))
    assert (found["least_ms"], found["median_ms"], found["most_ms"], found["networks"]) == (1.0, 2.0, 6.0, 3)
    assert found["half_width"] == pytest.approx(0.1)
    assert found["licence"] == "MIT"


def test_what_imported_data_do_not_say_is_none(tmp_path):
    found = summarize(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny"), [Entry(1.0, (0, 0))]))
    assert (found["converged"], found["half_width"]) == (None, None)


def test_data_say_what_they_are_not_good_for(tmp_path):
    entries = [Entry(ms, (i, 0), low_ms=0.9 * ms, high_ms=1.1 * ms, status="budget") for i, ms in enumerate((1.0, 2.0))]
    told = doubts(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny", evidence="analytic"), entries))
    assert [text.partition(" ")[0] for text in told] == ["the", "2", "the", "2"]
    assert "2 of 2 networks did not converge when they were measured" in told
    assert "known to +-10% only" in told[2]


def test_good_data_have_no_doubts(tmp_path):
    entries = [Entry(i + 1.0, (i, 0), low_ms=i + 0.99, high_ms=i + 1.01, status="converged") for i in range(30)]
    assert doubts(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny", evidence="measured"), entries)) == ()
