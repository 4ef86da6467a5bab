"""Variants by name, with real weights, as files."""

import sys

import numpy as np
import onnx
import pytest

from hwprof import onnx_io, workloads
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.graph import Graph
from hwprof.variants.apply import apply_variant
from hwprof.variants.factorize import factorize
from hwprof.variants.half import half
from hwprof.variants.prune import prune_channels
from hwprof.variants.quantize import quantize
from hwprof.variants.weights import load_weights


@pytest.fixture
def saved(tmp_path, mobile_block) -> Graph:
    """A file whose weights are not those that seed 0 would give."""
    onnx_io.save(mobile_block, tmp_path / "net.onnx", seed=7)
    return onnx_io.load(tmp_path / "net.onnx")


def relative_error(run, graph: Graph, variant: Graph) -> float:
    before, after = (run(onnx_io.materialize(g), graph)[0] for g in (graph, variant))
    return float(np.abs(before - after).max() / np.abs(before).max())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("fp16", half),
        ("prune:0.5", lambda g: prune_channels(g, 0.5)),
        ("sparse:0.9", lambda g: g),
        ("lowrank:0.5", lambda g: factorize(g, 0.5)),
        ("lowrank:4:spatial", lambda g: factorize(g, 4, "spatial")),
    ],
)
def test_the_file_holds_the_network_that_the_graph_function_gives(tmp_path, saved, spec, expected):
    variant, _ = apply_variant(saved, spec, tmp_path)
    assert variant == expected(saved)
    assert variant.name == f"net-{spec.replace(':', '')}"
    assert variant.source == str(tmp_path / f"{variant.name}.onnx")


def test_int8_without_data_is_calibrated_on_random_inputs_and_says_so(tmp_path, saved):
    variant, warnings = apply_variant(saved, "int8", tmp_path)
    assert variant == quantize(saved)
    assert len(warnings) == 1
    assert "8 random inputs" in warnings[0]


@pytest.mark.parametrize(("types", "expected"), [("s8s8", {"int8"}), ("u8u8", {"uint8"})])
def test_int8_comes_with_the_types_that_were_asked(tmp_path, saved, types, expected):
    variant, _ = apply_variant(saved, f"int8:{types}", tmp_path)
    convs = [n for n in variant.nodes if n.op == "Conv"]
    stored = [variant.producers()[name].inputs[0] for n in convs for name in n.inputs[:2]]
    assert {variant.type_of(name).dtype for name in stored} == expected


def test_int8_calibrated_on_the_users_data_is_near_the_float_network(tmp_path, run, saved):
    inputs = onnx_io.random_inputs(saved)
    np.savez(tmp_path / "data.npz", **inputs)
    variant, warnings = apply_variant(saved, "int8", tmp_path, calibration=tmp_path / "data.npz")
    assert warnings == []
    assert relative_error(run, saved, variant) < 0.1


def test_fp16_is_near_the_float_network(tmp_path, run, saved):
    variant, warnings = apply_variant(saved, "fp16", tmp_path)
    assert warnings == []
    assert relative_error(run, saved, variant) < 0.01


def test_fp16_says_what_it_had_to_cut(tmp_path, saved):
    model = onnx.load(saved.source)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tensor.dims, 1e6, np.float32), tensor.name))
    onnx.save(model, saved.source)
    variant, warnings = apply_variant(saved, "fp16", tmp_path)
    assert tensor.name in warnings[0]
    assert load_weights(variant)[tensor.name].max() == 65504


def test_sparse_weights_of_the_file_are_really_zero(tmp_path, saved):
    variant, warnings = apply_variant(saved, "sparse:0.9", tmp_path)
    weights, original = load_weights(variant), load_weights(saved)
    for tensor in (t for t in variant.weights if len(t.shape) > 1):
        zeros = weights[tensor.name] == 0
        assert zeros.sum() == int(0.9 * tensor.numel)
        assert np.array_equal(weights[tensor.name][~zeros], original[tensor.name][~zeros])
    assert any("latency is that of the dense network" in w for w in warnings)


def test_a_network_that_stays_as_it_was_is_told(tmp_path):
    graph = workloads.build("light_shufflenet")  # the shuffles need all channels
    assert "unchanged network" in apply_variant(graph, "prune:0.5", tmp_path)[1][0]


def test_an_old_opset_is_raised_for_int8(tmp_path):
    graph = workloads.build("light_squeezenet")
    assert dict(graph.opsets)[""] < 13
    variant, _ = apply_variant(graph, "int8", tmp_path)
    assert dict(variant.opsets)[""] >= 13


def test_the_same_seed_gives_the_same_file(tmp_path, mobile_block):
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        variant, _ = apply_variant(mobile_block, "int8", tmp_path / folder, seed=3)
        files.append(onnx.load(variant.source))
    assert files[0].graph == files[1].graph


def test_a_text_that_names_no_variant_leaves_no_file(tmp_path, mobile_block):
    with pytest.raises(InputError, match="no variant is named 'int4'"):
        apply_variant(mobile_block, "int4", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_quantized_network_is_not_quantized_again(tmp_path, mobile_block):
    with pytest.raises(InputError, match="quantized already"):
        apply_variant(quantize(mobile_block), "int8", tmp_path)


def test_without_onnxruntime_the_error_says_what_to_install(tmp_path, mobile_block, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "hwprof.onnx_io.runtime", raising=False)
    monkeypatch.delitem(sys.modules, "hwprof.variants.observed_ranges", raising=False)
    with pytest.raises(EnvironmentUnfitError, match=r"pip install 'hwprof\[onnxruntime\]'"):
        apply_variant(mobile_block, "int8", tmp_path)


def test_a_traced_module_has_no_variants(tmp_path, saved):
    traced = saved.renamed("mine", source=str(tmp_path / "traced-0.pt2"))
    with pytest.raises(
        InputError, match=r"'mine' is a PyTorch module, and a variant \(int8\) needs an ONNX network"
    ) as told:
        apply_variant(traced, "int8", tmp_path)
    assert str(tmp_path) not in str(told.value)
