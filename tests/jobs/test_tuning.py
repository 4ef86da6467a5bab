from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwprof import jobs
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress
from tests.measure.scripted import ScriptedTransport

ANY = Device("any", "tvm")


def test_a_search_is_followed_step_by_step(tiny_graph: Graph):
    steps = [{"trials": n, "seconds": 1.0, "kernels": 2, "tuned": n, "best_ms": None} for n in (0, 1)]
    transport = ScriptedTransport(lambda request: steps if request["do"] == "tune" else None)
    seen: list[TuningProgress] = []
    reached = jobs.tune(tiny_graph, ANY, 7, 60.0, on_progress=seen.append, transport=transport)
    assert [step.trials for step in seen] == [0, 1]
    assert reached == seen[-1]
    (request,) = transport.asked("tune")
    assert (request["trials"], request["budget_s"], request["build"]) == (7, 60.0, 0)
    assert transport.requests[0]["do"] == "hold"
    assert set(transport.limits_s) == {3600.0}


@pytest.mark.parametrize("steps", [[], [{"trials": 1}]])
def test_a_search_that_tells_nothing_is_a_lost_device(tiny_graph: Graph, steps: list[object]):
    transport = ScriptedTransport(lambda request: steps if request["do"] == "tune" else None)
    with pytest.raises(DeviceLostError, match="'tune' is not hwprof's"):
        jobs.tune(tiny_graph, ANY, 7, 60.0, transport=transport)


def test_a_backend_that_has_nothing_to_tune_says_so(tiny_graph: Graph):
    with pytest.raises(InputError, match="backend 'roofline' of device 'roofline-edge-gpu' has nothing to tune"):
        jobs.tune(tiny_graph, "roofline-edge-gpu")


@pytest.mark.parametrize(("trials", "budget_s"), [(0, 1.0), (1, 0.0)])
def test_a_search_without_trials_or_time_is_refused(tiny_graph: Graph, trials: int, budget_s: float):
    with pytest.raises(InputError, match="needs at least one trial and more than 0 s"):
        jobs.tune(tiny_graph, ANY, trials, budget_s)


def test_given_inputs_bind_the_shape_and_go_to_the_search(tmp_path: Path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 4)) for name in "xy")
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx")
    step = {"trials": 1, "seconds": 1.0, "kernels": 1, "tuned": 1, "best_ms": None}
    transport = ScriptedTransport(lambda request: [step] if request["do"] == "tune" else None)
    values = {"x": np.ones((3, 4), np.float32)}
    jobs.tune(tmp_path / "net.onnx", ANY, 7, 60.0, inputs=values, transport=transport)
    (request,) = transport.asked("tune")
    sent = Graph.from_json(request["graph"])
    assert sent.shape("x") == (3, 4)
    assert [name for name, _ in sent.given] == ["x"]
