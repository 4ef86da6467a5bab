"""Weights divided so that sums of 16 bits hold their products, for processors whose dot product has no 32 bits.

AVX2's vpmaddubsw adds two products of a byte and an int8 in 16 bits. 128 * 255 is below 2^15: for any bytes, a sum is
exact where its positive weights add up to 128 at most and its negative ones to -128 at least. Weights within +-64 do so
by twos. By fours, of two adjacent quads, most do, which takes one instruction less. The excess over the bound is a
block of its own that the kernels add afterwards, so that results are exact for every int8. A panel with many such
blocks stays whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwprof.integer.program.weight_formats import PANEL, QUAD

EXACT, SINGLY, IN_PAIRS = range(3)  # `Mode` of kernels/plan.h
SMALLEST_SHIFT = 33  # of a result that the kernels read from the upper half of a product
_LARGEST_SUM = 128  # of the weights of one sign
# The cost of a quad relative to one that is summed up singly; measured on Zen 3.
_EXACT_COST, _PAIRED_COST, _BLOCK_COST = 1.65, 0.8, 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """weight: int8 [n], the panels and then the blocks; table: int32 [m], as kernels/plan.h has it for kParts;
    modes: int64 [panels]."""

    weight: np.ndarray
    table: np.ndarray
    modes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Excess:
    """Where sums of 16 bits may overflow: bool [panels, lines, quads] for quads that are summed up singly, and bool
    [panels, lines, quads // 2] for pairs of them."""

    singly: np.ndarray
    paired: np.ndarray


def divided(panels: np.ndarray, shift: np.ndarray) -> Parts:
    """panels: int8 [panels, lines, quads, PANEL, QUAD]; shift: int32 [panels, PANEL], of the rescaling."""
    excess = _excess(panels)
    modes = _cheapest(panels, excess)
    modes[(shift < SMALLEST_SHIFT).any(axis=1)] = EXACT
    division = _Division(panels.copy())
    singly, paired = (np.flatnonzero(modes == mode) for mode in (SINGLY, IN_PAIRS))
    even = panels.shape[2] // 2 * 2
    division.cut(singly, excess.singly[singly], together=1)
    division.cut(paired, excess.paired[paired], together=2)
    division.cut(paired, excess.singly[paired, :, even:], together=1, first=even)
    panel, place, blocks = division.ordered_blocks()
    starts = np.concatenate([[0], np.cumsum(np.bincount(panel, minlength=len(panels)))])
    table = np.concatenate([modes, starts, place.ravel()]).astype(np.int32)
    return Parts(np.concatenate([_in_halves(division.panels, modes != EXACT), blocks.ravel()]), table, modes)


def are_summed_singly(quads: np.ndarray) -> bool:
    """quads: int8 [..., QUAD]. Whether sums of two products hold all of them."""
    return not any((_pair_sums(quads, sign) > _LARGEST_SUM).any() for sign in (1, -1))


def _in_halves(panels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """int8 [n]: the panels, of which the chosen ones, bool [panels], have all quads of their first columns first."""
    flat = panels.reshape(len(panels), -1, 2, PANEL // 2 * QUAD)
    flat[chosen] = flat[chosen].swapaxes(1, 2).reshape(-1, *flat.shape[1:])
    return flat.ravel()


def _cheapest(panels: np.ndarray, excess: _Excess) -> np.ndarray:
    """int64 [panels]: the mode of each."""
    quads = panels.shape[1] * panels.shape[2]
    singly, paired = (exceeds.sum(axis=(1, 2)) for exceeds in (excess.singly, excess.paired))
    exact = np.full(len(panels), _EXACT_COST * quads)
    least = panels.reshape(len(panels), -1).min(axis=1, initial=0)
    exact[least == np.iinfo(np.int8).min] = np.inf  # the kernels' sign of it overflows
    # Of a pair, blocks hold the second quad's rest, and the first one's where it exceeds the bound alone.
    costs = (exact, quads + _BLOCK_COST * singly, _PAIRED_COST * quads + _BLOCK_COST * (paired + singly))
    cheapest: np.ndarray = np.argmin(costs, axis=0)
    return cheapest


def _excess(panels: np.ndarray) -> _Excess:
    """panels: as in `divided`."""
    *outer, quads, _, _ = panels.shape
    even = quads // 2 * 2
    singly, paired = np.zeros((*outer, quads), bool), np.zeros((*outer, even // 2), bool)
    for sign in (1, -1):
        sums = _pair_sums(panels, sign)
        singly |= sums.max(axis=-1) > _LARGEST_SUM
        paired |= (sums[:, :, 0:even:2] + sums[:, :, 1:even:2]).max(axis=-1) > _LARGEST_SUM
    return _Excess(singly, paired)


def _pair_sums(quads: np.ndarray, sign: int) -> np.ndarray:
    """quads: int8 [..., columns, QUAD]. Returns uint16 [..., 2 * columns]: of each two adjacent weights, those of the
    sign added up, without it."""
    share = np.maximum(quads, 0) if sign > 0 else np.negative(np.minimum(quads, 0))  # 128 as a byte, too
    words = np.ascontiguousarray(share).view(np.uint16).reshape(*quads.shape[:-2], -1)
    sums: np.ndarray = (words & 0xFF) + (words >> 8)
    return sums


@dataclass(slots=True, eq=False)
class _Division:
    """Panels of which parts are cut off, and for each part its panel, its line and quad, and its weights."""

    panels: np.ndarray
    _panel: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    _place: list[np.ndarray] = field(default_factory=lambda: [np.zeros((0, 2), np.int64)])
    _blocks: list[np.ndarray] = field(default_factory=lambda: [np.zeros((0, PANEL, QUAD), np.int8)])

    def cut(self, chosen: np.ndarray, exceeding: np.ndarray, together: int, first: int = 0) -> None:
        """Cuts the excess off the chosen panels, [n], where groups of `together` quads from the `first` on are
        exceeding, bool [n, lines, groups]."""
        panel, line, group = np.nonzero(exceeding)
        quad = first + group[:, None] * together + np.arange(together)
        at = chosen[panel][:, None], line[:, None], quad
        values = self.panels[at].astype(np.int16)
        kept = _within(values)
        self.panels[at] = kept
        panel, line = (np.broadcast_to(index, quad.shape).ravel() for index in at[:2])
        self._keep(panel, np.stack([line, quad.ravel()], axis=1), (values - kept).reshape(quad.size, 1, PANEL, QUAD))

    def _keep(self, panel: np.ndarray, place: np.ndarray, rest: np.ndarray) -> None:
        """rest: int16 [n, 1, PANEL, QUAD], of which a block holds a part."""
        while (left := rest.any(axis=(1, 2, 3))).any():
            panel, place, rest = panel[left], place[left], rest[left]
            block = _within(rest)
            self._panel.append(panel)
            self._place.append(place)
            self._blocks.append(block[:, 0].astype(np.int8))
            rest = rest - block

    def ordered_blocks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Panels [n], places [n, 2] and blocks [n, PANEL, QUAD], by panel."""
        panel, place, blocks = (np.concatenate(parts) for parts in (self._panel, self._place, self._blocks))
        order = np.argsort(panel, kind="stable")
        return panel[order], place[order], blocks[order]


def _within(quads: np.ndarray) -> np.ndarray:
    """quads: int16 [n, together, columns, QUAD]. Returns the part of them that each sum holds, of the same shape: the
    first weights whole."""
    n, together, columns, _ = quads.shape
    # The terms of every sum: [n, columns, 2, 2 * together].
    terms = np.moveaxis(quads.reshape(n, together, columns, 2, 2), 1, -2).reshape(n, columns, 2, 2 * together)
    kept = np.zeros_like(terms)
    for sign in (1, -1):
        share = np.maximum(sign * terms, 0)
        before = np.cumsum(share, axis=-1, dtype=np.int16) - share
        kept += sign * np.clip(_LARGEST_SUM - before, 0, share)
    pairs = np.moveaxis(kept.reshape(n, columns, 2, together, 2), -2, 1)
    return pairs.reshape(quads.shape)
