"""Super-resolution by two, on photographs: patches of the picture and of the same picture at half the resolution.

The network's output is added to the patch enlarged by bicubic interpolation, so that a network that returns 0 has the
metric of bicubic. scikit-image has the photographs: two to train and search, one to test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Examples, Part
from hwprof.tasks.examples import TensorExamples, split

_SCALE = 2
_SEARCH_SHARE = 0.2
_TRAINED_ON, _TESTED_ON = ("astronaut", "rocket"), ("chelsea",)


class SuperResolution:
    """A `Task`. Inputs: brightness at the low resolution, [n, 1, side, side], 0 to 1. Targets: what bicubic
    interpolation misses at twice the side, [n, 1, 2 side, 2 side]; networks put it out. Raises InputError for pictures
    without a single patch."""

    name = "super_resolution"
    metric_name = "PSNR, dB"

    def __init__(self, train: Sequence[np.ndarray], test: Sequence[np.ndarray], side: int = 16, seed: int = 0) -> None:
        """train, test: photographs [height, width], 0 to 1."""
        known = _patches(train, side)
        parts = split(known, (1 - _SEARCH_SHARE, _SEARCH_SHARE), seed)
        self._parts: dict[str, Examples] = {"train": parts[0], "search": parts[1], "test": _patches(test, side)}

    def examples(self, part: Part) -> Examples:
        """Raises InputError for a part that does not exist."""
        if part not in self._parts:
            raise InputError(f"task {self.name!r} has no part {part!r}; its parts: {', '.join(self._parts)}")
        return self._parts[part]

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """output, targets: [n, 1, 2 side, 2 side]. Returns the mean squared error, a scalar, in squared grey levels
        of 255. An absolute error would teach 0, since most pixels of a bicubic image are right."""
        return 255**2 * functional.mse_loss(output, targets)

    def metric(self, output: Tensor, targets: Tensor) -> float:
        """output, targets: [n, 1, 2 side, 2 side]. Returns the peak signal-to-noise ratio over all pixels, dB."""
        return psnr_db(output, targets)


def psnr_db(output: Tensor, targets: Tensor) -> float:
    """output, targets: [...], of images from 0 to 1. Returns dB; those of no difference at all are 100."""
    error = float((output - targets).double().square().mean())
    return -10 * float(np.log10(max(error, 1e-10)))


def super_resolution(side: int = 16, seed: int = 0) -> SuperResolution:
    """The task with scikit-image's photographs."""
    with plugins.optional_library("the task super_resolution"):
        from skimage import color, data
    train, test = ([color.rgb2gray(getattr(data, name)()) for name in names] for names in (_TRAINED_ON, _TESTED_ON))
    return SuperResolution(train, test, side, seed)


def _patches(photographs: Sequence[np.ndarray], side: int) -> TensorExamples:
    small, missing = [], []
    for photograph in photographs:
        if min(photograph.shape) < _SCALE * side:
            continue
        low, high = _pair(torch.from_numpy(np.ascontiguousarray(photograph)).float(), side)
        small.append(low)
        missing.append(high - enlarged(low))
    inputs = torch.cat(small) if small else torch.zeros(0, 1, side, side)
    if not len(inputs):
        raise InputError(f"the photographs have no patch of {_SCALE * side} x {_SCALE * side} pixels")
    return TensorExamples(inputs, torch.cat(missing))


def enlarged(images: Tensor) -> Tensor:
    """images: [n, 1, side, side]. Returns them by bicubic interpolation, [n, 1, 2 side, 2 side]."""
    return functional.interpolate(images, scale_factor=_SCALE, mode="bicubic", align_corners=False)


def _pair(photograph: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """photograph: [height, width]. Returns patches without overlap [n, 1, side, side] and [n, 1, 2 side, 2 side]."""
    large = _SCALE * side
    high = photograph.unfold(0, large, large).unfold(1, large, large).reshape(-1, 1, large, large)
    low = functional.interpolate(high, scale_factor=1 / _SCALE, mode="bicubic", antialias=True, align_corners=False)
    return low.clamp(0, 1), high
