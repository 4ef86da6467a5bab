"""`hwprof tune`, and measuring on a device that dies and comes back, each from the command line."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hwprof import onnx_io
from hwprof.__main__ import run
from hwprof.builder import GraphBuilder
from tests.backends.tvm.conftest import nodes  # noqa: F401 -- a fixture

BOARD = """schema = "hwprof.device/1"
backend = "tvm"
cores = "big"
remote = "{remote}"
[options]
key = "board"
mcpu = "{mcpu}"
wait_s = 10.0
answer_s = 10.0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a small network in it."""
    monkeypatch.chdir(tmp_path)
    b = GraphBuilder("product")
    onnx_io.save(b.build(b.relu(b.matmul(b.input((32, 32)), b.weight((32, 32))))), tmp_path / "product.onnx")
    return tmp_path


def records(folder: Path) -> list[str]:
    found = list(folder.glob("hwprof.tuning/*/*/0/database_tuning_record.json"))
    return found[0].read_text().splitlines() if found else []


def wait_for(condition, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_killed_search_goes_on_where_it_was(folder: Path, capsys):
    command = [sys.executable, "-m", "hwprof", "tune", "product.onnx", "--trials", "4000"]
    search = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(records(folder)) >= 2)
    search.send_signal(signal.SIGKILL)
    search.wait()
    time.sleep(0.2)  # its worker dies with it
    kept = [line for line in records(folder) if line.endswith("]")]
    assert len(kept) >= 2
    trials = len(kept) + 2
    assert run(["tune", "product.onnx", "--trials", str(trials), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["trials"] == trials
    assert (row["kernels"], row["tuned"]) == (1, 1)
    assert records(folder)[: len(kept)] == kept


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["product.onnx", "--device", "cpu-1t"], 2, "backend 'onnxruntime' of device 'cpu-1t' has nothing to tune"),
        (["product.onnx", "--trials", "0"], 2, "tuning needs at least one trial and more than 0 s, not 0 and"),
        (["product.onnx", "--builds", "0"], 2, "--builds must be at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line(folder: Path, capsys, arguments, status, reason):
    assert run(["tune", *arguments]) == status
    told = capsys.readouterr()
    assert reason in told.err
    assert (told.out, len(told.err.splitlines())) == ("", 1)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill_last", "stop_last"])
def test_collecting_goes_on_when_a_device_that_died_is_back(nodes, folder: Path, tiny_spaces, capsys, end):  # noqa: F811
    device = nodes.device
    (folder / "board.toml").write_text(BOARD.format(remote=device.remote, mcpu=device.option["mcpu"]))
    command = ["collect", "--space", "space", "-n", "1", "--device", "board.toml", "--target", "90%", "--budget", "60"]

    def stored() -> list[str]:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect("file:hwprof.db?mode=ro", uri=True)) as db:
            return [text for (text,) in db.execute("SELECT record FROM process ORDER BY round")]
        return []  # not there yet

    def end_after_one_process() -> None:
        wait_for(lambda: bool(stored()))
        getattr(nodes, end)()

    killer = threading.Thread(target=end_after_one_process)
    killer.start()
    assert run(command) == 5
    killer.join()
    told = capsys.readouterr().err
    assert "device 'board' was lost (" in told
    assert "the same command continues them when the device is back" in told
    assert not (folder / "latency_data").exists()
    before = stored()
    assert before

    if end == "stop_last":
        nodes.kill_last()
    nodes.start_server()
    assert run(command) == 0
    assert stored()[: len(before)] == before
    told = capsys.readouterr()
    assert f"continues after {len(before)} stored process" in told.err
    assert "untuned" in told.err
    card = next(folder.glob("latency_data/*/dataset.toml")).read_text()
    assert "untuned" in card
    assert device.remote not in card


def test_a_search_that_found_nothing_says_so_and_leaves_the_network_untuned(folder: Path, capsys):
    assert run(["tune", "product.onnx", "--budget", "0.000001"]) == 4
    assert "product: no schedule that runs was found, so it is measured untuned" in capsys.readouterr().err
    assert records(folder) == []
    assert len(list(folder.glob("hwprof.tuning/*/*/0"))) == 1
    assert run(["devices", "product.onnx", "--devices", "tvm-1t", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["runs"] is True
