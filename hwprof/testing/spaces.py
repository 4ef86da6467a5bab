"""The contract of search spaces: `check_space`."""

from __future__ import annotations

from functools import partial

import numpy as np

from hwprof import cost, onnx_io
from hwprof.interfaces import Arch, SearchSpace
from hwprof.spaces import NotatedSpace, sampling
from hwprof.testing.rules import require, require_refusal


def check_space(space: SearchSpace, n: int = 5, seed: int = 0) -> None:
    """Builds the first and the last architecture of `choices` and `n` others between them.

    Each must have one graph, with the shapes that ONNX infers and operators of known cost. An architecture outside of
    `choices` must raise InputError, `repair` must not change its own result, and `parse` must read the text of
    `format`.
    """
    require(len(space.choices) > 0, "`choices` has no position")
    require(min(space.choices) >= 1, f"a position in `choices` {tuple(space.choices)} has no option")
    last = tuple(options - 1 for options in space.choices)
    rng = np.random.default_rng(seed)
    archs = sampling.stratified(space, min(n, sampling.size(space)), rng)
    for arch in ((0,) * len(last), last, *archs):
        _check_arch(space, arch)
    for arch in archs:
        _check_repair(space, arch, rng)
        if isinstance(space, NotatedSpace):
            text = space.format(arch)
            require(space.parse(text) == arch, f"{arch} is written as {text!r}, which is read as {space.parse(text)}")
    for wrong in ((*last[:-1], last[-1] + 1), (-1, *last[1:]), last[:-1], (*last, 0)):
        require_refusal(partial(space.graph, wrong), f"{wrong}, which does not fit `choices` {tuple(space.choices)},")


def _check_arch(space: SearchSpace, arch: Arch) -> None:
    graph = space.graph(arch)
    require(space.graph(arch) == graph, f"{arch} has another graph when it is built again")
    unknown = cost.unknown_operators(graph)
    require(not unknown, f"the graph of {arch} has operators without a cost rule: {', '.join(unknown)}")
    for inferred in onnx_io.infer_types(graph).values:
        stated = graph.type_of(inferred.name)
        require(stated == inferred, f"the graph of {arch} has {stated}, but ONNX infers {inferred}")


def _check_repair(space: SearchSpace, arch: Arch, rng: np.random.Generator) -> None:
    again = sampling.repaired(space, arch, rng)
    require(again == arch, f"`repair` returned {arch}, but repairs that to {again}")
