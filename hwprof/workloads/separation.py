"""Source separation with phase derivatives (Muth et al., arXiv 1807.02710): features and a recurrent network.

Of a spectrogram's phase only its derivatives say something: along time the instantaneous frequency, along frequency the
group delay. What a steady tone in the middle of a band and an impulse in the middle of a window would show is removed,
so that both are 0 there.
"""

from __future__ import annotations

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph

WINDOW, HOP = 256, 64  # samples
BANDS = WINDOW // 2 + 1
FEATURES = ("amplitude", "instantaneous frequency", "group delay")


def separation_network(frames: int = 64, hidden: int = 64, features: int = len(FEATURES)) -> Graph:
    """Features [frames, 1, features * 129] to the share of one source in each band, [frames, 1, 129], 0 to 1."""
    b = GraphBuilder("separation_network")
    x = b.input((frames, 1, features * BANDS), name="features")
    return b.build(b.unary("Sigmoid", b.linear(b.lstm(x, hidden), BANDS)))


def real_time_factor(latency_ms: float, frames: int, rate_hz: float) -> float:
    """Milliseconds of work for each millisecond of sound; below 1 a device keeps up."""
    return latency_ms / (1000 * frames * HOP / rate_hz)


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """samples: [n_samples]. Returns [n_frames, 129], complex: Hann windows of 256 samples every 64. Raises InputError
    for fewer samples than a window."""
    if len(samples) < WINDOW:
        raise InputError(f"a spectrogram needs at least {WINDOW} samples, not {len(samples)}")
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, float), WINDOW)[::HOP]
    return np.asarray(np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1]))


def sound(spectra: np.ndarray) -> np.ndarray:
    """spectra: [n_frames, 129]. Returns the samples whose spectrogram they are, [n_samples], by overlap and add."""
    window = np.hanning(WINDOW + 1)[:-1]
    total, weight = (np.zeros(HOP * (len(spectra) - 1) + WINDOW) for _ in range(2))
    for number, frame in enumerate(np.fft.irfft(spectra, WINDOW)):
        place = slice(number * HOP, number * HOP + WINDOW)
        total[place] += frame * window
        weight[place] += window**2
    return np.asarray(total / np.maximum(weight, 1e-3))


def instantaneous_frequency(spectra: np.ndarray) -> np.ndarray:
    """spectra: [n_frames, 129]. Returns how far the frequency is from the middle of its band, in bands, -2 to 2,
    [n_frames, 129]; 0 in the first frame."""
    advance = np.angle(spectra[1:] * spectra[:-1].conj())
    expected = 2 * np.pi * HOP * np.arange(BANDS) / WINDOW
    difference = _wrapped(advance - expected) * WINDOW / (2 * np.pi * HOP)
    return np.vstack([np.zeros((1, BANDS)), difference])


def group_delay(spectra: np.ndarray) -> np.ndarray:
    """spectra: [n_frames, 129]. Returns how long after the middle of its window the sound of a band is, in samples,
    [n_frames, 129]; 0 in the first band."""
    advance = np.angle(spectra[:, 1:] * spectra[:, :-1].conj())
    delay = -_wrapped(advance + np.pi) * WINDOW / (2 * np.pi)
    return np.hstack([np.zeros((len(spectra), 1)), delay])


def features_of(spectra: np.ndarray, with_phase: bool = True) -> np.ndarray:
    """spectra: [n_frames, 129]. Returns [n_frames, 3 * 129] or, of the amplitude alone, [n_frames, 129], float32, each
    of about -1 to 1. Phases of bands without sound are noise; they count as much as their amplitude."""
    loudness = np.log10(1 + 100 * np.abs(spectra) / max(1e-9, float(np.abs(spectra).max()))) / 2
    if not with_phase:
        return np.asarray(loudness, np.float32)
    phases = [instantaneous_frequency(spectra) / 2, group_delay(spectra) / (WINDOW / 2)]
    return np.hstack([loudness, *(loudness * phase for phase in phases)]).astype(np.float32)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi
