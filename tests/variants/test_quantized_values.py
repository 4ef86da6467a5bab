import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.variants import quantized_values
from hwprof.variants.quantize_whole import quantize_whole


def words(tied: bool):
    b = GraphBuilder("words")
    table = b.weight((9, 4))
    x = b.node("Gather", [table, b.input((3,), "int64")], (3, 4), "float32", axis=0)
    inputs = [x, table if tied else b.weight((9, 4)), b.weight((9,))]
    return b.build(b.node("Gemm", inputs, (3, 9), transB=1))


def test_what_is_looked_up_has_the_range_of_its_table():
    whole = quantize_whole(words(tied=False))
    assert quantized_values.activations(whole) == ["Gemm_1"]
    rng = np.random.default_rng(0)
    weights = {"w0": np.linspace(-1, 1.55, 36).reshape(9, 4), "w1": rng.standard_normal((9, 4)), "w2": np.ones(9)}
    arrays = quantized_values.values(whole, weights, {"Gemm_1": (-5.0, 5.0)})
    assert (arrays["w0_quantized"].min(), arrays["w0_quantized"].max()) == (0, 255)
    np.testing.assert_allclose(arrays["w0_scale"], 0.01, rtol=1e-6)
    np.testing.assert_allclose(arrays["w2_quantized"] * 0.01 * arrays["w1_scale"], 1.0, rtol=1e-4)


def test_a_tied_table_has_one_scale_and_what_is_looked_up_another():
    whole = quantize_whole(words(tied=True))
    assert quantized_values.activations(whole) == ["Gather_0", "Gemm_1"]
    table = np.full((9, 4), 0.5)
    table[0] = 1.27
    arrays = quantized_values.values(
        whole, {"w0": table, "w1": np.zeros(9)}, {"Gather_0": (-1.0, 1.0), "Gemm_1": (-5.0, 5.0)}
    )
    assert arrays["w0_scale"] == np.float32(0.01)
    assert np.unique(arrays["w0_quantized"]).tolist() == [50, 127]
