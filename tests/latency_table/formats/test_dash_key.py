import pytest

from hwprof.errors import InputError
from hwprof.latency_table import Row
from hwprof.latency_table.formats import dash_key


@pytest.mark.parametrize(
    "key",
    [
        "Conv-input:224x224x3-output:112x112x32",
        "expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-stride:2-idskip:0",
        "expanded_conv-input:112x112x16-output:56x56x24-expand:96-kernel:5-stride:2-idskip:0-se:1-hs:0",
        "Logits-input:7x7x1280-output:1000",
    ],
)
def test_a_key_comes_back_as_it_was(key):
    assert dash_key.of(Row.of(*dash_key.parse(key), 1.0)) == key


@pytest.mark.parametrize("key", ["Conv", "Conv-input", "Conv-input:8x8-output:4x4x8", "Conv-input:axb"])
def test_a_key_of_another_kind_is_refused(key):
    with pytest.raises(InputError):
        dash_key.parse(key)


def test_a_row_that_the_notation_cannot_name_is_refused():
    with pytest.raises(InputError, match=r"Conv\(groups=2\) has no key"):
        dash_key.of(Row.of("Conv", {"groups": 2}, 1.0))
