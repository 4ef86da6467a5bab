"""Static int8 quantization of every operator of a Graph, so that a runtime of integers can run it whole.

`hwprof.variants.quantize` leaves the same operators in float as ONNX Runtime's quantizer: recurrent layers, functions
of one variable, the last operators of a network. Here every result has a grid, except where one integer operation does
the work of several operators: a product and the stored row that is added to it are quantized together, and so is a
function of one tensor that is written as several operators (a GELU as Div, Erf, Add and Mul).
"""

from __future__ import annotations

from dataclasses import replace

from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.variants.quantize import (
    Marks,
    Rewriter,
    fold_batch_norm,
    require_quantizable,
)

_RECURRENT = ("LSTM", "GRU", "RNN")
_FUNCTIONS = {
    "Abs", "Add", "Celu", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max",
    "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub",
    "Swish", "Tanh",
}  # fmt: skip
_NORMALIZATIONS = {"LayerNormalization", "RMSNormalization"}
_MOVES = {"Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice", "Gather"}
_WIDE_OPSET = 21
_ROWS = 1  # of a recurrent weight [directions, gates * units, depth]


def quantize_whole(graph: Graph, state_bits: int = 8) -> Graph:
    """The graph with Q/DQ pairs everywhere: uint8 activations, int8 weights with a scale for each row.

    The result of a recurrent layer is on the grid on which its state is fed back. Biases of recurrent layers stay
    float, because they are added to sums of two grids. state_bits: with 16, the results of element-wise sums and
    products, functions and normalizations are int16 where an operator of these kinds reads them; other operators read
    the 8-bit twin of such a result.

    Raises InputError as `quantize` does, for other bits, and where the opset is too old for 16.
    """
    require_quantizable(graph)
    if state_bits not in (8, 16):
        raise InputError(f"states have 8 or 16 bits, not {state_bits}")
    marks = _WholeMarks(fold_batch_norm(with_states(graph)), per_channel=True).visited()
    if state_bits == 16:
        if dict(graph.opsets)[""] < _WIDE_OPSET:
            raise InputError(
                f"graph {graph.name!r} has an opset before {_WIDE_OPSET}, whose QuantizeLinear has no 16-bit types; "
                "raise it by onnx.version_converter"
            )
        marks.widen()
    return Rewriter(marks, "uint8", "int8").graph().live()  # nobody may read the states of all steps


def with_states(graph: Graph) -> Graph:
    """The graph with a name for the states of all steps, [steps, directions, batch, units], where only the last state
    of a recurrent layer is read: the layer feeds back all of them, so their range is that of the grid."""
    nodes, named = [], []
    for node in graph.nodes:
        if node.op in _RECURRENT and not node.outputs[0] and len(node.outputs) > 1 and node.outputs[1]:
            last = graph.type_of(node.outputs[1])
            steps = graph.shape(node.inputs[0])[0]
            directions, batch, units = last.shape
            named.append(replace(last, name=f"{last.name}_states", shape=(steps, directions, batch, units)))
            node = replace(node, outputs=(named[-1].name, *node.outputs[1:]))  # noqa: PLW2901 - the same with a name
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), values=(*graph.values, *named))


class _WholeMarks(Marks):
    """Marks also the tensors that the other quantizer leaves in float."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._functions, self._inner = self._found_functions()
        self._mark(*(t.name for t in self.graph.inputs))

    def visit(self, node: Node) -> None:
        if node.outputs[0] in self._given:
            return
        if node.op in _RECURRENT:
            self._recurrent(node)
        elif node.op == "MatMul" and self._is_biased(node):
            self._mark(node.inputs[0])
            self._weight(node.inputs[1], 1)
        elif node.op == "Add" and any(self._is_unmarked_product(name) for name in node.inputs):
            self._mark(node.outputs[0])
        elif node.op in ("Relu", "Clip") and self._made_by(node.inputs[0]) in _RECURRENT:
            self._mark(node.outputs[0])  # its bound must not reach the state that is fed back
        elif node.op == "Gather" and self._is_tied(node.inputs[0]):
            self.weights[node.inputs[0]] = (
                None  # one scale for all rows, or those that are looked up have none in common
            )
            self._mark(node.outputs[0])
        elif node.op == "Expand":
            self._share(node)
        elif node.outputs[0] in self._functions:
            self._mark(self._functions[node.outputs[0]], *(name for name in node.outputs if name not in self._inner))
        else:
            super().visit(node)
            self._mark(*(name for name in node.outputs if not self._has_grid(name)))

    def widen(self) -> None:
        """Gives 16 bits to the results that `quantize_whole` names."""
        groups: dict[str, list[str]] = {}
        for name, root in self.activations.items():
            groups.setdefault(root, []).append(name)
        for root, names in groups.items():
            readers = [(name, node) for name in names for node in self._readers.get(name, ())]
            moved = [node for _, node in readers if self.activations.get(node.outputs[0]) == root]
            if not self._is_of_elements(root) or any(node.op not in _MOVES for node in moved):
                continue
            takers = [(name, node) for name, node in readers if node not in moved]
            narrow = {(name, node.outputs[0]) for name, node in takers if not self._takes_wide(node)}
            if len(narrow) < len(takers):
                self.wide.update(names)
                self.narrow_inputs |= narrow

    def _is_of_elements(self, name: str) -> bool:
        """Whether the operator that makes this can make 16 bits of it."""
        node = self._producers.get(name)
        return node is not None and self._takes_wide(node)

    def _takes_wide(self, node: Node) -> bool:
        is_sum_of_product = node.op == "Add" and any(self._is_unmarked_product(name) for name in node.inputs)
        return (node.op in _FUNCTIONS or node.op in _NORMALIZATIONS) and not is_sum_of_product

    def _recurrent(self, node: Node) -> None:
        self._mark(node.inputs[0])
        for name in node.inputs[1:3]:
            self._weight(name, _ROWS)
        self._mark(*(name for name in node.inputs[5:7] if name and name not in self._static))  # the first states
        states, *last = (name for name in node.outputs[:2] if name)
        self._mark(states, *node.outputs[2:])
        for name in last:  # the last of the states, on their grid
            self.activations[name] = states

    def _is_tied(self, name: str) -> bool:
        """Whether a stored table of embeddings is a weight, too."""
        return name in self._static and any(reader.op != "Gather" for reader in self._readers[name])

    def _has_grid(self, name: str) -> bool:
        return name in self.activations or name in self.removed

    def _is_biased(self, node: Node) -> bool:
        """Whether an Add of a stored row is all that reads this product."""
        readers = self._readers.get(node.outputs[0], [])
        if len(readers) != 1 or readers[0].op != "Add" or node.outputs[0] in self._fixed:
            return False
        rows = [name for name in readers[0].inputs if name in self._static]
        width = self.graph.shape(node.outputs[0])[-1]
        return any(self.graph.shape(name)[-1:] == (width,) and self.graph.type_of(name).numel == width for name in rows)

    def _is_unmarked_product(self, name: str) -> bool:
        return self._made_by(name) == "MatMul" and not self._has_grid(name)

    def _made_by(self, name: str) -> str:
        node = self._producers.get(name)
        return node.op if node else ""

    def _found_functions(self) -> tuple[dict[str, str], set[str]]:
        """For each result that is a function of one tensor with a grid that tensor, and which of the results need no
        grid, since all that reads them is a function of the same tensor."""
        with_grid = set(self._fixed)
        while True:
            functions: dict[str, str] = {}
            for node in self.graph.nodes:
                read = {name if name in with_grid else functions.get(name, name) for name in self._operands(node)}
                if len(read) == 1:
                    functions[node.outputs[0]] = read.pop()
            inner = functions.keys() - with_grid
            read_otherwise = {
                name
                for name in inner
                if any(functions.get(r.outputs[0]) != functions[name] for r in self._readers.get(name, ()))
            }
            if not read_otherwise:
                return functions, inner
            with_grid |= read_otherwise

    def _operands(self, node: Node) -> list[str]:
        """The inputs of a function without stored numbers; none where the node is not a function of single elements."""
        running = [name for name in node.inputs if name and not self._is_scalar(name)]
        return running if node.op in _FUNCTIONS and not self._static.intersection(running) else []

    def _is_scalar(self, name: str) -> bool:
        return name in self._static and self.graph.type_of(name).numel == 1
