"""Calibration samples."""

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.variants.samples import random_samples, read_samples


def one_input() -> Graph:
    b = GraphBuilder("net")
    return b.build(b.relu(b.input((1, 2, 3), name="x")))


def two_inputs() -> Graph:
    b = GraphBuilder("net")
    return b.build(b.add(b.input((1, 2, 3), name="x"), b.input((1, 2, 3), name="y")))


@pytest.mark.parametrize(("shape", "count"), [((1, 2, 3), 1), ((5, 1, 2, 3), 5), ((5, 2, 3), 5), ((2, 3), 1)])
def test_an_array_holds_one_sample_or_many(tmp_path, shape, count):
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.savez(tmp_path / "data.npz", x=array)
    samples = read_samples(one_input(), tmp_path / "data.npz")["x"]
    assert samples.shape == (count, 1, 2, 3)
    assert samples.dtype == np.float32
    assert samples.ravel().tolist() == array.ravel().tolist()


def test_a_folder_holds_a_sample_in_each_file_by_name(tmp_path):
    for i in (2, 0, 1):
        np.save(tmp_path / f"{i}.npy", np.full((1, 2, 3), i))
    (tmp_path / "labels.txt").touch()
    assert read_samples(one_input(), tmp_path)["x"][:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_network_with_two_inputs_wants_an_array_for_each(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((4, 2, 3)), y=np.zeros((4, 2, 3)))
    assert {k: v.shape for k, v in read_samples(two_inputs(), tmp_path / "data.npz").items()} == {
        "x": (4, 1, 2, 3),
        "y": (4, 1, 2, 3),
    }


@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
def test_a_network_without_inputs_takes_no_data(tmp_path, name):
    (np.save if name.endswith("y") else np.savez)(tmp_path / name, np.ones((2, 3)))
    b = GraphBuilder("constant")
    graph = b.build(b.unary("Erf", b.weight((2, 3))))
    with pytest.raises(InputError, match="'constant' has no inputs, so it takes no calibration data"):
        read_samples(graph, tmp_path / name)


def test_random_samples_differ_and_repeat():
    samples = random_samples(one_input(), 3)["x"]
    assert samples.shape == (3, 1, 2, 3)
    assert not np.array_equal(samples[0], samples[1])
    assert np.array_equal(samples, random_samples(one_input(), 3)["x"])


def write_text(path):
    path.write_text("no array")


@pytest.mark.parametrize(
    ("graph", "write", "message"),
    [
        (one_input(), lambda path: None, "does not exist"),
        (one_input(), write_text, "cannot be read"),
        (one_input(), lambda path: path.mkdir(), r"no \.npy or \.npz"),
        (one_input(), lambda path: np.savez(path.open("wb"), z=np.ones(3)), "no array 'x'; it has z"),
        (one_input(), lambda path: np.savez(path.open("wb"), x=np.ones((7, 7))), r"holds no samples of input 'x'"),
        (one_input(), lambda path: np.savez(path.open("wb"), x=np.ones((0, 2, 3))), "holds no sample"),
        (two_inputs(), lambda path: np.save(path.open("wb"), np.ones((1, 2, 3))), "has inputs x, y"),
        (
            two_inputs(),
            lambda path: np.savez(path.open("wb"), x=np.ones((4, 2, 3)), y=np.ones((5, 2, 3))),
            "different numbers",
        ),
        (one_input(), lambda path: np.savez(path.open("wb"), x=np.array([{}])), "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_data_that_does_not_fit_is_an_error(tmp_path, graph, write, message):
    write(tmp_path / "data.npz")
    with pytest.raises(InputError, match=message):
        read_samples(graph, tmp_path / "data.npz")
