"""The parts of a fitted `hwprof.predictors.kernels`: one sum over kernels, and the kernels that it learned from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwprof.encoders.kernels import FEATURES, Kernels

LIMIT = 2.5  # of the logarithm of the efficiency
_MARGIN = 1.0  # of a feature, in its unit (a factor of two), beyond the largest and smallest that were learned from
_NEIGHBOURS = 200  # kernels of a kind that are kept to compare with
_MACS, _WEIGHTS, _INTENSITY = (FEATURES.index(name) for name in ("macs", "weight bytes", "macs per byte"))
_SIZES = [FEATURES.index(name) for name in ("element operations", "input bytes", "weight bytes", "output bytes")]
# The addition of a bias is the only element operation of a kernel that multiplies matrices, and costs next to nothing.
_SHAPE = [i for i, name in enumerate(FEATURES) if name != "element operations"]
_STREAMED = 25.0  # the logarithm of weight bytes that are in no core's cache: 32 MiB
_MEMORY_BOUND = 1.0  # the feature of one multiply-add per byte
_STREAMED_MARGIN = 3.0  # of the features of such kernels: their time is proportional to the bytes of their weights
NO_MEMORY = np.array([0.0, 0.0, -np.inf])  # of files until 2026-11-29
_FAR = 3.0  # root mean square over the features, in their unit: a factor of eight in each


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The kernels of one network, ready for a sum. features: [n, n_features], scaled; kinds: [n], numbers; amounts:
    [n, 2]; counts: [n]; weights: [n], million bytes of the stored weights that each reads. log_weights: the binary
    logarithm of one plus the weight bytes of the whole network."""

    features: np.ndarray
    kinds: np.ndarray
    amounts: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    log_weights: float

    @classmethod
    def of(cls, network: Kernels, number: Mapping[str, int], mean: np.ndarray, scale: np.ndarray) -> Prepared:
        """number: of each kind with constants of its own; all others have 0. mean, scale: [n_features]."""
        kinds = np.array([number.get(kind, 0) for kind in network.kinds], int)
        weights = (2 ** network.features[:, _WEIGHTS] - 1) / 1e6
        log_weights = math.log2(1 + network.weight_bytes)
        return cls(
            (network.features - mean) / scale, kinds, network.amounts, network.counts, weights, log_weights
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One fitted sum. first, bias, second: the weights of the efficiency's network, [n_features, n_hidden],
    [n_kinds, n_hidden], [n_hidden]. logs: [n_kinds, 3], of ms per million MACs, ms per million bytes, ms per launch.
    start: its log, ms. memory: [3], the logarithm of how steeply weights come from memory and no longer from a cache
    when those of the network become more, the binary logarithm of the bytes at which half of them do, and the log of
    ms per million of these bytes."""

    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    logs: np.ndarray
    start: float
    memory: np.ndarray

    def ms(self, prepared: Prepared) -> np.ndarray:
        """Returns the time of each kernel, ms, [n]."""
        return np.asarray(self.parts_ms(prepared).sum(axis=1))

    def parts_ms(self, prepared: Prepared) -> np.ndarray:
        """Returns the times of multiply-adds, bytes and the launch of each kernel, ms, [n, 3]."""
        kinds, amounts = prepared.kinds, prepared.amounts
        hidden = np.tanh(prepared.features @ self.first + self.bias[kinds])
        efficiency = np.exp(LIMIT * np.tanh(hidden @ self.second / LIMIT))
        rates = np.exp(self.logs[kinds])
        parts = np.column_stack([amounts * rates[:, :2] * efficiency[:, None], rates[:, 2]])
        steepness, half, log_rate = self.memory
        uncached = 1 / (1 + np.exp(-np.exp(steepness) * (prepared.log_weights - half)))
        parts[:, 1] += prepared.weights * uncached * np.exp(log_rate)
        return parts

    def scaled(self, log_factors: np.ndarray) -> Member:
        """log_factors: [4], of the start, multiply-adds, bytes and launches. Returns the sum with these factors."""
        memory = self.memory + np.array([0.0, 0.0, log_factors[2]])
        return replace(self, logs=self.logs + log_factors[1:], start=self.start + float(log_factors[0]), memory=memory)


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """The kernels that were learned from, by kind. points: [n, n_features] some of them; low, high: [n_features]."""

    points: Mapping[str, np.ndarray]
    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, networks: Sequence[Kernels], rng: np.random.Generator) -> Domain:
        rows: dict[str, list[np.ndarray]] = defaultdict(list)
        for network in networks:
            for kind, row in zip(network.kinds, network.features, strict=True):
                rows[kind].append(row)
        points, low, high = {}, {}, {}
        for kind, found in rows.items():
            different = np.unique(np.array(found), axis=0)
            low[kind], high[kind] = different.min(axis=0), different.max(axis=0)
            points[kind] = different[rng.permutation(len(different))[:_NEIGHBOURS]]
        return cls(points, low, high)

    def holds(self, kind: str, features: np.ndarray) -> bool:
        """Whether the kernel, [n_features], is like those of its kind: in every feature, or if it multiplies no
        matrices, in that it works on no more than they do. One that works on less takes hardly longer than its launch,
        whatever its shape. One that reads more weights than a cache holds, and hardly computes with them, may be much
        larger than they are if they do so, too."""
        if kind not in self.points:
            return False
        low, high = self.low[kind], self.high[kind]
        if not features[_MACS]:
            return bool((features[_SIZES] <= high[_SIZES] + _MARGIN).all())
        streams = min(features[_WEIGHTS], high[_WEIGHTS]) >= _STREAMED and features[_INTENSITY] <= _MEMORY_BOUND
        above = _STREAMED_MARGIN if streams else _MARGIN
        if (features < low - _MARGIN)[_SHAPE].any() or (features > high + above)[_SHAPE].any():
            return False
        distances = np.sqrt(((self.points[kind] - features)[:, _SHAPE] ** 2).mean(axis=1))
        return bool(distances.min() <= _FAR)
