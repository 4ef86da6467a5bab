import json

import pytest

from hwprof.data import dataset
from hwprof.data.dataset import Card
from hwprof.errors import InputError
from hwprof.jobs import importing

pytestmark = pytest.mark.usefixtures("tiny_spaces")
CARD = Card("x", "pixel", space="space", source="a paper", licence="MIT")


def imported(tmp_path, content, columns=("arch",), card=CARD):
    path = tmp_path / "x.csv"
    path.write_text(content)
    return importing.import_data(path, tmp_path / "out", card, columns, "ms", "ms")


def test_architectures_are_read_from_their_choices(tmp_path):
    found = imported(tmp_path, 'arch,ms\n"1,0,1,0",2.5\n1-1-1-0,3\n1-9-1-0,4\n')
    assert found.dataset.archs == [(1, 0, 1, 0), (1, 1, 1, 0)]
    assert [(r.row, "position 1 is 9" in r.reason) for r in found.refused] == [(3, True)]


def test_architectures_are_read_in_the_notation_of_the_space(tmp_path):
    card = Card("x", "pixel", space="nasbench201", source="a paper", licence="MIT")
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert imported(tmp_path, f"arch,ms\n{text},2.5\n", card=card).dataset.archs == [(3, 0, 0, 1, 0, 0)]


def test_structured_columns_are_read_by_the_space_that_has_them(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"ks": [3] * 20, "e": [6] * 20, "d": [2] * 5, "r": 224, "ms": 3}))
    card = Card("x", "gpu", space="ofa_mbv3", source="a paper", licence="MIT")
    found = importing.import_data(path, tmp_path / "out", card, ["ks", "e", "d", "r"], "ms", "ms")
    assert len(found.dataset.archs) == 1


def test_several_columns_are_refused_where_the_space_has_one(tmp_path):
    with pytest.raises(InputError, match="'space' reads an architecture from one column, not from a, b"):
        imported(tmp_path, "a,b,ms\n1,2,3\n", ("a", "b"))


def test_an_unknown_space_is_refused(tmp_path):
    with pytest.raises(InputError, match="no space is named 'nope'; known: blockqnn"):
        imported(tmp_path, "arch,ms\n1,2\n", card=Card("x", "d", space="nope", source="s", licence="l"))


def test_a_sound_data_set_is_valid_and_one_of_another_space_is_not(collected, tmp_path):
    assert importing.validate(collected).card.rows == 32
    data = dataset.read(collected)
    entries = [dataset.Entry(1.0 + i, arch) for i, arch in enumerate(data.archs)]
    dataset.write(tmp_path / "other", Card("other", "d", space="nasbench201"), entries)
    with pytest.raises(InputError, match="is not an architecture of nasbench201"):
        importing.validate(tmp_path / "other")
