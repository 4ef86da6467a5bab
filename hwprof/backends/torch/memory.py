"""Memory: how much of a GPU's memory a network uses, and the caches in front of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hwprof.backends import host_resources

_EVICTING_FACTOR = 2  # times the cache's size is overwritten
_ASSUMED_CACHE_BYTES = 32 * 2**20  # where the host does not state its cache's size


class GpuMemory:
    """The most memory that PyTorch's allocator held on a GPU for a network, beyond what was allocated before.

    Created before the network is loaded. The first runs reach the peak; allocations after them do not count.
    """

    def __init__(self, place: torch.device) -> None:
        self._place = place
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
        self._before = torch.cuda.memory_allocated(place), torch.cuda.memory_reserved(place)
        self._peak: tuple[int, int] | None = None

    def note_peak(self) -> None:
        """Called after the first run; later calls change nothing."""
        if self._peak is None:
            self._peak = torch.cuda.max_memory_allocated(self._place), torch.cuda.max_memory_reserved(self._place)

    def figures(self) -> dict[str, float]:
        """Empty before the first run."""
        if self._peak is None:
            return {}
        allocated, reserved = (float(peak - before) for peak, before in zip(self._peak, self._before, strict=True))
        return {"allocated_bytes": allocated, "reserved_bytes": reserved}


def cache_bytes(place: torch.device) -> int:
    """The size of the last cache before the device's memory."""
    if place.type == "cuda":
        return int(torch.cuda.get_device_properties(place).L2_cache_size)
    return host_resources.last_cache_bytes() or _ASSUMED_CACHE_BYTES


def evictor(place: torch.device) -> Callable[[], object]:
    """A function that overwrites the caches. Its buffer is allocated at the first call."""
    buffers: list[torch.Tensor] = []

    def evict() -> None:
        if not buffers:
            buffers.append(torch.empty(_EVICTING_FACTOR * cache_bytes(place), dtype=torch.int8, device=place))
        buffers[0].zero_()

    return evict
