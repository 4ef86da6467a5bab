"""A user's own networks in a generic sample: each of them whole, then random parts and smaller forms of them in turns.
They have the kernels that the user's next network will have, in the context in which it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from hwprof.errors import HwprofError, InputError
from hwprof.graph import Graph, captured
from hwprof.spaces.drawing import Drawing
from hwprof.variants.spec import change

MUTATIONS = ("prune:0.25", "prune:0.5", "prune:0.75", "lowrank:0.25", "lowrank:0.5")
_FEWEST, _MOST = 2, 60  # operators of a part
_ATTEMPTS = 20  # networks in a row that could not be made, after which the models give no further ones


def own_networks(models: Sequence[Graph], seed: int) -> Iterator[Graph]:
    """The models, then different parts and smaller forms of them, drawn by the seed, until hardly any new ones are
    found. Each has the name of its model, its family, and random weights."""
    plain = [replace(model, source=None) for model in models]
    yield from plain
    drawing, failed, seen = Drawing(seed), 0, {model.digest for model in plain}
    for i in count():
        if not plain or failed >= _ATTEMPTS * len(plain):
            return
        model = plain[i % len(plain)]
        try:
            made = _part(model, drawing) if drawing.chance(0.5) else change(drawing.of(MUTATIONS))(model)
        except HwprofError:  # there is nothing to prune, or the part has inputs of a kind that cannot be drawn
            failed += 1
            continue
        failed = 0 if made.digest not in seen else failed + 1
        if not failed:
            seen.add(made.digest)
            yield made.renamed(model.name)


def part(graph: Graph, start: int, stop: int) -> Graph:
    """The operators from `start` to before `stop`, which read what they need from inputs. Raises InputError where an
    input or output would not be of floats, or its shape is not known."""
    nodes = graph.nodes[start:stop]
    made = {name for node in nodes for name in node.outputs if name}
    stored = {t.name for t in (*graph.weights, *graph.constants)}
    read = dict.fromkeys(name for node in nodes for name in (*node.inputs, *captured(node)) if name)
    after = {name for node in graph.nodes[stop:] for name in (*node.inputs, *captured(node))} | set(graph.outputs)
    inputs = [graph.type_of(name) for name in read if name not in made and name not in stored]
    outputs = [graph.type_of(name) for name in made if name in after]
    if not inputs or not outputs or any(not t.dtype.startswith("float") for t in (*inputs, *outputs)):
        raise InputError(f"operators {start} to {stop} of {graph.name!r} have inputs or outputs that are not of floats")
    return replace(
        graph,
        nodes=nodes,
        inputs=tuple(inputs),
        outputs=tuple(sorted(t.name for t in outputs)),
        weights=tuple(t for t in graph.weights if t.name in read),
        constants=tuple(t for t in graph.constants if t.name in read),
        values=tuple(t for t in graph.values if t.name in made),
        source=None,
        given=(),
    )


def _part(graph: Graph, drawing: Drawing) -> Graph:
    size = min(drawing.size(_FEWEST, _MOST), len(graph.nodes))
    start = int(drawing.unit() * (len(graph.nodes) - size + 1))
    return part(graph, start, start + size)
