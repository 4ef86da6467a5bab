import numpy as np
import pytest

from hwprof.backends.integer import BACKEND, REFERENCE, _with_weights
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import Convolution
from hwprof.latency_table import operators
from hwprof.testing import check_backend, reference_graphs
from hwprof.variants.weights import load_weights
from tests.integer.programs import Quantized, sequence_network, small_network


def device(name: str, threads: int = 1) -> Device:
    return Device("test", "integer", threads=threads).with_options(instruction_set=name)


def test_every_instruction_set_keeps_the_contract(instruction_set):
    check_backend(BACKEND, device(instruction_set), [small_network(), sequence_network()])


def test_the_reference_keeps_the_contract():
    check_backend(REFERENCE, Device("test", "integer-reference"), [small_network(), sequence_network()])


@pytest.mark.parametrize("threads", [1, 4])
def test_kernels_and_reference_give_the_same_outputs(instruction_set, threads):
    graph = small_network()
    with (
        BACKEND.open(graph, device(instruction_set, threads)) as timer,
        REFERENCE.open(graph, Device("test", "integer-reference")) as slow,
    ):
        for name, output in slow.outputs().items():
            np.testing.assert_array_equal(timer.outputs()[name], output)


def test_it_tells_which_nodes_each_operation_computes():
    graph = small_network()
    executed = BACKEND.executed(graph, device("best"))
    with BACKEND.open(graph, device("best")) as timer:
        timed = timer.operators(1)
    assert [(kernel.op, tuple(graph.nodes[i].label for i in kernel.nodes)) for kernel in executed if kernel.nodes] == [
        (time.op, time.members) for time in timed
    ]


def test_it_tells_what_quantizes_the_ends_of_a_network_and_the_work_of_every_loop():
    executed = BACKEND.executed(small_network(), device("best"))
    assert [kernel.work.kind for kernel in executed if kernel.op == "border"] == [
        "quantization of an image inserted", "dequantization inserted",
    ]  # fmt: skip
    assert all(kernel.work.sizes for kernel in executed)


def test_a_weight_in_few_bits_takes_another_loop():
    b = Quantized("int4", opset=21)
    graph = b.build(b.q(b.matmul(b.q(b.input((2, 64))), b.w((64, 40), values=[1] * 64 * 40))))
    kinds = {
        weights: BACKEND.executed(graph, device("best").with_options(weights=weights))[2].work.kind
        for weights in ("int8", "smallest")
    }
    assert kinds == {"int8": "matrix product", "smallest": "matrix product dictionary-2"}


def test_its_versions_tell_compiled_kernels_apart():
    assert set(BACKEND.versions()) == {"hwprof-integer", "hwprof-integer-kernels"}
    assert set(REFERENCE.versions()) == {"hwprof-integer", "numpy"}


@pytest.mark.parametrize("weights", ["stored", "smallest", "int8"])
def test_outputs_do_not_depend_on_how_weights_are_stored(weights):
    b = Quantized("ternary", opset=21)
    x = b.q(b.input((2, 64)))
    x = b.q(b.matmul(x, b.w((64, 40), values=np.resize([-90, 0, 90, 0, 0], 64 * 40).tolist())))
    x = b.q(b.matmul(x, b.w((40, 9), values=np.resize(np.arange(-8, 8), 40 * 9).tolist(), dtype="int4")))
    graph = b.build(x)
    program = lowering.lower(graph, load_weights(graph))
    with (
        BACKEND.open(graph, device("best").with_options(weights=weights)) as timer,
        REFERENCE.open(graph, Device("test", "integer-reference")) as slow,
    ):
        for name, output in slow.outputs().items():
            np.testing.assert_array_equal(timer.outputs()[name], output)
    formats = {
        "stored": ["int8", "dictionary-16"], "smallest": ["dictionary-4", "dictionary-16"], "int8": ["int8", "int8"],
    }[weights]  # fmt: skip
    stored = _with_weights(weights, program, device("best"))
    assert [op.weight_format for op in stored.operations if isinstance(op, Convolution)] == formats


def test_an_unknown_way_to_store_weights_is_refused():
    with (
        pytest.raises(InputError, match="weights must be one of stored, smallest, int8, not 'tiny'"),
        BACKEND.open(small_network(), device("scalar").with_options(weights="tiny")),
    ):
        pass


def test_every_operator_of_a_latency_table_s_rows_runs_alone():
    found = operators.distinct([small_network()])
    assert {"QuantizeLinear", "Conv+Relu", "Conv", "Add", "Flatten+Gemm"} <= {o.op for o, _ in found}
    for _, single in found:
        with BACKEND.open(single, device("scalar")) as timer:
            assert min(timer(2)) > 0


def test_operators_are_timed_and_name_their_nodes():
    graph = small_network()
    with BACKEND.open(graph, device("scalar")) as timer:
        kernels = timer.operators(3)
    assert [k.op for k in kernels] == ["Convolution", "Convolution", "Add", "AveragePool", "Convolution"]
    assert {"Conv", "Relu"} <= {label.split("_")[0] for label in kernels[0].members}


def test_a_float_network_is_refused_in_one_line():
    with (
        pytest.raises(
            InputError,
            match="cannot run 'residual': it is a float network; profile it with --variant integer; operator",
        ),
        BACKEND.open(reference_graphs()[0], device("scalar")),
    ):
        pass


def test_an_unknown_instruction_set_is_refused():
    with (
        pytest.raises(InputError, match="instruction_set must be one of best, avx512-vnni"),
        BACKEND.open(small_network(), device("mmx")),
    ):
        pass


def test_an_instruction_set_that_the_processor_lacks_is_an_error_of_the_environment(kernels):
    missing = next(n for n in ("neon-sdot", "avx2") if not kernels.runs(n))
    with (
        pytest.raises(EnvironmentUnfitError, match=f"this processor has no {missing!r}"),
        BACKEND.open(small_network(), device(missing)),
    ):
        pass
