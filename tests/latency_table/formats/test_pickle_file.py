import collections
import contextlib
import os
import pickle

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.latency_table.formats import pickle_file
from hwprof.latency_table.formats.source import Source
from tests.latency_table.tables import METADATA

ALLOWED = Source(METADATA, allow_pickle=True)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made_by_the_pickle",)


def test_a_pickle_is_not_read_unless_allowed(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="allow it explicitly"):
        pickle_file.read(tmp_path / "t.pkl", Source(METADATA))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_plain_containers_and_numpy_arrays_are_read(tmp_path, protocol):
    content = collections.OrderedDict(a={"b": [1, 2.5, (3, None)]}, c=np.arange(3.0), d=np.float64(2.0))
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = pickle_file.read(tmp_path / "t.pkl", ALLOWED)
    assert found["a"] == content["a"]
    np.testing.assert_array_equal(found["c"], content["c"])
    assert found["d"] == 2.0


def test_a_pickle_that_names_a_function_is_refused_and_the_function_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match=r"posix\.mkdir, which no table needs"):
        pickle_file.read(tmp_path / "t.pkl", ALLOWED)
    assert not (tmp_path / "made_by_the_pickle").exists()


def test_a_truncated_pickle_is_refused(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": 1.0})[:-3])
    with pytest.raises(InputError, match=r"t\.pkl"):
        pickle_file.read(tmp_path / "t.pkl", ALLOWED)


class Reduced:
    """Pickles as a call of a function with arguments, and a state to set."""

    def __init__(self, function, arguments, state):
        self.reduced = function, arguments, state

    def __reduce__(self):
        return self.reduced


def refusal(tmp_path, content: bytes) -> str:
    (tmp_path / "t.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.pkl") as caught:
        pickle_file.read(tmp_path / "t.pkl", ALLOWED)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_dtype(state) -> Reduced:
    """An array of 8 bytes whose type has this state."""
    dtype = Reduced(np.dtype, ("V8", False, True), state)
    array = np._core.multiarray._reconstruct
    return Reduced(array, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, b"\x41" * 8))


@pytest.mark.parametrize(
    "content",
    [
        with_dtype((3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),
        with_dtype((3, "|", None, None, None, 8, 1, 0x3F)),
        Reduced(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 63)),
        Reduced(np._core.multiarray.scalar, (np.dtype("O"), b"\x41" * 8), None),
    ],
)
def test_no_array_is_made_of_a_type_that_holds_pointers(tmp_path, content):
    assert "not a plain number" in refusal(tmp_path, pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("shape", [(2,), (-1,), (1 << 40,), ("1",)])
def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused(tmp_path, shape):
    array = Reduced(
        np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype("f8"), False, b"\0" * 8)
    )
    assert "it holds" in refusal(tmp_path, pickle.dumps(array, protocol=2))


def test_what_unfolds_without_an_end_is_refused(tmp_path):
    folded = [1.0]
    for _ in range(30):
        folded = [folded, folded]
    assert "holds more than" in refusal(tmp_path, pickle.dumps(folded))
    circle: list = []
    circle.append(circle)
    assert "nested deeper" in refusal(tmp_path, pickle.dumps(circle))


def test_a_cut_or_changed_pickle_is_read_or_refused_in_one_line(tmp_path):
    content = pickle.dumps({"Conv": {"k": [1.5, np.arange(3.0)]}, ("a", 1): np.float32(2)}, protocol=4)
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=2):
            changed[place] = rng.integers(256)
        (tmp_path / "t.pkl").write_bytes(changed[: rng.integers(1, len(content))])
        with contextlib.suppress(InputError):
            pickle_file.read(tmp_path / "t.pkl", ALLOWED)
