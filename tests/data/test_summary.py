import pytest

from hwprof.data import dataset
from hwprof.data.dataset import Card, Entry
from hwprof.data.summary import summarize


def test_a_summary_has_the_range_and_the_median(tmp_path):
    entries = [Entry(ms, (i, 0), low_ms=0.9 * ms, high_ms=1.1 * ms) for i, ms in enumerate((1.0, 2.0, 6.0))]
    found = summarize(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny", licence="MIT"), entries))
    assert (found["least_ms"], found["median_ms"], found["most_ms"], found["networks"]) == (1.0, 2.0, 6.0, 3)
    assert found["half_width"] == pytest.approx(0.1)
    assert found["licence"] == "MIT"


def test_what_imported_data_do_not_say_is_none(tmp_path):
    found = summarize(dataset.write(tmp_path / "d", Card("d", "phone", space="tiny"), [Entry(1.0, (0, 0))]))
    assert (found["converged"], found["half_width"]) == (None, None)
