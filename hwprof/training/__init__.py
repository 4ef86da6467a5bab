"""Training: one loop, `fit`, to which methods add hooks, and `evaluate`, for any module and any task.

from hwprof import tasks
from hwprof.training import TrainSettings, evaluate, fit

task = tasks.load("digits")
history = fit(network, task, TrainSettings(epochs=10, rate=0.1))
print(f"{task.metric_name}: {evaluate(network, task):.1f}")
"""

from hwprof import plugins

with plugins.optional_library("training"):
    from hwprof.training.history import EpochResult, History
    from hwprof.training.hooks import EarlyStop, Hooks, ParamGroup
    from hwprof.training.loop import NotFiniteError, evaluate, fit
    from hwprof.training.settings import TrainSettings

__all__ = [
    "EarlyStop",
    "EpochResult",
    "History",
    "Hooks",
    "NotFiniteError",
    "ParamGroup",
    "TrainSettings",
    "evaluate",
    "fit",
]
