"""How a network is trained for integers: first in float, then its `Simulation`. Both by `hwprof.training.fit`."""

from __future__ import annotations

from hwprof.training import TrainSettings

FLOAT = TrainSettings(
    epochs=3, batch_size=50, optimizer="adam", rate=2e-3, max_gradient_norm=1.0, validation=None
)  # recurrent networks need their gradients clipped
FINE_TUNING = TrainSettings(
    epochs=1, batch_size=50, optimizer="adam", rate=3e-4, max_gradient_norm=1.0, validation=None
)  # a simulation starts from trained weights: one epoch with a small rate is enough
