"""The arguments with which a PyTorch module is traced: the example inputs, with what the user gives by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.graph import Tensor
from hwprof.onnx_io.input_values import values_of

ExampleInputs: TypeAlias = torch.Tensor | Sequence[Any] | Mapping[str, Any]
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]  # by place, by keyword


def arguments(example_inputs: ExampleInputs) -> Arguments:
    """A tensor is one argument; a sequence is arguments, a mapping keyword arguments, and (sequence, mapping) both."""
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if len(example_inputs) == 2 and isinstance(example_inputs[0], tuple) and isinstance(example_inputs[1], Mapping):
        return example_inputs[0], dict(example_inputs[1])
    return tuple(example_inputs), {}


def called(module: object, example_inputs: ExampleInputs | None, name: str) -> tuple[nn.Module, Arguments]:
    """The module and the arguments that it is called with. Raises InputError for an object that is not a module, and
    without inputs."""
    if not isinstance(module, nn.Module):
        raise InputError(f"a network is an .onnx file, a workload or a torch.nn.Module, not {type(module).__name__}")
    if example_inputs is None:
        raise InputError(
            f"{name!r} is a PyTorch module: give its inputs (example_inputs=, --shape NAME=1,3,224,224 for floats, and "
            "--input NAME=randint:0:100 in addition for integers)"
        )
    return module, arguments(example_inputs)


def tensor_names(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """The names of the arguments in the order of the parameters, up to the first that is not a tensor."""
    names = _names(module)
    by_name = {**dict(zip(names, args, strict=False)), **kwargs}
    given = [name for name in names if name in by_name]
    return list(takewhile(lambda name: isinstance(by_name[name], torch.Tensor), given))


def with_given(
    module: nn.Module,
    example_inputs: ExampleInputs | None,
    shapes: Mapping[str, Sequence[int]] | None,
    given: Mapping[str, str] | None,
) -> ExampleInputs | None:
    """The example inputs with the given values in their places, or inputs of these shapes where there are none.

    shapes: of inputs in the order of the arguments, float32 from a normal distribution unless `given` says more.
    given: texts as `hwprof.onnx_io.input_values` reads them; a number without a shape is a Python argument.
    Raises InputError for a name that is not an argument.
    """
    shapes, given = shapes or {}, given or {}
    if example_inputs is None and not shapes and not given:
        return None
    if example_inputs is not None and not given:
        return example_inputs
    names = _names(module)
    for name in given:
        if names and name not in names:
            raise InputError(f"--input names {name!r}, which is not an argument; arguments: {', '.join(names)}")
    if example_inputs is None:
        drawn = torch.Generator().manual_seed(0)
        floats = {n: torch.randn(*s, generator=drawn) for n, s in shapes.items() if n not in given}
        values = floats | {n: _value(n, t, shapes.get(n)) for n, t in given.items()}
        if names and set(values) <= set(names):
            return values
        return [values[n] for n in (*shapes, *(n for n in given if n not in shapes))]
    args, kwargs = arguments(example_inputs)
    by_place = dict(zip(names, args, strict=False))
    values = {n: _value(n, t, shapes.get(n), by_place.get(n, kwargs.get(n))) for n, t in given.items()}
    placed = tuple(values.pop(n, old) for n, old in zip(names, args, strict=False))
    return (*placed, *args[len(placed) :]), kwargs | values


def _names(module: nn.Module) -> list[str]:
    """The parameters of the module's `forward` that can be given by name."""
    try:
        found = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD or p.kind is p.KEYWORD_ONLY]


def _value(name: str, text: str, shape: Sequence[int] | None, example: object = None) -> Any:
    """A tensor, of the example's type and shape where there is one; a Python number where there is no shape."""
    if isinstance(example, torch.Tensor):
        made = _array(name, text, tuple(example.shape) if shape is None else tuple(shape))
        return torch.from_numpy(made).to(example.dtype)
    if shape is None and not text.endswith(".npy") and not text.startswith("randint:") and "," not in text:
        lowered = text.lower()
        if lowered in ("true", "false"):
            return lowered == "true"
        return float(text) if any(c in lowered for c in ".enf") else int(text)
    return torch.from_numpy(_array(name, text, None if shape is None else tuple(shape)))


def _array(name: str, text: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """[shape], or of the file's own shape, in the type that the text has."""
    if text.endswith(".npy"):
        return np.array(np.load(text, allow_pickle=False))
    if shape is None:
        raise InputError(f"input {name!r}: {text} needs a shape; give --shape {name}=1,128")
    is_integer = text.startswith("randint:") or not any(c in text.lower() for c in ".enf")
    values = values_of(Tensor(name, "int64" if is_integer else "float32", shape), text, np.random.default_rng(0))
    return np.array(values)
