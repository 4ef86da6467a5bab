"""Shapes of inputs as texts: NAME=1,3,224,224, and a model with its own, MODEL@NAME=1,3,224,224."""

from __future__ import annotations

from pathlib import Path

from hwprof.errors import InputError


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """The input's name and its shape. Raises InputError for a text of another form."""
    name, _, dims = text.rpartition("=")
    words = dims.split(",") if dims else []
    if not name or not all(word.strip().isdecimal() for word in words):
        raise InputError(f"--shape {text!r} is not of the form NAME=1,3,224,224")
    return name, tuple(map(int, words))


def split(model: str) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The model without its own shapes, and these: of m.onnx@x=1,3@y=2 the file m.onnx with two. Raises InputError
    where an input is named twice."""
    if "@" not in model or "=" not in model or Path(model).exists():
        return model, {}
    plain, *texts = model.split("@")
    shapes = dict(map(shape_of, texts))
    if len(shapes) < len(texts):
        raise InputError(f"{model!r} gives an input two shapes; give it one")
    return plain, shapes
