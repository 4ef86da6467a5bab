"""ONNX Runtime as the truth about numbers, on every processor.

Its optimized int8 is no truth: without VNNI it adds pairs of products of unsigned and signed bytes in 16 bits, which
saturate; a small network is off by 0.45 there. Unoptimized it computes what the graph says, each Q/DQ pair in float.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime


def unoptimized(model: onnx.ModelProto | str, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a model, or of the one in a file."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    content = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))
