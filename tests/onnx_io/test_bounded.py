"""Work in a child process: its result, its errors, and its end when it does not end by itself."""

import os
import signal
from itertools import count

import pytest

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.onnx_io import bounded

GIB = 1 << 30


def in_child(work, limit_s=60.0):
    return bounded.run(work, "net.onnx", limit_s, GIB)


def test_the_result_comes_back():
    assert in_child(lambda: [1, "two"]) == [1, "two"]


def test_the_work_is_done_by_another_process():
    assert in_child(os.getpid) != os.getpid()


def test_an_error_comes_back_as_it_was_raised():
    def work():
        raise InputError("shape (3,) is unknown")

    with pytest.raises(InputError, match=r"^shape \(3,\) is unknown$"):
        in_child(work)


def test_a_fault_of_ours_stays_one_and_says_where_it_was():
    def faulty():
        return {}["missing"]

    with pytest.raises(KeyError) as raised:
        in_child(faulty)
    assert "in faulty" in raised.value.__notes__[0]


def test_work_that_never_ends_is_ended():
    with pytest.raises(InputError, match=r"net\.onnx: it was not read within 0 s"):
        in_child(lambda: [None for _ in count() if False], limit_s=0.05)


def test_work_that_crashes_is_an_error():
    with pytest.raises(InputError, match=r"net\.onnx: it ended the process that read it \(SIGSEGV\)"):
        in_child(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def test_work_that_takes_all_memory_is_an_error():
    with pytest.raises(EnvironmentUnfitError, match=r"net\.onnx: it takes more than 1\.1 GB of memory"):
        in_child(lambda: bytearray(4 * GIB))


def test_no_process_is_left_over():
    with pytest.raises(InputError):
        in_child(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
