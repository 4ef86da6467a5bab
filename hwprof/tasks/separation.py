"""Separation of two speakers who say digits at once, after Muth et al. (arXiv 1807.02710).

A network finds the share of the first voice in each band of the spectrogram, from amplitudes with or without phase
derivatives. Nobody who is heard in the test was heard before.

The recordings are those of `hwprof.tasks.spoken_digits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.interfaces import Examples, Part
from hwprof.tasks.examples import from_arrays
from hwprof.tasks.spoken_digits import recordings_in
from hwprof.workloads.separation import HOP, WINDOW, features_of, spectrogram

_TEST_SPEAKERS = 2


class Separation:
    """A `Task`. Inputs: features [n, frames, 129] or, with phases, [n, frames, 387]. Targets: [n, frames, 129, 2], the
    share of the first voice, 0 to 1, and the amplitude of the mixture, 0 to 1. The first voice is that of
    the speaker whose recordings have the lower mean frequency. Networks put out shares [n, frames, 129]."""

    name = "separation"
    metric_name = "SDR, dB"

    def __init__(self, parts: dict[str, Examples]) -> None:
        self._parts = parts

    def examples(self, part: Part) -> Examples:
        """Raises InputError for a part that does not exist."""
        if part not in self._parts:
            raise InputError(f"task {self.name!r} has no part {part!r}; its parts: {', '.join(self._parts)}")
        return self._parts[part]

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """output: [n, frames, 129]; targets: [n, frames, 129, 2]. Returns the squared error of the masked amplitudes as
        a share of theirs, a scalar."""
        share, amplitude = targets.unbind(-1)
        return functional.mse_loss(output * amplitude, share * amplitude) / (share * amplitude).square().mean()

    def metric(self, output: Tensor, targets: Tensor) -> float:
        """output: [n, frames, 129]; targets: [n, frames, 129, 2]. Returns the ratio of the voice's energy to that of
        the error, dB, over all examples."""
        return -10 * float(self.loss(output, targets).double().clamp(min=1e-10).log10())


def separation(
    folder: str | Path, with_phase: bool = True, n: int = 600, frames: int = 40, seed: int = 0
) -> Separation:  # fmt: skip
    """n: mixtures of all parts, of which 60 % are to train, 20 % to search and 20 % to test. The last two speakers by
    name are to test. Raises InputError for missing files, fewer than four speakers and sizes that are too small."""
    if n < 10 or frames < 2:
        raise InputError(f"separation needs n >= 10 and frames >= 2, not {n} and {frames}")
    by_speaker: dict[str, list[np.ndarray]] = {}
    for recording in recordings_in(folder):
        by_speaker.setdefault(recording.speaker, []).append(recording.samples / 32768)
    speakers = sorted(by_speaker)
    if len(speakers) < 2 * _TEST_SPEAKERS:
        raise InputError(f"separation needs at least {2 * _TEST_SPEAKERS} speakers, not {', '.join(speakers)}")
    order = sorted(speakers, key=lambda speaker: _mean_band(by_speaker[speaker]))
    tested = set(speakers[-_TEST_SPEAKERS:])
    known, unknown = ([s for s in order if (s in tested) == is_tested] for is_tested in (False, True))
    rng = np.random.default_rng(seed)
    sizes = {"train": round(0.6 * n), "search": round(0.2 * n), "test": round(0.2 * n)}
    halves = {"train": 0, "search": 1, "test": None}  # no recording is in two parts
    return Separation({
        part: _mixtures(by_speaker, unknown if part == "test" else known, size, frames, with_phase, halves[part], rng)
        for part, size in sizes.items()
    })  # fmt: skip


def _mixtures(
    by_speaker: dict[str, list[np.ndarray]], speakers: Sequence[str], n: int, frames: int, with_phase: bool,
    half: int | None, rng: np.random.Generator,
) -> Examples:  # fmt: skip
    inputs, targets = [], []
    for _ in range(n):
        first, second = sorted(rng.choice(len(speakers), 2, replace=False).tolist())
        voices = [_voice(by_speaker[speakers[which]], frames, half, rng) for which in (first, second)]
        spectra = [spectrogram(voice) for voice in voices]
        mixture = spectrogram(voices[0] + voices[1])
        loud = [np.abs(spectrum) for spectrum in spectra]
        amplitude = np.abs(mixture)
        inputs.append(features_of(mixture, with_phase))
        share = loud[0] / np.maximum(loud[0] + loud[1], 1e-9)
        targets.append(np.stack([share, amplitude / max(1e-9, float(amplitude.max()))], axis=-1))
    return from_arrays(np.stack(inputs), np.stack(targets).astype(np.float32))


def _voice(recordings: Sequence[np.ndarray], frames: int, half: int | None, rng: np.random.Generator) -> np.ndarray:
    """One recording at unit energy, cut or padded to the frames, [n_samples]. Takes are in turns in the halves."""
    some = recordings if half is None else recordings[half::2]
    samples = some[int(rng.integers(len(some)))]
    length = HOP * (frames - 1) + WINDOW
    start = int(rng.integers(max(1, len(samples) - length + 1)))
    cut = samples[start : start + length]
    return np.pad(cut, (0, length - len(cut))) / max(1e-6, float(np.sqrt(np.mean(cut**2))))


def _mean_band(recordings: Sequence[np.ndarray]) -> float:
    """The mean band of the first ten recordings, weighed by energy."""
    energy = np.concatenate([np.abs(spectrogram(np.pad(r, (0, WINDOW)))) ** 2 for r in recordings[:10]]).sum(axis=0)
    return float(energy @ np.arange(len(energy)) / energy.sum())
