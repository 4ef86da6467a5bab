import numpy as np
import onnxruntime
import pytest
import torch

from hwprof.compress.integer.recurrent import SequenceClassifier
from hwprof.errors import InputError
from hwprof.variants.weights import model_with


@pytest.mark.parametrize("layers", [1, 2])
def test_the_graph_computes_what_the_module_computes(layers):
    torch.manual_seed(0)
    network = SequenceClassifier(steps=5, depth=3, units=7, classes=4, layers=layers)
    x = torch.randn(2, 5, 3)
    arrays = {name: tensor.detach().numpy() for name, tensor in network.tensors().items()}
    model = model_with(network.graph(2), arrays).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(scores, network(x).detach().numpy(), atol=1e-6)


def test_a_size_below_one_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        SequenceClassifier(steps=5, depth=3, units=0, classes=4)
