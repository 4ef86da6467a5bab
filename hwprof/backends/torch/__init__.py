"""PyTorch, on the CPU or on an NVIDIA GPU: https://pytorch.org

2026-11-21, what is timed. On a GPU `latency_ms` is *device time* by default: two CUDA events around each inference,
read after the device has finished, with the launches queued as in real use. Where the GPU waits for the launches, that
wait is included. `clock = "host"` measures the time on the host instead, from the call to the end of a
synchronization. With either clock, every process also measures the other clock, copies of inputs and outputs, and cold
caches (`figures`); none of these is ever part of another.

2026-11-21, cold caches. Before each inference, outside of the timed interval, a buffer of twice the size of the L2
cache is overwritten, as triton.testing.do_bench and nvbench do. The alternative was to rotate the inputs through copies
that exceed the L2: a captured CUDA graph reads fixed addresses, the inputs of a language model (1 KiB) would need a
hundred thousand copies, and the weights of a small network would still stay in the cache. Overwriting makes inputs and
weights cold for every network alike. Hot runs use the same inputs again and again.
"""

from hwprof.backends.torch.backend import BACKEND

__all__ = ["BACKEND"]
