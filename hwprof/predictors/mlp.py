"""A multi-layer perceptron on one-hot architectures, consistent at soft ones: the latency prediction module
of LA-DARTS (Xu et al., arXiv 2001.06392) with one more loss term.

A differentiable search feeds it probabilities, where plain training leaves it 12 to 16 % wrong without a
sign. So for random probabilities p its output is also held to the mean of its outputs at architectures
drawn from p.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import nn

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.interfaces import Arch, SearchSpace
from hwprof.predictors import neural
from hwprof.predictors.base import LatencyPredictor, State, architectures, checked_latencies

WARMUP_STEPS = 500  # before the soft term; with it from the start one device of four diverged
DRAWS = 16
SOFT_BATCH = 32


class MlpPredictor(LatencyPredictor):
    """X: architectures. soft_weight: of the consistency at probabilities; 0 trains as LA-DARTS does.

    `module_` takes [..., sum(choices)] and returns [...] latencies in units of `scale_ms_`.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        hidden: Sequence[int] = (100, 100, 100),
        steps: int = 1500,
        learning_rate: float = 3e-3,
        soft_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.space = space
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.soft_weight = soft_weight
        self.seed = seed

    def fit(self, X: Sequence[Arch], y: Sequence[float] | np.ndarray) -> MlpPredictor:
        """X: [n], y, ms: [n]. Raises InputError for data that cannot be learned from."""
        latencies_ms = checked_latencies(X, y)
        archs = architectures(X)
        encoder = OneHotEncoder(self.space.choices if self.space is not None else None).fit(archs)
        self.choices_ = encoder.choices_
        codes = neural.as_tensor(encoder.transform(archs))
        self.scale_ms_ = float(latencies_ms.mean())

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            module = self._trained(codes[train], latencies_ms[train], soft_weight=0.0)  # moves no error at vertices
            return self._predicted(module, codes[test])

        self.errors_ = neural.left_out_errors(fit_and_predict, latencies_ms, self.seed)
        self.module_ = self._trained(codes, latencies_ms, self.soft_weight)
        return self

    def predict(self, X: Sequence[Arch]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        codes = OneHotEncoder(self.choices_).fit(X).transform(architectures(X))
        return self._predicted(self.module_, neural.as_tensor(codes))

    def expected_ms(self, probabilities: torch.Tensor) -> torch.Tensor:
        """probabilities: [..., sum(choices)], one distribution per position. Returns [...], ms, differentiable."""
        self.require_fitted()
        latencies: torch.Tensor = self.module_(probabilities)[..., 0] * self.scale_ms_
        return latencies

    def state(self) -> State:
        self.require_fitted()
        settings = {"choices": list(self.choices_), "scale_ms": self.scale_ms_}
        return State(settings, {"errors": self.errors_}, {"mlp.safetensors": neural.weights_of(self.module_)})

    def restore(self, state: State) -> Self:
        self.choices_ = tuple(state.settings["choices"])
        self.scale_ms_ = float(state.settings["scale_ms"])
        self.module_ = self._module()
        neural.restore_weights(self.module_, state.files["mlp.safetensors"])
        self.errors_ = state.arrays["errors"]
        return self

    def _module(self) -> nn.Module:
        widths = [sum(self.choices_), *self.hidden]
        layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
        return nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Softplus())

    def _trained(self, codes: torch.Tensor, latencies_ms: np.ndarray, soft_weight: float) -> nn.Module:
        module = neural.seeded(self.seed, self._module)
        target = neural.as_tensor(latencies_ms / self.scale_ms_)
        generator = torch.Generator().manual_seed(self.seed)

        def loss(step: int) -> torch.Tensor:
            relative = module(codes)[:, 0] / target
            total = nn.functional.smooth_l1_loss(relative, torch.ones_like(relative), beta=0.05)
            if soft_weight and step >= WARMUP_STEPS:
                total = total + soft_weight * self._inconsistency(module, generator)
            return total

        neural.train(module, loss, self.steps, self.learning_rate)
        return module

    def _inconsistency(self, module: nn.Module, generator: torch.Generator) -> torch.Tensor:
        """How far the output at random probabilities is from the mean over architectures drawn from them."""
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
            relative = module(codes)[:, 0].numpy().astype(float)
        return np.asarray(np.maximum(relative, 1e-3) * self.scale_ms_)
