"""Fixtures that tests share."""

import os

# Before any library reads them. One thread, because several test processes share the cores. Threads that a test asks
# for sleep while they wait: on a busy machine, threads that spin keep the core from those that they wait for.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Each process of tests may measure beside others and beside a user's hwprof: no test asserts how long anything takes.
os.environ["HWPROF_LOCK"] = f"hwprof-tests-{os.getpid()}"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that run it without hwprof's backend

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import hypothesis
import pytest

from hwprof import plugins
from hwprof.builder import GraphBuilder
from hwprof.data import dataset
from hwprof.data.store import Store
from hwprof.graph import Graph
from hwprof.integer.kernels.compile import FOLDER
from hwprof.integer.run.library import INSTRUCTION_SETS, Library
from hwprof.jobs import Options, collecting
from hwprof.jobs.collecting import Plan
from hwprof.measure import environment
from hwprof.measurement import FAST
from tests.samples import noisy_device

# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")
FORCED = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def pytest_report_header() -> list[str]:
    """Which processor the answers come from, as some depend on it."""
    hardware = environment.hardware()
    forced = [f"{name}={os.environ[name]}" for name in FORCED if name in os.environ]
    return [
        f"processor: {hardware['cpu']}, {hardware['cores']} cores, load {os.getloadavg()[0]:.1f}",
        f"instruction sets: {' '.join(f for f in hardware['features'] if not f.startswith('sse'))}",
        f"torch: {capability()}; forced: {', '.join(forced) or 'nothing'}",
    ]


def capability() -> str:
    """The instruction set that torch chose its own kernels for."""
    try:
        import torch
    except ImportError:
        return "not installed"
    return f"{torch.backends.cpu.get_cpu_capability()}, oneDNN {torch.backends.mkldnn.is_available()}"


@pytest.fixture
def tiny_graph() -> Graph:
    """Two convolutions on 8 x 8."""
    b = GraphBuilder("tiny")
    x = b.input((1, 3, 8, 8))
    return b.build(b.relu(b.conv(b.relu(b.conv(x, 4, 3)), 4, 3)))


def install_tiny_spaces(monkeypatch):
    """Adds the spaces of tests/tiny_space.py to those that are installed."""
    points = [EntryPoint(name, f"tests.tiny_space:{name.upper()}", "hwprof.spaces") for name in ("space", "zeroed")]

    def both(group, name=None):
        real = entry_points(group=group) if name is None else entry_points(group=group, name=name)
        return [*real, *(p for p in points if p.group == group and name in (None, p.name))]

    monkeypatch.setattr(plugins, "entry_points", both)


@pytest.fixture
def tiny_spaces(monkeypatch):
    """Spaces named "space" and "zeroed"."""
    install_tiny_spaces(monkeypatch)


@pytest.fixture(scope="session")
def collected(tmp_path_factory):
    """The folder of a data set: all 32 networks of the tiny space on an analytic device with noise."""
    folder = tmp_path_factory.mktemp("collected") / "tiny-noisy"
    with pytest.MonkeyPatch.context() as monkeypatch, Store() as store:
        install_tiny_spaces(monkeypatch)
        plan = Plan("space", noisy_device(0.01, 0.005), 32)
        collecting.carry_out(plan, folder, store, Options(FAST))
    return folder


@pytest.fixture(scope="session")
def trained(collected):
    """The default predictor of `collected`. For all tests: do not change it."""
    from hwprof.predictors import learning

    with pytest.MonkeyPatch.context() as monkeypatch:
        install_tiny_spaces(monkeypatch)
        return learning.learn(dataset.read(collected), "physical")


@pytest.fixture(scope="session")
def kernels() -> Library:
    """The compiled integer kernels: the installed ones, or those in the folder that $HWPROF_TEST_KERNELS names."""
    return Library(Path(os.environ.get("HWPROF_TEST_KERNELS", FOLDER)))


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, kernels) -> str:
    if not kernels.runs(request.param):
        pytest.skip(f"this processor has no {request.param}")
    return request.param
