"""Training: one loop, `fit`, to which methods add hooks, and `evaluate`, for any module and any task."""

from hwprof import plugins

with plugins.optional_library("training"):
    from hwprof.training.history import EpochResult, History
    from hwprof.training.hooks import EarlyStop, Hooks, ParamGroup
    from hwprof.training.loop import evaluate, fit
    from hwprof.training.settings import TrainSettings

__all__ = ["EarlyStop", "EpochResult", "History", "Hooks", "ParamGroup", "TrainSettings", "evaluate", "fit"]
