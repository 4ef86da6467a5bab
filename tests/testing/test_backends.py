from __future__ import annotations

from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest

from hwprof import plugins
from hwprof.backends import options
from hwprof.backends.roofline import Options
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.measurement import Evidence, OperatorTime
from hwprof.testing import check_backend, reference_graphs

COUNTER = count()
DEVICE = Device("d", "fake").with_options(peak_macs_per_s=1.0, peak_bytes_per_s=1.0)


class Timer:
    def __init__(self, graph):
        self.graph = graph

    def __call__(self, n, each=True):
        return [1000] * n if each else [1000 * n]

    def operators(self, n):
        return [OperatorTime("k", "Conv", 10.0, (self.graph.nodes[0].name,))]

    def outputs(self):
        return {name: np.zeros(self.graph.shape(name), np.float32) for name in self.graph.outputs}


class Backend:
    """Keeps the contract with the timer given."""

    evidence = Evidence.EMULATED

    def __init__(self, timer=Timer):
        self.timer = timer

    def versions(self):
        return {"fake": "1"}

    @contextmanager
    def open(self, graph, device):
        options.read(Options, device)
        options.require_float32(device)
        if any(node.domain for node in graph.nodes):
            raise InputError("not implemented")
        yield self.timer(graph)


def timer(**methods):
    return type("Broken", (Timer,), methods)


def test_a_backend_that_keeps_the_contract_passes():
    check_backend(Backend(), DEVICE)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (timer(__call__=lambda self, n, each=True: [1] * (n + 1) if each else [n]), "5 runs gave 6 latencies"),
        (timer(__call__=lambda self, n, each=True: [1] * n), "each=False gave 5 numbers"),
        (timer(__call__=lambda self, n, each=True: [0] * n if each else [n]), "latency 0 is not"),
        (timer(__call__=lambda self, n, each=True: [1.5] * n if each else [n]), "latency 1.5 is not"),
        (timer(operators=lambda self, n: [OperatorTime("k", "Conv", -1.0)]), "k took -1.0 ns"),
        (timer(operators=lambda self, n: [OperatorTime("k", "Conv", 0.0)]), "took no time at all"),
        (
            timer(operators=lambda self, n: [OperatorTime("k", "Conv", 1.0, ("nope",))]),
            r"not nodes of the graph: \['nope'\]",
        ),
        (timer(outputs=lambda self: {}), "outputs "),
        (timer(outputs=lambda self: {o: np.zeros(9) for o in self.graph.outputs}), r"has shape \(9,\)"),
        (timer(outputs=lambda self: {o: np.full(self.graph.shape(o), np.nan) for o in self.graph.outputs}), "finite"),
        (
            timer(outputs=lambda self: {o: np.full(self.graph.shape(o), next(COUNTER)) for o in self.graph.outputs}),
            "second run",
        ),
    ],
)
def test_a_timer_that_breaks_the_contract_is_found(broken, fault):
    with pytest.raises(AssertionError, match=fault):
        check_backend(Backend(broken), DEVICE)


class Careless(Backend):
    @contextmanager
    def open(self, graph, device):
        yield Timer(graph)


class Crashing(Backend):
    @contextmanager
    def open(self, graph, device):
        if "no_such_option" in device.option:
            raise KeyError("no_such_option")
        yield Timer(graph)


def test_a_backend_that_accepts_what_it_does_not_know_is_found():
    with pytest.raises(AssertionError, match="an unknown option was accepted"):
        check_backend(Careless(), DEVICE)


def test_a_backend_that_crashes_instead_of_refusing_is_found():
    with pytest.raises(AssertionError, match="raised KeyError instead of InputError"):
        check_backend(Crashing(), DEVICE)


def test_only_the_graphs_given_are_opened():
    opened = []

    class Recording(Timer):
        def __init__(self, graph):
            super().__init__(graph)
            opened.append(graph.name)

    check_backend(Backend(Recording), DEVICE, reference_graphs()[:1])
    assert set(opened) == {"residual"}


def test_the_reference_graphs_have_costs_so_that_analytic_backends_can_take_them():
    device = Device("d", "roofline").with_options(peak_macs_per_s=1e9, peak_bytes_per_s=1e9)
    backend = plugins.load("backend", "roofline")
    for graph in reference_graphs():
        with backend.open(graph, device) as opened:
            assert opened(1)[0] > 0
