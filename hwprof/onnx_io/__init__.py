"""ONNX files to `Graph` and back, with seeded random weights on the way back.

2026-11-20, what `load` folds. A `Graph` has static shapes, so whatever depends on shapes and stored
tensors only is known before the first inference, and every compiling runtime computes it once, when
it loads the model. Such operators become weights and constants, and parameter counts and operator
lists are those of the network and not of the exporter. DequantizeLinear stays, or a quantized network
would look like a float one. The alternative, keeping the file's operators one for one, would have made
one network two graphs, depending on who exported it.
"""

from hwprof.onnx_io.inference import infer_types
from hwprof.onnx_io.random_values import initial_weights, random_inputs, to_model
from hwprof.onnx_io.reading import external_files, load, materialize
from hwprof.onnx_io.writing import save

__all__ = [
    "external_files", "infer_types", "initial_weights", "load", "materialize", "random_inputs", "save", "to_model",
]  # fmt: skip
