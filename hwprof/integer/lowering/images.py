"""Images with one, two or three spatial axes as the two-dimensional ones that the operations know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, image_axes, refuse
from hwprof.integer.program.program import Window


@dataclass(frozen=True, slots=True)
class Reach:
    """The window of an operator along one spatial axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    pad: int = 0

    def span(self, count: int) -> int:
        """How many pixels, padding included, `count` windows cover."""
        return (count - 1) * self.stride + (self.kernel - 1) * self.dilation + 1


def reaches(node: Node, kernel: Sequence[int], source: Sequence[int], size: Sequence[int]) -> list[Reach]:
    """The window of an operator. kernel, source, size: [axes], of the operator, its input and its output."""
    axes = len(kernel)
    strides = tuple(node.attribute("strides", (1,) * axes))
    dilations = tuple(node.attribute("dilations", (1,) * axes))
    pads = tuple(node.attribute("pads", (0,) * 2 * axes))[:axes]
    kind = node.attribute("auto_pad", "NOTSET")
    if kind.startswith("SAME"):
        spans = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(size, strides, kernel, dilations, strict=True)]
        total = [max(0, span - n) for span, n in zip(spans, source, strict=True)]
        pads = tuple(t // 2 if kind == "SAME_UPPER" else t - t // 2 for t in total)
    elif kind == "VALID":
        pads = (0,) * axes
    return [Reach(*each) for each in zip(kernel, strides, dilations, pads, strict=True)]


def window(down: Reach, across: Reach) -> Window:
    """The window of an operation on a two-dimensional image."""
    return Window(
        (down.kernel, across.kernel), (down.stride, across.stride), (down.dilation, across.dilation),
        (down.pad, across.pad),
    )  # fmt: skip


def require_image(node: Node, held: Held, axes: Sequence[int] = (1, 2, 3)) -> None:
    """Raises InputError for a tensor with another number of spatial axes."""
    if len(held.shape) - 2 not in axes:
        known = " or ".join(map(str, axes))
        raise refuse(node, f"its input has {len(held.shape) - 2} spatial axes; images with {known} are supported")


def planar(symbols: SymbolTable, held: Held) -> Held:
    """An image with one or two spatial axes as one with two, the first of size 1."""
    image = symbols.image(held)
    return image if len(held.shape) == 4 else seen_as(symbols, image, (*held.shape[:2], 1, held.shape[2]))


def seen_as(symbols: SymbolTable, image: Held, shape: Sequence[int]) -> Held:
    """The image, which has the channels last, in another ONNX shape with the same number of channels or pixels."""
    if image.shape == tuple(shape):
        return image
    memory = [shape[axis] for axis in image_axes(len(shape))]
    flat = symbols.reshaped(image, memory, f"{image.value} as {len(shape) - 2} axes")
    return replace(flat, shape=tuple(shape), is_image=True)
