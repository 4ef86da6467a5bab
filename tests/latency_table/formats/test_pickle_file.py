import collections
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
