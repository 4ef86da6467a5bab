"""hwprof: how fast will this network run on that device?

Everything that the command line can do is a function here, with the same words: `hp.profile`, `hp.collect`, ...

2026-11-29, why names are imported when they are first asked for. `import hwprof` must load no library, for most of
them are optional, and several take seconds. The imports are ordinary statements, in functions, so that readers, mypy
and the test of the floors see them; those at the top are for type checkers, which do not run `__getattr__`.

2026-11-29, why a room does not replace the verb of its name. Python puts a subpackage into its package when it is first
imported: `hp.report` would be the job now and the room `hwprof.report` later. `_Package` keeps the job. Imports of the
room (`from hwprof.report import page`) work as ever. Other names for the rooms, or for the jobs, would have made one of
them differ from the command line's word.
"""

# ruff: noqa: F401 -- what a function imports are its results

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwprof.builder import GraphBuilder
    from hwprof.data.dataset import Card
    from hwprof.data.result import Result
    from hwprof.data.store import Store
    from hwprof.device import Device
    from hwprof.errors import HwprofError
    from hwprof.fleet.measuring import open_fleet
    from hwprof.graph import Graph
    from hwprof.jobs.breaking_down import operators
    from hwprof.jobs.collecting import collect
    from hwprof.jobs.comparing import compare
    from hwprof.jobs.compressing import compress
    from hwprof.jobs.compressing_files import compress_file
    from hwprof.jobs.converting import convert_table
    from hwprof.jobs.evaluating import evaluate
    from hwprof.jobs.explaining import explain
    from hwprof.jobs.importing import import_data
    from hwprof.jobs.picking import pick_device
    from hwprof.jobs.predicting import load_predictor, predict, train
    from hwprof.jobs.profiling import profile, profile_many
    from hwprof.jobs.reporting import history, report
    from hwprof.jobs.searching import search
    from hwprof.jobs.sweeping import sweep
    from hwprof.jobs.tables import build_table, check_table
    from hwprof.jobs.tuning import tune
    from hwprof.latency_table import LatencyTable
    from hwprof.measure.recording import Options
    from hwprof.measurement import Measurement, ProtocolSettings
    from hwprof.objective.budget import Budget
    from hwprof.objective.expected import ExpectedLatency
    from hwprof.objective.loss import LatencyLoss
    from hwprof.predictors.trained import Trained
    from hwprof.spaces.varied import VariedSpace as space  # noqa: N813 -- a function to its user
    from hwprof.workloads.loading import load_network as load

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Card",
    "Device",
    "ExpectedLatency",
    "Graph",
    "GraphBuilder",
    "HwprofError",
    "LatencyLoss",
    "LatencyTable",
    "Measurement",
    "Options",
    "ProtocolSettings",
    "Result",
    "Store",
    "Trained",
    "build_table",
    "check_table",
    "collect",
    "compare",
    "compress",
    "compress_file",
    "convert_table",
    "evaluate",
    "explain",
    "history",
    "import_data",
    "load",
    "load_predictor",
    "open_fleet",
    "operators",
    "pick_device",
    "predict",
    "profile",
    "profile_many",
    "report",
    "search",
    "space",
    "sweep",
    "train",
    "tune",
]


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _LOADERS:
        raise AttributeError(f"module 'hwprof' has no attribute {name!r}")
    globals().update(_LOADERS[name]())
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _facts() -> Mapping[str, object]:
    """Needs NumPy and ONNX only, as do the next two."""
    from hwprof.builder import GraphBuilder
    from hwprof.data.result import Result
    from hwprof.data.store import Store
    from hwprof.device import Device
    from hwprof.errors import HwprofError
    from hwprof.graph import Graph
    from hwprof.latency_table import LatencyTable
    from hwprof.measurement import Measurement, ProtocolSettings
    from hwprof.objective.budget import Budget

    return locals()


def _measuring() -> Mapping[str, object]:
    from hwprof.jobs.breaking_down import operators
    from hwprof.jobs.comparing import compare
    from hwprof.jobs.compressing_files import compress_file
    from hwprof.jobs.explaining import explain
    from hwprof.jobs.profiling import profile, profile_many
    from hwprof.jobs.reporting import history, report
    from hwprof.jobs.sweeping import sweep
    from hwprof.jobs.tuning import tune
    from hwprof.measure.recording import Options
    from hwprof.workloads.loading import load_network as load

    return locals()


def _tables() -> Mapping[str, object]:
    from hwprof.jobs.converting import convert_table
    from hwprof.jobs.tables import build_table, check_table
    from hwprof.spaces.varied import VariedSpace as space  # noqa: N813

    return locals()


def _data_sets() -> Mapping[str, object]:
    """Needs the libraries of hwprof[data]."""
    from hwprof import plugins

    with plugins.optional_library("a data set"):
        from hwprof.data.dataset import Card
        from hwprof.jobs.importing import import_data
    return locals()


def _learning() -> Mapping[str, object]:
    """Needs the libraries of hwprof[data] and hwprof[predict]."""
    from hwprof import plugins

    with plugins.optional_library("a predictor"):
        from hwprof.jobs.collecting import collect
        from hwprof.jobs.evaluating import evaluate
        from hwprof.jobs.picking import pick_device
        from hwprof.jobs.predicting import load_predictor, predict, train
        from hwprof.predictors.trained import Trained
    return locals()


def _fleets() -> Mapping[str, object]:
    """Needs the libraries of hwprof[fleet]."""
    from hwprof import plugins

    with plugins.optional_library("a fleet"):
        from hwprof.fleet.measuring import open_fleet
    return locals()


def _differentiable() -> Mapping[str, object]:
    """Needs PyTorch."""
    from hwprof import plugins

    with plugins.optional_library("a differentiable latency"):
        from hwprof.objective.expected import ExpectedLatency
        from hwprof.objective.loss import LatencyLoss
    return locals()


def _consuming() -> Mapping[str, object]:
    """Needs PyTorch and the libraries of hwprof[data] and hwprof[predict]."""
    from hwprof import plugins

    with plugins.optional_library("a search or compression"):
        from hwprof.jobs.compressing import compress
        from hwprof.jobs.searching import search
    return locals()


_LOADERS: Mapping[str, Callable[[], Mapping[str, object]]] = {
    **dict.fromkeys(
        (
            "Budget", "Device", "Graph", "GraphBuilder", "HwprofError", "LatencyTable", "Measurement",
            "ProtocolSettings", "Result", "Store",
        ),
        _facts,
    ),
    **dict.fromkeys(
        (
            "Options", "compare", "compress_file", "explain", "history", "load", "operators", "profile", "profile_many",
            "report", "sweep", "tune",
        ),
        _measuring,
    ),
    **dict.fromkeys(("build_table", "check_table", "convert_table", "space"), _tables),
    **dict.fromkeys(("Card", "import_data"), _data_sets),
    **dict.fromkeys(
        ("Trained", "collect", "evaluate", "load_predictor", "pick_device", "predict", "train"), _learning
    ),
    "open_fleet": _fleets,
    **dict.fromkeys(("ExpectedLatency", "LatencyLoss"), _differentiable),
    **dict.fromkeys(("compress", "search"), _consuming),
}  # fmt: skip
