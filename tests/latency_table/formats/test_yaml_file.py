import pytest
import yaml

from hwprof.errors import InputError
from hwprof.latency_table.formats import yaml_file


def entries(tmp_path, text):
    (tmp_path / "t.yaml").write_text(text)
    return yaml_file.entries(tmp_path / "t.yaml")


def test_entries_are_read_by_key(tmp_path):
    assert entries(tmp_path, "a-b:\n  mean: 2\nc: {mean: 1.5, count: 3}\n") == {
        "a-b": {"mean": 2}, "c": {"mean": 1.5, "count": 3},
    }  # fmt: skip


def test_entries_are_written_in_their_order_and_on_one_line_each(tmp_path):
    keys = ["z" * 300, "a"]
    yaml_file.write(tmp_path / "t.yaml", {key: {"mean": 1.5} for key in keys})
    assert list(yaml_file.entries(tmp_path / "t.yaml")) == keys
    assert yaml.safe_load((tmp_path / "t.yaml").read_text())["a"] == {"mean": 1.5}


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_without_entries_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="not a mapping from operator keys to latencies"):
        entries(tmp_path, text)


@pytest.mark.parametrize("text", ["a: 1\n", "a: {count: 3}\n", "a: {mean: fast}\n"])
def test_an_entry_without_a_mean_is_refused_with_its_key(tmp_path, text):
    with pytest.raises(InputError, match="entry 'a' has no number as its mean"):
        entries(tmp_path, text)


def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError) as raised:
        entries(tmp_path, "a: [1\nb: }")
    assert "t.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        yaml_file.entries(tmp_path / "none.yaml")
