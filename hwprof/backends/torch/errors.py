"""Turns PyTorch's errors into one-line errors of hwprof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hwprof.errors import DeviceLostError, HwprofError, InputError

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED")
_TRIED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?\w+)")
# Once the end of a capture has failed, PyTorch's allocator treats the capture as active until its process ends.
_CONTEXT_IS_LOST = re.compile(
    r"CUDA error: (?!out of memory|invalid (?:argument|configuration)|[^\n]*captur)|captures_underway"
)
_OF_A_CAPTURE = re.compile(r"CUDA error: [^\n]*captur")
_FOUND_FAULT = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AssertionError)


@contextmanager
def plain_errors(name: str, place: torch.device) -> Iterator[None]:
    """Raises InputError for a graph that PyTorch rejects and for too little memory, DeviceLostError for a CUDA error
    that makes the GPU unusable in this process."""
    try:
        yield
    except HwprofError:
        raise
    except _FOUND_FAULT as error:
        raise _plain(name, place, error) from None


def _plain(name: str, place: torch.device, error: BaseException) -> HwprofError:
    text = str(error).strip()
    if error.__context__ is not None and _OF_A_CAPTURE.search(text):
        return _plain(
            name, place, error.__context__
        )  # the first failure is inside the capture, whose end then fails, too
    if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(text):
        tried = _TRIED.search(text)
        wanted = f", which needs {tried[1]} more" if tried else ""
        return InputError(f"{name!r} does not fit into the memory of {place}{wanted}; use a smaller batch or model")
    if match := _CONTEXT_IS_LOST.search(text):
        return DeviceLostError(f"the GPU failed on {name!r}: {text[match.start() :].partition(chr(10))[0]}")
    return InputError(f"torch cannot run {name!r}: {_reason(error, text)}")


def _reason(error: BaseException, text: str) -> str:
    """The first informative line; a compiler's error names itself first and its reason below."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[1]}" if lines[0].endswith("raised:") and len(lines) > 1 else lines[0]
