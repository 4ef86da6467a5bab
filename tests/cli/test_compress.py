from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from hwprof.__main__ import run


def test_the_methods_are_listed_with_their_papers(capsys: pytest.CaptureFixture[str]):
    assert run(["compress", "--list", "--format", "json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() >= {"int8", "magnitude"}
    assert rows["magnitude"]["needs"] == "tuning"
    assert all(row["paper"] for row in rows.values())


@pytest.mark.parametrize("missing", [[], ["net.onnx"], ["net.onnx", "--task", "digits"]])
def test_what_is_missing_is_asked_for(missing: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(["compress", *missing]) == 2
    assert "give a MODEL, --task and --target-ms or --target-share" in capsys.readouterr().err


def test_a_missed_target_is_status_1_and_in_the_store_for_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "net_for_the_command.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    command = [
        "compress", f"{tmp_path}/net_for_the_command.py:net", "--task", "digits", "--device", "roofline-edge-gpu",
        "--fast", "--method", "int8", "--target-ms", "0.000001", "--out", str(tmp_path), "--store",
        str(tmp_path / "s.db"), "--format", "json",
    ]  # fmt: skip
    assert run(command) == 1
    told = capsys.readouterr()
    (record,) = json.loads(told.out)
    assert (record["met"], record["method"], record["task"]) == ("no", "int8", "digits")
    assert Path(record["file"]).stat().st_size == record["size_bytes"]
    assert "hwprof: the target is not met" in told.err
    assert record["note"].startswith("target not reached: the least is ")
    assert run([*command[:-1], "csv"]) == 1
    told = capsys.readouterr()
    (row,) = csv.DictReader(told.out.splitlines())
    assert (row["met"], row["note"]) == ("no", record["note"])
    assert "is in the store" in told.err


def test_a_run_that_is_interrupted_and_killed_goes_on_where_it_was(tmp_path: Path):
    (tmp_path / "net_to_interrupt.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    command = [
        sys.executable, "-m", "hwprof", "compress", f"{tmp_path}/net_to_interrupt.py:net", "--task", "digits",
        "--device", "roofline-edge-gpu", "--fast", "--method", "int8", "--target-ms", "1000", "--train-epochs", "3",
        "--out", str(tmp_path), "--store", str(tmp_path / "s.db"), "--format", "json",
    ]  # fmt: skip
    first, status = until(command, "epoch 1 of 3", signal.SIGINT)
    assert status == 130
    assert "Traceback" not in first
    second, status = until(command, "epoch 2 of 3", signal.SIGKILL)
    assert status == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "epoch 1 of 3" not in second + done.stderr
    assert "epoch 2 of 3" not in done.stderr
    assert "epoch 3 of 3" in done.stderr
    (record,) = json.loads(done.stdout)
    assert record["met"] == "yes"
    assert record["size_bytes"] == Path(record["file"]).stat().st_size


def until(command: list[str], text: str, stop: signal.Signals) -> tuple[str, int]:
    """What the command tells until it says the text and gets the signal, and its exit status."""
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no other thread runs here
    ) as process:
        assert process.stderr is not None
        told = ""
        for line in process.stderr:
            told += line
            if text in line:
                process.send_signal(stop)
                break
        told += process.stderr.read()
    return told, process.returncode


def test_a_check_warns_before_a_training_with_binary_weights_that_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "nets_for_the_check.py").write_text(
        "from hwprof.builder import GraphBuilder\n"
        "def deep(norm):\n"
        "    b = GraphBuilder('deep')\n"
        "    x = b.flatten(b.input((1, 1, 8, 8)))\n"
        "    for _ in range(3):\n"
        "        x = b.gemm(x, 64)\n"
        "        x = b.relu(b.batch_norm(x) if norm else x)\n"
        "    return b.build(b.gemm(x, 10))\n"
        "def plain():\n    return deep(False)\n"
        "def normed():\n    return deep(True)\n"
    )
    told = {}
    for name in ("plain", "normed"):
        model = f"{tmp_path}/nets_for_the_check.py:{name}"
        command = ["compress", model, "--task", "digits", "--check", "--out", str(tmp_path), "--format", "json"]
        assert run(command) == 0
        told[name] = {row["weights"]: row["training can work"] for row in json.loads(capsys.readouterr().out)}
    assert told["plain"]["-1 and 1"].startswith("no: gradients grow")
    assert told["plain"]["minus and plus a step"] == told["normed"]["-1 and 1"] == "yes"
