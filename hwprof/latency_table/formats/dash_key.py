"""The keys of MIT's latency tables, `expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-...`.

ProxylessNAS and Once-for-all share them. A shape is height x width x channels. `expand` is the expansion
ratio in ProxylessNAS and the number of middle channels in Once-for-all; it keeps its name here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hwprof.errors import InputError
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Row, title

_SHAPES = {"input": ("h", "w", "cin"), "output": ("h_out", "w_out", "cout")}
_ORDER = ("expand", "kernel", "stride", "idskip", "se", "hs")
_PART = re.compile(r"([a-z_]+):([0-9x.]+)")


def parse(key: str) -> tuple[str, dict[str, Attribute]]:
    """The operator and its attributes. Raises InputError for a key of another kind."""
    op, *parts = key.split("-")
    attributes: dict[str, Attribute] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        if not match:
            raise InputError(f"table key {key!r} has a part {part!r} that is not name:number")
        attributes.update(_part(match[1], match[2]))
    if not op or not parts:
        raise InputError(f"table key {key!r} is not like Conv-input:224x224x3-output:112x112x32")
    return op, attributes


def of(row: Row) -> str:
    """The key of a row. Raises InputError, naming the row, when it has no place in this notation."""
    attributes = dict(row.attributes)
    parts = [row.op, *(_shape(name, axes, attributes) for name, axes in _SHAPES.items())]
    parts += [f"{name}:{attributes.pop(name)}" for name in _ORDER if name in attributes]
    if attributes:
        problem = f"they have no place for {', '.join(attributes)}"
    elif "" in parts:
        problem = "it needs h, w, cin, cout"
    elif "-" in row.op:
        problem = "the name of an operator holds no dash"
    else:
        return "-".join(parts)
    raise InputError(f"{title(row.op, dict(row.attributes))} has no key in MIT's tables: {problem}")


def _part(name: str, text: str) -> Mapping[str, Attribute]:
    if name not in _SHAPES:
        return {name: float(text) if "." in text else int(text)}
    sizes = [int(s) for s in text.split("x")]
    if len(sizes) == 1:  # the logits: a vector
        return {_SHAPES[name][-1]: sizes[0]}
    if len(sizes) != 3:
        raise InputError(f"shape {text!r} is neither height x width x channels nor channels")
    return dict(zip(_SHAPES[name], sizes, strict=True))


def _shape(name: str, axes: tuple[str, ...], attributes: dict[str, Attribute]) -> str:
    """Takes the shape out of the attributes; empty text when it is not whole."""
    values = [attributes.pop(axis, None) for axis in axes]
    known = [v for v in values if v is not None]
    if len(known) == 3 or (len(known) == 1 and values[-1] is not None):
        return f"{name}:{'x'.join(map(str, known))}"
    return ""
