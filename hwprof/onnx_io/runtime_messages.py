"""The messages of ONNX Runtime, without the error codes that precede them."""

from __future__ import annotations

import re


def plain_error(text: str) -> str:
    """The runtime's error without its code and without the lines after the first."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text).strip().partition("\n")[0]
