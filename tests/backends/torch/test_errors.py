from __future__ import annotations

import pytest
import torch

from hwprof.backends.torch.errors import plain_errors
from hwprof.errors import DeviceLostError, InputError

GPU = torch.device("cuda", 0)


def told(error):
    with pytest.raises((InputError, DeviceLostError)) as caught, plain_errors("net", GPU):
        raise error
    return caught.value


def test_memory_that_a_device_does_not_have_is_bad_input():
    # as PyTorch 2.11 words it
    error = told(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB. GPU 0 has a total capacity"))
    assert isinstance(error, InputError)
    assert error.exit_status == 2
    assert str(error) == (
        "'net' does not fit into the memory of cuda:0, which needs 64.00 GiB more; use a smaller batch or model"
    )


def test_memory_that_the_host_does_not_have_is_the_same():
    with (
        pytest.raises(InputError, match="does not fit into the memory of cpu"),
        plain_errors("net", torch.device("cpu")),
    ):
        torch.empty(1 << 45)


def test_a_gpu_that_failed_is_lost():
    text = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"
    error = told(RuntimeError(text))
    assert isinstance(error, DeviceLostError)
    assert str(error) == "the GPU failed on 'net': CUDA error: an illegal memory access was encountered"


def ended_capture(found):
    """As torch.cuda.graph leaves a capture in which something was raised."""
    try:
        raise found
    except RuntimeError:
        try:
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture\nCUDA kernel errors"
            )
        except RuntimeError as error:
            return error


def test_a_capture_that_fails_tells_what_failed_in_it():
    error = told(ended_capture(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")))
    assert isinstance(error, InputError)
    assert str(error).startswith("'net' does not fit into the memory of cuda:0, which needs 2.00 GiB more")
    error = told(ended_capture(RuntimeError("CUDA error: operation not permitted when stream is capturing\nCUDA")))
    assert isinstance(error, InputError)
    assert str(error) == "torch cannot run 'net': CUDA error: operation not permitted when stream is capturing"


def test_a_process_whose_capture_could_not_be_ended_is_given_up():
    text = 'captures_underway.empty() INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":3021'
    assert isinstance(told(RuntimeError(text)), DeviceLostError)


def test_a_compilers_error_keeps_its_reason():
    error = told(RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler\n\nset TORCH"))
    assert (
        str(error) == "torch cannot run 'net': backend='inductor' raised: InvalidCxxCompiler: No working C++ compiler"
    )


def test_what_pytorch_refuses_is_one_line():
    with pytest.raises(InputError, match=r"^torch cannot run 'net': .*size") as caught, plain_errors("net", GPU):
        torch.ones(2) + torch.ones(3)
    assert "\n" not in str(caught.value)
