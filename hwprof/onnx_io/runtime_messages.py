"""The messages of ONNX Runtime, without the codes in front of them."""

from __future__ import annotations

import re


def plain_error(text: str) -> str:
    """The runtime's error without its code and what follows the first line."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text).strip().partition("\n")[0]
