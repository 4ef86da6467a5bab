"""A smaller search space: architectures are clustered, and the most promising cluster is kept (C-BRED: Ingolfsson et
al., Reducing Neural Architecture Search Spaces with Training-Free Statistics and Computational Graph Clustering, arXiv
2204.14103).

A few members of each cluster get a score without training; the cluster with the best mean is kept. Before that,
clusters of which hardly a member is within the latency are dropped, by a predictor or table: nothing is measured,
scored or trained for them. The paper's distance of graphs was not at hand: k-means over features that the caller
chooses is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.search.run import Limit, Score
from hwprof.spaces import sampling


@dataclass(frozen=True, slots=True)
class Cluster:
    """score: the mean of the members that were scored; None where the cluster was dropped. feasible: the share of its
    members that are within the latency."""

    archs: tuple[Arch, ...]
    feasible: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Reduction:
    """clusters: all of them. kept: the best one. space: the same positions, with the members of `kept` alone."""

    clusters: tuple[Cluster, ...]
    kept: Cluster
    space: Subspace


class Subspace:
    """The architectures of a space that are in a list. `repair` returns the nearest of them, by the number of
    positions that differ."""

    def __init__(self, space: SearchSpace, archs: Sequence[Arch]) -> None:
        """Raises InputError for an empty list."""
        if not archs:
            raise InputError("a space needs at least one architecture; the list is empty")
        self.choices = space.choices
        self._space, self._members = space, frozenset(archs)
        self._rows = np.array(archs)

    def graph(self, arch: Arch) -> Graph:
        """The network, built by the space itself."""
        return self._space.graph(arch)

    def repair(self, arch: Arch, rng: np.random.Generator | None = None, /) -> Arch:
        """A member: the architecture itself, else one of the nearest, the first without `rng`."""
        if arch in self._members:
            return arch
        differing = (self._rows != np.array(arch)).sum(axis=1)
        nearest = np.flatnonzero(differing == differing.min())
        row = nearest[0] if rng is None else rng.choice(nearest)
        return tuple(int(choice) for choice in self._rows[row])


def reduced(
    space: SearchSpace,
    archs: Sequence[Arch],
    features: np.ndarray,
    score: Score,
    *,
    clusters: int = 8,
    members: int = 6,
    limit: Limit | None = None,
    least_feasible: float = 0.05,
    seed: int = 0,
) -> Reduction:
    """The best of the clusters of architectures.

    archs: [n], all or a sample of the space. features: [n, n_features], by which they are clustered. score: without
    training, such as `ActivationScore` of the graph; larger is better. members: how many of each cluster are scored.
    limit: latencies by a predictor or table; members above it are never scored or kept, and a cluster of which less
    than the share `least_feasible` is within it is dropped.

    Raises InputError for fewer architectures than clusters, and, saying the least latency, where every cluster is
    dropped.
    """
    if not 1 <= clusters <= len(archs) or len(features) != len(archs) or members < 1:
        raise InputError(
            f"{clusters} clusters, of which {members} members each are scored, need as many architectures and their "
            f"features; {len(archs)} and {len(features)} were given"
        )
    rng = np.random.default_rng(seed)
    ms = np.zeros(len(archs)) if limit is None else np.asarray(limit.latency_ms(np.array(archs)))
    fits = np.ones(len(archs), bool) if limit is None else ms <= limit.ms
    labels = _labels(features, clusters, seed)
    found = []
    for label in range(clusters):
        rows = np.flatnonzero(labels == label)
        share = float(fits[rows].mean()) if len(rows) else 0.0
        within = [archs[i] for i in rows[fits[rows]]]
        drawn = rng.permutation(len(within))[:members] if within and share >= least_feasible else ()
        value = float(np.mean([score(within[i]) for i in drawn])) if len(drawn) else None
        found.append(Cluster(tuple(within), share, value))
    scored = [cluster for cluster in found if cluster.score is not None]
    if not scored:
        raise InputError(
            f"fewer than {least_feasible:.0%} of the members of each cluster are within "
            f"{limit.ms if limit else 0:g} ms; the least latency found is {ms.min():.4g} ms"
        )
    kept = max(scored, key=lambda cluster: cluster.score or 0.0)
    return Reduction(tuple(found), kept, Subspace(space, [sampling.repaired(space, arch) for arch in kept.archs]))


def _labels(features: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """features: [n, n_features]. Returns the cluster of each, [n]."""
    with plugins.optional_library("a smaller search space"):
        from sklearn.cluster import KMeans
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(KMeans(clusters, n_init=4, random_state=seed).fit_predict(scaled))
