"""One-hot codes of architectures: one column per position and choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from hwprof.errors import InputError


class OneHotEncoder(TransformerMixin, BaseEstimator):
    """Encodes architectures as [n, sum(choices)] of 0 and 1.

    choices: the number of options at each position, as `SearchSpace.choices`; None takes one more than the largest
    choice that `fit` sees.
    """

    def __init__(self, choices: Sequence[int] | None = None) -> None:
        self.choices = choices

    def fit(self, X: Sequence[Sequence[int]], y: object = None) -> OneHotEncoder:
        """X: [n] architectures or [n, n_positions]. Raises InputError when they differ in length or there are none."""
        del y
        if self.choices is not None:
            self.choices_ = tuple(self.choices)
            return self
        if len({len(arch) for arch in X}) != 1:
            raise InputError("architectures of a space have one length; none, or several lengths, were given")
        self.choices_ = tuple(int(most) + 1 for most in np.max(np.asarray(X), axis=0))
        return self

    def transform(self, X: Sequence[Sequence[int]]) -> np.ndarray:
        """X: [n] architectures or [n, n_positions]. Returns [n, sum(choices)]. Raises InputError for a choice that the
        space does not have, and names its row and position."""
        starts = np.cumsum([0, *self.choices_[:-1]])
        codes = np.zeros((len(X), sum(self.choices_)))
        for row, arch in enumerate(X):
            self._check(row, arch)
            codes[row, starts + np.asarray(arch)] = 1
        return codes

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Returns [sum(choices)] texts."""
        del input_features
        return np.array([f"position {i}: {c}" for i, n in enumerate(self.choices_) for c in range(n)])

    def _check(self, row: int, arch: Sequence[int]) -> None:
        if len(arch) != len(self.choices_):
            raise InputError(f"row {row} has {len(arch)} positions; this space has {len(self.choices_)}")
        for position, (choice, options) in enumerate(zip(arch, self.choices_, strict=True)):
            if not 0 <= choice < options:
                raise InputError(f"row {row}: position {position} is {choice}; choose from 0 to {options - 1}")
