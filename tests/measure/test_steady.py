from collections.abc import Sequence

import numpy as np
import pytest

from hwprof.measure.steady import Warmup, course, is_steady, warm_up


def player(latencies: Sequence[float]):
    """A timer that plays the latencies and then repeats the last."""
    queue = list(latencies)

    def run(n: int) -> list[int]:
        return [int(queue.pop(0) if len(queue) > 1 else queue[0]) for _ in range(n)]

    return run


def test_constant_latency_is_flat_after_two_windows():
    samples, kind = warm_up(player([1e6]), min_runs=10, max_s=5, tolerance=0.02)
    assert kind is Warmup.FLAT
    assert len(samples) == 10


def test_latency_that_falls_and_settles_is_a_warm_up_and_all_its_runs_are_kept():
    falling = [3e6 - 0.05e6 * i for i in range(40)]
    samples, kind = warm_up(player([*falling, 1e6]), min_runs=10, max_s=5, tolerance=0.02)
    assert kind is Warmup.WARM_UP
    assert samples[: len(falling)] == [int(v) for v in falling]
    assert samples[-10:] == [1_000_000] * 10


def test_latency_that_rises_and_settles_is_a_slowdown():
    rising = [1e6 + 0.05e6 * i for i in range(40)]
    assert warm_up(player([*rising, 3e6]), min_runs=10, max_s=5, tolerance=0.02)[1] is Warmup.SLOWDOWN


def test_latency_that_keeps_falling_is_not_steady_and_stops_at_the_limit():
    falling = [5e7 * 0.99**i for i in range(500)]
    samples, kind = warm_up(player(falling), min_runs=10, max_s=1, tolerance=0.02)
    assert kind is Warmup.NOT_STEADY
    assert 1e9 <= sum(samples) < 1.6e9


def test_a_slow_network_needs_only_as_many_runs_as_fit_the_limit():
    samples, kind = warm_up(player([1e9]), min_runs=10, max_s=5, tolerance=0.02)
    assert kind is Warmup.FLAT
    assert len(samples) == 6


def test_noise_around_a_constant_level_is_steady():
    rng = np.random.default_rng(0)
    noisy = 1e6 * np.exp(0.03 * rng.standard_normal(20))
    assert is_steady([int(v) for v in noisy], window=10, tolerance=0.02)


def test_a_step_between_two_windows_is_not_steady():
    assert not is_steady([1000] * 10 + [1100] * 10, window=10, tolerance=0.02)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([100] * 4, Warmup.FLAT),
        ([103, 103, 100, 100], Warmup.WARM_UP),
        ([100, 100, 103, 103], Warmup.SLOWDOWN),
        ([101, 101, 100, 100], Warmup.FLAT),
    ],
)
def test_the_course_compares_first_and_last_window(samples: list[int], expected: Warmup):
    assert course(samples, window=2, tolerance=0.02) is expected
