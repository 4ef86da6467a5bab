"""The finalists of a search, measured in pairs with a baseline; the winner is the best one whose latency fits.

Only the measurement decides. The latencies that the search saw are predictions, and a search finds the networks whose
latency is under-estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from hwprof.data.result import Met, Result
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import SearchSpace, Trial
from hwprof.measurement import Comparison
from hwprof.search.run import Searched

Compare: TypeAlias = Callable[[Sequence[Graph]], Sequence[Comparison]]  # each network against the first
Describe: TypeAlias = Callable[[Trial, Graph, Comparison], Result]
AT_ONCE, MOST_ROUNDS = 3, 3


def measured(
    searched: Searched,
    space: SearchSpace,
    compare: Compare,
    describe: Describe,
    at_once: int = AT_ONCE,
    most_rounds: int = MOST_ROUNDS,
) -> list[Result]:
    """The results of the best trials, best score first, measured in pairs with the first trial: `at_once` of them, and
    while none of these meets its target the next ones, `most_rounds` times at most.

    Raises InputError for fewer than one at once.
    """
    if at_once < 1:
        raise InputError(f"at least one finalist is measured, not {at_once}")
    baseline = space.graph(searched.trials[0].arch)
    ranked = searched.best()
    results: list[Result] = []
    for start in range(0, min(len(ranked), at_once * most_rounds), at_once):
        some = ranked[start : start + at_once]
        graphs = [space.graph(trial.arch) for trial in some]
        comparisons = compare([baseline, *graphs])
        results += [describe(*each) for each in zip(some, graphs, comparisons, strict=True)]
        if winner(results) is not None:
            break
    return results


def winner(results: Sequence[Result]) -> Result | None:
    """The first result, which has the best score, among those whose measured latency is within the target; any fits
    where the target has no ms. None where none is."""
    return next((result for result in results if result.met in (None, Met.YES)), None)
