import pytest

from hwprof.compress.networks import kernels_for
from hwprof.compress.screening import screened
from hwprof.device import Device
from tests.compress.board import Board, job


@pytest.mark.parametrize(
    ("device", "result", "found"),
    [
        ("cpu-1t", "fewer channels", "yes"),
        ("cpu-1t", "int8", "yes"),
        ("cpu-1t", "dictionary", "no"),
        ("cpu-1t", "zeros", "no"),
        ("cpu-1t", "", "unknown"),
        ("integer-numpy", "low-bit weights", "unknown"),
        ("integer-scalar", "low-bit weights", "yes"),
        ("roofline-edge-gpu", "int8", "unknown"),
    ],
)
def test_a_device_says_whether_it_has_kernels_for_a_result(device, result, found):
    assert kernels_for(result, Device.load(device)) == found


def test_methods_whose_smallest_network_is_slower_are_left_out_with_the_reason(tmp_path):
    board = Board()
    started = job(tmp_path, board)
    fitting, (left_out,) = screened(started, ["int8", "low_rank", "magnitude"])
    assert fitting == ["low_rank", "magnitude"]
    assert left_out.name == "int8"
    assert left_out.reason.startswith("its smallest network is not faster on board: 1.")


def test_a_method_that_finds_nothing_or_changes_no_latency_is_left_out(tmp_path):
    fitting, left_out = screened(job(tmp_path), ["irnn", "dmp_weight"])
    assert fitting == []
    assert "its networks are computed like the network itself" in [one.reason for one in left_out]
