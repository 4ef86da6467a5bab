"""Costs of choices that are still being learned: linear between the options around them.

A soft choice is between two options of its layer. Its cost is that of the larger options of all layers together, plus,
for each layer, its share of the way to the smaller option times what this option alone changes there:

    cost(larger) + sum over layers of share * (cost(larger, but smaller in this layer) - cost(larger))

So it is exact where all choices are options, piecewise linear along each layer, and two layers that share an operator
do not save its time twice. Beyond the first and last option it is constant.

2026-11-29, why not the savings of each layer against the network as before, summed: a convolution of half the inputs
and half the outputs costs a quarter, but the two savings add up to all of it, so that a sum reaches its target long
before the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.compress.choice import AS_BEFORE, Choice
from hwprof.compress.method import SoftChoice, SoftChoices
from hwprof.errors import InputError

Number: TypeAlias = int | float
Points: TypeAlias = Sequence[tuple[float, Number | None]]  # where an option is on its axis, and its value in a Choice
CostOfChoices: TypeAlias = Callable[[Sequence[Mapping[str, Choice]]], np.ndarray]  # [n] choices to costs, [n]
_NAMES = tuple(field.name for field in fields(Choice))
_GROWING = ("groups", "sparsity")  # larger values make a smaller network


class Interpolated:
    """A `Cost` from one of hard choices. points: by layer and field those of its options; it is called once for
    each, and for soft choices alone."""

    def __init__(self, cost: CostOfChoices, points: Callable[[str, str], Points]) -> None:
        self._cost, self._points = cost, cache(points)
        self._known: dict[frozenset[tuple[str, Choice]], float] = {}

    def __call__(self, choices: SoftChoices) -> Tensor:
        """A scalar, differentiable in the choices that are tensors."""
        places = [
            _place(layer, name, value, self._points(layer, name))
            for layer, choice in choices.items()
            for name, value in _soft_fields(choice).items()
        ]
        hard = {layer: _hard_part(choice) for layer, choice in choices.items()}
        larger = _with(hard, {(p.layer, p.field): p.larger for p in places})
        steps = [_with(larger, {(p.layer, p.field): p.smaller}) for p in places]
        base, *costs = self._costs([larger, *steps])
        total = torch.tensor(base)
        for place, cost in zip(places, costs, strict=True):
            total = total + place.share * (cost - base)
        return total

    def _costs(self, many: Sequence[Mapping[str, Choice]]) -> list[float]:
        keys = [frozenset((layer, c) for layer, c in choices.items() if c != AS_BEFORE) for choices in many]
        missing = {key: dict(key) for key in keys if key not in self._known}
        if missing:
            found = self._cost(list(missing.values()))
            self._known |= dict(zip(missing, map(float, found), strict=True))
        return [self._known[key] for key in keys]


@dataclass(frozen=True, slots=True)
class _Place:
    """Between two options of one field; share: of the way to the smaller one, a scalar."""

    layer: str
    field: str
    larger: Number | None
    smaller: Number | None
    share: Tensor


def _soft_fields(choice: Choice | SoftChoice) -> dict[str, Tensor]:
    """The fields that are tensors or, in a SoftChoice, numbers."""
    values = {name: getattr(choice, name) for name in _NAMES}
    return {
        name: torch.as_tensor(value)
        for name, value in values.items()
        if isinstance(value, Tensor) or (isinstance(choice, SoftChoice) and value is not None)
    }


def _hard_part(choice: Choice | SoftChoice) -> Choice:
    soft = _soft_fields(choice)
    return Choice(**{name: getattr(choice, name) for name in _NAMES if name not in soft})


def _with(choices: Mapping[str, Choice], values: Mapping[tuple[str, str], Number | None]) -> dict[str, Choice]:
    changed = dict(choices)
    for (layer, name), value in values.items():
        changed[layer] = replace(changed[layer], **{name: value})  # type: ignore[arg-type]  # a field's own value
    return changed


def _place(layer: str, name: str, value: Tensor, points: Points) -> _Place:
    if value.numel() != 1 or not bool(value.isfinite().all()):
        raise InputError(f"{name} of layer {layer!r} must be one finite number, not {value.detach().tolist()}")
    if len(points) < 2:
        raise InputError(f"layer {layer!r} has no options of {name}, so that a soft choice of it has no cost")
    sign = -1.0 if name in _GROWING else 1.0
    found = sign * value.reshape(())
    points = sorted(points, key=lambda point: -sign * point[0])  # from the largest network to the smallest
    at = [sign * where for where, _ in points]
    i = min(max(sum(found.item() <= where for where in at) - 1, 0), len(at) - 2)
    share = ((at[i] - found) / (at[i] - at[i + 1])).clamp(0, 1)
    return _Place(layer, name, points[i][1], points[i + 1][1], share)
