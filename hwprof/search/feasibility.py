"""Which architectures are likely to be refused, learned from the latencies of those that were told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.interfaces import Arch, Trial

_RIDGE = 0.1  # in units of one trial: with few trials, choices count little
_FEWEST = 8


class Feasibility:
    """A linear model of the logarithm of the latency over one-hot codes, and the latencies that were not refused.
    `has_refused`: whether any was; `accepted_ms`: the largest that was not.

    Asking for networks that will be refused costs no evaluation, but a search that guesses them away chooses among
    more that fit. Those near the limit are not guessed away.
    """

    def __init__(self, choices: Sequence[int]) -> None:
        self._choices = choices
        self._ms: dict[Arch, float] = {}
        self.accepted_ms = 0.0
        self.has_refused = False
        self._weights: np.ndarray | None = None
        self._most_log_ms = np.inf

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns from all trials, refused ones above all."""
        self._ms.update({trial.arch: trial.latency_ms for trial in trials})
        self.accepted_ms = max([self.accepted_ms, *(t.latency_ms for t in trials if t.score is not None)])
        self.has_refused |= any(trial.score is None for trial in trials)
        self._weights = None

    def likely(self, archs: Sequence[Arch]) -> np.ndarray:
        """Returns [n] of bool: all, while nothing was refused or too little is known."""
        if not len(archs) or not self.has_refused or not self.accepted_ms or len(self._ms) < _FEWEST:
            return np.ones(len(archs), bool)
        return np.asarray(one_hot(self._choices, archs) @ self._fitted() <= self._most_log_ms)

    def expected_ms(self, archs: Sequence[Arch], near: Trial) -> np.ndarray:
        """Returns [n], ms: by the model, scaled so that it is right for the trial `near`."""
        logs = (one_hot(self._choices, archs) - one_hot(self._choices, [near.arch])) @ self._fitted()
        return np.asarray(near.latency_ms * np.exp(logs))

    def weights(self) -> list[np.ndarray]:
        """By position what each choice adds to the logarithm of the latency, [n_choices]."""
        return np.split(self._fitted(), np.cumsum(self._choices)[:-1])

    def _fitted(self) -> np.ndarray:
        """[sum(choices)]."""
        if self._weights is None:
            codes, logs = one_hot(self._choices, list(self._ms)), np.log(list(self._ms.values()))
            gram = codes.T @ codes + _RIDGE * np.eye(codes.shape[1])
            self._weights = np.linalg.solve(gram, codes.T @ logs)
            accepted = np.log(self.accepted_ms) if self.accepted_ms else -np.inf
            self._most_log_ms = accepted + float(np.std(logs - codes @ self._weights))
        return self._weights


def one_hot(choices: Sequence[int], archs: Sequence[Arch]) -> np.ndarray:
    """[n_archs, sum(choices)], of 0 and 1: one column for each position and choice. The architectures are of the
    space."""
    return np.hstack([np.eye(n)[column] for n, column in zip(choices, np.array(archs).T, strict=True)])
