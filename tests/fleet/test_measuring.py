"""Every consumer of latencies on a fleet, as its options make it: nothing else is changed for it."""

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.fleet.measuring import open_fleet
from hwprof.graph import Graph
from hwprof.jobs import comparing, profiling
from hwprof.jobs.picking import pick_device
from hwprof.jobs.sweeping import sweep
from hwprof.jobs.tuning import tune
from hwprof.measure.operator_pass import time_operators
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from tests.fleet.loopback import Loopback, plan_of
from tests.measure.scripted import ScriptedTransport

DEVICES = ("fast", "slow")


class Paced(ScriptedTransport):
    """Networks take `factor` ms."""

    factor = 1

    def measure(self, request):
        for answer in super().measure(request):
            for block in answer["process"]["blocks"]:
                block["samples_ns"] = [self.factor * ns for ns in block["samples_ns"]]
            yield answer


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    """A board for each of two devices; one more has both."""
    folder = tmp_path_factory.mktemp("fleet")
    plan_of(folder, ["a", "b"])
    path = folder / "fleet.toml"
    path.write_text(path.read_text().replace('"any"', '"fast"', 1).replace('"any"', '"slow"', 1))
    slow = Paced()
    slow.factor = 3
    with Loopback(type(plan_of(folder / "..", ["x"])).load(path), {"a": Paced(), "b": slow}) as opened:
        yield opened


@pytest.fixture
def fleet(loopback):
    with open_fleet(loopback.plan) as opened:
        yield opened


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """Their files."""
    for name in DEVICES:
        (tmp_path / f"{name}.toml").write_text(
            'schema = "hwprof.device/1"\nbackend = "roofline"\n'
            "[options]\npeak_macs_per_s = 1e12\npeak_bytes_per_s = 1e12\n"
            f"seed = {DEVICES.index(name)}\n"
        )
    monkeypatch.setenv("HWPROF_DEVICES", str(tmp_path))


def dense(width: int) -> Graph:
    b = GraphBuilder(f"dense-{width}")
    return b.build(b.gemm(b.input((1, width)), 1))


def test_a_profile_with_its_operators(fleet, devices):
    m = profiling.profile(dense(4), "fast", options=fleet.options(Options(FAST)))
    assert m.latency_ms == 1.0
    assert m.operators[0].op == "Conv"
    assert m.environment["board"] == "a"


def test_a_comparison(fleet, devices):
    (row,) = comparing.compare([dense(4), dense(5)], "slow", options=fleet.options(Options(FAST)))
    assert (row.verdict, row.a.latency_ms) == ("same", 3.0)


def test_a_sweep_is_one_table_of_every_device(fleet, devices):
    found = sweep([dense(4), dense(5)], fleet.devices, options=fleet.options(Options(FAST)))
    assert {(row.model, row.device): row.statistics.median for row in found.rows} == {
        ("dense-4", "fast"): 1.0, ("dense-5", "fast"): 1.0, ("dense-4", "slow"): 3.0, ("dense-5", "slow"): 3.0,
    }  # fmt: skip
    assert [one.row.device for one in found.fastest] == ["fast", "fast"]


def test_the_faster_device_of_a_fleet_is_picked_and_the_figures_are_told(fleet, devices, monkeypatch):
    told = []
    monkeypatch.setattr(fleet.fleet, "tell", told.append)
    assert pick_device(dense(4), fleet=fleet, options=Options(FAST)) == "fast"
    assert [line for line in told if "fast, 1 thread is fastest" in line]


def test_a_choice_without_data_sets_and_fleet_is_refused():
    with pytest.raises(InputError, match="data sets of two devices, or a fleet"):
        pick_device(dense(4))


def test_a_device_that_no_board_has_is_refused_with_those_that_are_there(fleet):
    with pytest.raises(InputError, match="has the device 'other'; known: fast, slow"):
        profiling.profile(dense(4), Device("other", "roofline"), options=fleet.options())


def test_a_request_to_a_single_worker_goes_to_a_board(fleet, devices):
    device = Device.load("fast")
    with fleet.options().limited_transport.open(device) as worker:
        assert time_operators(dense(4), device, 3, worker).profiled_ns == 1.1e6


def test_tuning_is_for_a_device_of_one_board(loopback, devices):
    with open_fleet(loopback.plan) as fleet:
        boards = tuple(type(board)(board.name, DEVICES) for board in fleet.fleet.plan.boards)
        object.__setattr__(fleet.fleet.plan, "boards", boards)
        with pytest.raises(InputError, match="kernels are kept on the board that tuned them, and a, b all have"):
            tune(dense(4), "fast", transport=fleet.options().transport)
