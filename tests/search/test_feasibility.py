import numpy as np

from hwprof.interfaces import Trial
from hwprof.search.feasibility import Feasibility

CHOICES = (4, 4, 4)
ARCHS = [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]


def latency_ms(arch) -> float:
    return float(np.exp(sum(arch) / 3))


def told(limit_ms: float, archs) -> Feasibility:
    feasibility = Feasibility(CHOICES)
    feasibility.tell([Trial(a, 1.0 if latency_ms(a) <= limit_ms else None, latency_ms(a)) for a in archs])
    return feasibility


def test_while_nothing_was_refused_everything_is_likely():
    assert told(np.inf, ARCHS[::3]).likely(ARCHS).all()


def test_with_few_trials_everything_is_likely():
    assert told(2.0, ARCHS[:5]).likely(ARCHS).all()


def test_what_fits_is_likely_and_what_is_far_above_the_limit_is_not():
    limit_ms = float(np.exp(1.5))
    likely = told(limit_ms, ARCHS[::3]).likely(ARCHS)
    ms = np.array([latency_ms(arch) for arch in ARCHS])
    assert likely[ms < limit_ms / 2].all()
    assert not likely[ms > 3 * limit_ms].any()


def test_of_no_architectures_none_is_likely():
    assert told(2.0, ARCHS).likely([]).shape == (0,)
