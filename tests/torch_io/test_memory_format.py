import os
import subprocess
import sys

import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.torch_io.trainable import trainable

pytestmark = pytest.mark.processor(runtime="torch")  # oneDNN has an implementation for each instruction set
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}  # glibc looks at its heap with every call
TRAINS = """
import torch
from hwprof.builder import GraphBuilder
from hwprof.torch_io.trainable import trainable

torch.set_num_threads(1)
for channels, size in ((4, 8), (7, 16), (12, 128)):
    b = GraphBuilder("strided")
    network = trainable(b.build(b.conv(b.input((1, channels, size, size)), 4, 1, stride=2)))
    network.to(memory_format=torch.channels_last)
    for _ in range(30):
        x = torch.rand(8, channels, size, size).contiguous(memory_format=torch.channels_last)
        network(x).sum().backward()
print("trained")
"""


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_a_training_in_channels_last_leaves_the_heap_whole():
    python, env = [sys.executable, "-c"], os.environ | CHECKED
    tried = subprocess.run([*python, ""], env=env, capture_output=True, text=True)
    if "cannot be preloaded" in tried.stderr:
        pytest.skip("glibc's libc_malloc_debug.so.0 is not installed")
    done = subprocess.run([*python, TRAINS], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("channels", [2, 7, 8, 12, 16])
def test_the_weights_gradient_is_that_of_contiguous_float64(channels, stride, threads):
    b = GraphBuilder("strided")
    graph = b.build(b.conv(b.input((1, channels, 12, 12)), 4, 1, stride=stride))
    x = torch.rand(8, channels, 12, 12, generator=torch.Generator().manual_seed(0))
    exact, last = trainable(graph).double(), trainable(graph).to(memory_format=torch.channels_last)
    for network, given in ((exact, x.double()), (last, x.contiguous(memory_format=torch.channels_last))):
        network(given).square().sum().backward()
    (wanted,), (gradient,) = ([p.grad for p in network.weights()] for network in (exact, last))
    torch.testing.assert_close(gradient.double(), wanted, rtol=1e-5, atol=1e-4)
