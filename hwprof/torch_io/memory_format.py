"""The memory format in which a PyTorch network trains on a CPU: channels last, but where oneDNN would corrupt memory.

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
of torch is known to mend it. reports/onednn-weight-gradient has the measurements. The guard does not ask for the
version or the processor, because a contiguous copy of an input of so few channels costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import nn

_CHANNELS_OF_A_BLOCK = 16  # of AVX-512, which has the widest


def to_channels_last(network: nn.Module) -> None:
    """Puts the network's weights into channels last, in place, and guards the convolutions that oneDNN would break.

    Call it once, when the network is complete. The guarded convolutions keep contiguous weights and copy their inputs
    [batch, channels, height, width] into contiguous memory; outputs and gradients mean the same as before.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _breaks_in_channels_last(module):
            # clone: to torch, 1x1 weights in channels last are contiguous already, but its convolution goes by strides
            module.weight.data = module.weight.detach().clone(memory_format=torch.contiguous_format)
            module.register_forward_pre_hook(_with_contiguous_input)


def in_channels_last(images: torch.Tensor) -> torch.Tensor:
    """Images [batch, channels, height, width], in the format that `to_channels_last` gives a network."""
    return images.contiguous(memory_format=torch.channels_last)


def _breaks_in_channels_last(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (1, 1)
        and convolution.stride != (1, 1)
        and convolution.groups == 1
        and convolution.in_channels < _CHANNELS_OF_A_BLOCK
    )


def _with_contiguous_input(_convolution: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].contiguous(),)
