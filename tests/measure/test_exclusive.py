import os
import signal
import subprocess
import sys
from subprocess import PIPE

import pytest

from hwprof.errors import EnvironmentUnfitError
from hwprof.measure.exclusive import machine_to_ourselves


def test_a_second_measurement_is_refused_while_the_first_runs():
    with machine_to_ourselves("hwprof-test-a"):
        program = "from hwprof.measure.exclusive import machine_to_ourselves as m\nwith m('hwprof-test-a'): pass"
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "another hwprof is measuring" in other.stderr


def test_the_lock_goes_with_its_holder():
    with machine_to_ourselves("hwprof-test-b"):
        pass
    with machine_to_ourselves("hwprof-test-b"):
        pass


def test_the_lock_goes_with_a_killed_process():
    program = (
        "import os, signal\nfrom hwprof.measure.exclusive import machine_to_ourselves as m\n"
        "with m('hwprof-test-c'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program])
    with machine_to_ourselves("hwprof-test-c"):
        pass


def test_a_holder_that_is_stopped_is_named():
    program = (
        "import sys\nfrom hwprof.measure.exclusive import machine_to_ourselves as m\n"
        "with m('hwprof-test-e'):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
        with (
            pytest.raises(EnvironmentUnfitError, match=rf"process {holder.pid}, which is stopped.*-CONT {holder.pid}"),
            machine_to_ourselves("hwprof-test-e"),
        ):
            pass
        holder.kill()


def test_the_error_says_what_to_do():
    with (
        machine_to_ourselves("hwprof-test-d"),
        pytest.raises(EnvironmentUnfitError, match="wait for it to end"),
        machine_to_ourselves("hwprof-test-d"),
    ):
        pass
