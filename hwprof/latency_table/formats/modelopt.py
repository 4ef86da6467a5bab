"""The latencies that NVIDIA's Model Optimizer is about to read (`haq_latency_v1`, NVIDIA/Model-Optimizer pull request
2138, August 2026): CSV, a row for each layer, recipe of quantization and number of rows of its input, in microseconds.

A recipe is a name of that tool: NONE, FP8_DEFAULT_CFG, INT8_DEFAULT_CFG, NVFP4_DEFAULT_CFG, W4A16_NVFP4_CFG. A layer
is a pattern of the names of PyTorch's modules, such as model.layers.*.mlp.up_proj; several are joined by |. So the
label of an operator, /model/layers.5/mlp/up_proj/MatMul, is written as the name of its module, and the index of a layer
as *, as that tool does. Layers that share a pattern have one row, with the mean of their latencies; where they have
different sizes, their indices stay.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from hwprof.errors import InputError
from hwprof.files import read_text, write_bytes
from hwprof.graph import Graph
from hwprof.latency_table import bits, operators
from hwprof.latency_table.formats import loss
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row, title
from hwprof.time_unit import ms_per

OP = "gemm"
_SCHEMA = "haq_latency_v1"
_FIELDS = ("layer", "recipe", "rows")
_FLOAT = "NONE"  # the recipe that quantizes nothing
_INT8 = "INT8_DEFAULT_CFG"
_RECIPES: Mapping[tuple[object, object], str] = {  # by bits of weights and of activations
    (16, 16): _FLOAT, (32, 32): _FLOAT, (8, 8): _INT8,
}  # fmt: skip
_SIZES = {"cout": "n", "cin": "k"}
_FORMATS = {
    "FP8_DEFAULT_CFG": "FP8", _INT8: "INT8", "NVFP4_DEFAULT_CFG": "NVFP4_W4A4", "W4A16_NVFP4_CFG": "NVFP4_W4A16",
}  # fmt: skip
_FLOATS = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32"}
_INDEX = re.compile(r"(?<=\.)\d+(?=\.)")  # of a layer, between two names
_COLUMNS = (
    "schema_version", "deployment_profile", "group_pattern", "source_module_patterns", "recipe_id", "runtime_format",
    "m", "latency_us", "backend", "with_quant", "op_kind", "timing_scope", "selection_policy", "kernel_policy_id", "tp",
    "ep", "hardware", "n", "k",
)  # fmt: skip


def read(path: Path, source: Source) -> list[Row]:
    """`unit` is that of the latency, microseconds where none is given. Raises InputError, naming the line."""
    scale = ms_per(source.unit or "us")
    file = io.StringIO(read_text(path, f"latency table {path}"), newline="")
    try:
        return [_row(path, line, record, scale) for line, record in enumerate(csv.DictReader(file), 2)]
    except csv.Error as error:
        raise InputError(f"latency table {path}: {error}") from None


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError for a table without rows of layers, recipes and numbers of rows."""
    layers = [r for r in table.rows if r.op == OP and dict(r.attributes).keys() >= set(_FIELDS)]
    patterns = _by_pattern(layers)
    others = [r for r in table.rows if r not in layers]
    found, lost = loss.placed(patterns, [*patterns, *others], _FIELDS, "Model Optimizer's format")
    meta, buffer = table.metadata, io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for (_, layer, recipe, rows), row in found.items():
        sizes = {column: value for name, value in row.attributes if (column := _SIZES.get(name))}
        writer.writerow({
            "schema_version": _SCHEMA, "deployment_profile": meta.device, "group_pattern": layer,
            "source_module_patterns": json.dumps(str(layer).split("|")), "recipe_id": recipe,
            "runtime_format": _runtime_format(str(recipe), meta.dtype),
            "m": rows, "latency_us": row.ms * 1e3, "backend": meta.runtime, "with_quant": recipe != _FLOAT,
            "op_kind": OP, "timing_scope": "gemm_fused", "selection_policy": "fixed_kernel",
            "kernel_policy_id": f"hwprof_{meta.device}", "tp": 1, "ep": 1, "hardware": meta.hardware, **sizes,
        })  # fmt: skip
    write_bytes(path, buffer.getvalue().encode())
    held = f"attributes {', '.join(sorted(_SIZES))}"
    if len(patterns) < len(layers):
        lost.append(f"latencies of single layers ({len(layers)} layers share {len(patterns)} rows)")
    return [*(phrase for phrase in lost if phrase != held), *loss.of(table, holds=("device",))]


def of_networks(table: Content, graphs: Sequence[Graph]) -> list[Row]:
    """The rows that this format holds: for each matrix product of the networks with a weight its row in the table,
    under the label of its operator.

    Raises InputError where the table lacks one, for bits without a recipe, and for networks without such a product.
    """
    latencies = {(row.op, row.attributes): row.ms for row in table.rows}
    found: dict[tuple[str, str], Row] = {}
    for operator in (one for graph in graphs for one in operators.of(graph) if one.attributes.get("weight")):
        if operator.key not in latencies:
            raise InputError(f"the table of {table.metadata.device} holds no {title(operator.op, operator.attributes)}")
        layer, recipe = operator.nodes.leading.label, _recipe(operator.attributes)
        sizes = {name: operator.attributes[name] for name in ("rows", *_SIZES)}
        found[layer, recipe] = Row.of(OP, {"layer": layer, "recipe": recipe, **sizes}, latencies[operator.key])
    if not found:
        raise InputError("the networks have no matrix product with a weight, which are the layers of Model Optimizer")
    return list(found.values())


def _recipe(attributes: Mapping[str, Attribute]) -> str:
    weights, activations = attributes.get(bits.WEIGHTS), attributes.get(bits.ACTIVATIONS)
    if (weights, activations) not in _RECIPES:
        raise InputError(f"Model Optimizer has no recipe for {weights} bits of weights, {activations} of activations")
    return _RECIPES[weights, activations]


def module_names(layer: str) -> list[str]:
    """The modules of a layer, which may be given by labels of operators."""
    return [".".join(part.split("/")[1:-1]) or part for part in layer.split("|")]


def _by_pattern(layers: Sequence[Row]) -> list[Row]:
    """Rows whose layer is a pattern of module names, each with the mean latency of the layers that it is for."""
    sizes: dict[str, set[tuple[object, ...]]] = {}
    for row in layers:
        attributes = dict(row.attributes)
        sizes.setdefault(_pattern(attributes["layer"]), set()).add(tuple(attributes.get(name) for name in _SIZES))
    shared: dict[tuple[tuple[str, Attribute], ...], list[Row]] = {}
    for row in layers:
        attributes = dict(row.attributes)
        pattern = _pattern(attributes["layer"])
        name = pattern if len(sizes[pattern]) == 1 else "|".join(module_names(str(attributes["layer"])))
        shared.setdefault(tuple(sorted({**attributes, "layer": name}.items())), []).append(row)
    return [Row.of(OP, dict(key), fmean(row.ms for row in rows)) for key, rows in shared.items()]


def _pattern(layer: Attribute) -> str:
    return "|".join(_INDEX.sub("*", name) for name in module_names(str(layer)))


def _runtime_format(recipe: str, dtype: str) -> str:
    """dtype: of what is not quantized."""
    return _FLOATS.get(dtype, dtype) if recipe == _FLOAT else _FORMATS.get(recipe, recipe)


def _row(path: Path, line: int, record: Mapping[str, str | None], scale: float) -> Row:
    if record.get("schema_version") != _SCHEMA:
        raise InputError(
            f"latency table {path}: line {line} has the schema {record.get('schema_version')!r}, not {_SCHEMA!r}"
        )
    try:
        attributes = {"layer": record["group_pattern"] or "", "recipe": record["recipe_id"] or ""}
        sizes = {name: int(text) for name, column in _SIZES.items() if (text := record.get(column))}
        return Row.of(
            record["op_kind"] or "", {**attributes, "rows": int(record["m"] or ""), **sizes},
            float(record["latency_us"] or "nan") * scale,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"latency table {path}: line {line} cannot be read: {error}") from None
