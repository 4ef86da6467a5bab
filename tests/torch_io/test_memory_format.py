import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from hwprof.torch_io.memory_format import in_channels_last, to_channels_last

pytestmark = pytest.mark.processor(runtime="torch")  # oneDNN has an implementation for each instruction set
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}  # glibc looks at its heap with every call
TRAINS = """
import torch
from torch import nn
from hwprof.torch_io.memory_format import in_channels_last, to_channels_last

torch.set_num_threads(1)
for channels, size in ((4, 8), (7, 16), (12, 128)):
    network = nn.Sequential(nn.Conv2d(channels, 4, 1, stride=2, bias=False))
    to_channels_last(network)
    for _ in range(30):
        network(in_channels_last(torch.rand(8, channels, size, size))).sum().backward()
print("trained")
"""


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def images(channels):
    return torch.rand(8, channels, 12, 12, generator=torch.Generator().manual_seed(0))


def weight_gradient(network, x):
    network(x).square().sum().backward()
    return network[0].weight.grad


def test_a_training_in_channels_last_leaves_the_heap_whole():
    python = [sys.executable, "-c"]
    if "cannot be preloaded" in subprocess.run(
        [*python, ""], env=os.environ | CHECKED, capture_output=True, text=True
    ).stderr:  # fmt: skip
        pytest.skip("glibc's libc_malloc_debug.so.0 is not installed")
    done = subprocess.run([*python, TRAINS], env=os.environ | CHECKED, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


@pytest.mark.parametrize("stride", [2, 3, (1, 2), (2, 1)])
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 12, 16])
def test_the_weights_gradient_is_that_of_contiguous_float64(channels, stride, threads):
    network = nn.Sequential(nn.Conv2d(channels, 4, 1, stride))
    exact = weight_gradient(copy.deepcopy(network).double(), images(channels).double())
    to_channels_last(network)
    gradient = weight_gradient(network, in_channels_last(images(channels)))
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=1e-4)


def test_a_copy_of_a_guarded_network_is_guarded():
    network = nn.Sequential(nn.Conv2d(4, 4, 1, stride=2))
    to_channels_last(network)
    seen = []
    again = copy.deepcopy(network)
    again[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    again(in_channels_last(images(4)))
    assert [x.stride() for x in seen] == [images(4).stride()]
    assert again[0].weight.stride() == (4, 1, 1, 1)


def test_other_convolutions_stay_in_channels_last():
    network = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    to_channels_last(network)
    out = network(in_channels_last(images(4)))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
