from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from hwprof.__main__ import run

COMMAND = [sys.executable, "-m", "hwprof"]


def profile_json(store: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict], str]:
    run(["profile", *arguments, "--fast", "--format", "json", "--store", str(store)])
    told = capsys.readouterr()
    return json.loads(told.out), told.err


def test_the_json_of_a_profile_holds_what_programs_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (record,), _ = profile_json(tmp_path / "s.db", capsys, "bert_tiny")
    assert record["model"] == "bert_tiny"
    assert record["device"] == "cpu-1t"
    assert record["evidence"] == "measured"
    latency = record["latency_ms"]
    assert set(latency) == {"median", "low", "high", "p90", "p99", "mean", "min"}
    assert 0 < latency["min"] <= latency["median"] <= latency["p90"] <= latency["p99"]
    assert latency["low"] <= latency["median"] <= latency["high"]
    assert record["processes"] >= 3
    assert record["samples"] > 0
    assert record["macs"] == 58_736_640
    assert record["parameters"] == 4_385_920
    assert record["peak_memory_bytes"] > 0
    assert record["cold_start_ms"] > 0
    assert len(record["hardware"]) == 12
    assert record["environment"]["hardware"]["cores"] == os.cpu_count()
    assert record["versions"]["onnxruntime"]
    assert isinstance(record["warnings"], list)
    assert 0 <= record["rejected_share"] <= 1


def test_what_converged_is_not_measured_twice_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ("bert_tiny", "--device", "roofline-edge-gpu")
    (first,), _ = profile_json(tmp_path / "s.db", capsys, *arguments)
    (second,), _ = profile_json(tmp_path / "s.db", capsys, *arguments)
    assert (first["from_store"], second["from_store"]) == (False, True)
    assert first["latency_ms"] == second["latency_ms"]
    (third,), _ = profile_json(tmp_path / "s.db", capsys, *arguments, "--fresh")
    assert third["from_store"] is False


def test_an_analytic_device_is_labelled_wherever_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (record,), _ = profile_json(tmp_path / "s.db", capsys, "bert_tiny", "--device", "roofline-edge-gpu")
    assert record["evidence"] == "analytic"
    assert any("analytic" in w for w in record["warnings"])
    run(["profile", "bert_tiny", "-d", "roofline-edge-gpu", "--store", str(tmp_path / "s.db")])
    assert "(analytic)" in capsys.readouterr().out


def start(store: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run that Ctrl-C reaches, also where this one was started in the background and ignores it."""
    return subprocess.Popen(
        [*COMMAND, "profile", *arguments, "--store", str(store)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no other thread runs here
    )  # fmt: skip


def wait_for_processes(store: Path, count: int) -> None:
    for _ in range(12_000):
        time.sleep(0.05)
        try:
            if count_of_processes(store) >= count:
                return
        except sqlite3.OperationalError:
            continue
    raise AssertionError("nothing was measured in 10 minutes")


def count_of_processes(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return db.execute("SELECT count(*) FROM process").fetchone()[0]


def workers(parent: int) -> set[int]:
    """The worker processes that a run has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"hwprof.measure.worker" in (folder / "cmdline").read_bytes()
            if is_worker and f"PPid:\t{parent}\n" in (folder / "status").read_text():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def test_a_killed_run_loses_nothing_and_the_same_command_goes_on(tmp_path: Path):
    store = tmp_path / "s.db"
    wide = ("bert_tiny", "--no-operators", "--target", "90%")  # ends after the fewest processes on a busy machine, too
    first = start(store, *wide)
    wait_for_processes(store, 2)
    alive = workers(first.pid)
    first.kill()
    first.communicate()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in alive):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    second = start(store, "bert_tiny", "--fast", "--no-operators")
    wait_for_processes(store, count_of_processes(store) + 1)
    second.kill()
    assert "continues after" not in second.communicate()[1], "another protocol is another measurement"
    third = start(store, *wide, "--format", "json")
    out, err = third.communicate()
    assert "bert_tiny: continues after" in err
    assert json.loads(out)[0]["processes"] >= 5


def test_ctrl_c_is_one_line_and_keeps_what_was_measured(tmp_path: Path):
    store = tmp_path / "s.db"
    running = start(store, "bert_tiny", "--no-operators")
    wait_for_processes(store, 1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert (
        err.splitlines()[-1]
        == "hwprof: interrupted; the finished measurements are in the store, and the same command continues from there"
    )
    assert count_of_processes(store) >= 1


def test_a_worker_that_keeps_dying_is_a_lost_device(tmp_path: Path):
    running = start(tmp_path / "s.db", "bert_tiny", "--no-operators")
    while running.poll() is None:
        for pid in workers(running.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    _, err = running.communicate()
    assert running.returncode == 5
    assert "killed by SIGKILL" in err.splitlines()[-1]


@pytest.mark.parametrize(("limit", "status"), [("1000", 0), ("0.000001", 1)])
def test_a_limit_in_ms_is_a_gate(limit: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["profile", "resnet18", "--device", "roofline-edge-gpu", "--fast", "--store", str(tmp_path / "s.db")]
    assert run([*arguments, "--max-ms", limit]) == status
    told = capsys.readouterr().err
    assert ("gate: passed, resnet18 takes at most" in told) is not bool(status)
    assert ("hwprof: resnet18 takes" in told) is bool(status)


def test_the_error_of_a_formula_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["profile", "resnet18", "--device", "roofline-edge-gpu", "--store", str(tmp_path / "s.db")]) == 0
    told = capsys.readouterr()
    assert "error not known" in told.out
    assert "pressure" not in told.err


def test_measurements_of_a_model_are_its_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ["--store", str(tmp_path / "s.db")]
    measure = ["profile", "resnet18", "--device", "roofline-edge-gpu", "--fast", "--fresh", *store]
    for label in ("one", "two"):
        assert run([*measure, "--label", label]) == 0
    capsys.readouterr()
    assert run(["history", "resnet18", *store, "--format", "json"]) == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)] == ["one", "two"]
    assert run(["history", "nobody", *store]) == 2
