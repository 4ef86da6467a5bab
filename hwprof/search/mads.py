"""Mesh adaptive direct search (MADS: Audet and Dennis, SIAM Journal on Optimization 17(1), 2006) under one constraint.

HAET (Zolnouri et al., arXiv 2301.09264) tunes networks and their training by it. Poll directions are orthogonal
(Abramson et al., OrthoMADS, 2009), the constraint is held by a progressive barrier (Audet and Dennis, SIAM Journal on
Optimization 20(1), 2009), integers have meshes of their own (Audet, Le Digabel and Tribes, 2019), and before each poll
the minimum of a quadratic model is tried (Conn and Le Digabel, 2013).

2026-11-29: a space does not say whether its choices are ordered, so each position may be a categorical variable. As in
MADS for mixed variables (Audet and Dennis, SIAM Journal on Optimization 11(3), 2001), a failed poll of the mesh is
followed by a poll of the discrete neighbours: the networks that differ in one choice.

`minimize` is for hyper-parameters under a measured time, `MadsSearch` for the architectures of a space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace, Trial
from hwprof.search.evolution import rank
from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling

Point: TypeAlias = tuple[float, ...]  # a value for each variable
_FIRST_FRAME, _LEAST_FRAME = 0.25, 1e-9  # shares of a variable's range
_MODELLED_MOST = 8  # variables; a model of more needs more points than a search has
_MODEL_DRAWS, _MODEL_ROUNDS = 400, 6
_POLLS_AT_ONCE = 50  # of a search, to find architectures that it has not proposed


@dataclass(frozen=True, slots=True)
class Variable:
    """A number from `low` to `high`, in the unit of the user. Raises InputError where that is not a range."""

    low: float
    high: float
    is_integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InputError(f"a variable needs a finite range, not {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """objective: smaller is better. excess: by how much the constraint is broken; at most 0 where it is met."""

    point: Point
    objective: float
    excess: float = 0.0

    @property
    def violation(self) -> float:
        return max(0.0, self.excess) ** 2


def minimize(
    objective: Callable[[Point], float],
    variables: Sequence[Variable],
    evaluations: int,
    excess: Callable[[Point], float] = lambda _point: 0.0,
    start: Point | None = None,
    seed: int = 0,
) -> Evaluated:
    """The point of least objective among those that meet the constraint, or, where none does, the one closest to it.

    excess: such as the measured time minus the time allowed. Raises InputError for values that are not finite.
    """
    search = Mads(variables, seed, start)
    for _ in range(evaluations):
        asked = search.ask(1)
        if not asked:
            break
        search.tell([Evaluated(point, float(objective(point)), float(excess(point))) for point in asked])
    return search.best()


class Mads:
    """Asks for points and is told their values. The rest of a poll is dropped when one of its points succeeds."""

    def __init__(self, variables: Sequence[Variable], seed: int = 0, start: Point | None = None) -> None:
        """start: by default the middle. Raises InputError without variables and for a start outside of their range."""
        self._low, self._high = (np.array([getattr(v, name) for v in variables], float) for name in ("low", "high"))
        self._is_integer = np.array([v.is_integer for v in variables], bool)
        if not len(variables):
            raise InputError("a search needs at least one variable")
        self._range = np.maximum(self._high - self._low, 1e-300)
        given = (self._low + self._high) / 2 if start is None else np.array(start, float)
        if given.shape != self._low.shape or (given < self._low).any() or (given > self._high).any():
            raise InputError(f"the start {start} is outside of the {len(variables)} variables' ranges")
        self._rng = np.random.default_rng(seed)
        self._frame = _FIRST_FRAME  # a share of each range
        self._known: dict[Point, Evaluated] = {}
        self._queue: list[Point] = [self._on_mesh(given)]
        self._feasible: Evaluated | None = None
        self._infeasible: Evaluated | None = None
        self._barrier = math.inf
        self._direction = np.zeros(len(variables))
        self._improved = True  # in the present poll
        self._comes_closer = False

    @property
    def is_exhausted(self) -> bool:
        """Whether the mesh is as fine as it gets and nothing is left to poll."""
        return not self._queue and not self._improved and self._step_is_least()

    def best(self) -> Evaluated:
        """Raises InputError before anything was told."""
        found = self._feasible or self._infeasible
        if found is None:
            raise InputError("nothing was evaluated; allow at least one evaluation")
        return found

    def ask(self, n: int) -> list[Point]:
        """At most n points that were not told; none where the mesh cannot get finer."""
        while not self._queue and not self.is_exhausted and self._known:
            if not self._improved:
                self._frame = max(self._frame / 2, _LEAST_FRAME)
            self._improved = False
            self._lower_barrier()
            self._queue = [point for point in self._polled() if point not in self._known]
        asked, self._queue = self._queue[:n], self._queue[n:]
        return asked

    def tell(self, evaluated: Sequence[Evaluated]) -> None:
        """Raises InputError for a value that is not finite; an objective of +inf is allowed."""
        center = self._center()
        for value in evaluated:
            if math.isnan(value.objective) or not math.isfinite(value.excess):
                raise InputError(f"the objective and excess of {value.point} are {value.objective} and {value.excess}")
            self._known[value.point] = value
            if self._accept(value):
                self._succeed(value, center)

    def _succeed(self, value: Evaluated, center: Evaluated | None) -> None:
        self._improved = True
        self._queue = []
        if center is not None:
            self._direction = np.subtract(value.point, center.point)
            self._frame = min(2 * self._frame, 1.0)
            further = self._on_mesh(np.array(value.point) + self._direction)
            self._queue = [further] if further not in self._known else []

    def _accept(self, value: Evaluated) -> bool:
        """Whether the point improves on one of the two incumbents, which it then replaces."""
        if not value.violation:
            is_better = self._feasible is None or value.objective < self._feasible.objective
            self._feasible = value if is_better else self._feasible
            return is_better
        old = self._infeasible
        if value.violation > self._barrier:
            return False
        if old is None or (value.violation <= old.violation and _is_before(value, old)):
            self._infeasible = value
            return old is not None or self._feasible is None
        self._comes_closer |= value.violation < old.violation
        return False

    def _lower_barrier(self) -> None:
        """After a poll: points that break the constraint by more than the incumbent are of no use any more; and where
        one came closer without being better, it takes the incumbent's place."""
        if self._infeasible is None:
            return
        broken = [value for value in self._known.values() if value.violation]
        closer = [v.violation for v in broken if v.violation < self._infeasible.violation]
        self._barrier = max(closer) if self._comes_closer and closer else self._infeasible.violation
        left = [value for value in broken if value.violation <= self._barrier]
        self._infeasible = min(left, key=lambda value: (value.objective, value.violation))
        self._comes_closer = False

    def _center(self) -> Evaluated | None:
        """The incumbent to poll around: the infeasible one only while it has the smaller objective."""
        if self._feasible is None or self._infeasible is None:
            return self._feasible or self._infeasible
        return min(self._feasible, self._infeasible, key=lambda value: value.objective)

    # -- the mesh ----------------------------------------------------------------------------------------

    def _steps(self) -> np.ndarray:
        """The size of the frame along each variable, [n_variables]: at least 1 for an integer."""
        steps = self._frame * self._range
        return np.asarray(np.where(self._is_integer, np.maximum(np.floor(steps), 1), steps))

    def _step_is_least(self) -> bool:
        least = np.where(self._is_integer, self._frame * self._range <= 1, self._frame <= _LEAST_FRAME)
        return bool(least.all())

    def _on_mesh(self, x: np.ndarray) -> Point:
        """The nearest point of the mesh within the ranges. x: [n_variables]."""
        mesh = np.where(self._is_integer, 1.0, np.minimum(self._frame, self._frame**2) * self._range)
        rounded = self._low + np.round((x - self._low) / mesh) * mesh
        low, high = self._low, np.where(self._is_integer, np.floor(self._high), self._high)
        return tuple(rounded.clip(low, high).tolist())

    def _polled(self) -> list[Point]:
        """The minimum of the model, then the poll around each incumbent: first along the last success."""
        center = self._center()
        assert center is not None
        points = [self._on_mesh(x) for x in self._modelled(center)]
        for value in (center, *({self._feasible, self._infeasible} - {center, None})):
            assert value is not None
            directions = self._directions()
            order = np.argsort(-(directions @ (self._direction / self._range)), kind="stable")
            chosen = directions[order] if value is center else directions[order[:1]]
            points += [self._on_mesh(np.array(value.point) + direction) for direction in chosen]
        return list(dict.fromkeys(points))

    def _directions(self) -> np.ndarray:
        """Orthogonal ones and their opposites, each as long as the frame: [2 * n_variables, n_variables]."""
        n = len(self._low)
        v = self._rng.standard_normal(n)
        v /= np.linalg.norm(v)
        basis = np.eye(n) - 2 * np.outer(v, v)
        basis /= np.abs(basis).max(axis=1, keepdims=True)
        steps = np.vstack([basis, -basis]) * self._steps()
        return np.asarray(np.where(self._is_integer, np.sign(steps) * np.ceil(np.abs(steps) - 0.5), steps))

    # -- the model ---------------------------------------------------------------------------------------

    def _modelled(self, center: Evaluated) -> list[np.ndarray]:
        """Where quadratic models of objective and excess promise the least; none with too few points."""
        n = len(self._low)
        wanted = (n + 1) * (n + 2) // 2
        known = [value for value in self._known.values() if math.isfinite(value.objective)]
        if n > _MODELLED_MOST or len(known) < wanted:
            return []
        steps = self._steps()
        far = np.array([np.abs(np.subtract(v.point, center.point) / steps).max() for v in known])
        near = [known[i] for i in np.argsort(far, kind="stable")[: 2 * wanted]]
        offsets = np.array([np.subtract(v.point, center.point) / steps for v in near])
        scale = max(1.0, float(np.abs(offsets).max()))
        values = np.array([(v.objective, v.excess) for v in near])
        weights = 1 / (0.1 + np.abs(offsets).max(axis=1, keepdims=True) / scale)
        fitted = np.linalg.lstsq(weights * _quadratic(offsets / scale), weights * values, rcond=1e-10)[0]
        return [np.array(center.point) + steps * self._least(fitted, scale, n)]

    def _least(self, fitted: np.ndarray, scale: float, n: int) -> np.ndarray:
        """fitted: [n_terms, 2], of objective and excess. Returns the least point within two frames, [n_variables]."""
        best: np.ndarray = np.zeros(n)
        radius = 2.0
        for _ in range(_MODEL_ROUNDS):
            drawn = np.vstack([best, best + self._rng.uniform(-radius, radius, (_MODEL_DRAWS, n))]).clip(-2, 2)
            objective, excess = (_quadratic(drawn / scale) @ fitted).T
            broken = np.maximum(excess, 0)
            best = drawn[np.lexsort((objective, broken))[0]]
            radius /= 3
        return best


def _is_before(a: Evaluated, b: Evaluated) -> bool:
    """Whether a is at least as good as b in the objective, and better in objective or violation."""
    return a.objective <= b.objective and (a.objective, a.violation) != (b.objective, b.violation)


def _quadratic(x: np.ndarray) -> np.ndarray:
    """x: [n, n_variables]. Returns the terms of a quadratic, [n, n_terms]."""
    rows, columns = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, rows] * x[:, columns]])


class MadsSearch:
    """Takes the choices of each position as integers in their order, so that it suits widths, depths and bits better
    than operations. A refused network has an unknown score, and its latency is how much it breaks the constraint. Where
    the mesh cannot get finer, all networks that differ in one choice are polled; where none of them is better, the
    search starts again at a random one."""

    needs: ClassVar[str] = "any space; best where choices are in an order"
    paper: ClassVar[str] = "Audet and Dennis, MADS, 2006; HAET, arXiv 2301.09264"

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng)
        self._told: dict[Arch, Trial] = {}
        self._points: dict[Arch, list[Point]] = {}
        self._mads: Mads | None = None
        self._random: set[Arch] = set()
        self._near: set[Arch] = set()  # discrete neighbours of the incumbent that were asked for

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures."""
        asked = self._polled(n) or self._neighbours(n)
        if not asked:
            asked = self._unseen.random(n)
            self._random.update(asked)
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        """The best of random trials becomes the start of the next descent, and so does a better neighbour."""
        self._told.update({trial.arch: trial for trial in trials})
        best = min(trials, key=rank, default=None)
        if best is None:
            return
        if best.arch in self._random or (best.arch in self._near and rank(best) < rank(self._incumbent())):
            self._start(best.arch)
        elif self._mads is not None:
            self._mads.tell([_evaluated(t, point) for t in trials for point in self._points.pop(t.arch, [])])
        self._random.clear()
        self._near.clear()

    def _start(self, arch: Arch) -> None:
        variables = [Variable(0, options - 1, is_integer=True) for options in self._space.choices]
        self._points.clear()
        point = tuple(map(float, arch))
        self._mads = Mads(variables, int(self._rng.integers(1 << 31)), point)
        self._mads.ask(1)
        self._mads.tell([_evaluated(self._told[arch], point)])

    def _polled(self, n: int) -> list[Arch]:
        """New architectures of the poll; what is known already is told at once."""
        asked: dict[Arch, None] = {}
        for _ in range(_POLLS_AT_ONCE if self._mads is not None else 0):
            assert self._mads is not None
            points = self._mads.ask(n)
            for point in points:
                arch = self._arch(point)
                if arch in self._told:
                    self._mads.tell([_evaluated(self._told[arch], point)])
                else:
                    self._points.setdefault(arch, []).append(point)
                    asked[arch] = None
            if asked or not points:
                break
        self._unseen.new(asked, len(asked))
        return list(asked)

    def _neighbours(self, n: int) -> list[Arch]:
        """At most n new ones, which differ from the incumbent in one choice, in random order."""
        if self._mads is None:
            return []
        near = sampling.neighbours(self._space, self._incumbent().arch)
        asked = self._unseen.new([near[i] for i in self._rng.permutation(len(near))], n)
        self._near.update(asked)
        return asked

    def _incumbent(self) -> Trial:
        assert self._mads is not None
        return self._told[self._arch(self._mads.best().point)]

    def _arch(self, point: Point) -> Arch:
        return sampling.repaired(self._space, tuple(map(round, point)))


def _evaluated(trial: Trial, point: Point) -> Evaluated:
    if trial.score is None:
        return Evaluated(point, math.inf, trial.latency_ms)
    return Evaluated(point, -trial.score)
