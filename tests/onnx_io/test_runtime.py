import pytest

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.onnx_io import runtime


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : no such type\nneeds float", InputError, "'tiny': no such type needs float$"),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/x/y.onnx failed:Type", InputError, "'tiny': Type$"),
        ("x Failed to allocate memory for 40 bytes\n", EnvironmentUnfitError, "not enough memory to run 'tiny'"),
    ],
)
def test_the_runtimes_whole_message_reaches_the_user_in_one_line(tiny_graph, text, kind, reason):
    with pytest.raises(kind, match=reason) as caught, runtime.plain_errors(tiny_graph):
        raise runtime.native.Fail(text)
    assert "\n" not in str(caught.value)
