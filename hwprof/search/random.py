"""Random search, the baseline that every other search has to beat (Li and Talwalkar, arXiv 1902.07638)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.unseen import Unseen


class RandomSearch:
    """Draws without replacement. It learns nothing."""

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Li and Talwalkar, Random Search and Reproducibility for NAS, arXiv 1902.07638"

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self._unseen = Unseen(space, np.random.default_rng(seed))

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures."""
        return self._unseen.random(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Does nothing."""
