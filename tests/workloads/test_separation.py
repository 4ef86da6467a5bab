import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.workloads import separation
from hwprof.workloads.separation import (
    WINDOW,
    features_of,
    group_delay,
    instantaneous_frequency,
    real_time_factor,
    sound,
    spectrogram,
)


@pytest.mark.parametrize("bands", [10.0, 10.3, 40.75, 100.5])
def test_the_derivative_along_time_is_the_frequency_of_a_pure_tone(bands):
    spectra = spectrogram(np.cos(2 * np.pi * bands * np.arange(4000) / WINDOW + 0.7))
    loudest = round(bands)
    found = loudest + instantaneous_frequency(spectra)[1:, loudest]
    np.testing.assert_allclose(found, bands, atol=1e-3)


@pytest.mark.parametrize("place", [3, 100, 128, 201])
def test_the_derivative_along_frequency_is_the_delay_of_an_impulse(place):
    samples = np.zeros(WINDOW)
    samples[place] = 1.0
    delays = group_delay(spectrogram(samples))[0, 1:]
    np.testing.assert_allclose(delays, place - WINDOW / 2, atol=1e-6)


def test_overlap_and_add_give_the_sound_back():
    samples = np.random.default_rng(0).standard_normal(1024)
    inner = slice(WINDOW, -WINDOW)
    np.testing.assert_allclose(sound(spectrogram(samples))[inner], samples[inner], atol=1e-12)


def test_features_are_amplitudes_with_or_without_phases():
    spectra = spectrogram(np.random.default_rng(0).standard_normal(1000))
    features = features_of(spectra)
    assert features.shape == (len(spectra), 3 * separation.BANDS)
    assert np.array_equal(features[:, : separation.BANDS], features_of(spectra, with_phase=False))
    assert np.abs(features).max() <= 1.3


def test_a_device_that_needs_as_long_as_the_sound_has_a_real_time_factor_of_1():
    assert real_time_factor(1000.0, frames=125, rate_hz=8000) == 1.0


def test_less_than_a_window_is_refused():
    with pytest.raises(InputError, match="a spectrogram needs at least 256 samples, not 100"):
        spectrogram(np.zeros(100))
