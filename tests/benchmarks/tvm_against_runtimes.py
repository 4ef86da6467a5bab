"""TVM, tuned and untuned, against ONNX Runtime and OpenVINO, one thread each, and writes reports/tvm.

    python tests/benchmarks/tvm_against_runtimes.py [--trials N] [--budget SECONDS] [--rounds N] [NETWORK ...]

First each network is tuned (what is found is kept in build/tuning, and the same command goes on). Then each
round measures all four runtimes on all networks, each in a fresh process, in an order that the next round reverses:
the ratios are paired within the rounds. --trials is for each network, --budget seconds of tuning for each. With the
defaults it takes some four hours of one quiet core, nearly all of it tuning; --trials 8 --rounds 2 shows in minutes
that it works.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hwprof import files, jobs, metrics
from hwprof.device import Device
from hwprof.interfaces import TuningProgress
from hwprof.jobs import tuning
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.measure.rounds import Cohort, Rounds
from hwprof.measurement import FAST, Process, ProtocolSettings

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "tvm"
FOUND, NOTHING = ROOT / "build" / "tuning", ROOT / "build" / "untuned"
NETWORKS = ("mobilenet_v2", "resnet18")
RUNTIMES = {
    "TVM tuned": ("tvm-1t", FOUND),
    "TVM untuned": ("tvm-1t", NOTHING),
    "ONNX Runtime": ("cpu-1t", NOTHING),
    "OpenVINO": ("openvino-1t", NOTHING),
}
BASE = "ONNX Runtime"


@dataclass(frozen=True, slots=True)
class Row:
    """One runtime on one network. `ratio` is to ONNX Runtime's latency of the same round, with its 95 % interval."""

    network: str
    runtime: str
    latency_ms: float
    ratio: float
    low: float
    high: float
    rounds: int
    builds: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--budget", type=float, default=7200.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    tuned = {name: tune(name, asked.trials, asked.budget) for name in asked.networks}
    rows = [row for name in asked.networks for row in compared(name, measured(name, asked.rounds))]
    write(asked.out, rows, tuned, f"--trials {asked.trials} --budget {asked.budget:g} --rounds {asked.rounds}")


def tune(name: str, trials: int, budget_s: float) -> TuningProgress:
    os.environ["HWPROF_TUNING"] = str(FOUND)
    device = Device.load("tvm-1t")

    def show(reached: TuningProgress) -> None:
        kernels = "not all yet" if reached.best_ms is None else f"{reached.best_ms:.1f} ms"
        print(f"{name}: {reached.trials} trials, {reached.seconds:.0f} s, kernels {kernels}")

    return tuning.tune(jobs.load_network(name), device, trials, budget_s, on_progress=show)


def measured(name: str, rounds: int) -> Mapping[str, Sequence[Process]]:
    """By runtime one process for each round."""
    found: dict[str, list[Process]] = {runtime: [] for runtime in RUNTIMES}
    with machine_to_ourselves():
        for number in range(rounds):
            order = list(RUNTIMES) if number % 2 == 0 else list(reversed(RUNTIMES))
            for runtime in order:
                found[runtime].append(process(name, runtime, number))
                print(f"{name}: round {number}, {runtime}: {latency_ms(found[runtime][-1]):.4g} ms")
    return found


def process(name: str, runtime: str, number: int) -> Process:
    device, folder = RUNTIMES[runtime]
    os.environ["HWPROF_TUNING"] = str(folder)
    settings: ProtocolSettings = replace(FAST, min_processes=1, max_processes=1, seed=number)
    processes: list[Process] = []
    rounds = Rounds(Device.load(device), settings, lambda _cohort, _place, one: processes.append(one))
    (cohort,) = rounds.run([Cohort((jobs.load_network(name),))])
    if cohort.error:
        raise cohort.error
    return processes[0]


def latency_ms(one: Process) -> float:
    return float(np.median([np.median(b.latencies_ns) for b in one.kept])) / 1e6


def compared(name: str, found: Mapping[str, Sequence[Process]]) -> Iterator[Row]:
    base = np.log([latency_ms(p) for p in found[BASE]])
    for runtime, processes in found.items():
        ms = np.array([latency_ms(p) for p in processes])
        differences = np.log(ms) - base
        low, high = np.exp(metrics.bootstrap_interval([np.array([d]) for d in differences]))
        builds = tuple(dict.fromkeys(p.build for p in processes if p.build))
        ratio = float(np.exp(np.median(differences)))
        yield Row(name, runtime, float(np.median(ms)), ratio, float(low), float(high), len(ms), builds)


def write(out: Path, rows: Sequence[Row], tuned: Mapping[str, TuningProgress], arguments: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    command = f"python tests/benchmarks/tvm_against_runtimes.py {arguments}"
    record = {"command": command, "rows": [asdict(r) for r in rows], "tuning": {n: asdict(p) for n, p in tuned.items()}}
    files.write_text(out / "results.json", json.dumps(record, indent=2) + "\n")
    lines = [f"<!-- {command} -->", "", "# TVM tuned and untuned, against ONNX Runtime and OpenVINO", ""]
    lines += ["Batch 1, float32, one thread. Ratios are paired: of processes of the same round.", ""]
    lines += [
        "| network | runtime | latency | of ONNX Runtime's | 95 % interval | rounds |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r.network} | {r.runtime} | {r.latency_ms:.4g} ms | {r.ratio:.3g} × | {r.low:.3g} to {r.high:.3g} "
        f"| {r.rounds} |"
        for r in rows
    ]
    lines += [
        "",
        "| network | trials | tuning | kernels tuned | sum of the kernels' best times |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {p.trials} | {p.seconds / 60:.1f} min | {p.tuned} of {p.kernels} | "
        f"{'unknown' if p.best_ms is None else f'{p.best_ms:.4g} ms'} |"
        for name, p in tuned.items()
    ]
    lines += [
        "",
        "One search for each network; another of the same length would find another latency. A search goes on where "
        "one before it ended, and its trials and minutes are those of all.",
        "",
    ]
    files.write_text(out / "README.md", "\n".join(lines))


if __name__ == "__main__":
    main()
