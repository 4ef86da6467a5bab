"""Shows where oneDNN writes outside of its memory for the weights' gradient: writes reports/onednn-weight-gradient.

    python tests/benchmarks/onednn_weight_gradient.py        # half a minute; needs glibc's libc_malloc_debug.so.0
    python tests/benchmarks/onednn_weight_gradient.py OUT    # into another folder

Each convolution trains for some passes in a process of its own, with one thread and under glibc's check of its heap.
That check sees only what a free() comes across: "ok" is no proof, and which convolutions abort can differ a little
from run to run.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch
from torch import nn

from hwprof.measure import environment

FOLDER = Path(__file__).parents[2] / "reports" / "onednn-weight-gradient"
PRELOADED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
PASSES = 60
PROGRAM = """import torch

torch.set_num_threads(1)
conv = torch.nn.Conv2d(4, 2, 1, stride=2, bias=False)
x = torch.randn(8, 4, 8, 8).contiguous(memory_format=torch.channels_last)
for _ in range(60):
    conv(x).sum().backward()
"""
# What differs from Conv2d(4, 4, 1, stride=2) on 8 x 4 x 16 x 16 in channels last, float32, with the weights' gradient.
CASES: dict[str, dict[str, object]] = {
    **{f"{n} input channels": {"channels": n} for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)},
    "2 output channels": {"outputs": 2}, "16 output channels": {"outputs": 16},
    "with a bias": {"bias": True},
    "stride 1": {"stride": 1}, "stride (1, 2)": {"stride": (1, 2)}, "stride (2, 1)": {"stride": (2, 1)},
    "stride 4": {"stride": 4}, "15 x 15, stride 3": {"stride": 3, "size": 15},
    "one image": {"images": 1}, "two images": {"images": 2},
    "kernel 3 x 3": {"kernel": 3}, "padded by 1": {"padding": 1}, "2 groups": {"groups": 2, "channels": 8},
    "float64": {"dtype": torch.float64}, "bfloat16": {"dtype": torch.bfloat16},
    "contiguous": {"format": torch.contiguous_format}, "the input's gradient alone": {"frozen": True},
    "128 x 128": {"size": 128}, "128 x 128, 12 input channels": {"size": 128, "channels": 12},
}  # fmt: skip


def train(
    channels=4, outputs=4, kernel=1, stride=2, padding=0, groups=1, bias=False, images=8, size=16, dtype=torch.float32,
    format=torch.channels_last, frozen=False,  # noqa: A002 - torch's name for it
) -> None:  # fmt: skip
    conv = nn.Conv2d(channels, outputs, kernel, stride, padding, groups=groups, bias=bias, dtype=dtype)
    conv.requires_grad_(not frozen)
    x = torch.randn(images, channels, size, size, dtype=dtype).contiguous(memory_format=format).requires_grad_(frozen)
    for _ in range(PASSES):
        conv(x).sum().backward()


def outcome(case: dict[str, object]) -> str:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        train(**case)  # type: ignore[arg-type]
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "ok", -6: "**aborts: glibc finds its heap corrupted**", -11: "**segmentation fault**"}.get(
        code, f"ends with {code}"
    )


def page() -> str:
    rows = "\n".join(f"| {name} | {outcome(case)} |" for name, case in CASES.items())
    onednn = next(line.split(" - ")[-1].strip() for line in torch.__config__.show().splitlines() if "MKL-DNN" in line)
    processor = environment.hardware()["cpu"]
    return f"""<!-- python tests/benchmarks/onednn_weight_gradient.py -->
# Conv2d(1x1, stride 2) in channels last: backward writes outside of its memory on a CPU

A report for PyTorch. torch {torch.__version__},
{onednn}, {platform.system()} {platform.machine()}, {processor}
(torch.backends.cpu.get_cpu_capability(): {torch.backends.cpu.get_cpu_capability()}).

## To reproduce

```python
{PROGRAM}```

`LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3 python program.py` ends in `free(): invalid pointer`. Without the
check, a later allocation fails (`corrupted double-linked list`), or nothing is seen. With two threads this
convolution's gradient was wrong without a crash: in 30 passes over the same input there were two different gradients,
one off by 0.41 of the largest value.

## Expected

The program ends, and the gradient is that of a contiguous input, bit for bit the same in every run.

## What fails

The weights' gradient, where all of this is true: a 1x1 kernel without padding, a stride that is not 1 and divides the
input's size, one group, an input in channels last with fewer channels than a block of the kernel has (8 with AVX2),
float32, and more than one image. `ONEDNN_VERBOSE=2` names the implementation: `jit_1x1:avx2, backward_weights,
src:f32::blocked:acdb`. With `ONEDNN_MAX_CPU_ISA=AVX` or `SSE41`, with a contiguous input, and with
`torch.backends.mkldnn.enabled = False` nothing is written outside.

Each line changes one thing of Conv2d(4, 4, 1, stride=2, bias=False) on 8 x 4 x 16 x 16; {PASSES} passes, one thread.
The check sees only what a free() comes across, so "ok" is no proof.

| what is different | outcome |
|---|---|
{rows}

oneDNN first copies the pixels that a stride leaves into a workspace (`rtus`, src/cpu/x64/jit_uni_1x1_conv_utils.hpp).
In channels last it reserves `is * ic` elements of it for each thread. This is
https://github.com/uxlfoundation/oneDNN/issues/6035, which reports the same for AVX-512 with fewer than 16 channels.

## What hwprof does

Networks that it trains give such convolutions a contiguous input and contiguous weights
(`hwprof.torch_io.memory_format`).
"""


def main() -> None:
    if os.environ.get("MALLOC_CHECK_") != "3":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PRELOADED)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page())


if __name__ == "__main__":
    main()
