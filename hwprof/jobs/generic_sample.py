"""Which networks of a generic sample are measured next: operators and networks in turns, the user's own among them, and
once there are 300, half of them those that a predictor knows least about.

A predictor knows least where its members disagree, or where the time is in kernels unlike those that it learned from.
The other half stays random, so that the sample covers all families however wrong the predictor is about itself.
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
_STEPS = 250  # of gradient descent, half of those of a predictor that is kept
_OWN_EVERY = 3  # networks of which one is the user's

Drawn = tuple[Arch | None, Graph]  # no architecture: a user's network
Measured = Callable[[], tuple[Sequence[Kernels], np.ndarray]]  # kernels, [n], and latencies, ms, [n]


def interleaved(drawn: Iterator[Drawn], own: Iterator[Graph]) -> Iterator[Drawn]:
    """Both, one of three being the user's own as long as there are some."""
    while True:
        some = list(islice(drawn, _OWN_EVERY - 1))
        some += [(None, graph) for graph in islice(own, 1)]
        if not some:
            return
        yield from some


def informed(networks: Iterator[Drawn], measured: Measured, encode: Callable[[Graph], Kernels]) -> Iterator[Drawn]:
    """The networks, of which half are chosen once enough are measured. The candidates that are not chosen are left
    out."""
    while True:
        known, latencies_ms = measured()
        if len(known) < CHOSEN_FROM:
            batch = list(islice(networks, BATCH))
        else:
            at_random = list(islice(networks, BATCH // 2))
            chosen = _chosen(list(islice(networks, _CANDIDATES * BATCH // 2)), known, latencies_ms, encode)
            batch = [network for pair in zip_longest(at_random, chosen) for network in pair if network is not None]
        if not batch:
            return
        yield from batch


def _chosen(
    candidates: Sequence[Drawn], known: Sequence[Kernels], latencies_ms: np.ndarray, encode: Callable[[Graph], Kernels]
) -> Sequence[Drawn]:
    """latencies_ms: [n_known]. The candidates that are known least; the first ones where nothing can be learned."""
    try:
        numbers = least_known(known, latencies_ms, [encode(graph) for _, graph in candidates], BATCH // 2)
    except InputError:
        return candidates[: BATCH // 2]
    return [candidates[i] for i in numbers]


def least_known(known: Sequence[Kernels], latencies_ms: np.ndarray, candidates: Sequence[Kernels], n: int) -> list[int]:
    """latencies_ms: [n_known]. Returns the numbers of the `n` candidates that a predictor of the known networks knows
    least about, the least known first. Networks with operators whose work is not known are never among them.

    Raises InputError for latencies that cannot be learned from."""
    usable = [i for i, network in enumerate(known) if not network.missing]
    predictor = KernelPredictor(steps=_STEPS).fit_members([known[i] for i in usable], latencies_ms[usable])
    ignorance = predictor.opinions(candidates).std(axis=0) + predictor.outside(candidates)
    order = np.argsort(-ignorance, kind="stable").tolist()
    return [i for i in order if not candidates[i].missing][:n]
