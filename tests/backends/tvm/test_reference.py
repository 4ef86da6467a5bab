from __future__ import annotations

import numpy as np
import pytest

from hwprof.backends.tvm import reference
from hwprof.errors import InputError


@pytest.mark.parametrize(
    ("have", "want", "off"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 4.5], [1.0, 5.0], 0.1),
        ([0.5, 0.0], [0.0, 0.0], 0.5),  # of nothing: the difference itself
        ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_the_difference_is_relative_to_the_largest_value(have: list[float], want: list[float], off: float):
    assert reference.difference(np.array(have), np.array(want)) == pytest.approx(off)


def test_what_onnx_runtime_computes_passes_and_anything_else_is_an_error(tiny_graph):
    expected = reference.outputs(tiny_graph)
    reference.require_same(tiny_graph, expected, expected)
    (name,) = tiny_graph.outputs
    wrong = {name: expected[name] * 1.01}
    with pytest.raises(
        InputError, match=rf"^tvm computes 'tiny' wrong: output '{name}' differs by 1\.0e-02 of its largest "
    ):
        reference.require_same(tiny_graph, wrong, expected)
    with pytest.raises(InputError, match=r"has shape \(1,\), not \(1, 4, 8, 8\)"):
        reference.require_same(tiny_graph, {name: np.zeros(1)}, expected)


def test_quantized_networks_may_round_to_the_next_step(quantized):
    expected = reference.outputs(quantized)
    (name,) = quantized.outputs
    step = np.abs(expected[name]).max() / 127
    reference.require_same(quantized, {name: expected[name] + step}, expected)
    with pytest.raises(InputError, match="tvm computes 'quantized' wrong"):
        reference.require_same(quantized, {name: expected[name] + 10 * step}, expected)
