import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError, TimeLimitError
from hwprof.measure import cores, worker_process
from hwprof.measure.worker_process import LOCAL, LocalTransport, WorkerProcess

DEVICE = Device.load("cpu-1t")


def test_a_worker_sits_on_its_devices_cores_and_names_its_runtime():
    with LOCAL.open(DEVICE) as process:
        assert os.sched_getaffinity(process.pid) == set(cores.usable())
        (hello,) = process.ask("hello", device=DEVICE.to_record())
        assert os.sched_getaffinity(process.pid) == set(cores.choose(DEVICE))
    assert hello["evidence"] == "measured"
    assert hello["pid"] == process.pid
    assert set(hello["versions"]) == {"onnxruntime"}


def test_an_error_in_the_worker_keeps_its_class_and_line_and_the_worker_goes_on():
    with LOCAL.open(DEVICE) as process:
        with pytest.raises(InputError, match="no backend is named 'nothing'"):
            list(process.ask("hello", device={**DEVICE.to_record(), "backend": "nothing"}))
        with pytest.raises(HwprofError, match="no such request"):
            list(process.ask("no such request"))
        assert list(process.ask("hold", device=DEVICE.with_options().to_record() | {"backend": "roofline"}))


def test_a_killed_worker_is_a_lost_device():
    with LOCAL.open(DEVICE) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DeviceLostError, match="killed by SIGKILL"):
            list(process.ask("hello", device=DEVICE.to_record()))


def test_a_worker_is_killed_before_its_parent_where_memory_runs_out():
    """The kernel kills the process with the highest score, which a child would otherwise take over from its parent."""
    with LOCAL.open(DEVICE) as process:
        list(process.ask("snapshot", device=DEVICE.to_record()))
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_a_command_that_fails_shows_its_last_line():
    transport = LocalTransport((sys.executable, "-c", "raise SystemExit('no such cable')"))
    with transport.open(DEVICE) as process, pytest.raises(DeviceLostError, match="ended with status 1: no such cable"):
        list(process.ask("hello", device=DEVICE.to_record()))


def played(program: str, limit_s: float = 10.0) -> WorkerProcess:
    """A worker that runs a few lines of Python."""
    return WorkerProcess((sys.executable, "-S", "-c", f"import os, sys, time\n{program}"), limit_s)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_worker_that_never_answers_is_ended_and_the_error_states_the_limit():
    with played("time.sleep(1000)", limit_s=0.3) as process:
        with pytest.raises(TimeLimitError, match=r"did not answer the request 'hello' within 0.3 s .* --time-limit"):
            list(process.ask("hello"))
        assert not is_running(process.pid)


def test_a_stopped_worker_is_ended():
    with played("time.sleep(1000)", limit_s=0.3) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(TimeLimitError):
            list(process.ask("hello"))
        assert not is_running(process.pid)


def test_a_worker_that_does_not_even_read_its_request_is_ended():
    with played("time.sleep(1000)", limit_s=0.3) as process, pytest.raises(TimeLimitError):
        list(process.ask("measure", graphs=["x" * 1_000_000]))  # more than a pipe holds


def test_each_answer_has_the_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock_s = [0.0]
    monkeypatch.setattr(worker_process, "monotonic", lambda: clock_s[0])
    program = f"""
input()
for number in range(4):
    while not os.path.exists(f"{tmp_path}/{{number}}"): time.sleep(0.001)
    print("{{}}", flush=True)
print('{{"done": 1}}')"""
    (tmp_path / "0").touch()
    with played(program, limit_s=10) as process:
        for number, _ in enumerate(process.ask("tune"), 1):
            clock_s[0] += 6
            (tmp_path / str(number)).touch()
    assert clock_s[0] == 24


@pytest.mark.parametrize("answer", ["Bus error", "7", "\\xff", "[1]"])
def test_a_worker_whose_answer_is_not_the_protocols_is_ended(answer: str):
    with played(f"input(); os.write(1, b'{answer}\\n'); time.sleep(1000)") as process:
        with pytest.raises(DeviceLostError, match="not a JSON object"):
            list(process.ask("hello"))
        assert not is_running(process.pid)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next():
    with played("""input(); print('{"done": 1}\\n{"a": 1}', flush=True); time.sleep(1000)""") as process:
        assert list(process.ask("hello")) == []
        with pytest.raises(DeviceLostError, match="answered more than it was asked"):
            list(process.ask("hello"))


def test_a_long_answer_comes_whole():
    with played("""input(); print('{"a": "' + "x" * 1_000_000 + '"}'); print('{"done": 1}')""") as process:
        assert list(process.ask("hello")) == [{"a": "x" * 1_000_000}]


def test_a_worker_that_closes_its_output_is_lost_although_it_lives():
    with played("os.close(1); time.sleep(1000)") as process:
        with pytest.raises(DeviceLostError, match="closed its output"):
            list(process.ask("hello"))
        assert not is_running(process.pid)


def test_a_worker_that_cannot_start_is_a_lost_device():
    with pytest.raises(DeviceLostError, match="cannot start a worker with '/nowhere/python'"):
        LocalTransport(("/nowhere/python",)).open(DEVICE)


def test_nothing_is_left_in_the_temporary_folder_of_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import tempfile; print(input() and '{\"a\": \"' + tempfile.mkdtemp() + '\"}', flush=True); time.sleep(1000)"
    )
    with played(program) as process:
        folder = Path(next(process.ask("hello"))["a"])
        assert folder.is_relative_to(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_pytorch_compiles_outlives_a_worker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/somewhere")
    tell = "input(); print('{\"a\": \"' + os.environ['TORCHINDUCTOR_CACHE_DIR'] + '\"}\\n{\"done\": 1}')"
    with played(tell) as process:
        assert list(process.ask("hello")) == [{"a": "/somewhere"}]
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    with played(tell) as process:
        (answer,) = process.ask("hello")
    assert Path(answer["a"]).parent == Path(tempfile.gettempdir())


_PARENT = """
import os, signal, sys, time
from hwprof.measure.worker_process import WorkerProcess
os.environ["PYTHONPATH"] = sys.argv[1]
process = WorkerProcess()
print(process.pid, flush=True)
while sys.argv[2] and not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_importing", [False, True])
def test_a_worker_ends_with_its_parent_also_while_it_imports(tmp_path: Path, is_importing: bool):
    begun = tmp_path / "begun"
    (tmp_path / "numpy.py").write_text(f"open({str(begun)!r}, 'w')\nimport signal\nwhile True: signal.pause()\n")
    arguments = [str(tmp_path), str(begun) if is_importing else ""]
    parent = subprocess.run([sys.executable, "-c", _PARENT, *arguments], capture_output=True, text=True)
    pid, until = int(parent.stdout), monotonic() + 20
    while is_running(pid) and monotonic() < until:
        sleep(0.01)
    assert not is_running(pid)
