"""A network as a device computes it: with the device's batch, in the device's types. What costs are counted on."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hwprof.device import Device
from hwprof.graph import Graph, Tensor
from hwprof.variants.batch import with_batch

_NARROW = ("float16", "bfloat16")

T = TypeVar("T", bound=Tensor)


def as_computed(graph: Graph, device: Device) -> Graph:
    """The graph itself for batch 1 and float32. Its operators and names stay. Raises InputError as `with_batch`."""
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
    """The element type that takes the place of float32 on the device."""
    return device.precision if device.precision in _NARROW else "float32"


def _typed(tensor: T, device: Device) -> T:
    return replace(tensor, dtype=computed_type(device)) if tensor.dtype == "float32" else tensor
