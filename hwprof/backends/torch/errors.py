"""PyTorch's errors, each as one line of hwprof's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hwprof.errors import DeviceLostError, HwprofError, InputError

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED")
_TRIED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?\w+)")
# Once the end of a capture has failed, PyTorch's allocator takes the capture as going on until its process ends.
_CONTEXT_IS_LOST = re.compile(
    r"CUDA error: (?!out of memory|invalid (?:argument|configuration)|[^\n]*captur)|captures_underway"
)
_OF_A_CAPTURE = re.compile(r"CUDA error: [^\n]*captur")
_FOUND_FAULT = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AssertionError)


@contextmanager
def plain_errors(name: str, place: torch.device) -> Iterator[None]:
    """Raises InputError for what PyTorch refuses and for too little memory, DeviceLostError where a CUDA error
    leaves the process without its GPU."""
    try:
        yield
    except HwprofError:
        raise
    except _FOUND_FAULT as error:
        raise _plain(name, place, error) from None


def _plain(name: str, place: torch.device, error: BaseException) -> HwprofError:
    text = str(error).strip()
    if error.__context__ is not None and _OF_A_CAPTURE.search(text):
        return _plain(name, place, error.__context__)  # ending a capture fails after what failed in it
    if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(text):
        tried = _TRIED.search(text)
        wanted = f", which wanted {tried[1]} more" if tried else ""
        return InputError(f"{name!r} does not fit into the memory of {place}{wanted}; take a smaller batch or model")
    if match := _CONTEXT_IS_LOST.search(text):
        return DeviceLostError(f"the GPU failed on {name!r}: {text[match.start() :].partition(chr(10))[0]}")
    return InputError(f"torch cannot run {name!r}: {_reason(error, text)}")


def _reason(error: BaseException, text: str) -> str:
    """The first line that says something; a compiler's error names itself first and its reason below."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[1]}" if lines[0].endswith("raised:") and len(lines) > 1 else lines[0]
