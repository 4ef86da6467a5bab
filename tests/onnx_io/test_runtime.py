import pytest

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.onnx_io import runtime


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : no such type\nstack", InputError, "cannot run 'tiny': no such type"),
        ("x Failed to allocate memory for 40 bytes\n", EnvironmentUnfitError, "not enough memory to run 'tiny'"),
    ],
)
def test_the_first_line_of_the_runtimes_message_reaches_the_user(tiny_graph, text, kind, reason):
    with pytest.raises(kind, match=reason) as caught, runtime.plain_errors(tiny_graph):
        raise runtime.native.Fail(text)
    assert "\n" not in str(caught.value)
