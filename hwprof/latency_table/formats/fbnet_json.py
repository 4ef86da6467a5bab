"""FBNet's table (facebookresearch/mobile-vision, runtime_lut): a JSON list of operator records, microseconds.

A record is matched on `op_type, input_shapes, input_dtypes, device, op_args`; all but the device become
attributes, as text, so that nothing is lost. Records of other devices in the file are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import json_value, read_bytes, write_bytes
from hwprof.latency_table.formats import loss
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row, refuse

_ATTRIBUTES = ("input_shapes", "input_dtypes", "op_args")
_US_PER_MS = 1e3


def read(path: Path, source: Source) -> list[Row]:
    """Raises InputError when no record belongs to the device that `metadata` names."""
    scale = source.stated_unit_ms("us", "FBNet's tables")
    records = _records(path)
    rows = [
        _row(path, i, r, scale) for i, r in enumerate(records) if r.get("device") in (None, "", source.metadata.device)
    ]
    if not rows:
        devices = ", ".join(sorted({str(r.get("device")) for r in records}))
        raise InputError(
            f"latency table {path}: it has no record for device {source.metadata.device!r}; known: {devices}"
        )
    return rows


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError for rows without input_shapes, input_dtypes and op_args."""
    foreign = [r.title for r in table.rows if set(dict(r.attributes)) != set(_ATTRIBUTES)]
    refuse(f"FBNet's tables need rows with {', '.join(_ATTRIBUTES)}", foreign)
    records = [_record(row, table.metadata.device) for row in table.rows]
    write_bytes(path, (json.dumps(records, indent=1) + "\n").encode())
    return loss.of(table, holds=("device",))


def _records(path: Path) -> list[dict[str, Any]]:
    subject = f"latency table {path}"
    records = json_value(read_bytes(path, subject), subject)
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise InputError(f"latency table {path}: it is not a JSON list of operator records")
    return records


def _row(path: Path, number: int, record: Mapping[str, Any], scale: float) -> Row:
    attributes: dict[str, Attribute] = {name: json.dumps(record.get(name, [])) for name in _ATTRIBUTES}
    try:
        (us,) = record["run_time"]
        return Row.of(record["op_type"], attributes, us * scale)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"latency table {path}: record {number} has no op_type and single run_time") from None


def _record(row: Row, device: str) -> dict[str, Any]:
    loaded = {name: json.loads(str(text)) for name, text in row.attributes}
    return {"op_type": row.op, **loaded, "device": device, "run_time": [row.ms * _US_PER_MS]}
