import pytest
import torch

from hwprof import cost
from hwprof.torch_io import trainable
from hwprof.workloads.bin_norm import ones_of
from hwprof.workloads.keypoint import keypoint_network


def test_the_heads_see_cells_of_8_by_8_pixels():
    graph = keypoint_network(32, 48)
    assert [graph.shape(name) for name in graph.outputs] == [(1, 1, 4, 6), (1, 2, 4, 6), (1, 256, 4, 6)]


def test_its_work_grows_with_the_image():
    assert cost.of(keypoint_network(64, 64)).macs == 4 * cost.of(keypoint_network(32, 32)).macs


def test_it_describes_a_photograph_by_bits_that_follow_the_picture():
    """Moved by a cell, the same places get the same bits."""
    data = pytest.importorskip("skimage.data", reason="scikit-image's photographs are not installed")
    photograph = torch.from_numpy(data.astronaut()[:96, :136] / 255).float().permute(2, 0, 1)[None]
    network = trainable(keypoint_network(96, 128)).eval()
    with torch.no_grad():
        here, there = (network(photograph[..., start : start + 128])[2] for start in (0, 8))
    bits, moved = (ones_of(logits.permute(0, 2, 3, 1)) for logits in (here, there))
    inner = slice(5, 7)  # far enough from the border to see the same pixels
    assert torch.equal(bits[:, inner, 8:9], moved[:, inner, 7:8])
    assert not torch.equal(bits[:, inner, 8:9], moved[:, inner, 8:9])
