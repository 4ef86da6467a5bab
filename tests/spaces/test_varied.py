import sys

import pytest

from hwprof.errors import InputError
from hwprof.spaces import sampling
from hwprof.spaces.varied import VariedSpace
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")
ARCH = (1, 0, 1, 0)


def test_without_a_variant_the_networks_are_the_spaces_own():
    graph = VariedSpace("space").graph(ARCH)
    assert graph == SPACE.graph(ARCH)
    assert graph.name == "space 1-0-1-0"


@pytest.mark.parametrize(
    ("variant", "has"),
    [
        ("int8", lambda g: any(n.op == "QuantizeLinear" for n in g.nodes)),
        ("int8:s8s8", lambda g: "uint8" not in {t.dtype for t in g.values}),
        ("fp16", lambda g: any(t.dtype == "float16" for t in g.values)),
        ("lowrank:0.25", lambda g: len(g.nodes) > len(SPACE.graph(ARCH).nodes)),
    ],
)
def test_a_variant_changes_every_network(variant, has):
    graph = VariedSpace("space", variant).graph(ARCH)
    assert has(graph)
    assert variant in graph.name


def test_pruning_keeps_the_share_of_channels():
    wide = (1, 3, 1, 0)  # 32 channels
    pruned = VariedSpace("space", "prune:0.5").graph(wide)
    assert {w.shape[0] for w in pruned.weights} == {16, 32}  # the last layer's channels are the network's output


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("int7", "no variant is named 'int7'; examples: int8"), ("sparse:0.9", "'sparse:0.9' only changes weights")],
)
def test_a_variant_that_its_networks_cannot_have_is_refused(variant, reason):
    with pytest.raises(InputError, match=reason):
        VariedSpace("space", variant)


@pytest.mark.parametrize("text", ["1,0,1,0", "1-0-1-0", " 1,0,1,0 "])
def test_an_architecture_is_read_from_its_choices(text):
    assert VariedSpace("space").parse(text) == ARCH


def test_an_architecture_is_read_in_the_notation_of_the_space():
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert VariedSpace("nasbench201").parse(text) == (3, 0, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1,0", "4 positions, 2 were given"), ("1,9,1,0", "position 1 is 9"), ("one", "'one' is not an architecture")],
)
def test_what_is_no_architecture_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        VariedSpace("space").parse(text)


SPACE_FILE = """
class Mine:
    choices = (2, 3)

    def graph(self, arch):
        from hwprof.builder import GraphBuilder
        b = GraphBuilder("mine")
        return b.build(b.relu(b.conv(b.input((1, 3, 8, 8)), 4 * (arch[0] + 1), 3)))

SPACE, EMPTY, LIST = Mine(), Mine(), [1, 2]
EMPTY.choices = ()
"""


@pytest.fixture
def space_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "a_space_of_mine.py"
    path.write_text(SPACE_FILE)
    yield path
    sys.modules.pop("a_space_of_mine", None)


def test_a_space_of_the_user_s_is_named_by_its_file(space_file):
    space = VariedSpace(f"{space_file}:SPACE", "int8")
    assert space.choices == (2, 3)
    assert any(n.op == "QuantizeLinear" for n in space.graph((1, 0)).nodes)
    assert not space.is_installed


def test_a_space_is_named_by_its_module():
    assert VariedSpace("tests.tiny_space:SPACE").graph(ARCH) == SPACE.graph(ARCH)


@pytest.mark.parametrize(
    ("name", "told"), [("Mine", "the class Mine"), ("LIST", "a list"), ("EMPTY", "must be positive integers")]
)
def test_what_is_not_a_space_is_refused(space_file, name, told):
    with pytest.raises(InputError, match=told):
        VariedSpace(f"{space_file}:{name}")


def test_an_object_that_is_not_there_is_refused(space_file):
    with pytest.raises(InputError, match="does not lead to an object"):
        VariedSpace(f"{space_file}:NONE")


def test_a_varied_space_repairs_as_the_space_does():
    darts = VariedSpace("darts")
    arch = (0,) * len(darts.choices)
    assert sampling.repaired(darts, arch) == darts.space.repair(arch) != arch
    assert sampling.repaired(VariedSpace("space"), ARCH) == ARCH
