"""The contract of search strategies: `check_search`."""

from __future__ import annotations

from collections.abc import Callable

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Search, SearchSpace, Trial
from hwprof.spaces import checked, sampling
from hwprof.testing.chains import ChainSpace
from hwprof.testing.rules import require

_BATCHES = 12  # that a search is asked for


def check_search(make: Callable[[SearchSpace, int], Search], space: SearchSpace | None = None, n: int = 4) -> None:
    """Lets a search ask for `n` architectures a few times (default space: 36 chains of convolutions) and tells it their
    trials, a third of them refused; then a batch that was refused as a whole, from the start.

    What it asks for is in the space and repaired, and at most `n`; it ends a small space without an error; the same
    seed and trials make it ask for the same. A space of one architecture is searched, or refused by InputError.
    """
    drawn: SearchSpace = ChainSpace() if space is None else space
    asked = _asked(make(drawn, 0), drawn, n, refused_share=1 / 3)
    require(bool(asked), "it asks for nothing")
    require(asked == _asked(make(drawn, 0), drawn, n, refused_share=1 / 3), "with the same seed it asks for others")
    others = [_asked(make(drawn, seed), drawn, n, refused_share=1 / 3) for seed in (1, 2, 3)]
    require(any(other != asked for other in others), "its seed changes nothing")
    require(bool(_asked(make(drawn, 0), drawn, n, refused_share=1.0)), "it asks for nothing")
    try:
        search = make(_OneArch(), 0)
    except InputError:
        return
    _asked(search, _OneArch(), n, refused_share=0.0)


class _OneArch(SearchSpace):
    choices = (1, 1)

    def graph(self, arch: Arch) -> Graph:
        checked("one", self.choices, arch)
        return ChainSpace().graph((0, 0, 0, 0))


def _asked(search: Search, space: SearchSpace, n: int, refused_share: float) -> list[list[Arch]]:
    """The batches of a search that is told a made-up score and latency of each, which grow with the choices."""
    asked: list[list[Arch]] = []
    for _ in range(_BATCHES):
        archs = search.ask(n)
        if not archs:
            break
        require(len(archs) <= n, f"asked for {n} architectures, it gave {len(archs)}")
        for arch in archs:
            require(checked("the search", space.choices, arch) == arch, f"{arch!r} is not a tuple of ints")
            require(sampling.repaired(space, arch) == arch, f"it asks for {arch}, which the space repairs")
        asked.append(archs)
        search.tell([_trial(arch, space, refused_share) for arch in archs])
    return asked


def _trial(arch: Arch, space: SearchSpace, refused_share: float) -> Trial:
    size = sum((choice + 1) / options for choice, options in zip(arch, space.choices, strict=True)) / len(arch)
    return Trial(arch, None if size > 1 - refused_share else size, 10 * size)
