"""Networks as PyTorch modules: a Graph through one table of operators, or a user's own module by torch.export."""

from hwprof.torch_io.example_inputs import with_given
from hwprof.torch_io.module import as_tensor, place_of, to_module
from hwprof.torch_io.onnx_export import export_onnx
from hwprof.torch_io.program import content_digest, export, from_factory, load_program
from hwprof.torch_io.trainable import TrainableGraph, trainable, weights_of

__all__ = [
    "TrainableGraph", "as_tensor", "content_digest", "export", "export_onnx", "from_factory",
    "load_program", "place_of", "to_module", "trainable", "weights_of", "with_given",
]  # fmt: skip
