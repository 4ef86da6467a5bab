import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.interfaces import Trial
from hwprof.search.segments import SegmentSearch


class Line:
    choices = (3,) * 6


class Wide:
    choices = (40, 40, 40)


def score(arch) -> float:
    return float(arch[0] == arch[1]) + float(arch[1]) + float(arch[3])


def tell(search, n):
    archs = search.ask(n)
    search.tell([Trial(arch, score(arch), 1.0) for arch in archs])
    return archs


def test_the_second_segment_continues_the_beginnings_that_were_kept():
    search = SegmentSearch(Line(), per_segment=40, keep=2)
    tell(search, 40)
    second = tell(search, 20)
    assert len({arch[:3] for arch in second}) == 2
    assert np.mean([score((*arch[:3], 0, 0, 0)) for arch in second]) > 2


def test_after_the_last_segment_the_best_predictions_come_first():
    search = SegmentSearch(Line(), per_segment=40, keep=3)
    random_mean = np.mean([score(arch) for arch in tell(search, 40)])
    tell(search, 40)
    assert np.mean([score(arch) for arch in search.ask(6)]) > random_mean + 1


def test_a_space_with_too_many_continuations_is_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"384000 continuations of 6 beginnings.*the strategy 'predictor'"):
        SegmentSearch(Wide())
