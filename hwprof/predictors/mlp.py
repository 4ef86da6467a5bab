"""A multi-layer perceptron on one-hot architectures that also holds at probabilities: the latency prediction module of
LA-DARTS (Xu et al., arXiv 2001.06392) with one more loss term.

A differentiable search feeds it probabilities; after plain training it is then wrong by 12 to 16 %, and nothing shows
it. So for random probabilities p its output is also trained towards the mean of its outputs at architectures drawn
from p.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import nn

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.interfaces import Arch, SearchSpace, Takes
from hwprof.predictors import neural
from hwprof.predictors.base import LatencyPredictor, Regressor, State, architectures, checked_targets

WARMUP_STEPS = 500  # before the soft term; with it from the start one device of four diverged
DRAWS = 16
SOFT_BATCH = 32


class MlpRegressor(Regressor):
    """X: [n] architectures. soft_weight: the weight of the consistency at probabilities; 0 trains as LA-DARTS does.
    loss: a robust one by default, as is "foothill" (`hwprof.predictors.foothill`).

    `module_` maps [..., sum(choices)] to [..., 1] in `units_`.
    """

    takes: Takes = "arch"

    def __init__(
        self,
        space: SearchSpace | None = None,
        hidden: Sequence[int] = (100, 100, 100),
        steps: int = 1500,
        learning_rate: float = 3e-3,
        soft_weight: float = 1.0,
        seed: int = 0,
        loss: neural.LossName = "smooth_l1",
    ) -> None:
        self.space = space
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.soft_weight = soft_weight
        self.seed = seed
        self.loss = loss

    def fit(self, X: Sequence[Arch], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y: [n]. Raises InputError for data that cannot be learned from."""
        values = checked_targets(X, y, self.target)
        archs = architectures(X)
        encoder = OneHotEncoder(self.space.choices if self.space is not None else None).fit(archs)
        self.choices_ = encoder.choices_
        codes = neural.as_tensor(encoder.transform(archs))
        self.units_ = neural.Units.of(values, self.target)

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            module = self._trained(codes[train], values[train], soft_weight=0.0)  # does not change errors at vertices
            return self._predicted(module, codes[test])

        self.errors_ = neural.left_out_errors(fit_and_predict, values, self.target, self.seed)
        self.module_ = self._trained(codes, values, self.soft_weight)
        return self

    def predict(self, X: Sequence[Arch]) -> np.ndarray:
        """X: [n]. Returns [n], in the units of the target."""
        self.require_fitted()
        codes = OneHotEncoder(self.choices_).fit(X).transform(architectures(X))
        return self._predicted(self.module_, neural.as_tensor(codes))

    def expected(self, probabilities: torch.Tensor) -> torch.Tensor:
        """probabilities: [..., sum(choices)], one distribution per position. Returns [...], in the units of the
        target, differentiable."""
        self.require_fitted()
        output: torch.Tensor = self.module_(probabilities)[..., 0]
        return self.units_.centre + self.units_.spread * output

    def state(self) -> State:
        self.require_fitted()
        settings = {"choices": list(self.choices_), **self.units_.settings()}
        return State(settings, {"errors": self.errors_}, {"mlp.safetensors": neural.weights_of(self.module_)})

    def restore(self, state: State) -> Self:
        self.choices_ = tuple(state.settings["choices"])
        self.units_ = neural.Units.from_settings(state.settings)
        self.module_ = neural.restored(self._module, state.files["mlp.safetensors"])
        self.errors_ = state.arrays["errors"]
        return self

    def _module(self) -> nn.Module:
        widths = [sum(self.choices_), *self.hidden]
        layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
        last = [nn.Softplus()] if self.target.positive else []
        return nn.Sequential(*layers, nn.Linear(widths[-1], 1), *last)

    def _trained(self, codes: torch.Tensor, values: np.ndarray, soft_weight: float) -> nn.Module:
        module = neural.seeded(self.seed, self._module)
        target = self.units_.to_units(values)
        generator = torch.Generator().manual_seed(self.seed)

        def loss(step: int) -> torch.Tensor:
            total = self.units_.loss(module(codes)[:, 0], target, self.loss)
            if soft_weight and step >= WARMUP_STEPS:
                total = total + soft_weight * self._inconsistency(module, generator)
            return total

        neural.train(module, loss, self.steps, self.learning_rate)
        return module

    def _inconsistency(self, module: nn.Module, generator: torch.Generator) -> torch.Tensor:
        """Returns a scalar: how far the output at random probabilities is from the mean over architectures drawn from
        them."""
        soft, drawn = [], []
        temperature = torch.exp(torch.randn(SOFT_BATCH, 1, generator=generator))
        for options in self.choices_:
            p = torch.softmax(torch.randn(SOFT_BATCH, options, generator=generator) / temperature, dim=1)
            choice = torch.multinomial(p, DRAWS, replacement=True, generator=generator)
            soft.append(p)
            drawn.append(nn.functional.one_hot(choice, options).float())
        with torch.no_grad():
            mean = module(torch.cat(drawn, dim=2))[..., 0].mean(dim=1)
        return nn.functional.smooth_l1_loss(module(torch.cat(soft, dim=1))[:, 0], mean, beta=0.05)

    def _predicted(self, module: nn.Module, codes: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.units_.from_units(module(codes)[:, 0])


class MlpPredictor(LatencyPredictor, MlpRegressor):
    """Latencies, ms, by `MlpRegressor`."""

    def expected_ms(self, probabilities: torch.Tensor) -> torch.Tensor:
        """probabilities: [..., sum(choices)], one distribution per position. Returns [...], ms, differentiable."""
        return self.expected(probabilities)
