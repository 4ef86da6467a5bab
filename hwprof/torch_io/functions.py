"""ONNX operators that are more than one call of PyTorch; each takes tensors first, then plain numbers.

Functions that mention space take x: [batch, channels, *space]. Shapes of elementwise functions broadcast as in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {
    1: torch.conv_transpose1d,
    2: torch.conv_transpose2d,
    3: torch.conv_transpose3d,
}
_MAX_POOLS: Mapping[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_AVERAGE_POOLS: Mapping[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
Sizes = Sequence[int]


def pad_space(x: Tensor, pads: Sizes, value: float = 0.0) -> Tensor:
    """The input with `value` around it, [batch, channels, *larger space]. pads: the starts of all axes of space, then
    their ends, as ONNX writes them."""
    rank = len(pads) // 2
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    return functional.pad(x, pairs, value=value)


def is_symmetric(pads: Sizes) -> bool:
    """Whether each axis has as much padding at its start as at its end."""
    return list(pads[: len(pads) // 2]) == list(pads[len(pads) // 2 :])


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, strides: Sizes, pads: Sizes, dilations: Sizes, groups: int
) -> Tensor:
    """x: [batch, in, *space]; weight: [out, in / groups, *kernel]; bias: [out]. Returns [batch, out, *space]."""
    if not is_symmetric(pads):
        x, pads = pad_space(x, pads), [0] * len(pads)
    rank = len(strides)
    return _CONVOLUTIONS[rank](x, weight, bias, strides, list(pads[:rank]), dilations, groups)


def contiguous_convolution(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    """`convolution`, with the same shapes ([batch, in, *space], ...), of contiguous copies (NCHW) of both arguments."""
    # For 1x1 kernels in channels last, `contiguous` returns the weights unchanged.
    return convolution(x.contiguous(), weight.clone(memory_format=torch.contiguous_format), *rest)


def transposed_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, strides: Sizes, pads: Sizes, extra: Sizes, dilations: Sizes,
    groups: int,
) -> Tensor:  # fmt: skip
    """x: [batch, in, *space]; weight: [in, out / groups, *kernel]; bias: [out]. Returns [batch, out, *space].

    pads are symmetric; extra: ONNX's `output_padding`, which is added at the end of each axis.
    """
    rank = len(strides)
    return _TRANSPOSED[rank](x, weight, bias, strides, list(pads[:rank]), extra, groups, dilations)


def pads_inside(pads: Sizes, kernel: Sizes) -> bool:
    """Whether PyTorch's pooling supports the pads: equal on both sides and at most half of the window."""
    return is_symmetric(pads) and all(2 * p <= k for p, k in zip(pads, kernel, strict=False))


def max_pool(x: Tensor, kernel: Sizes, strides: Sizes, pads: Sizes, dilations: Sizes, ceil: bool) -> Tensor:
    """The largest element of each window, [batch, channels, *space]."""
    rank = len(kernel)
    if not pads_inside(pads, kernel):
        x, pads = pad_space(x, pads, float("-inf")), [0] * len(pads)
    return _MAX_POOLS[rank](x, kernel, strides, list(pads[:rank]), dilations, ceil)


def average_pool(
    x: Tensor, counted: Tensor | None, kernel: Sizes, strides: Sizes, pads: Sizes, ceil: bool, with_padding: bool
) -> Tensor:
    """The mean of each window, [batch, channels, *space]. counted: the share of each window that is not padding,
    [1, 1, *space], where padding does not count and PyTorch's pooling does not support the pads."""
    rank = len(kernel)
    pool = _AVERAGE_POOLS[rank]
    if pads_inside(pads, kernel):
        return pool(x, kernel, strides, list(pads[:rank]), ceil, with_padding)
    mean = pool(pad_space(x, pads), kernel, strides, [0] * rank, ceil, True)
    return mean if counted is None else mean / counted


def global_average_pool(x: Tensor) -> Tensor:
    """The mean over space, [batch, channels, 1, ...]."""
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    """The maximum over space, [batch, channels, 1, ...]."""
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


def affine(
    a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float, transposed_a: bool, transposed_b: bool
) -> Tensor:
    """Gemm: alpha * a b + beta * c, [m, n], for a: [m, k] and b: [k, n], each the other way round where `transposed`;
    c broadcasts to [m, n]."""
    a, b = (a.t() if transposed_a else a), (b.t() if transposed_b else b)
    if c is None:
        product = torch.mm(a, b)
        return product if alpha == 1 else product * alpha
    return torch.addmm(c, a, b, beta=beta, alpha=alpha)


def flat_softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax over all axes from the given one on, as before opset 13. x: [...]. Returns [...]."""
    rows = x.reshape(x.shape[:axis].numel(), -1)
    return (torch.log_softmax if log else torch.softmax)(rows, 1).reshape(x.shape)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """max(0, min(1, alpha x + beta)). x: [...]. Returns [...]."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def clip(x: Tensor, low: Any, high: Any) -> Tensor:
    """x: [...]. Returns x within the bounds, [...]; a bound is a number, a tensor of one element, or None."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    """SELU with parameters, which PyTorch's own lacks. x: [...]. Returns [...]."""
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """The slope times x where x is negative, else x. x: [...]; slope: broadcasts to it from the right. Returns
    [...]."""
    return torch.where(x < 0, x * slope, x)


def variadic_sum(*terms: Tensor) -> Tensor:
    """terms: [...] each, broadcast together. Returns their elementwise sum, [...]."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def mean_of(*terms: Tensor) -> Tensor:
    """terms: [...] each, broadcast together. Returns their elementwise mean, [...]."""
    return variadic_sum(*terms) / len(terms)


def extreme(*terms: Tensor, largest: bool) -> Tensor:
    """terms: [...] each, broadcast together. Returns their elementwise maximum or minimum, [...]."""
    result = terms[0]
    for term in terms[1:]:
        result = torch.maximum(result, term) if largest else torch.minimum(result, term)
    return result


def reduced(x: Tensor, axes: Sizes, keep: bool, how: str) -> Tensor:
    """x: [...]. Returns it reduced over the axes, which keep the length 1 with `keep`. how: sum, mean, max, min, l1,
    l2, square."""
    dims = tuple(axes)
    if how == "max":
        return torch.amax(x, dims, keep)
    if how == "min":
        return torch.amin(x, dims, keep)
    if how == "mean":
        return torch.mean(x, dims, keep)
    terms = {"sum": lambda: x, "l1": x.abs, "l2": x.square, "square": x.square}[how]()
    total = torch.sum(terms, dims, keep)
    return total.sqrt() if how == "l2" else total


def sliced(x: Tensor, axes: Sizes, starts: Sizes, stops: Sizes, steps: Sizes) -> Tensor:
    """x: [...]. Returns the part that ONNX's Slice cuts out, of as many axes; a negative step runs backwards."""
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        picked = range(*slice(start, _open_end(stop, step), step).indices(x.shape[axis]))
        length = abs(picked[-1] - picked[0]) + 1 if picked else 0
        x = x.narrow(axis, min(picked[0], picked[-1]) if picked else 0, length)
        if step < 0:
            x = x.flip(axis)
        if abs(step) > 1:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(None, None, abs(step)),)]
    return x


def _open_end(stop: int, step: int) -> int | None:
    """None where ONNX writes a very negative stop, which means "through the first element"."""
    return None if step < 0 and stop < -(2**31) + 1 else stop


def gathered(table: Tensor, indices: Tensor, axis: int, is_natural: bool = False) -> Tensor:
    """The table's rows along the axis, [*table axes before, *indices, *table axes after]; negative indices count from
    the end. is_natural: none of an embedding's is negative."""
    is_embedding = axis == 0 and table.dim() == 2 and indices.dim() > 0
    if not (is_embedding and is_natural):
        indices = torch.where(indices < 0, indices + table.shape[axis], indices)
    if is_embedding:
        return functional.embedding(indices, table)
    picked = table.index_select(axis, indices.reshape(-1))
    return picked.reshape(*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])


def gathered_elements(x: Tensor, axis: int, indices: Tensor) -> Tensor:
    """x, indices: [...], of the same rank. Returns elements of x along the axis, in the shape of the indices; negative
    indices count from the end."""
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def squeezed(x: Tensor, axes: Sizes) -> Tensor:
    """x: [...]. Returns it without the axes, each of length 1; without all axes of length 1 if none is given."""
    return torch.squeeze(x, tuple(axes)) if axes else torch.squeeze(x)


def unsqueezed(x: Tensor, axes: Sizes) -> Tensor:
    """x: [...]. Returns it with axes of length 1 at these places of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def depth_to_space(x: Tensor, block: int, columns_first: bool) -> Tensor:
    """[n, c, h, w] to [n, c / block^2, h * block, w * block]. columns_first: ONNX's mode CRD, which is PyTorch's pixel
    shuffle; else DCR."""
    if columns_first:
        return functional.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    split = x.reshape(n, block, block, c // block**2, h, w)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


class Lstm(nn.Module):
    """ONNX's LSTM on PyTorch's own module, which keeps its weights in the single block of memory that cuDNN wants.

    weights: those of `lstm_weights`.
    """

    def __init__(self, weights: Sequence[Sequence[Tensor]], size: int) -> None:
        super().__init__()
        first = weights[0]
        with_bias, both_ways = len(first) > 2, len(weights) > 1
        self._directions = len(weights)
        self.lstm = nn.LSTM(first[0].shape[1], size, bias=with_bias, bidirectional=both_ways, dtype=first[0].dtype)
        self.lstm.requires_grad_(False)
        for slot, value in zip(self.lstm.parameters(), (w for way in weights for w in way), strict=True):
            slot.copy_(value)

    def forward(
        self, x: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: [time, batch, in]; hidden, cell: [directions, batch or 1, size]. Returns [time, directions, batch, size]
        and both last states, [directions, batch, size]."""
        given = None if hidden is None or cell is None else (hidden, cell)
        y, (last_hidden, last_cell) = self.lstm(x, given)
        return y.reshape(*y.shape[:2], self._directions, -1).transpose(1, 2), last_hidden, last_cell


def lstm(
    x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor | None, hidden: Tensor | None, cell: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`Lstm` with weights that may change between two calls, in ONNX's layout: weight [directions, 4 size, in],
    recurrent [directions, 4 size, size], bias [directions, 8 size]. The rest and the results have the
    shapes of `Lstm.forward`."""
    directions, size = recurrent.shape[0], recurrent.shape[2]
    state = (directions, x.shape[1], size)
    given = [x.new_zeros(state) if s is None else s.expand(state).contiguous() for s in (hidden, cell)]
    flat = [w for way in lstm_weights(weight, recurrent, bias) for w in way]
    y, last_hidden, last_cell = torch.lstm(
        x, given, flat, bias is not None, 1, 0.0, torch.is_grad_enabled(), directions == 2, False
    )
    return y.reshape(*y.shape[:2], directions, -1).transpose(1, 2), last_hidden, last_cell


def lstm_weights(weight: Tensor, recurrent: Tensor, bias: Tensor | None) -> list[list[Tensor]]:
    """ONNX's weights (shapes as in `lstm`) as PyTorch wants them: for each direction W [4 size, in], R [4 size, size]
    and, where there is a bias, both halves of it [4 size], the gates in the order i, f, c, o instead of i, o, f, c."""

    def ordered(value: Tensor) -> Tensor:
        i, o, f, c = value.chunk(4)
        return torch.cat((i, f, c, o))

    ways = [[ordered(w), ordered(r)] for w, r in zip(weight, recurrent, strict=True)]
    for way, both in zip(ways, () if bias is None else bias, strict=bias is not None):
        way.extend(map(ordered, both.chunk(2)))
    return ways


def joined(tensors: Sequence[Tensor], axis: int, batch_axis: int) -> Tensor:
    """tensors: [...] each. Returns their concatenation along the axis; those of length 1 along the batch axis
    repeat."""
    batch = max(t.shape[batch_axis] for t in tensors)
    sizes = [[batch if i == batch_axis else n for i, n in enumerate(t.shape)] for t in tensors]
    return torch.cat([t.expand(size) for t, size in zip(tensors, sizes, strict=True)], axis)


class BatchNorm(nn.Module):
    """Normalizes by the batch's own statistics in training mode, and moves the running ones; else by the running ones.

    momentum: the share of the batch in the new running statistics, PyTorch's meaning; ONNX gives the old ones' share.
    """

    def __init__(self, momentum: float, epsilon: float) -> None:
        super().__init__()
        self.momentum = momentum
        self._epsilon = epsilon

    def forward(self, x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x: [batch, channels, *space]; all others: [channels]. Returns the normalized x, in its shape."""
        return functional.batch_norm(x, mean, variance, scale, shift, self.training, self.momentum, self._epsilon)


def quantize(
    x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, low: int, high: int, kind: torch.dtype
) -> Tensor:
    """round(x / scale) + zero, within [low, high], in the shape of x; scale and zero are scalars or [channels]."""
    return _steps(x, scale, zero, axis, low, high, torch.round).to(kind)


def quantized_steps(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, low: int, high: int) -> Tensor:
    """`quantize` with the result in floats and with a gradient, which passes straight through the rounding (Bengio et
    al., arXiv 1308.3432, section 4) and is 0 for an x outside of the range. x: [...]; scale, zero: scalars or
    [channels]. Returns [...]."""
    return _steps(x, scale, zero, axis, low, high, _RoundStraightThrough.apply)


def fake_quantized(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, low: int, high: int) -> Tensor:
    """The result of `quantize` and `dequantize` with the gradient of `quantized_steps`. x: [...]; scale, zero: scalars
    or [channels]. Returns [...]."""
    return dequantize(quantized_steps(x, scale, zero, axis, low, high), scale, zero, axis)


class _RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _steps(
    x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, low: int, high: int, rounded: Callable[[Tensor], Tensor]
) -> Tensor:
    shape = _channel_shape(x, scale, axis)
    steps = rounded(x / scale.reshape(shape))
    if zero is not None:
        steps = steps + zero.reshape(shape)
    return torch.clamp(steps, low, high)


def dequantize(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """(x - zero) * scale, in the shape of x; scale and zero are scalars or [channels] along the axis."""
    shape = _channel_shape(x, scale, axis)
    steps = x.to(scale.dtype)
    if zero is not None:
        steps = steps - zero.to(scale.dtype).reshape(shape)
    return steps * scale.reshape(shape)


def _channel_shape(x: Tensor, scale: Tensor, axis: int) -> list[int]:
    if scale.numel() == 1:
        return [1] * x.dim()
    return [-1 if i == axis % x.dim() else 1 for i in range(x.dim())]
