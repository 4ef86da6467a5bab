"""Which networks of a generic sample are measured next: operators and networks in turns, the user's own among them, and
once there are 300, half of them those that a predictor knows least about.

A predictor knows least where its members disagree, or where the time is in kernels unlike those that it learned from.
The other half stays random, so that the error that is found on it holds for networks that nobody chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, zip_longest

import numpy as np

from hwprof.encoders.kernels import Kernels
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.predictors.kernels import KernelPredictor

CHOSEN_FROM = 300  # measured networks
BATCH = 60  # networks for which the same predictor chooses
_CANDIDATES = 3  # of which one is chosen
_STEPS = 250  # of the predictor that chooses
_OWN_EVERY = 3  # networks of which one is the user's

Drawn = tuple[Arch | None, Graph]  # no architecture: a user's network
Measured = Callable[[], tuple[list[Kernels], np.ndarray]]  # kernels, [n], and latencies, ms, [n]


def interleaved(drawn: Iterator[Drawn], own: Iterator[Graph]) -> Iterator[Drawn]:
    """Both, one of three being the user's own as long as there are some."""
    while True:
        some = list(islice(drawn, _OWN_EVERY - 1))
        some += [(None, graph) for graph in islice(own, 1)]
        if not some:
            return
        yield from some


def informed(networks: Iterator[Drawn], measured: Measured, encode: Callable[[Graph], Kernels]) -> Iterator[Drawn]:
    """The networks, of which half are chosen once enough are measured. Those that are passed over are lost."""
    while batch := list(islice(networks, BATCH)):
        known, latencies_ms = measured()
        if len(known) < CHOSEN_FROM:
            yield from batch
            continue
        candidates = list(islice(networks, _CANDIDATES * BATCH // 2))
        try:
            chosen = least_known(known, latencies_ms, [encode(graph) for _, graph in candidates], BATCH // 2)
        except InputError:  # latencies that nothing can be learned from
            chosen = []
        for pair in zip_longest(batch[: BATCH // 2], [candidates[i] for i in chosen]):
            yield from (network for network in pair if network is not None)


def least_known(known: Sequence[Kernels], latencies_ms: np.ndarray, candidates: Sequence[Kernels], n: int) -> list[int]:
    """latencies_ms: [n_known]. Returns the numbers of the `n` candidates that a predictor of the known networks knows
    least about, the least known first. Networks with operators whose work is not known are never among them."""
    fit = [i for i, network in enumerate(known) if not network.missing]
    predictor = KernelPredictor(steps=_STEPS).fit_members([known[i] for i in fit], latencies_ms[fit])
    spread = predictor.opinions(candidates).std(axis=0) + predictor.outside(candidates)
    order = np.argsort(-spread, kind="stable").tolist()
    return [i for i in order if not candidates[i].missing][:n]
