import os
import signal
import time

import pytest

from hwprof.backends.tvm.forked import result_of
from hwprof.errors import EnvironmentUnfitError


def fail() -> None:
    raise RuntimeError("cannot be built")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise EnvironmentUnfitError("no compiler")


def test_a_result_comes_back():
    assert result_of(lambda: [1.0, 2.0], limit_s=30.0) == [1.0, 2.0]


@pytest.mark.parametrize("work", [fail, crash])
def test_what_fails_or_crashes_has_no_result(work):
    assert result_of(work, limit_s=30.0) is None


def test_what_does_not_end_is_killed():
    start = time.monotonic()
    assert result_of(lambda: time.sleep(600), limit_s=0.1) is None
    assert time.monotonic() - start < 60


def test_the_reason_of_a_refusal_is_kept():
    with pytest.raises(EnvironmentUnfitError, match="no compiler"):
        result_of(refuse, limit_s=30.0)
