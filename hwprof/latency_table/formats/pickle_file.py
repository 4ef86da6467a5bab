"""Pickles of plain containers, numbers, strings and NumPy arrays, read without an unpickler.

2026-11-29, why the opcodes are interpreted here. An unpickler that resolves only chosen names still calls them with
what the file says, and `numpy.dtype` rebuilt from a hostile state declares object fields, whose bytes NumPy then takes
for pointers. Here a name is never more than a name: the few calls that tables need are recognized, and their arguments
are checked, before an array is made of bytes and a plain type.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwprof.errors import InputError, one_line
from hwprof.files import write_bytes
from hwprof.latency_table.formats.source import Source

_LARGEST_BYTES = 1 << 28
_MOST_OPCODES = 5_000_000
_MOST_VALUES = 1_000_000  # where one that is referred to twice counts twice
_DEEPEST = 32
_PLAIN_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")


class _RefusedError(Exception):
    """The reason, without the file's name."""


def read(path: Path, source: Source) -> Any:
    """The plain content. Raises InputError without permission, for a broken or very large file, and for one that names
    anything but plain types."""
    if not source.allow_pickle:
        raise InputError(f"{path} is a pickle: allow it explicitly (only plain containers and numbers are read)")
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise _RefusedError(f"it has more than {_LARGEST_BYTES >> 20} MB")
        return _Plain().of(_Machine().run(path.read_bytes()), 0)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, _RefusedError) as error:
        reason = one_line(error) or "truncated"
        raise InputError(f"latency table {path}: {reason}") from None


def write(path: Path, content: dict[Any, Any]) -> None:
    """content: plain containers only; for formats that are pickles themselves."""
    write_bytes(path, pickle.dumps(content, protocol=2))


# -- what stands for a value until the whole file is read -------------------------------------------------


class _Name:
    """A name in the file. It is never imported."""

    def __init__(self, module: str, name: str) -> None:
        self.text = f"{module}.{name}"


class _Dtype:
    def __init__(self, text: str) -> None:
        if not _PLAIN_DTYPE.fullmatch(text):
            raise _RefusedError(f"it holds an array of type {text[:20]!r}, which is not a plain number")
        self.text = text

    def build(self, state: Any) -> None:
        """state: what NumPy pickles of a dtype: version, byte order, subtype, names, fields, ..."""
        _, order, *fields = state[:5]
        if order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise _RefusedError("it holds an array whose type has fields, which no table needs")
        self.text = f"{order}{self.text[-2:]}"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.text)


class _Array:
    """Filled once `build` has run. `value`: [*shape]."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """state: what NumPy pickles of an array: version, shape, type, whether in Fortran's order, bytes."""
        _, shape, dtype, is_fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if is_fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    """[*shape]. Raises _RefusedError where the bytes are not as many as shape and type need."""
    content = raw.encode("latin1") if isinstance(raw, str) else bytes(_checked(raw, bytes | bytearray))
    plain = _checked(dtype, _Dtype).dtype
    sizes = tuple(_checked(size, int) for size in _checked(shape, tuple))
    if any(size < 0 for size in sizes) or math.prod(sizes) * plain.itemsize != len(content):
        raise _RefusedError(f"it holds {len(content)} bytes for an array of shape {sizes}")
    return np.frombuffer(content, plain).reshape(sizes, order="F" if order == "F" else "C")


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise _RefusedError(f"it holds a {type(value).__name__} where an array's type, shape or bytes should be")
    return value


# -- the calls that tables need ----------------------------------------------------------------------------


def _scalar(dtype: Any, raw: Any) -> Any:
    return _array(raw, dtype, ())[()]


def _reconstructed(kind: Any, _shape: Any, _typecode: Any) -> _Array:
    if _checked(kind, _Name).text != "numpy.ndarray":
        raise _RefusedError(f"it names {kind.text}, which no table needs")
    return _Array()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "utf-8"):  # how pickles before protocol 3 spell bytes
        raise _RefusedError(f"it holds bytes in the encoding {str(encoding)[:20]!r}")
    return bytes(_checked(text, str).encode(encoding))


_NUMPY_CALLS: Mapping[str, Callable[..., Any]] = {
    "multiarray._reconstruct": _reconstructed,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _array,
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "_codecs.encode": _encoded,
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "numpy.dtype": lambda text, *_flags: _Dtype(_checked(text, str)),
    # NumPy 2 renamed the module; old pickles keep the old name.
    **{f"numpy.core.{name}": call for name, call in _NUMPY_CALLS.items()},
    **{f"numpy._core.{name}": call for name, call in _NUMPY_CALLS.items()},
}


# -- the opcodes -------------------------------------------------------------------------------------------


class _Machine:
    """Pickle's stack machine, without the opcodes that look up or call anything other than `_CALLS`."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """The last value of the pickle, with its arrays as `_Array`."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count > _MOST_OPCODES:
                raise _RefusedError(f"it has more than {_MOST_OPCODES} operations")
            name = opcode.name
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _IGNORED:
                continue
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name == "STOP":
                return self.stack[-1]
            else:
                raise _RefusedError(f"it uses the operation {name}, which no table needs")
        raise _RefusedError("truncated")

    def marked(self) -> list[Any]:
        """Takes what was put on the stack since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop(self, n: int) -> list[Any]:
        if len(self.stack) < n:
            raise _RefusedError("it takes more values than it holds")
        items = self.stack[len(self.stack) - n :]
        del self.stack[len(self.stack) - n :]
        return items

    def name(self, module: Any, name: Any) -> None:
        found = _Name(module, name)
        if found.text not in _CALLS and found.text != "numpy.ndarray":
            raise _RefusedError(f"it names {found.text}, which no table needs")
        self.stack.append(found)

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        call = _CALLS.get(_checked(function, _Name).text)
        if call is None:
            raise _RefusedError(f"it calls {function.text}, which no table needs")
        self.stack.append(call(*arguments))

    def build(self) -> None:
        (state,) = self.pop(1)
        if not isinstance(self.stack[-1], _Array | _Dtype):
            raise _RefusedError(f"it sets the state of a {type(self.stack[-1]).__name__}, which no table needs")
        self.stack[-1].build(state)

    def memoize(self, key: int | None) -> None:
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def make_dict(self) -> None:
        items = self.marked()
        self.stack.append({})
        self.set_items(items)

    def set_items(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


_IGNORED = {"PROTO", "FRAME"}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "BINFLOAT",
}  # fmt: skip
_STEPS: Mapping[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.pop(1),
    "POP_MARK": lambda m, _: m.marked(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_SET": lambda m, _: m.stack.append(set()),
    "LIST": lambda m, _: m.stack.append(m.marked()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.pop(3))),
    "FROZENSET": lambda m, _: m.stack.append(frozenset(m.marked())),
    "DICT": lambda m, _: m.make_dict(),
    "APPEND": lambda m, _: (item := m.pop(1), m.stack[-1].extend(item)),
    "APPENDS": lambda m, _: (items := m.marked(), m.stack[-1].extend(items)),
    "ADDITEMS": lambda m, _: (items := m.marked(), m.stack[-1].update(items)),
    "SETITEM": lambda m, _: m.set_items(m.pop(2)),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "GET": lambda m, key: m.stack.append(m.memo[key]),
    "BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "PUT": lambda m, key: m.memoize(key),
    "BINPUT": lambda m, key: m.memoize(key),
    "LONG_BINPUT": lambda m, key: m.memoize(key),
    "MEMOIZE": lambda m, _: m.memoize(None),
    "GLOBAL": lambda m, text: m.name(*text.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.pop(2)),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}


class _Plain:
    """Copies the content with arrays in the place of what stood for them, and counts its values."""

    def __init__(self) -> None:
        self._values = 0

    def of(self, value: Any, depth: int) -> Any:
        self._values += 1
        if depth > _DEEPEST or self._values > _MOST_VALUES:
            raise _RefusedError(f"it is nested deeper than {_DEEPEST} or holds more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            return {self.of(key, depth + 1): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(self.of(item, depth + 1) for item in value)
        if isinstance(value, _Array):
            if value.value is None:
                raise _RefusedError("it holds an array without content")
            return value.value
        if isinstance(value, _Name | _Dtype):
            raise _RefusedError("it holds a name where a value should be")
        return value
