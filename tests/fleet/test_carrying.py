"""The files of networks on their way to a worker that does not see this machine's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.fleet.carrying import CarryingTransport
from hwprof.graph import Graph
from hwprof.measure import worker
from hwprof.measure.transport import MockTransport
from hwprof.measure.worker_state import WorkerState
from hwprof.workloads.loading import load_network

ANY = Device("any", "roofline")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """A network with weights in a file of their own, and an array for its input."""
    b = GraphBuilder("dense")
    model = onnx_io.materialize(b.build(b.gemm(b.input((1, 8)), 4)))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
    np.save(tmp_path / "x.npy", np.ones((1, 8), np.float32))
    loaded = load_network(str(path))
    return replace(loaded, given=((loaded.inputs[0].name, str(tmp_path / "x.npy")),))


class Elsewhere:
    """A worker with a state of its own, which says what it sees of the graphs that it is asked for."""

    def __init__(self) -> None:
        self.state = WorkerState(is_alone=False)
        self.requests: list[str] = []

    def __call__(self, request):
        self.requests.append(request["do"])
        if request["do"] == "receive":
            return list(worker.receive(request, self.state))
        return [self._seen(Graph.from_json(text)) for text in request["graphs"]]

    def _seen(self, graph: Graph) -> dict:
        if graph.source is None:
            return {"source": None}
        folder = Path(graph.source).parent
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return {"source": graph.source, "files": files, "given": np.load(graph.given[0][1]).sum().item()}


@pytest.fixture
def elsewhere():
    made = Elsewhere()
    with made.state:
        yield made


def test_a_worker_elsewhere_has_the_files_of_a_network_while_it_runs(graph: Graph, elsewhere: Elsewhere):
    with CarryingTransport(MockTransport(elsewhere)).open(ANY) as opened:
        (seen,) = opened.ask("measure", graphs=[graph.to_json()])
    assert seen["files"] == ["given-0.npy", "model.data", "model.onnx"]
    assert seen["given"] == 8
    assert seen["source"] != graph.source
    elsewhere.state.__exit__()
    assert not Path(seen["source"]).exists()


def test_files_are_sent_once_to_a_worker_and_a_network_without_files_not_at_all(
    graph: Graph, tiny_graph: Graph, elsewhere: Elsewhere
):
    with CarryingTransport(MockTransport(elsewhere)).open(ANY) as opened:
        for _ in range(2):
            _, second = opened.ask("measure", graphs=[graph.to_json(), tiny_graph.to_json()])
    assert elsewhere.requests == ["receive", "measure", "measure"]
    assert second == {"source": None}


def test_a_worker_that_does_not_say_where_the_files_are_is_lost(graph: Graph):
    with (
        CarryingTransport(MockTransport(lambda request: [{}])).open(ANY) as opened,
        pytest.raises(DeviceLostError, match="'folder' is missing"),
    ):
        list(opened.ask("measure", graphs=[graph.to_json()]))


@pytest.mark.parametrize("name", ["../x", "/etc/x", ""])
def test_a_worker_writes_nothing_outside_of_its_folder(elsewhere: Elsewhere, name: str):
    with pytest.raises(InputError, match="outside its folder"):
        list(worker.receive(json.loads(json.dumps({"files": {name: ""}})), elsewhere.state))
