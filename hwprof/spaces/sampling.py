"""Draws, changes and lists architectures of any search space; picks those that are worth measuring.

Everything here follows from `choices` alone. A space in which some points are not worth measuring has a method
`repair(arch, rng)` (see `hwprof.spaces`); all functions here return repaired architectures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace

ENUMERABLE = 100_000  # spaces with fewer points are listed and drawn from; larger ones are drawn from blindly
ATTEMPTS = 1_000  # blind draws in a row without anything new before giving up


@runtime_checkable
class RepairingSpace(Protocol):
    """A search space in which some points are not worth measuring."""

    def repair(self, arch: Arch, rng: np.random.Generator | None = None, /) -> Arch:
        """The architecture itself if it is worth measuring, else one close to it. Deterministic without `rng`."""
        ...


@runtime_checkable
class OrderedSpace(Protocol):
    """A search space that says in which order its points are best measured."""

    def archs(self, seed: int, /) -> Iterator[Arch]:
        """Points without end, the same ones for the same seed, of which any first n are a balanced sample."""
        ...


def size(space: SearchSpace) -> int:
    """The number of points in the product of the choices, repaired or not."""
    return math.prod(space.choices)


def repaired(space: SearchSpace, arch: Arch, rng: np.random.Generator | None = None) -> Arch:
    """The architecture, repaired where the space has a `repair`."""
    repair: Callable[..., Arch] | None = getattr(space, "repair", None)  # isinstance with a protocol takes 50 us
    return arch if repair is None else repair(arch, rng)


def random_archs(space: SearchSpace, n: int, rng: np.random.Generator) -> list[Arch]:
    """`n` different architectures. Raises InputError when the space has fewer."""
    if size(space) <= ENUMERABLE:
        archs = list(enumerate_archs(space))
        if n > len(archs):
            raise InputError(f"the space has {len(archs)} architectures, {n} were asked for; ask for fewer")
        return [archs[i] for i in rng.permutation(len(archs))[:n]]
    return _fill([], space, n, rng)


def stratified(space: SearchSpace, n: int, rng: np.random.Generator) -> list[Arch]:
    """`n` different architectures in which each position has each of its choices equally often, up to repair.

    Raises InputError when the space has fewer.
    """
    columns = [rng.permutation(np.arange(n) % options) for options in space.choices]
    rows = (tuple(int(choice) for choice in row) for row in zip(*columns, strict=True))
    different = list(dict.fromkeys(repaired(space, row, rng) for row in rows))
    return _fill(different, space, n, rng)


def enumerate_archs(space: SearchSpace) -> Iterator[Arch]:
    """Every architecture that is worth measuring, in lexicographic order."""
    for arch in itertools.product(*map(range, space.choices)):
        if repaired(space, arch) == arch:
            yield arch


def neighbours(space: SearchSpace, arch: Arch) -> list[Arch]:
    """The architectures worth measuring that differ from `arch` in one position."""
    changed = (
        (*arch[:position], choice, *arch[position + 1 :])
        for position, options in enumerate(space.choices)
        for choice in range(options)
        if choice != arch[position]
    )
    return [candidate for candidate in changed if repaired(space, candidate) == candidate]


def mutate(space: SearchSpace, arch: Arch, rng: np.random.Generator, edits: int = 1) -> Arch:
    """A different architecture: `edits` positions changed at random, then repaired.

    Raises InputError when nothing can be changed.
    """
    free = [position for position, options in enumerate(space.choices) if options > 1]
    if not 1 <= edits <= len(free):
        raise InputError(f"{edits} edits were asked for; the space has {len(free)} positions that can change")
    for _ in range(ATTEMPTS):
        changed = list(arch)
        for position in rng.choice(free, size=edits, replace=False):
            changed[position] = _other(space.choices[position], arch[position], rng)
        candidate = repaired(space, tuple(changed), rng)
        if candidate != arch:
            return candidate
    raise InputError(f"no architecture differs from {arch} by {edits} edits; allow more")


def crossover(space: SearchSpace, a: Arch, b: Arch, rng: np.random.Generator) -> Arch:
    """A child with each choice from one of its two parents, then repaired."""
    from_a = rng.random(len(a)) < 0.5
    return repaired(space, tuple(np.where(from_a, a, b).tolist()), rng)


def d_optimal(
    features: np.ndarray, n: int, rng: np.random.Generator, given: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """features: [n_candidates, n_features]; given: rows that are already measured, [n_given, n_features].

    Returns [n] different row numbers, in the order in which they were chosen: each row is the one that most enlarges
    the determinant of the information matrix of a linear fit, ties broken at random. Raises InputError when there
    are fewer candidates than `n` or a feature is not finite.
    """
    if n > len(features):
        raise InputError(f"{n} networks cannot be chosen from {len(features)} candidates; draw more candidates")
    if not np.isfinite(features).all():
        raise InputError("a feature of a candidate is not finite; D-optimal selection needs finite features")
    order = rng.permutation(len(features))
    scale = np.abs(features).max(axis=0, initial=0.0)
    rows = features[order] / np.where(scale > 0, scale, 1.0)
    information = 1e-6 * np.eye(rows.shape[1])  # makes the first choices, with fewer rows than features, defined
    if given is not None:
        measured = given / np.where(scale > 0, scale, 1.0)
        information += measured.T @ measured
    return order[_greedy(rows, np.linalg.inv(information), n)]


def _greedy(rows: np.ndarray, inverse: np.ndarray, n: int) -> list[int]:
    """`inverse`: of the information matrix so far, [n_features, n_features]; updated by Sherman and Morrison."""
    chosen: list[int] = []
    for _ in range(n):
        gains = np.einsum("ij,jk,ik->i", rows, inverse, rows, optimize=True)
        gains[chosen] = -np.inf
        best = int(np.argmax(gains))
        chosen.append(best)
        direction = inverse @ rows[best]
        inverse = inverse - np.outer(direction, direction) / (1.0 + gains[best])
    return chosen


def most_disputed(predictions_ms: np.ndarray, n: int) -> np.ndarray:
    """predictions_ms: [n_models, n_candidates]. Returns the [n] candidates on which the models differ most,
    relative to their mean, the most disputed first."""
    spread = predictions_ms.std(axis=0) / np.abs(predictions_ms.mean(axis=0))
    return np.argsort(-spread, kind="stable")[:n]


def _fill(archs: list[Arch], space: SearchSpace, n: int, rng: np.random.Generator) -> list[Arch]:
    """Adds random architectures until there are `n` different ones."""
    found = dict.fromkeys(archs)
    failures = 0
    while len(found) < n:
        before = len(found)
        found[repaired(space, tuple(rng.integers(space.choices).tolist()), rng)] = None
        failures = 0 if len(found) > before else failures + 1
        if failures == ATTEMPTS:
            raise InputError(f"only {len(found)} different architectures were found, {n} were asked for")
    return list(found)


def _other(options: int, choice: int, rng: np.random.Generator) -> int:
    drawn = int(rng.integers(options - 1))
    return drawn if drawn < choice else drawn + 1
