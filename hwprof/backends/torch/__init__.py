"""PyTorch, on the CPU or on an NVIDIA GPU: https://pytorch.org

2026-11-21, what is timed. On a GPU `latency_ms` is by default *device time*: two CUDA events around each
inference, read after the device has finished, with the launches queued as they are in use. Where the GPU
waits for the launches, that wait is part of it. `clock = "host"` takes the time on the host from the call
to the end of a synchronization instead. Whichever is chosen, every process also measures the other one, copies
of inputs and outputs, and the cold caches (`figures`); none of these is ever part of another.

2026-11-21, cold caches. Before each inference a buffer of twice the L2 is overwritten, outside of the timed
interval, as triton.testing.do_bench and nvbench do. Rotating the inputs through copies that exceed the L2 was
the alternative: a captured CUDA graph reads fixed addresses, the inputs of a language model (1 KiB) would
need a hundred thousand copies, and the weights of a small network would stay in the cache all the same. Overwriting
makes inputs and weights cold for every network alike. Hot runs use the same inputs again and again.
"""

from hwprof.backends.torch.backend import BACKEND

__all__ = ["BACKEND"]
