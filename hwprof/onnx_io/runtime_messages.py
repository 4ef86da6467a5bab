"""The messages of ONNX Runtime, without the error codes that precede them."""

from __future__ import annotations

import re

_LONGEST = 600
# Its own files and places in them; the model's file, which may be a temporary one of ours.
_NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ |Load model from \S+ failed:\s*")


def plain_error(text: str) -> str:
    """The runtime's error in one line, without its code, its source files and the path of the model: what is wrong is
    often on the lines after the first one."""
    plain = " ".join(_NOISE.sub("", text.strip()).split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]} ..."
