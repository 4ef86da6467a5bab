import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.tasks.spoken_digits import _log_mel, _mel_filters, spoken_digits
from hwprof.testing import check_task
from tests.tasks.files import SHARED, recording

SPEAKERS = ("ada", "bo", "cy")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recordings").mkdir()
    for digit in range(5):
        for number, speaker in enumerate(SPEAKERS):
            for take in range(2):
                path = tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav"
                recording(path, hz=300 * (digit + 1) + 10 * number + take, seconds=0.02 + 0.1 * number)
    return tmp_path


def packed(folder, **changes):
    arrays = {
        "samples": np.arange(3000, dtype=np.int16),
        "offsets": np.array([0, 1000, 2000, 3000]),
        "digit": np.array([1, 2, 3], np.int8),
        "speaker": np.array(["ada", "bo", "ada"]),
    }
    np.savez(folder / "fsdd.npz", **{**arrays, **changes})
    return folder


def test_recordings_are_read_and_a_speaker_is_left_out(folder):
    task = spoken_digits(folder, "bo", frames=10, bands=8)
    train, search, test = (task.examples(part) for part in ("train", "search", "test"))
    assert [tuple(part.inputs.shape) for part in (train, search, test)] == [(16, 10, 8), (4, 10, 8), (10, 10, 8)]
    assert test.targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert train.inputs.dtype == torch.float32
    assert float(train.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.inputs.std()) == pytest.approx(1, abs=1e-2)
    check_task(task)


def test_a_tone_is_loudest_in_the_band_around_it():
    filters = _mel_filters(20)
    hz = np.linspace(0, 4000, 129)
    centre = hz[filters[:, 12].argmax()]
    tone = (1000 * np.sin(2 * np.pi * centre * np.arange(2000) / 8000)).astype(np.int16)
    features = _log_mel(tone, 5, filters)
    assert features.shape == (5, 20)
    assert features.argmax(axis=1).tolist() == [12] * 5


def test_loudness_does_not_count_and_silence_is_finite():
    filters, noise = _mel_filters(20), np.random.default_rng(0).integers(-100, 101, 3000).astype(np.int16)
    np.testing.assert_allclose(_log_mel(noise, 5, filters), _log_mel(50 * noise, 5, filters), atol=1e-4)
    assert np.isfinite(_log_mel(np.zeros(10, np.int16), 5, filters)).all()


def test_one_file_of_all_recordings_is_read(tmp_path):
    task = spoken_digits(packed(tmp_path), "bo")
    assert task.examples("test").targets.tolist() == [2]
    assert len(task.examples("train")) + len(task.examples("search")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": np.array([0, 1000, 2000, 3001])},
        {"offsets": np.array([0, 1000, 900, 3000])},
        {"offsets": np.array([0, 1000, 2000])},
        {"digit": np.array([1, 2, 10], np.int8)},
        {"samples": np.zeros(3000)},
    ],
)
def test_a_broken_file_is_refused(tmp_path, changes):
    with pytest.raises(InputError, match="is broken: its offsets"):
        spoken_digits(packed(tmp_path, **changes), "bo")


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "fsdd.npz").write_bytes(b"text")
    with pytest.raises(InputError, match="cannot read the recordings in"):
        spoken_digits(tmp_path)


def test_an_absent_folder_is_refused_with_the_set_that_is_wanted(tmp_path):
    with pytest.raises(InputError, match=r"has neither fsdd.npz nor recordings .* Free Spoken Digit Dataset"):
        spoken_digits(tmp_path / "absent")


@pytest.mark.parametrize("wrong", [{"rate": 16000}, {"channels": 2}, {"seconds": 0.0}])
def test_a_recording_of_another_kind_is_refused(folder, wrong):
    recording(folder / "recordings" / "7_ada_0.wav", **wrong)
    with pytest.raises(InputError, match="must be a mono recording with 16 bits at 8000 Hz"):
        spoken_digits(folder, "bo")


def test_an_unknown_speaker_is_refused_with_the_known_ones(folder):
    with pytest.raises(InputError, match="cannot leave out the speaker 'di'; known: ada, bo, cy"):
        spoken_digits(folder, "di")


@pytest.mark.parametrize("sizes", [{"frames": 0}, {"bands": 0}, {"bands": 33}])
def test_sizes_that_cannot_be_are_refused(folder, sizes):
    with pytest.raises(InputError, match="frames >= 1 and 1 to 32 bands"):
        spoken_digits(folder, "bo", **sizes)


@pytest.mark.skipif(SHARED is None, reason="needs the spoken digits beside the repository (../shared/data)")
def test_the_real_set_is_read():
    task = spoken_digits(SHARED / "spoken-digits", frames=4)
    assert [len(task.examples(part)) for part in ("train", "search", "test")] == [2000, 500, 500]
    assert torch.bincount(task.examples("test").targets).tolist() == [50] * 10
