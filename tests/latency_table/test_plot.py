import pytest

from hwprof.errors import InputError
from hwprof.latency_table.plot import plot_steps
from tests.latency_table.tables import staircase


def test_the_staircase_is_drawn_with_its_axes_named(tmp_path):
    text = plot_steps(staircase(), tmp_path / "steps.svg", "cout", "Conv", kernel=3, cin=4).read_text()
    assert text.count("<!-- latency (ms) -->") == 1
    assert "<!-- cout -->" in text


def test_an_attribute_that_is_not_numeric_has_no_staircase(tmp_path):
    with pytest.raises(InputError):
        plot_steps(staircase(), tmp_path / "steps.svg", "kernel", "Conv", cin=4, cout=8)
