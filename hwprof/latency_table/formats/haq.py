"""HAQ's table (mit-han-lab/haq): a .npy of [layer, weight bits - 1, activation bits - 1], in cycles of a simulator.

Rows are keyed by bit width, never by offset. The user states the unit as the simulator's clock ("cycles@200MHz").
"""

from __future__ import annotations

import io
from pathlib import Path
from tokenize import TokenError

import numpy as np

from hwprof.errors import InputError, one_line
from hwprof.files import read_bytes, write_bytes
from hwprof.latency_table.formats import loss
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.rows import Content, Row

OP = "layer"
_MOST_BYTES = 1 << 24
_FIELDS = ("layer", "weight_bits", "activation_bits")
_CYCLES_PER_MS = 1e6  # written as cycles of a 1 GHz clock: one cycle is one ns


def read(path: Path, source: Source) -> list[Row]:
    """Raises InputError for a file that does not hold such a table."""
    scale = source.asked_unit_ms("HAQ's table")
    content = io.BytesIO(read_bytes(path, f"latency table {path}", _MOST_BYTES))
    try:
        values = np.load(content, allow_pickle=False)
    except (
        ValueError,
        EOFError,
        SyntaxError,
        TokenError,
        MemoryError,
    ) as error:  # MemoryError: a shape that nothing fills
        raise InputError(f"latency table {path}: {one_line(error)}") from None
    if values.ndim != 3:
        raise InputError(f"latency table {path}: shape {values.shape} is not [layer, weight bits, activation bits]")
    return [
        Row.of(OP, {"layer": layer, "weight_bits": w + 1, "activation_bits": a + 1}, float(v) * scale)
        for (layer, w, a), v in np.ndenumerate(values)
    ]


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError for a table that does not hold every bit width of every layer."""
    found, lost = loss.placed([r for r in table.rows if r.op == OP], table.rows, _FIELDS, "HAQ's format")
    places = {tuple(int(k) for k in key[1:]): row.ms for key, row in found.items()}
    layers, weights, activations = (max(p[i] for p in places) for i in range(3))
    values = np.zeros((layers + 1, weights, activations), np.int64)
    if len(places) != values.size or min(min(p[1:]) for p in places) < 1:
        raise InputError(f"HAQ's tables are dense: {values.size} bit widths are needed, the table holds {len(places)}")
    for (layer, w, a), ms in places.items():
        values[layer, w - 1, a - 1] = round(ms * _CYCLES_PER_MS)
    buffer = io.BytesIO()
    np.save(buffer, values)
    write_bytes(path, buffer.getvalue())
    return ["the unit (whole cycles at 1 GHz: fractions of a ns)", *lost, *loss.of(table)]
