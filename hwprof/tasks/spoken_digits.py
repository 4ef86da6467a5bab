"""Spoken digits, for recurrent networks: recordings of several speakers, one of whom is left out for the test.

The Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0): its `recordings/*.wav`,
or all of them in one file fsdd.npz: `samples` int16 [n_samples], one recording after the other, `offsets` [n + 1],
`digit` [n] and `speaker` [n]. 8 kHz, mono.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hwprof.errors import InputError
from hwprof.tasks.classification import Classification
from hwprof.tasks.examples import TensorExamples, from_arrays

RATE_HZ = 8000
_WINDOW = 256  # samples, 32 ms
_SEARCH_SHARE = 0.2
_QUIETEST = 1e-3  # of the loudest sample: what is below counts as silence


@dataclass(frozen=True, slots=True)
class Recording:
    """samples: [n_samples], int16."""

    samples: np.ndarray
    digit: int
    speaker: str


def spoken_digits(
    folder: str | Path, test_speaker: str = "theo", frames: int = 20, bands: int = 20, seed: int = 0
) -> Classification:
    """inputs: [n, frames, bands], float32: the logarithm of the energy in each mel band, with mean 0 and standard
    deviation 1 over the training examples; the frames, 32 ms each, are spread evenly over the recording, short or long.
    targets: [n], 0 to 9.

    folder: has fsdd.npz or the .wav files. Recordings of `test_speaker` are to test; of the others 80 % are to train
    and 20 % to search. Raises InputError for files that are missing or broken and for an unknown speaker.
    """
    if min(frames, bands) < 1 or bands > _WINDOW // 8:
        raise InputError(f"spoken digits need frames >= 1 and 1 to {_WINDOW // 8} bands, not {frames} and {bands}")
    recordings = recordings_in(folder)
    speakers = sorted({recording.speaker for recording in recordings})
    if test_speaker not in speakers or len(speakers) < 2:
        raise InputError(f"cannot leave out the speaker {test_speaker!r}; known: {', '.join(speakers)}")
    filters = _mel_filters(bands)
    energies = np.stack([_log_mel(recording.samples, frames, filters) for recording in recordings])
    left_out = np.array([recording.speaker == test_speaker for recording in recordings])
    digits = np.array([recording.digit for recording in recordings])
    known = np.flatnonzero(~left_out)
    order = np.random.default_rng(seed).permutation(known)
    search, train = np.split(order, [round(_SEARCH_SHARE * len(known))])
    energies = (energies - energies[train].mean()) / energies[train].std()

    def part(index: np.ndarray) -> TensorExamples:
        return from_arrays(energies[index], digits[index])

    return Classification("spoken_digits", part(train), part(search), part(np.flatnonzero(left_out)), n_classes=10)


# -- recordings ----------------------------------------------------------------------------------------


def recordings_in(folder: str | Path) -> Sequence[Recording]:
    """All recordings in the files of the folder. Raises InputError for files that are missing or broken."""
    folder = Path(folder)
    packed = folder / "fsdd.npz"
    if packed.is_file():
        return _unpacked(packed)
    for place in (folder, folder / "recordings"):
        files = sorted(place.glob("*_*_*.wav"))
        if files:
            return [_from_wave(path) for path in files]
    raise InputError(
        f"{str(folder)!r} has neither fsdd.npz nor recordings such as 7_theo_0.wav; give the folder of the Free "
        "Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset)"
    )


def _unpacked(path: Path) -> Sequence[Recording]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            samples, offsets, digits, speakers = (stored[k] for k in ("samples", "offsets", "digit", "speaker"))
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise InputError(f"cannot read the recordings in {str(path)!r}: {error}") from None
    lengths = np.diff(offsets)
    if not (
        len(offsets) == len(digits) + 1 == len(speakers) + 1
        and len(digits) > 0
        and offsets[0] >= 0
        and lengths.min() > 0
        and offsets[-1] <= len(samples)
        and samples.dtype == np.int16
        and 0 <= digits.min() <= digits.max() <= 9
    ):
        raise InputError(f"{str(path)!r} is broken: its offsets, digits, speakers and samples do not fit together")
    parts = (samples[start:end] for start, end in pairwise(offsets))
    return [
        Recording(part, int(digit), str(speaker)) for part, digit, speaker in zip(parts, digits, speakers, strict=True)
    ]


def _from_wave(path: Path) -> Recording:
    """The file's name says digit, speaker and take."""
    digit, speaker, _ = path.stem.split("_", 2)
    try:
        with wave.open(str(path), "rb") as stream:
            given = (stream.getnchannels(), stream.getsampwidth(), stream.getframerate())
            samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    except (OSError, EOFError, ValueError, wave.Error) as error:
        raise InputError(f"cannot read the recording {str(path)!r}: {error}") from None
    if given != (1, 2, RATE_HZ) or not len(samples) or digit not in tuple("0123456789"):
        raise InputError(
            f"{str(path)!r} must be a mono recording with 16 bits at {RATE_HZ} Hz, named DIGIT_SPEAKER_TAKE.wav; "
            f"it has {given[0]} channels of {8 * given[1]} bits at {given[2]} Hz and {len(samples)} samples"
        )
    return Recording(samples.astype(np.int16), int(digit), speaker)


# -- features ------------------------------------------------------------------------------------------


def _log_mel(samples: np.ndarray, frames: int, filters: np.ndarray) -> np.ndarray:
    """samples: [n_samples], int16; filters: [_WINDOW // 2 + 1, bands]. Returns [frames, bands], log10 of the energy;
    the loudest sample counts as 1."""
    scaled = np.pad(samples, (0, max(0, _WINDOW - len(samples)))) / max(1, int(np.abs(samples.astype(int)).max()))
    starts = np.linspace(0, len(scaled) - _WINDOW, frames).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), _WINDOW)[starts]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(windows * hann) / hann.sum()
    energy = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.log10(energy.astype(np.float32) @ filters + np.float32(_QUIETEST**2)))


def _mel_filters(bands: int) -> np.ndarray:
    """[_WINDOW // 2 + 1, bands], float32: triangles that are evenly spaced on the mel scale (O'Shaughnessy's)."""
    highest_mel = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, highest_mel, bands + 2) / 2595) - 1)
    hz = np.linspace(0, RATE_HZ / 2, _WINDOW // 2 + 1)[:, None]
    low, middle, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising, falling = (hz - low) / (middle - low), (high - hz) / (high - middle)
    return np.asarray(np.minimum(rising, falling).clip(min=0).astype(np.float32))
