from pathlib import Path

import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.tasks.separation import separation
from hwprof.testing import check_task

FOLDER = Path(__file__).parents[3] / "shared" / "data"
needs_recordings = pytest.mark.skipif(not (FOLDER / "fsdd.npz").is_file(), reason="there are no spoken digits")


def tones(folder, speakers=5, takes=6):
    """Each speaker is a tone, as a file of recordings."""
    samples, speaker = [], []
    for number in range(speakers):
        for take in range(takes):
            t = np.arange(3000 + 100 * take)
            samples.append((8000 * np.sin(2 * np.pi * (8 + 20 * number) / 256 * t + take)).astype(np.int16))
            speaker.append(f"speaker{number}")
    offsets = np.cumsum([0, *map(len, samples)])
    np.savez(
        folder / "fsdd.npz", samples=np.concatenate(samples), offsets=offsets, digit=np.zeros(len(samples), int),
        speaker=np.array(speaker),
    )  # fmt: skip
    return folder


def test_it_keeps_the_contract(tmp_path):
    check_task(separation(tones(tmp_path), n=30, frames=10), torch.nn.Sequential(torch.nn.Linear(387, 129)))


@pytest.mark.parametrize(("with_phase", "features"), [(True, 387), (False, 129)])
def test_phases_are_left_out_where_they_are_not_wanted(tmp_path, with_phase, features):
    batch = next(separation(tones(tmp_path), with_phase, n=10, frames=10).examples("train").batches(4))
    assert batch.inputs.shape == (4, 10, features)
    assert batch.targets.shape == (4, 10, 129, 2)


def test_a_better_mask_has_a_higher_ratio(tmp_path):
    task = separation(tones(tmp_path), n=20, frames=10)
    targets = next(task.examples("test").batches(4)).targets
    share = targets[..., 0]
    assert task.metric(share, targets) == pytest.approx(100)
    assert task.metric(0.9 * share, targets) == pytest.approx(20, abs=0.01)
    assert task.metric(torch.zeros_like(share), targets) == pytest.approx(0)


def test_the_first_voice_is_the_lower_one(tmp_path):
    """Tones of speakers do not overlap, so that the lowest band in the mixture is the first one's alone."""
    batch = next(separation(tones(tmp_path), n=20, frames=10).examples("train").batches(12))
    share, amplitude = batch.targets.unbind(-1)
    loud = amplitude[:, 5] > 0.5
    for row, kept in zip(share[:, 5], loud, strict=True):
        assert row[kept.nonzero()[0, 0]] > 0.9


def test_fewer_than_four_speakers_are_refused(tmp_path):
    with pytest.raises(InputError, match="separation needs at least 4 speakers"):
        separation(tones(tmp_path, speakers=3))


@needs_recordings
def test_speakers_of_the_test_are_not_heard_before():
    assert len(next(separation(FOLDER, n=10).examples("test").batches(10)).targets) == 2
