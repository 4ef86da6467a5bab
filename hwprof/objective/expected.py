"""`ExpectedLatency`: the expected latency of a supernet, differentiable in its choice probabilities.

Feeding softmax(alpha) to a predictor that was trained on architectures is silently wrong by 12 to 16 %, because the
expectation of a function is not the function of the expectation. So the source decides the form. A table of choices, or
a source that turns out to be additive, gives a linear form, which is exact. A small space is tabulated whole, which is
exact, too (where graphs must be built for that, only a smaller space, or one that the next form does not fit). For
anything else a multilinear surrogate is fitted, whose own expectation is exact. "distilled", an MLP with a
soft-consistency term, is there for comparison. After fitting, `expected_error_` is the error against Monte Carlo.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace
from hwprof.latency_table import LatencyTable
from hwprof.objective.arch_latency import ArchLatency, Inputs, OnProgress, Source
from hwprof.objective.multilinear import TARGET_ERROR, Multilinear, first_archs, multilinear
from hwprof.objective.relaxed import (
    Additive,
    Distilled,
    DistillSettings,
    Tabulated,
    additive,
    distill,
    draw,
    one_hot,
    random_probabilities,
    uniform_archs,
)

Relaxed: TypeAlias = Additive | Tabulated | Multilinear | Distilled
Method: TypeAlias = Literal["auto", "additive", "tabulated", "multilinear", "distilled"]

TABULATED_MOST = 20_000  # architectures of a space that is predicted whole; NAS-Bench-201 has 15,625
_SUM_TOLERANCE = 0.01  # a row of probabilities in half precision may be off by this much
_MOST_ARCHS = 1200  # graphs of a DARTS network take 30 ms each to build and predict
_ERROR_PROBABILITIES = 40
_ERROR_DRAWS = 8
_OWN_DRAWS = 2048
_REPORT_DRAWS = 512


@dataclass(frozen=True, slots=True)
class RelaxedError:
    """Relative error of the relaxed latency against Monte Carlo over random probabilities at mixed sharpness.

    `monte_carlo` is the mean standard error of the reference itself: a smaller error cannot be detected.
    """

    mean: float
    worst: float
    monte_carlo: float
    probabilities: int


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Latencies, ms. `argmax`: that of the most probable architecture, by the source. `gap`: argmax - expected.
    `p95`: the 95 % quantile over architectures drawn from the probabilities."""

    expected: float
    argmax: float
    gap: float
    p95: float
    argmax_arch: Arch


class ExpectedLatency(torch.nn.Module):
    """A torch module from choice probabilities to ms. `method` is the form that was taken: "additive" and "tabulated"
    are exact, "multilinear" is as good as its fit to single architectures, "distilled" is learned.

    from hwprof.spaces.nasbench201 import SPACE
    expected = ExpectedLatency(hwprof.load_predictor("nb201.hwp"), SPACE)  # or hwprof.LatencyTable.load("table.json")
    loss = task_loss + hwprof.LatencyLoss(target_ms=1.0)(expected(alphas.softmax(-1)))

    probs, in all methods: a tensor of as many probabilities as the space has choices in all,
    position after position ([n_positions, n_choices], or [2, 14, 8] for two cells of a DARTS supernet), or a
    sequence of such tensors, of any shapes, in the order of the positions.
    """

    _position: torch.Tensor

    def __init__(
        self,
        source: LatencyTable | Source,
        space: SearchSpace,
        *,
        inputs: Inputs = "auto",
        method: Method = "auto",
        most_archs: int = _MOST_ARCHS,
        settings: DistillSettings | None = None,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> None:
        """`inputs`: what the source takes; "auto" reads its attribute `takes`, or means graphs where it has none.
        `most_archs`: the most architectures that a multilinear form may ask the source for. `settings`: those of a
        distilled form. `on_progress(done, wanted)`: called while architectures are predicted, which takes a minute or
        two where a predictor needs all graphs of NAS-Bench-201.

        Raises InputError when a table lacks a choice, or the given method does not fit the source.
        """
        super().__init__()
        self.choices = tuple(space.choices)
        positions = torch.arange(len(self.choices)).repeat_interleave(torch.tensor(self.choices))
        self.register_buffer("_position", positions, persistent=False)
        self._latency_ms = ArchLatency(source, space, inputs, on_progress)
        if isinstance(source, LatencyTable) and source.takes == "arch" and method in ("auto", "additive"):
            self.relaxed: Relaxed = _of_choices(source, self.choices)
        else:
            self.relaxed = self._relax(method, most_archs, settings or DistillSettings(seed=seed), seed)
        self.expected_error_ = self._error(np.random.default_rng([seed, 1]))

    @property
    def method(self) -> str:
        return type(self.relaxed).__name__.lower()

    def forward(self, probs: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """probs: [n_positions, n_choices], or as the class describes. Returns a scalar, ms. Raises InputError for the
        wrong number of probabilities, or for logits."""
        ms: torch.Tensor = self.relaxed(self._flat(probs))
        return ms.squeeze(0)

    def report(self, probs: torch.Tensor | Sequence[torch.Tensor], seed: int = 0) -> LatencyReport:
        """The figures that the expectation hides: the latency of the network that would be derived, and the spread of
        the networks that the probabilities draw. probs: [n_positions, n_choices], or as the class describes."""
        with torch.no_grad():
            flat = self._flat(probs)
            expected = float(self.relaxed(flat))
            p = flat.double().cpu().numpy()
            drawn = draw(self.choices, p, _REPORT_DRAWS, np.random.default_rng(seed))[0]
            spread = self.relaxed(torch.as_tensor(one_hot(self.choices, drawn), dtype=flat.dtype, device=flat.device))
        arch = tuple(int(part.argmax()) for part in np.split(p[0], np.cumsum(self.choices)[:-1]))
        argmax = float(self._latency_ms(np.array([arch]))[0])
        p95 = float(np.quantile(spread.double().cpu().numpy(), 0.95))
        return LatencyReport(expected, argmax, argmax - expected, p95, arch)

    def _relax(self, method: Method, most_archs: int, settings: DistillSettings, seed: int) -> Relaxed:
        if method == "distilled":
            return distill(self.choices, self._latency_ms, settings)
        first = first_archs(self.choices)
        archs = uniform_archs(self.choices, max(most_archs, first), np.random.default_rng(seed))
        if method in ("auto", "additive"):
            found = additive(self.choices, archs[:first], self._latency_ms(archs[:first]))
            if found is not None:
                return found
            if method == "additive":
                raise InputError("the latency is not additive over the positions of the space; use method 'auto'")
        size = math.prod(self.choices)
        few = TABULATED_MOST if self._latency_ms.source_takes == "arch" else most_archs
        if method == "tabulated" or (method == "auto" and size <= few):
            return self._tabulated()
        fitted = multilinear(self.choices, archs, self._latency_ms)
        if method == "auto" and size <= TABULATED_MOST and fitted.left_out_error > TARGET_ERROR:
            return self._tabulated()
        return fitted

    def _tabulated(self) -> Tabulated:
        every = np.array(list(itertools.product(*map(range, self.choices))))
        return Tabulated(self.choices, self._latency_ms(every))

    def _error(self, rng: np.random.Generator) -> RelaxedError:
        p = random_probabilities(self.choices, _ERROR_PROBABILITIES, rng)
        reference, noise = self._monte_carlo(p, rng)
        with torch.no_grad():
            relaxed = self.relaxed(torch.from_numpy(p)).numpy()
        error = np.abs(relaxed / reference - 1)
        return RelaxedError(float(error.mean()), float(error.max()), float((noise / reference).mean()), len(p))

    def _monte_carlo(self, p: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """p: [n, sum(choices)]. Returns the expected latency by the source, and its standard error, ms, [n].

        The source is asked only for the error of the relaxed form on architectures; the expectation of the form itself
        is known, or drawn in much larger numbers at no cost.
        """
        archs = draw(self.choices, p, _ERROR_DRAWS, rng).reshape(-1, len(self.choices))
        rest = (self._latency_ms(archs) - self._at(archs)).reshape(len(p), -1)
        own = [self._own_expectation(row, rng) for row in p]
        mean = np.array([m for m, _ in own]) + rest.mean(axis=1)
        variance = np.array([v for _, v in own]) + rest.var(axis=1, ddof=1) / rest.shape[1]
        return mean, np.sqrt(variance)

    def _own_expectation(self, p: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
        """p: [sum(choices)]. Mean of the relaxed form over the architectures of p, ms, and the mean's variance."""
        with torch.no_grad():
            flat = torch.from_numpy(p[None])
            if not isinstance(self.relaxed, Distilled):
                return float(self.relaxed(flat)), 0.0
            known = float(self.relaxed.additive(flat))
            codes = torch.from_numpy(one_hot(self.choices, draw(self.choices, p[None], _OWN_DRAWS, rng)[0]))
            interaction = self.relaxed(codes) - self.relaxed.additive(codes)
        return known + float(interaction.mean()), float(interaction.var()) / _OWN_DRAWS

    def _at(self, archs: np.ndarray) -> np.ndarray:
        """archs: [n, n_positions]. The relaxed form at architectures, ms, [n]."""
        with torch.no_grad():
            return np.asarray(self.relaxed(torch.from_numpy(one_hot(self.choices, archs))))

    def _flat(self, probs: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """[1, sum(choices)]."""
        parts = [probs] if isinstance(probs, torch.Tensor) else list(probs)
        flat = torch.cat([part.reshape(-1) for part in parts])
        if flat.numel() != sum(self.choices):
            raise InputError(
                f"{flat.numel()} probabilities were given; the space has {sum(self.choices)} choices "
                f"in {len(self.choices)} positions"
            )
        sums = flat.new_zeros(len(self.choices)).index_add(0, self._position, flat.detach())
        if not bool(((sums - 1).abs() < _SUM_TOLERANCE).all()):
            raise InputError("the probabilities of a position do not add up to 1; apply softmax to the alphas")
        return flat.unsqueeze(0)


def _of_choices(table: LatencyTable, choices: Sequence[int]) -> Additive:
    correction = table.correction
    a_ms, b = (correction.a_ms, correction.b) if correction else (0.0, 1.0)
    return Additive(a_ms, [b * ms for ms in table.choice_ms(choices)])
