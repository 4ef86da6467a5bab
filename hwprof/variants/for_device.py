"""A network as a device computes it, with the device's batch and types. Costs are counted on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hwprof.device import Device
from hwprof.graph import Graph, Tensor
from hwprof.variants.batch import with_batch

_NARROW = ("float16", "bfloat16")

T = TypeVar("T", bound=Tensor)


def for_device(graph: Graph, device: Device) -> Graph:
    """The graph with the device's batch and element types; itself for batch 1 and float32.

    Operators and names stay; each input is [batch, ...]. Raises InputError as `with_batch`.
    """
    if device.batch == 1 and device.precision not in _NARROW:
        return graph
    batched = with_batch(graph, device.batch)
    return replace(
        batched,
        inputs=tuple(_typed(t, device) for t in batched.inputs),
        weights=tuple(_typed(t, device) for t in batched.weights),
        constants=tuple(_typed(t, device) for t in batched.constants),
        values=tuple(_typed(t, device) for t in batched.values),
    )


def computed_type(device: Device) -> str:
    """The element type that replaces float32 on the device."""
    return device.precision if device.precision in _NARROW else "float32"


def _typed(tensor: T, device: Device) -> T:
    return replace(tensor, dtype=computed_type(device)) if tensor.dtype == "float32" else tensor
