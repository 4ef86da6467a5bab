import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.search.random import RandomSearch
from hwprof.spaces.of_variants import of_variants
from hwprof.spaces.varied import VariedSpace
from hwprof.testing import check_space
from hwprof.variants.factorize import factorize
from hwprof.variants.group import grouped
from hwprof.variants.prune import prune_channels
from hwprof.variants.spec import change


def network():
    b = GraphBuilder("small")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), 32, 3))
    x = b.relu(b.conv(x, 32, 3, stride=2))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


FIRST, SECOND, LAST = (node.label for node in network().nodes if node.op in ("Conv", "Gemm"))


def one(space, kind, layer, choice):
    """The architecture in which only this decision is not as before."""
    places = [(p.kind, p.layer) for p in space.positions]
    return tuple(choice if place == (kind, layer) else 0 for place in places)


def whole():
    return of_variants(network(), widths=(0.5, 0.25), groups=(2, 4), ranks=(0.25,), bits=(8, 4))


def test_it_keeps_the_contract_of_spaces():
    check_space(whole())


def test_as_before_is_the_network():
    assert whole().graph((0,) * len(whole().choices)).digest == network().digest


@pytest.mark.parametrize(
    ("kind", "layer", "choice", "expected"),
    [
        ("width", FIRST, 1, lambda g: prune_channels(g, {FIRST: 0.5})),
        ("groups", SECOND, 2, lambda g: grouped(g, {SECOND: 4})),
        ("rank", SECOND, 1, lambda g: factorize(g, {SECOND: 0.25})),
    ],
)
def test_each_decision_makes_its_variant(kind, layer, choice, expected):
    space = whole()
    assert space.graph(one(space, kind, layer, choice)).digest == expected(network()).digest


def test_8_bits_in_all_layers_are_the_int8_network_and_in_some_a_mixed_one():
    space = of_variants(network(), bits=(32, 8))
    assert space.choices == (2, 2, 2)
    assert space.graph((1, 1, 1)).digest == change("int8")(network()).digest
    mixed = space.graph((0, 1, 0))
    assert sorted({t.dtype for t in mixed.weights}) == ["float32", "int8"]


def test_a_layer_with_several_groups_has_no_rank_of_its_own():
    space = whole()
    both = tuple(map(max, one(space, "groups", SECOND, 1), one(space, "rank", SECOND, 1)))
    assert space.repair(both) == one(space, "groups", SECOND, 1)
    assert space.graph(both).digest == space.graph(space.repair(both)).digest


def test_an_architecture_is_written_and_read():
    space = whole()
    arch = tuple(map(max, one(space, "width", FIRST, 2), one(space, "bits", LAST, 1)))
    assert space.format(arch) == f"width of {FIRST} 0.25, bits of {LAST} 8"
    assert space.parse(space.format(arch)) == arch
    assert space.parse("as before") == (0,) * len(space.choices)
    with pytest.raises(InputError, match="no decision is 'nope of x'"):
        space.parse("nope of x 3")


def test_a_file_with_the_space_is_named_on_the_command_line(tmp_path):
    b = GraphBuilder("mine")
    onnx_io.save(
        onnx_io.materialize(b.build(b.conv(b.relu(b.conv(b.input((1, 8, 8, 8)), 32, 3)), 8, 3))), tmp_path / "net.onnx"
    )
    (tmp_path / "space_of_mine.py").write_text(
        "import hwprof as hp\nfrom hwprof.spaces.of_variants import of_variants\n"
        f"SPACE = of_variants(hp.load({str(tmp_path / 'net.onnx')!r}), widths=(0.5,), bits=(8,))\n"
    )
    named = VariedSpace(f"{tmp_path}/space_of_mine.py:SPACE")
    assert named.choices == (2, 2, 2)
    assert {t.dtype for t in named.graph(named.parse("1,1,1")).weights} >= {"int8"}


def test_every_strategy_can_search_it():
    space = whole()
    for arch in RandomSearch(space, seed=0).ask(8):
        assert space.graph(arch).outputs == network().outputs


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (0,)}, "cannot have the share of channels 0"),
        ({"groups": (1.5,)}, "cannot have the number of groups 1.5"),
        ({"ranks": (2,)}, "cannot have the share of the full rank 2"),
        ({"bits": (16,)}, "cannot have the number of bits 16"),
        ({}, "'small' has no layer to which these variants apply"),
    ],
)
def test_what_is_not_possible_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        of_variants(network(), **options)
