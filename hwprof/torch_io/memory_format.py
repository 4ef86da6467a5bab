"""Which convolutions cannot train in channels last on a CPU, because oneDNN would corrupt memory.

Channels last (NHWC) makes depthwise convolutions about three times as fast on a CPU. oneDNN 3.12, which torch 2.13
brings, computes the weights' gradient of some convolutions wrongly in this format (jit_1x1:avx2, backward_weights): it
first copies every stride-th pixel of the input into a workspace, which is too small where the input has fewer channels
than a block of the kernel has, and writes past the end. The heap is corrupted; with several threads, the gradient can
be wrong and differ from run to run. All of this must be true at once:

- the kernel is 1x1 and not padded, at least one stride is not 1, and there is one group;
- there are fewer input channels than a block has: 8 with AVX2 (2 to 7 of them fail). With AVX-512 a block has 16;
- the batch has more than one image, and the values are float32;
- the input is in channels last, in whichever format the weights are, and the weights need a gradient.

The forward pass and the input's gradient are right. Right too are larger kernels, padded ones, groups (depthwise among
them), 3-d convolutions, float64, bfloat16 and float16, and the implementations that ONEDNN_MAX_CPU_ISA=AVX and SSE41
choose. oneDNN knows of it (https://github.com/uxlfoundation/oneDNN/issues/6035, where AVX-512 was measured); no version
of torch is known to fix it. reports/onednn-weight-gradient has the measurements. The guard does not ask for the version
or the processor, because a contiguous copy of an input of so few channels costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

_CHANNELS_OF_A_BLOCK = 16  # of AVX-512, which has the widest


def breaks_in_channels_last(kernel: Sequence[int], strides: Sequence[int], groups: int, channels: int) -> bool:
    """Whether the weights' gradient of a convolution needs contiguous inputs and weights. channels: those of the
    input."""
    return set(kernel) == {1} and set(strides) != {1} and groups == 1 and channels < _CHANNELS_OF_A_BLOCK
