"""Multi-layer coordinate descent on measured latency (NetAdaptV2, Yang et al., arXiv 2104.00031).

Each step has a latency budget, a share below the network that it starts from. Candidates change a few layers at once to
faster choices; of those that meet the budget by their told latency the one with the best score is kept. With one layer
at a time it is the descent of NetAdapt (Yang et al., arXiv 1804.03230).

Which choices are faster is learned from the latencies that were told, so that any space can be searched. Networks above
the limit of a search have no score: there the descent goes by latency alone. When it has arrived within the limit, or
at `target_ms`, exchanges follow: in the best network so far, several layers grow and others shrink at once, within the
latency that was allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.evolution import mutated
from hwprof.search.feasibility import Feasibility
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling

_PROBES = 8  # the fewest networks from which the first latencies are learned
_DRAWS = 40  # of a candidate, of which the one closest to the budget is taken
_CLOSEST = 8  # draws to the budget, from which an exchange takes one at random
_ROUNDS = 3  # without anything new to ask for, before an edit of the present network is asked for


class MultiLayerDescent:
    """layers: how many change at once. candidates: of each step. step: by which share of its latency a network shrinks.
    target_ms: a latency at which a descent ends even though nothing is refused.

    `steps`: the budgets so far with the networks that met them, for those who want to see the descent.
    """

    needs: ClassVar[str] = "any space"
    paper: ClassVar[str] = "Yang et al., NetAdaptV2, arXiv 2104.00031"

    def __init__(
        self, space: SearchSpace, seed: int = 0, layers: int = 3, candidates: int = 8, step: float = 0.2,
        target_ms: float = 0.0,
    ) -> None:  # fmt: skip
        """Raises InputError for numbers that make no step."""
        if layers < 1 or candidates < 1 or not 0 < step < 1:
            raise InputError(
                f"a descent needs at least one layer and candidate and a step between 0 and 1, not {layers}, "
                f"{candidates} and {step}"
            )
        self.steps: list[tuple[float, Trial]] = []
        self._space, self._layers, self._candidates = space, layers, candidates
        self._step, self._target_ms = step, target_ms
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._latency = Feasibility(space.choices)
        self._known: dict[Arch, Trial] = {}
        self._queue: list[Arch] = []
        self._round: list[Arch] = []  # the candidates of the present step
        self._current: Trial | None = None
        self._exchanges = False
        self._misses = 0  # rounds of the present step in which no candidate met the budget

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures: some in which every choice is there, then candidates."""
        for _ in range(_ROUNDS):
            if self._queue:
                break
            self._advance()
        asked, self._queue = self._queue[:n], self._queue[n:]
        if not asked and self._current is not None:
            arch = self._current.arch
            asked = self._unseen.drawn(n, lambda: mutated(self._space, arch, self._rng))
        return asked or self._unseen.random(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns the latencies, refused ones included."""
        self._latency.tell(trials)
        self._known.update({trial.arch: trial for trial in trials})

    def _advance(self) -> None:
        """Ends the present step and proposes the candidates of the next."""
        if not self._known:
            self._queue = self._unseen.new(self._probes(), 2 * max(self._space.choices) + _PROBES)
            return
        if not self._round:
            self._round = self._slow_ones()
        else:
            self._current = self._best_of_step()
            propose = self._exchanged if self._exchanges else self._shrunk
            archs = [propose(self._current) for _ in range(self._candidates)]
            self._round = list(dict.fromkeys(archs))
        self._queue = self._unseen.new(self._round, len(self._round))

    def _probes(self) -> list[Arch]:
        n = max(_PROBES, 2 * max(self._space.choices))
        try:
            return sampling.stratified(self._space, n, self._rng)
        except InputError:  # the space has fewer
            return list(sampling.enumerate_archs(self._space))

    def _slow_ones(self) -> list[Arch]:
        """Two corners, and the network of the choices that are slowest as far as is known."""
        slowest = tuple(int(weights.argmax()) for weights in self._latency.weights())
        corners = slowest, (0,) * len(slowest), tuple(n - 1 for n in self._space.choices)
        return list(dict.fromkeys(sampling.repaired(self._space, arch) for arch in corners))

    def _best_of_step(self) -> Trial:
        """The network from which the next step starts; it met the budget of the last one by its told latency."""
        told = [self._known[arch] for arch in self._round]
        if self._current is None:
            best = max(told, key=lambda trial: trial.latency_ms)
        elif not (met := [trial for trial in told if self._is_met(trial, self._current)]):
            best, self._misses = self._current, self._misses + 1
        else:
            best, self._misses = max(met, key=_quality), 0
            self.steps.append((self._budget_ms(self._current), best))
        if not self._exchanges and self._has_arrived(best):
            self._exchanges = True
            return max(
                (t for t in self._known.values() if t.latency_ms <= self._allowed_ms()), key=_quality, default=best
            )
        return best

    def _is_met(self, trial: Trial, current: Trial) -> bool:
        """In an exchange the score has to grow, too."""
        grows = not self._exchanges or _quality(trial)[:2] > _quality(current)[:2]
        return trial.latency_ms <= self._budget_ms(current) and grows

    def _budget_ms(self, current: Trial) -> float:
        return self._allowed_ms() if self._exchanges else max(current.latency_ms * (1 - self._step), self._target_ms)

    def _allowed_ms(self) -> float:
        return self._target_ms or self._latency.accepted_ms

    def _has_arrived(self, trial: Trial) -> bool:
        is_within = trial.score is not None and self._latency.has_refused
        is_fastest = self._misses > len(self._space.choices) or not self._movable(trial.arch, faster=True)
        return is_within or trial.latency_ms <= self._target_ms or is_fastest

    def _shrunk(self, current: Trial) -> Arch:
        """With each miss of the present step, another layer changes."""
        return self._moved(current, self._budget_ms(current), self._layers + self._misses)

    def _exchanged(self, current: Trial) -> Arch:
        most = self._layers + min(self._misses, self._layers)
        grow, shrink = self._rng.integers(1, most + 1, size=2).tolist()
        allowed_ms = self._allowed_ms()
        larger = self._moved(current, allowed_ms * (1 + self._step), grow, faster=False)
        expected_ms = float(self._latency.expected_ms([larger], current)[0])
        return self._moved(Trial(larger, None, expected_ms), allowed_ms, shrink)

    def _moved(self, start: Trial, budget_ms: float, layers: int, faster: bool = True) -> Arch:
        """The draw whose expected latency is closest to the budget: below it, or above for slower ones. In an exchange
        one of the closest, since the same ones would soon be known."""
        options = self._movable(start.arch, faster)
        if not options:
            return start.arch
        places = np.array(list(options))
        changed = self._rng.random((_DRAWS, len(places))).argsort(axis=1) < layers
        archs = np.tile(start.arch, (_DRAWS, 1))
        for column, place in zip(changed.T, places, strict=True):
            archs[column, place] = self._rng.choice(options[int(place)], size=int(column.sum()))
        ms = self._latency.expected_ms(archs.tolist(), start)
        misses = ms > budget_ms if faster else ms < budget_ms
        order = np.lexsort((np.abs(ms - budget_ms), misses))
        among = min(_CLOSEST, max(1, int((~misses).sum()))) if self._exchanges else 1
        chosen = archs[order[self._rng.integers(among)]]
        return sampling.repaired(self._space, tuple(chosen.tolist()), self._rng)

    def _movable(self, arch: Arch, faster: bool) -> dict[int, list[int]]:
        """By position the choices that are faster than that of the architecture, or slower, as far as is known."""
        found = {}
        for position, weights in enumerate(self._latency.weights()):
            now = weights[arch[position]]
            choices = np.flatnonzero(weights < now if faster else weights > now).tolist()
            if choices:
                found[position] = choices
        return found


def _quality(trial: Trial) -> tuple[bool, float, float]:
    """Sorts the better trial last: by the score; of refused ones the slowest, which has lost least."""
    return trial.score is not None, trial.score or 0.0, trial.latency_ms
