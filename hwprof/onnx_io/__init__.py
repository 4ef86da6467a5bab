"""ONNX files to `Graph` and back, with seeded random weights on the way back.

2026-11-20, what `load` folds. A `Graph` has static shapes, so everything that depends only on shapes and stored tensors
is known before the first inference, and every compiling runtime computes it once, when it loads the model. Such
operators become weights and constants, so parameter counts and operator lists describe the network, not the exporter.
DequantizeLinear stays, since otherwise a quantized network would look like a float one. The alternative, to keep the
file's operators one by one, would have given one network two graphs, depending on its exporter.
"""

from hwprof.onnx_io.functions import inlined
from hwprof.onnx_io.inference import infer_types
from hwprof.onnx_io.input_values import GivenInputs, as_texts, shape_of, with_values
from hwprof.onnx_io.input_values import identity as inputs_identity
from hwprof.onnx_io.random_values import initial_weights, random_inputs, to_model
from hwprof.onnx_io.reading import external_files, has_functions, has_values, load, materialize
from hwprof.onnx_io.writing import save

__all__ = [
    "GivenInputs", "as_texts", "external_files", "has_functions", "has_values", "infer_types", "initial_weights",
    "inlined", "inputs_identity", "load", "materialize", "random_inputs", "save", "shape_of", "to_model", "with_values",
]  # fmt: skip
