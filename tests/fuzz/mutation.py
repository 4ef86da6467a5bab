"""Random changes to files: to their bytes, to the fields of protobuf messages, to the values of records."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Mutate = Callable[[bytes, random.Random], bytes]

_BYTES = (b"", b"\0", b"\xff", b"\x80" * 9, b"[" * 2000, b"{" * 2000, b'"', b"1" * 5000, b"<<", b"&a [*a]", b"\n")
_INTEGERS = (0, 1, -1, 2, 7, 255, 4096, 10**6, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63), 2**63 - 1)
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
_TEXTS = ("", "x", "..", "/etc/passwd", "a\0b", "x" * 3000, "\u00e9\U0001f600", "NaN", "1e999", "-5", "9" * 400)
_VALUES: tuple[Any, ...] = (
    None, True, [], {}, [[]], [None], {"a": None}, "", "text", -1, 0, 1.5, 10**400, 1e308, float("nan"), float("inf"),
)  # fmt: skip


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits flipped, parts cut out, repeated or replaced, strange bytes put in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 8, 64, 1000)))
        kind = rng.randrange(5)
        if kind == 0 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = data[start:end] * rng.choice((1, 2, 50))
        elif kind == 3:
            data[start:end] = rng.randbytes(end - start)
        else:
            data[start:start] = rng.choice(_BYTES)
    return bytes(data)


# -- protobuf ------------------------------------------------------------------------------------------


def of_message(make: Callable[[], Message]) -> Mutate:
    """Changes one to three fields of a message somewhere in the content. make: an empty message of its kind."""

    def mutate(content: bytes, rng: random.Random) -> bytes:
        message = make()
        message.ParseFromString(content)
        for _ in range(rng.randint(1, 3)):
            _change_message(message, rng)
        return message.SerializeToString()

    return mutate


def _change_message(message: Message, rng: random.Random) -> None:
    """Walks down to a random depth and changes a field there."""
    while True:
        fields = [field for field, _ in message.ListFields()]
        inner = [f for f in fields if f.type == FieldDescriptor.TYPE_MESSAGE]
        if not inner or rng.random() < 0.15:
            known = list(message.DESCRIPTOR.fields)
            _change_field(message, rng.choice(known if not fields or rng.random() < 0.3 else fields), rng)
            return
        field = rng.choice(inner)
        if field.is_repeated and rng.random() < 0.15:
            _shuffle(getattr(message, field.name), rng)
            return
        value = getattr(message, field.name)
        message = rng.choice(value) if field.is_repeated else value


def _shuffle(values: Any, rng: random.Random) -> None:
    """Drops, repeats or swaps messages of a list."""
    kept = [copy.deepcopy(v) for v in values]
    i, j = rng.randrange(len(kept)), rng.randrange(len(kept))
    change = rng.randrange(3)
    if change == 0:
        del kept[i]
    elif change == 1:
        kept.insert(j, kept[i])
    else:
        kept[i], kept[j] = kept[j], kept[i]
    del values[:]
    values.extend(kept)


def _change_field(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE or rng.random() < 0.1:
        message.ClearField(field.name)
        return
    values = [_scalar(field, rng) for _ in range(rng.choice((1, 1, 2, 40)) if field.is_repeated else 1)]
    if field.is_repeated:
        held = getattr(message, field.name)
        if rng.random() < 0.5:
            del held[:]
        held.extend(values)
    else:
        setattr(message, field.name, values[0])


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice((*_TEXTS, "x", "y", "w", "a", "b"))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((*_BYTES, rng.randbytes(16)))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    value = rng.choice((*_INTEGERS, rng.randrange(30)))
    if field.type in (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_UINT32):
        value = abs(value)
    return value % 2**31 if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32) else value


# -- records -------------------------------------------------------------------------------------------


def of_record(record: Any, rng: random.Random) -> Any:
    """The record with one to three of its values replaced, dropped or repeated."""
    changed = copy.deepcopy(record)
    for _ in range(rng.randint(1, 3)):
        changed = _changed_value(changed, rng)
    return changed


def _changed_value(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return copy.deepcopy(rng.choice(_VALUES))
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.1:
        del value[key]
    else:
        value[key] = _changed_value(value[key], rng)
    return value


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Changes values of a JSON text."""
    return json.dumps(of_record(json.loads(content), rng)).encode()


def of_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """The array [...] with another shape, type or other values."""
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array.ravel()[: rng.randrange(array.size + 1)],
        lambda: array.reshape(1, *array.shape),
        lambda: np.zeros((0,) * array.ndim, array.dtype),
        lambda: np.array(["text"] * max(array.size, 1)),
        lambda: np.full(array.shape, np.nan),
        lambda: np.full(array.shape, rng.choice((-1, 10**6, 2**62))),
        lambda: np.zeros((2, 3, 5)),
        lambda: array.astype(complex),
        lambda: np.zeros(array.shape, [("a", "f4")]),
    )
    return rng.choice(changes)()


def of_zip(members: Callable[[str, bytes, random.Random], bytes]) -> Mutate:
    """Changes the content of one member of a zip file. members: (name, content, rng) to the changed content."""

    def mutate(content: bytes, rng: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
        chosen = rng.choice(sorted(held))
        held[chosen] = members(chosen, held[chosen], rng)
        if rng.random() < 0.05:
            del held[chosen]
        changed = io.BytesIO()
        with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, value in held.items():
                archive.writestr(name, value)
        return changed.getvalue()

    return mutate


def of_npy(content: bytes, rng: random.Random) -> bytes:
    """Another array, or other bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    changed = io.BytesIO()
    np.save(changed, of_array(np.load(io.BytesIO(content)), rng))
    return changed.getvalue()


def of_predictor_member(name: str, content: bytes, rng: random.Random) -> bytes:
    """Changes a member of a predictor file: its head, its arrays or a library's own file."""
    if name.endswith(".json") and rng.random() < 0.8:
        return of_json(content, rng)
    if name.endswith(".npz"):
        return of_zip(lambda _, array, r: of_npy(array, r))(content, rng)
    return of_bytes(content, rng)
