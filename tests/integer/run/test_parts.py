"""Weights that are divided for sums of 16 bits are whole again, and no sum overflows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprof.integer.program.weight_formats import PANEL, QUAD
from hwprof.integer.run import parts
from tests.integer.programs import drawn_weight

_SHIFT = np.full((1, PANEL), 40)


def drawn_panels(seed: int, panels: int, lines: int, quads: int) -> np.ndarray:
    weight = drawn_weight(np.random.default_rng(seed), (panels * PANEL, lines * quads * QUAD))
    return np.ascontiguousarray(weight.reshape(panels, PANEL, lines, quads, QUAD).transpose(0, 2, 3, 1, 4))


def plain(weight: np.ndarray, mode: int, shape: tuple[int, ...]) -> np.ndarray:
    """The panel, int8 [lines, quads, PANEL, QUAD], as it was before its halves were separated."""
    if mode == parts.EXACT:
        return weight.reshape(shape)
    return weight.reshape(2, *shape[:2], PANEL // 2, QUAD).transpose(1, 2, 0, 3, 4).reshape(shape)


def sums(quads: np.ndarray) -> tuple[int, int]:
    """quads: [together, PANEL, QUAD]. The lowest and highest weights that a sum of 16 bits adds up."""
    halves = quads.reshape(len(quads), PANEL, 2, 2).astype(int)
    return np.minimum(halves, 0).sum(axis=(0, 3)).min(), np.maximum(halves, 0).sum(axis=(0, 3)).max()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_the_parts_of_a_weight_add_up_to_it_and_no_sum_overflows(seed, panels, lines, quads):
    whole = drawn_panels(seed, panels, lines, quads)
    divided = parts.divided(whole, np.repeat(_SHIFT, panels, axis=0))
    starts = divided.table[panels : 2 * panels + 1]
    places = divided.table[2 * panels + 1 :].reshape(-1, 2)
    kept = divided.weight[: whole.size].reshape(panels, -1)
    blocks = divided.weight[whole.size :].reshape(-1, PANEL, QUAD)
    for i, mode in enumerate(divided.modes):
        panel = plain(kept[i], mode, whole.shape[1:])
        total = panel.astype(int)
        for (line, quad), block in zip(
            places[starts[i] : starts[i + 1]], blocks[starts[i] : starts[i + 1]], strict=True
        ):
            total[line, quad] += block
            assert sums(block[None])[0] >= -128
            assert sums(block[None])[1] <= 128
        np.testing.assert_array_equal(total, whole[i])
        step = {parts.EXACT: quads, parts.SINGLY: 1, parts.IN_PAIRS: 2}[mode]
        groups = [panel[line, k : k + step] for line in range(lines) for k in range(0, quads, step)]
        assert mode == parts.EXACT or all(max(-sums(group)[0], sums(group)[1]) <= 128 for group in groups)


@pytest.mark.parametrize(
    ("largest", "wanted"), [(32, parts.IN_PAIRS), (64, parts.SINGLY), (127, parts.EXACT)]
)  # fmt: skip
def test_a_panel_is_summed_up_in_the_fastest_way_that_its_weights_allow(largest, wanted):
    panels = np.random.default_rng(0).integers(-largest, largest + 1, (2, 1, 64, PANEL, QUAD), dtype=np.int8)
    assert list(parts.divided(panels, np.repeat(_SHIFT, 2, axis=0)).modes) == [wanted] * 2


def test_a_few_weights_of_eight_bits_leave_a_panel_fast():
    panels = np.random.default_rng(0).integers(-32, 33, (1, 1, 64, PANEL, QUAD), dtype=np.int8)
    panels[0, 0, 5, 3] = [127, 127, -128, -128]
    divided = parts.divided(panels, _SHIFT)
    assert list(divided.modes) == [parts.IN_PAIRS]
    assert len(divided.weight) > panels.size


def test_a_panel_with_a_result_below_the_upper_half_of_a_product_is_exact():
    panels = np.zeros((1, 1, 8, PANEL, QUAD), np.int8)
    assert list(parts.divided(panels, np.where(np.arange(PANEL) == 3, 32, _SHIFT)).modes) == [parts.EXACT]


def test_the_least_int8_is_never_exact_alone():
    """Its magnitude, which the exact kernels of AVX2 multiply, is no int8."""
    panels = np.full((1, 1, 8, PANEL, QUAD), -128, np.int8)
    assert parts.EXACT not in parts.divided(panels, _SHIFT).modes
