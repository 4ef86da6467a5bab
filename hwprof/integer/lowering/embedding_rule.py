"""An embedding: a Gather of rows of a stored table by integers of the network's input."""

from __future__ import annotations

from dataclasses import replace

from hwprof.graph import Graph, Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.program.program import Embedding, Entry

INDEX_TYPES = ("int64", "int32", "bool")
_OF_A_MASK = 2  # number of values of an input that does not index a table: 0 and 1
_LARGEST_TABLE = 2**31 - 1  # rows


def apply(symbols: SymbolTable, node: Node) -> bool:
    """Applies the node where its table is stored; the result has the table's grid. Returns whether it did."""
    if node.op != "Gather" or node.inputs[0] not in symbols.stored:
        return False
    name, indices = node.inputs
    table, grid = symbols.stored_bytes(node, name)
    if table.ndim != 2 or node.attribute("axis", 0) % 2:
        raise refuse(node, "only rows of a table are supported")
    rows, width = table.shape
    if not 0 < rows <= _LARGEST_TABLE:
        raise refuse(node, f"a table of {rows} rows is not supported")
    shape = (*symbols.graph.shape(indices), width)
    value = symbols.new_value(node.outputs[0], shape)
    ids = entered(symbols, node, indices, rows)
    symbols.operations.append(Embedding(node.label, (node.label,), ids, value, table))
    symbols.views[node.outputs[0]] = Held(value, grid, shape)
    return True


def rows_behind(graph: Graph, name: str) -> int:
    """How many values the integers of an input can have: the rows of the shortest table that they index."""
    tables = (n.inputs[0] for n in graph.nodes if n.op == "Gather" and n.inputs[1] == name)
    return min((graph.shape(table)[0] for table in tables), default=_OF_A_MASK)


def entered(symbols: SymbolTable, node: Node, name: str, rows: int) -> str:
    """The value of the network's input of indices, all of which must be below `rows`."""
    inputs = {tensor.name: tensor for tensor in symbols.graph.inputs}
    if name not in inputs or inputs[name].dtype not in INDEX_TYPES:
        raise refuse(node, f"its indices {name!r} are not an input of the network with type {' or '.join(INDEX_TYPES)}")
    for i, entry in enumerate(symbols.entries):
        if entry.input == name:
            symbols.entries[i] = replace(entry, rows=min(entry.rows or rows, rows))
            return entry.value
    value = symbols.new_value(name, inputs[name].shape, "int32")
    symbols.entries.append(Entry(name, inputs[name].shape, value, None, 0, is_image=False, rows=rows))
    return value
