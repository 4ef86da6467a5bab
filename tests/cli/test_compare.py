from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hwprof.__main__ import run
from hwprof.errors import MachineBusyError

ANALYTIC = ("--device", "roofline-edge-gpu", "--fast")


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `hwprof compare` on the analytic device. Returns its status, standard output and standard error."""

    def run_compare(*arguments: str, device: tuple[str, ...] = ANALYTIC) -> tuple[int, str, str]:
        status = run(["compare", *arguments, *device, "--store", str(tmp_path / "s.db")])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run_compare


def test_the_json_of_a_comparison_holds_verdict_ratio_and_both_records(compare):
    status, out, _ = compare("resnet18", "resnet50", "--format", "json")
    record = json.loads(out)
    assert status == 0
    assert record["verdict"] == "slower"
    assert (record["low"], record["high"]) == (None, None)  # nobody knows the error of a formula
    assert record["pairs"] > 0
    assert record["a"]["model"] == "resnet18"
    assert record["ratio"] == pytest.approx(
        record["b"]["latency_ms"]["median"] / record["a"]["latency_ms"]["median"], rel=1e-6
    )


def test_a_table_says_which_latencies_it_shows_and_by_which_clock_they_are_compared(compare):
    _, out, _ = compare("resnet18", "resnet50", "--format", "csv")
    (row,) = csv.DictReader(out.splitlines())
    assert (row["ms are"], row["by"]) == ("as the clock ran", "calculation")


def test_the_latencies_of_a_table_are_undisturbed_where_that_is_known(compare):
    """Blocks that alternate: both networks see the same minutes, and their anchors are the same."""
    _, out, _ = compare("light_squeezenet", "light_squeezenet", "--format", "csv", "--budget", "1", device=("--fast",))
    (row,) = csv.DictReader(out.splitlines())
    assert row["ms are"] == "undisturbed"
    assert row["by"] in ("wall time", "CPU time")


def test_a_network_is_as_fast_as_itself(compare):
    assert json.loads(compare("bert_tiny", "bert_tiny", "--format", "json")[1])["verdict"] == "same"


def test_the_gate_fails_only_above_its_limit(compare):
    record = json.loads(compare("resnet18", "mobilenet_v2", "--format", "json")[1])
    above, below = record["ratio"] - 1 - 0.01, record["ratio"] - 1 + 0.01
    assert 0 < above < below < 1
    status, _, err = compare("resnet18", "mobilenet_v2", "--fail-above", f"{above:.4f}")
    assert status == 1
    assert "mobilenet_v2 is slower than resnet18 by " in err
    assert f"allowed: {above:.1%}" in err
    assert compare("resnet18", "mobilenet_v2", "--fail-above", f"{below:.4f}")[0] == 0
    assert compare("mobilenet_v2", "resnet18", "--fail-above", "1%")[0] == 0


def test_a_gate_that_passes_says_by_how_much(compare):
    status, _, err = compare("mobilenet_v2", "resnet18", "--fail-above", "5%")
    assert status == 0
    assert "gate: passed, resnet18 against mobilenet_v2: at most -" in err
    assert "%; allowed: 5.0%" in err


def test_that_both_are_the_same_network_is_said_and_they_are_measured(compare):
    status, out, err = compare("bert_tiny", "bert_tiny", "--fail-above", "5%", "--format", "json")
    assert status == 0
    assert json.loads(out)["pairs"] > 0
    assert "bert_tiny is the same network as bert_tiny, with the same weights" in err
    assert "gate: passed, bert_tiny against bert_tiny: at most +0.0%; allowed: 5.0%" in err
    assert "same network" not in compare("bert_tiny", "resnet18")[2]


def test_a_noisy_difference_decides_nothing_and_says_what_to_do(compare, tmp_path: Path):
    (tmp_path / "noisy.toml").write_text(
        'schema = "hwprof.device/1"\nbackend = "roofline"\nkind = "analytic"\n[options]\npeak_macs_per_s = 1e12\n'
        "peak_bytes_per_s = 1e11\nlaunch_ns = 1000000\nnoise = 0.5\n"
    )
    noisy = ("--device", str(tmp_path / "noisy.toml"), "--fast")
    status, _, err = compare("bert_tiny", "--variant", "fp16", device=noisy)
    assert status == 4
    assert "processes is not conclusive yet; raise --budget or leave out --fast" in err


def test_several_are_each_compared_to_the_first(compare):
    _, out, _ = compare("bert_tiny", "mobilenet_v3_small", "resnet18", "--format", "csv")
    assert [line.split(",")[:2] for line in out.splitlines()[1:]] == [
        ["bert_tiny", "mobilenet_v3_small"],
        ["bert_tiny", "resnet18"],
    ]


def test_a_variant_is_compared_to_its_model(compare):
    status, out, err = compare("mobilenet_v3_small", "--variant", "prune:0.5", "--format", "json")
    record = json.loads(out)
    assert status == 0
    assert record["verdict"] == "faster"
    assert record["b"]["macs"] < 0.5 * record["a"]["macs"]
    assert "its accuracy is not" in err


def test_a_page_of_the_comparison_is_written(compare, tmp_path: Path):
    status, _, err = compare("bert_tiny", "resnet18", "--html", str(tmp_path / "c.html"))
    assert status == 0
    assert f"wrote {tmp_path / 'c.html'}" in err
    assert "resnet18" in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_a_single_process_passes_no_gate(compare):
    status, _, err = compare("resnet18", "resnet50", "--fail-above", "5%", "--budget", "0.000001")
    assert status == 4
    assert "fewer than four rounds without disturbance is not conclusive yet" in err


class BusyMeanwhile:
    """Another hwprof has the machine from the end of the comparison on, for this many looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
        self.left = looks
        monkeypatch.setattr("hwprof.measure.hold._POLL_S", 0.001)
        monkeypatch.setattr("hwprof.jobs.reporting.held", self.held)

    def held(self, transport, device, wait_s=0.0):
        from hwprof.measure import hold

        return hold.held(Refusing(transport, self), device, wait_s)


class Refusing:
    def __init__(self, transport, busy: BusyMeanwhile) -> None:
        self.transport, self.busy = transport, busy

    def open(self, device, limit_s=0.0):
        if self.busy.left > 0:
            self.busy.left -= 1
            raise MachineBusyError("another hwprof is measuring on this machine")
        return self.transport.open(device)


def test_a_page_without_the_machine_costs_its_roofline_and_not_the_verdict(
    compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    BusyMeanwhile(monkeypatch, looks=10**9)
    page = tmp_path / "page.html"
    status, out, err = compare("mobilenet_v2", "resnet18", "--fail-above", "5%", "--html", str(page))
    assert status == 0
    assert "resnet18" in out
    assert "the page has no roofline: another hwprof is measuring on this machine" in err
    assert page.exists()
    assert compare("resnet18", "resnet50", "--fail-above", "5%", "--html", str(page))[0] == 1


def test_a_page_waits_for_the_machine_as_long_as_asked(compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    busy = BusyMeanwhile(monkeypatch, looks=3)
    page = tmp_path / "page.html"
    _, _, err = compare("mobilenet_v2", "resnet18", "--html", str(page), "--wait", "60")
    assert busy.left == 0
    assert "no roofline" not in err
