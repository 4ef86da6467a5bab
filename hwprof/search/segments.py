"""Search segment by segment, with fitted scores (Chen et al., arXiv 2004.08423).

The positions are cut into segments. In a segment's turn its choices are drawn uniformly, those before it come from the
beginnings that were kept, and those after it are random. A `FittedScores` of all trials then predicts every
continuation of the beginnings, at random choices after it, and the best few are kept. The last segment ends in whole
architectures, which are proposed, best prediction first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.model_guided import ModelGuided
from hwprof.spaces import sampling

with plugins.optional_library("the strategy segments"):
    from hwprof.search.score_fitting import FittedScores

_MOST = 20_000  # continuations that are predicted at once
_ENDS = 4  # random ends after each continuation


class SegmentSearch(ModelGuided):
    """per_segment: how many scored trials each segment gets. length: positions of a segment. keep: beginnings that are
    kept, the paper's super-cells.

    Raises InputError for a space with more continuations of a segment than can be predicted.
    """

    needs: ClassVar[str] = f"at most {_MOST} choices of 3 positions in a row, times 6; PyTorch"
    paper: ClassVar[str] = "Chen et al., Fitting the Search Space of Weight-sharing NAS with GCNs, arXiv 2004.08423"

    def __init__(
        self, space: SearchSpace, seed: int = 0, per_segment: int = 32, length: int = 3, keep: int = 6
    ) -> None:
        super().__init__(space, seed)
        self._per_segment, self._keep = per_segment, keep
        starts = range(0, len(space.choices), length)
        self._segments = [range(start, min(start + length, len(space.choices))) for start in starts]
        most = keep * max(math.prod(space.choices[i] for i in segment) for segment in self._segments)
        if most > _MOST:
            raise InputError(
                f"a segment of {length} positions has {most} continuations of {keep} beginnings, of which {_MOST} can "
                "be predicted; take shorter segments, or the strategy 'predictor'"
            )
        self._beginnings: list[Arch] = [()]
        self._turn = 0
        self._best_first: list[Arch] = []  # whole architectures, after the last segment

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures."""
        if self._turn < len(self._segments):
            return self._filled(self._unseen.drawn(n, self._draw), n)
        return self._filled(self._unseen.new(self._best_first, n), n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """A segment ends when it has had its trials; refused ones do not count."""
        super().tell(trials)
        if self._turn < len(self._segments) and len(self._scored) >= self._per_segment * (self._turn + 1):
            self._end_segment()

    def _filled(self, archs: list[Arch], n: int) -> list[Arch]:
        return archs + self._unseen.random(n - len(archs))

    def _draw(self) -> Arch:
        beginning = self._beginnings[int(self._rng.integers(len(self._beginnings)))]
        end = self._rng.integers(self._space.choices[len(beginning) :]).tolist()
        return sampling.repaired(self._space, (*beginning, *end), self._rng)

    def _end_segment(self) -> None:
        fitted = FittedScores(self._space.choices, seed=self._seed).fit(
            [trial.arch for trial in self._scored], [trial.score or 0.0 for trial in self._scored]
        )
        options = [range(self._space.choices[i]) for i in self._segments[self._turn]]
        continued = [(*start, *middle) for start in self._beginnings for middle in itertools.product(*options)]
        rest = self._space.choices[len(continued[0]) :]
        ends = self._rng.integers(rest, size=(_ENDS, len(rest))).tolist() if rest else [[]]
        predicted = np.mean([fitted([(*start, *end) for start in continued]) for end in ends], axis=0)
        ranked = [continued[i] for i in np.argsort(-predicted, kind="stable")]
        self._beginnings = ranked[: self._keep]
        self._turn += 1
        if not rest:
            self._best_first = [sampling.repaired(self._space, arch, self._rng) for arch in ranked]
