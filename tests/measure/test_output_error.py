import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measure.output_error import is_approximated, relative_rms
from hwprof.measure.transport import MockTransport
from hwprof.measure.worker_process import LOCAL
from hwprof.variants.half import half
from hwprof.variants.quantize import quantize

CPU = Device("cpu", "onnxruntime")


def dense(channels: int = 4) -> Graph:
    b = GraphBuilder("dense")
    return b.build(b.gemm(b.input((1, 8), name="x"), channels))


def test_quantized_and_half_networks_approximate_a_float_one_of_the_same_interface():
    assert is_approximated(dense(), quantize(dense()))
    assert is_approximated(dense(), half(dense()))
    assert not is_approximated(dense(), dense())
    assert not is_approximated(quantize(dense()), quantize(dense()))
    assert not is_approximated(dense(), quantize(dense(channels=5)))


def test_a_network_has_no_error_against_itself(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 8), np.float32))
    assert relative_rms(dense(), dense(), [{"x": str(tmp_path / "x.npy")}, {"x": "2"}], CPU, LOCAL) == 0


def test_the_error_is_relative_to_the_outputs_of_all_samples():
    answers = iter([{"squares": 1.0, "reference": 30.0}, {"squares": 3.0, "reference": 70.0}])
    seen = []

    def worker(request):
        seen.append([Graph.from_json(text).given for text in request["graphs"]])
        return [next(answers)]

    found = relative_rms(dense(), dense(), [{"x": "1"}, {"x": "2"}], CPU, MockTransport(worker))
    assert found == pytest.approx(0.2)
    assert seen == [[(("x", "1"),)] * 2, [(("x", "2"),)] * 2]


def test_an_output_that_is_not_finite_has_no_error():
    assert np.isnan(
        relative_rms(
            dense(), dense(), [{"x": "1"}], CPU, MockTransport(lambda _: [{"squares": None, "reference": None}])
        )
    )


def test_a_runtime_that_shows_no_outputs_says_so():
    with pytest.raises(InputError, match="does not show the outputs"):
        relative_rms(dense(), dense(), [{"x": "1"}], Device.load("roofline-edge-gpu"), LOCAL)
