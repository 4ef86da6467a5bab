"""Reference networks by name, built as Graphs or read from the installed onnx package: nothing is downloaded.

2026-11-20, batch normalization. The networks are in their deployed form: every batch normalization is folded into the
convolution before it, as `torch.onnx.export` writes a model in evaluation mode and as runtimes do when they load it.
The alternative, keeping the nodes, would time a network that nobody deploys in runtimes that do not fold. A folded
convolution has one bias per channel in place of the normalization's scale and shift, so the published parameter counts
are larger by one per normalized channel:

    mobilenet_v2        3 504 872 published = 3 487 816 here + 17 056
    mobilenet_v3_small  2 542 856           = 2 536 800      +  6 056
    mobilenet_v3_large  5 483 032           = 5 470 832      + 12 200
    resnet18           11 689 512           = 11 684 712     +  4 800
    resnet50           25 557 032           = 25 530 472     + 26 560

The nine `light_*` networks are from ONNX's own backend tests (batch normalization not folded).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.workloads import bert, keypoint, lstm, mobilenet, resnet, separation, super_resolution

_BUILDERS: dict[str, Callable[[], Graph]] = {
    "bert_base": bert.bert_base,
    "bert_tiny": bert.bert_tiny,
    "keypoint_network": keypoint.keypoint_network,
    "lstm_lm": lstm.lstm_lm,
    "lstm_lm_1024x1": lstm.lstm_lm_1024x1,
    "mobilenet_v2": mobilenet.mobilenet_v2,
    "mobilenet_v3_large": mobilenet.mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet.mobilenet_v3_small,
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "separation_network": separation.separation_network,
    "super_resolution": super_resolution.super_resolution,
}
_LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def names() -> list[str]:
    """Sorted names of the networks; the `light_*` ones only where the onnx package includes its test data."""
    return sorted([*_BUILDERS, *(path.stem for path in _LIGHT.glob("light_*.onnx"))])


def build(name: str) -> Graph:
    """The network with this name, which is also the graph's. Raises InputError for an unknown name and lists the
    known."""
    if name in _BUILDERS:
        return _BUILDERS[name]()
    if name in names():
        return onnx_io.load(_LIGHT / f"{name}.onnx").renamed(name)
    raise InputError(f"no workload is named {name!r}; known: {', '.join(names())}")
