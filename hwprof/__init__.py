"""hwprof: how fast will this network run on that device?"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# Public name -> module. Imported when first asked for, so that `import hwprof` loads no library.
_HOMES = {
    "Budget": "hwprof.objective.budget",
    "Device": "hwprof.device",
    "ExpectedLatency": "hwprof.objective.expected",
    "Graph": "hwprof.graph",
    "GraphBuilder": "hwprof.builder",
    "HwprofError": "hwprof.errors",
    "LatencyLoss": "hwprof.objective.loss",
    "LatencyTable": "hwprof.latency_table",
    "Measurement": "hwprof.measurement",
    "Options": "hwprof.jobs",
    "ProtocolSettings": "hwprof.measurement",
    "Store": "hwprof.data.store",
    "compare": "hwprof.jobs",
    "evaluate": "hwprof.jobs.evaluating",
    "load_predictor": "hwprof.jobs.predicting",
    "profile": "hwprof.jobs",
    "profile_many": "hwprof.jobs",
    "train": "hwprof.jobs.predicting",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwprof' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
