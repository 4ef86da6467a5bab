from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.spaces import checked
from hwprof.testing import check_space


class Sound:
    """One position: the number of layers. Every other class here breaks one rule."""

    choices = (3,)

    def graph(self, arch):
        (layers,) = checked("toy", self.choices, arch)
        b = GraphBuilder("toy")
        x = b.input((1, 4))
        for _ in range(layers + 1):
            x = b.relu(x)
        return b.build(x)

    def parse(self, text):
        return (len(text),)

    def format(self, arch):
        return "x" * arch[0]


class WithoutPositions(Sound):
    choices = ()


class WithoutOptions(Sound):
    choices = (3, 0)


class Unchecked(Sound):
    def graph(self, arch):
        return super().graph((max(0, min(2, arch[0])),))


class Crashing(Sound):
    def graph(self, arch):
        return super().graph((range(3)[arch[0]],)) if len(arch) == 1 else super().graph(arch)


class Moody(Sound):
    def __init__(self):
        self.calls = 0

    def graph(self, arch):
        self.calls += 1
        b = GraphBuilder("toy")
        return b.build(b.relu(b.input((1, self.calls))))


class WithWrongShapes(Sound):
    def graph(self, arch):
        graph = super().graph(arch)
        return replace(graph, values=tuple(replace(t, shape=(1, 5)) for t in graph.values))


class WithoutCost(Sound):
    def graph(self, arch):
        checked("toy", self.choices, arch)
        b = GraphBuilder("toy")
        return b.build(b.node("NoSuchOperator", [b.input((1, 4))], (1, 4)))


class Restless(Sound):
    def repair(self, arch, rng=None):
        return ((arch[0] + 1) % 3,)


class Misspelt(Sound):
    def format(self, arch):
        return "x" * (arch[0] + 1)


def test_a_sound_space_passes():
    check_space(Sound())


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (WithoutPositions(), "has no position"),
        (WithoutOptions(), r"a position in `choices` \(3, 0\) has no option"),
        (Unchecked(), r"\(3,\), which does not fit `choices` \(3,\), was accepted"),
        (Crashing(), "raised IndexError instead of InputError"),
        (Moody(), "has another graph when it is built again"),
        (WithWrongShapes(), "but ONNX infers"),
        (WithoutCost(), "operators without a cost rule: NoSuchOperator"),
        (Restless(), "`repair` returned"),
        (Misspelt(), "is written as 'x+', which is read as"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sound) else "",
)
def test_a_space_that_breaks_a_rule_is_told_which(space, reason):
    with pytest.raises(AssertionError, match=reason):
        check_space(space)
