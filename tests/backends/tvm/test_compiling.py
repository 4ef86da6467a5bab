from __future__ import annotations

from dataclasses import replace

import pytest

from hwprof import workloads
from hwprof.backends.tvm import compiling, target
from hwprof.backends.tvm.library import relax
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError

TARGET = target.of(Device("d", "tvm"))
LACKING = {"separation_network": {"LSTM"}, "lstm_lm": {"LSTM"}, "lstm_lm_1024x1": {"LSTM"}}
QUICK = ["bert_tiny", "mobilenet_v3_small", "resnet18", "light_squeezenet"]


@pytest.mark.parametrize("name", workloads.names())
def test_the_importer_has_every_operator_of_a_workload_or_is_known_to_lack_it(name: str):
    known = relax.frontend.onnx.onnx_frontend._get_convert_map()
    assert {n.op for n in workloads.build(name).nodes} - known.keys() == LACKING.get(name, set())


@pytest.mark.parametrize("name", QUICK)
def test_a_workload_becomes_fused_kernels(name: str):
    graph = workloads.build(name)
    kernels = compiling.kernel_names(compiling.lower(graph, TARGET))
    assert 0 < len(kernels) < len(graph.nodes)
    assert any(kernel.startswith("fused_") for kernel in kernels)


@pytest.mark.parametrize("name", sorted(LACKING))
def test_a_workload_that_it_lacks_an_operator_for_is_refused_with_its_name(name: str):
    with pytest.raises(InputError, match=rf"^tvm cannot run '{name}': its importer has no operator LSTM$"):
        compiling.lower(workloads.build(name), TARGET)


def test_a_custom_operator_is_not_taken_for_onnxs_of_the_same_name():
    b = GraphBuilder("custom")
    (y,) = b.nodes("Relu", [b.input((1, 4))], [("float32", (1, 4))], domain="my.domain")
    graph = replace(b.build(y), opsets=(("", 17), ("my.domain", 1)))
    with pytest.raises(InputError, match=r"its importer has no operator my\.domain\.Relu$"):
        compiling.lower(graph, TARGET)


def test_an_operator_that_fails_on_import_is_named_in_a_line(capfd: pytest.CaptureFixture[str]):
    b = GraphBuilder("odd")
    x = b.input((1, 4, 4, 4))
    graph = b.build(b.node("MaxPool", [x], (1, 4, 4, 4), kernel_shape=(1, 1), strides=(1, 1), auto_pad="ODD"))
    with pytest.raises(InputError) as refused:
        compiling.lower(graph, TARGET)
    assert str(refused.value).startswith("tvm cannot run 'odd': operator MaxPool: ")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().out == ""
