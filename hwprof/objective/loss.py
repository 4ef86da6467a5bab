"""`LatencyLoss`: how much a latency above its target costs in a search's loss.

linear: the additive term of ProxylessNAS (arXiv 1812.00332); log: FBNet's (arXiv 1812.03443); abs: TuNAS's (arXiv
2008.06120); power: MnasNet's (arXiv 1807.11626); foothill: abs that is smooth at the target (arXiv
1901.06414). A hinge alone can let a supernet collapse to all-skip, for nothing pulls it back up to the target; abs
does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from hwprof.errors import InputError
from hwprof.predictors.foothill import foothill

_SHARPNESS = 40.0  # of foothill: a square up to about 5 % from the target
_SHAPES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "hinge": lambda ratio, _: torch.relu(ratio - 1),
    "abs": lambda ratio, _: (ratio - 1).abs(),
    "linear": lambda ratio, _: ratio,
    "log": lambda ratio, _: ratio.log(),
    "power": lambda ratio, exponent: ratio**exponent,
    "foothill": lambda ratio, _: foothill(ratio - 1, 1.0, _SHARPNESS),
}


class LatencyLoss(torch.nn.Module):
    """weight * shape(latency / target): the same weight means the same on a slow and on a fast device.

    `exponent` belongs to "power" (0.07 is MnasNet's soft constraint).
    """

    def __init__(self, target_ms: float, shape: str = "abs", weight: float = 1.0, exponent: float = 0.07) -> None:
        """Raises InputError for an unknown shape or a target that is not positive."""
        super().__init__()
        if shape not in _SHAPES:
            raise InputError(f"no latency loss has the shape {shape!r}; known: {', '.join(_SHAPES)}")
        if not (target_ms > 0 and math.isfinite(target_ms)):
            raise InputError(f"the target latency must be a positive number of ms, not {target_ms!r}")
        self.target_ms = float(target_ms)
        self.shape = shape
        self.weight = float(weight)
        self.exponent = float(exponent)

    def forward(self, latency_ms: torch.Tensor) -> torch.Tensor:
        """latency_ms: [...]. Returns the loss of each, [...]."""
        return self.weight * _SHAPES[self.shape](latency_ms / self.target_ms, self.exponent)

    def extra_repr(self) -> str:
        return f"target_ms={self.target_ms:g}, shape={self.shape!r}, weight={self.weight:g}"
