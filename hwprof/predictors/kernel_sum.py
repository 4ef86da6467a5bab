"""The parts of a fitted `hwprof.predictors.kernels`: one sum over kernels, and the kernels that it learned from."""

from __future__ import annotations

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
_FAR = 3.0  # root mean square over the features, in their unit: a factor of eight in each


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One fitted sum. first, bias, second: the weights of the efficiency's network, [n_features, n_hidden],
    [n_kinds, n_hidden], [n_hidden]. logs: [n_kinds, 3], of ms per million MACs, ms per million bytes, ms per launch.
    start: its log, ms."""

    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    logs: np.ndarray
    start: float

    def ms(self, features: np.ndarray, kinds: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """features: [n, n_features]; kinds: [n], numbers; amounts: [n, 2]. Returns the time of each kernel, ms, [n]."""
        return np.asarray(self.parts_ms(features, kinds, amounts).sum(axis=1))

    def parts_ms(self, features: np.ndarray, kinds: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """features: [n, n_features]; kinds: [n], numbers; amounts: [n, 2]. Returns the times of multiply-adds, bytes
        and the launch of each kernel, ms, [n, 3]."""
        hidden = np.tanh(features @ self.first + self.bias[kinds])
        efficiency = np.exp(LIMIT * np.tanh(hidden @ self.second / LIMIT))
        rates = np.exp(self.logs[kinds])
        return np.column_stack([amounts * rates[:, :2] * efficiency[:, None], rates[:, 2]])

    def scaled(self, log_factors: np.ndarray) -> Member:
        """log_factors: [4], of the start, multiply-adds, bytes and launches. Returns the sum with these factors."""
        return replace(self, logs=self.logs + log_factors[1:], start=self.start + float(log_factors[0]))


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
