"""Measures what hwprof claims of its protocol; each figure lands in reports/protocol-claims.

    python tests/benchmarks/protocol_claims.py run      # measures, in stages that can be interrupted and resumed
    python tests/benchmarks/protocol_claims.py report   # writes the report from what was measured

`run` takes about an hour and wants the machine to itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from hwprof import jobs, onnx_io
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.jobs import Options
from hwprof.measure import compare, cores, stop
from hwprof.measure.rounds import Cohort, Rounds
from hwprof.measure.worker_process import LOCAL, LocalTransport
from hwprof.measurement import Measurement, Process, ProtocolSettings, process_from_record
from hwprof.metrics import bootstrap_interval, median_of_medians
from hwprof.report import operators as breakdowns

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / "build" / "protocol-claims"
OUT = ROOT / "reports" / "protocol-claims"
MODELS = ("bert_tiny", "mobilenet_v3_small", "light_shufflenet", "light_squeezenet", "mobilenet_v2")
SESSIONS = 30
OPERATOR_SESSIONS = 2  # the first ones also time the operators
TORCH_EVERY = 3  # sessions; its import takes longer than its measurement
LOADED_MODELS = MODELS[:3]
LOADED_SESSIONS = 5
LONG_RUN_MODELS = MODELS[:3]
LONG_RUN_PROCESSES = 50
REPLAYS = 100
DEVICE = Device.load("cpu-1t")


# -- measuring -----------------------------------------------------------------------------------------


def run() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in MODELS}
        for name, file in files.items():
            onnx_io.save(jobs.load_network(name), file)
        overhead()
        with load_on_other_core():
            sessions(files, LOADED_MODELS, LOADED_SESSIONS, WORK / "loaded.jsonl")
        for name in LONG_RUN_MODELS:
            long_run(name)
        sessions(files, MODELS, SESSIONS, WORK / "quiet.jsonl")


def overhead() -> None:
    with LOCAL.open(DEVICE) as worker:
        answers = list(worker.ask("overhead", device=DEVICE.to_record()))
    (WORK / "overhead.json").write_text(json.dumps({k: v for a in answers for k, v in a.items()}))


def sessions(files: dict[str, Path], names: Sequence[str], count: int, out: Path) -> None:
    """Sessions of hwprof, each a sweep, and of the two usual ways, alternating so that all see the same minutes."""
    done = len(out.read_text().splitlines()) if out.exists() else 0
    graphs = [replace(onnx_io.load(files[name]), name=name) for name in names]
    for number in range(done, count):
        record = session(graphs, WORK / f"{out.stem}.db", with_operators=number < OPERATOR_SESSIONS)
        wanted = [files[name] for name in names]
        for name, plain in zip(names, usual("plain", wanted), strict=True):
            record[name]["plain"] = plain
        if number % TORCH_EVERY == 0:
            for name, torch in zip(names, usual("torch", wanted), strict=True):
                record[name]["torch"] = torch
        with out.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        sys.stderr.write(f"{out.stem}: session {number + 1} of {count}\n")


def session(graphs: Sequence[Graph], store_path: Path, with_operators: bool) -> dict[str, dict[str, object]]:
    """By model: what hwprof says in one fresh sweep. The store only remembers the anchors' baselines."""
    start = time.monotonic()
    with Store(store_path) as store:
        options = Options(fresh=True, with_operators=with_operators)
        outcomes = list(jobs.profile_many(graphs, DEVICE, store, options))
    seconds = (time.monotonic() - start) / len(graphs)
    return {o.graph.name: {**told(o.measurement), "seconds": seconds} for o in outcomes}


def told(m: Measurement) -> dict[str, object]:
    """What hwprof says of a measurement; all of it is derived from its samples."""
    found = breakdowns.of_measurement(m, None, None)
    return {
        "hwprof": asdict(m.statistics), "normalized": asdict(m.normalized), "status": str(m.status),
        "processes": len(m.processes), "rejected": m.rejected_share,
        "inflation": found.inflation if found else None,
        "outside": found.outside_ms / found.latency_ms if found else None,
    }  # fmt: skip


def usual(how: str, files: Sequence[Path]) -> list[float]:
    """ms of each model, in a process of its own on the same core (torch's import is shared by all)."""
    loop = [sys.executable, str(HERE / "plain_loop.py"), how, str(cores.choose(DEVICE)[0])]
    groups = [files] if how == "torch" else [[file] for file in files]
    runs = [subprocess.run([*loop, *map(str, g)], capture_output=True, text=True, check=True) for g in groups]
    return [float(line) for run in runs for line in run.stdout.splitlines()]


@contextmanager
def load_on_other_core() -> Iterator[None]:
    """A program that multiplies matrices and copies memory, now busy and now idle, on the first core."""
    program = (
        "import numpy as np, time, random\na = np.ones((1024, 1024), 'f4'); b = np.ones(2**25, 'f4')\n"
        "while True:\n    end = time.time() + random.uniform(0.5, 5)\n"
        "    while time.time() < end: a @ a; b.copy()\n    time.sleep(random.uniform(0.5, 5))"
    )
    other = next(c for c in cores.usable() if c not in cores.choose(DEVICE))
    command = ["taskset", "-c", str(other), sys.executable, "-c", program]
    load = subprocess.Popen(command)
    try:
        yield
    finally:
        load.kill()
        load.wait()


def long_run(name: str) -> None:
    """Many processes of a network, the same again, and the same with an injected +5 %."""
    out = WORK / f"long-{name}.jsonl"
    graph = jobs.load_network(name)
    graphs = (graph, replace(graph, name=f"{name} again"), replace(graph, name=f"{name}+5%"))
    kept: list[list[Process]] = [[], [], []]
    if out.exists():
        for i, process in map(json.loads, out.read_text().splitlines()):
            kept[i].append(process_from_record(process))
    settings = ProtocolSettings(max_processes=LONG_RUN_PROCESSES, budget_s=1e6)

    def keep(_cohort: Cohort, place: int, process: Process) -> None:
        with out.open("a") as stream:
            stream.write(json.dumps([place, asdict(process)]) + "\n")
        sys.stderr.write(f"{name}: process {process.round + 1} of {LONG_RUN_PROCESSES}\n")

    slowed = LocalTransport((sys.executable, str(HERE / "slowed_worker.py")))
    long = Rounds(DEVICE, settings, keep, transport=slowed)
    list(long.run([Cohort(graphs, kept, done=lambda _: False)]))


# -- reporting -----------------------------------------------------------------------------------------


def report() -> None:
    quiet = read_sessions(WORK / "quiet.jsonl")
    loaded = read_sessions(WORK / "loaded.jsonl")
    long = {name: read_long_run(name) for name in LONG_RUN_MODELS}
    results = {
        "hardware": "see environment in any record made here",
        "repeatability": {"quiet": repeatability(quiet), "loaded": repeatability(loaded)},
        "agreement_with_plain_loop": {"quiet": agreement(quiet), "loaded": agreement(loaded)},
        "seconds_per_model": {name: float(np.median([s["seconds"] for s in rows])) for name, rows in quiet.items()},
        "status": {name: sorted(s["status"] for s in rows) for name, rows in quiet.items()},
        "operators": {name: operator_sum(rows) for name, rows in quiet.items()},
        "overhead_ns": json.loads((WORK / "overhead.json").read_text()),
        "replays": {name: replay_claims(processes) for name, processes in long.items()},
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (OUT / "README.md").write_text(page(results, quiet, loaded))


def read_sessions(file: Path) -> dict[str, list[dict]]:
    """By model: its sessions, with everything that is derived worked out again from the stored samples."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    stored = {(m.model, m.latency_ms): m for m in every_measurement(file.with_suffix(".db"))}
    for record in records:
        for name, then in record.items():
            record[name] = {**then, **told(stored[name, then["hwprof"]["median"]])}
    return {name: [r[name] for r in records] for name in records[0]}


def every_measurement(store: Path) -> Iterator[Measurement]:
    """Also those that a later measurement of the same network has replaced."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        for number, record in db.execute("SELECT id, record FROM measurement WHERE status IS NOT NULL").fetchall():
            rows = db.execute("SELECT record FROM process WHERE measurement = ? ORDER BY round", (number,))
            processes = [process_from_record(json.loads(text)) for (text,) in rows]
            yield Measurement.from_record(json.loads(record)).with_processes(*processes)


def pair_differences(values: Sequence[float]) -> np.ndarray:
    """|log ratio| of every pair of sessions, as a share."""
    return np.array([max(a, b) / min(a, b) - 1 for a, b in itertools.combinations(values, 2)])


WAYS = {
    "hwprof": lambda s: s["hwprof"]["median"],
    "hwprof normalized": lambda s: s["normalized"]["median"],
    "plain loop": lambda s: s["plain"],
    "torch.utils.benchmark": lambda s: s.get("torch"),
}


def repeatability(sessions_by_model: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    result = {}
    for way, value in WAYS.items():
        told_by_model = [[v for s in rows if (v := value(s)) is not None] for rows in sessions_by_model.values()]
        pairs = np.concatenate([pair_differences(values) for values in told_by_model])
        result[way] = {
            "within_2_percent": float(np.mean(pairs <= 0.02)),
            "within_5_percent": float(np.mean(pairs <= 0.05)),
            "p95_difference": float(np.quantile(pairs, 0.95)),
            "median_difference": float(np.median(pairs)),
            "pairs": len(pairs),
        }
    return result


def agreement(sessions_by_model: dict[str, list[dict]]) -> dict[str, float]:
    """hwprof's median over that of the plain loop run right after it: median of the sessions."""
    return {
        name: float(np.median([s["hwprof"]["median"] / s["plain"] for s in rows]))
        for name, rows in sessions_by_model.items()
    }


def operator_sum(rows: Sequence[dict]) -> dict[str, float]:
    known = [s for s in rows if s["outside"] is not None]
    return {
        "median_share_outside_operators": float(np.median([s["outside"] for s in known])),
        "median_inflation": float(np.median([s["inflation"] for s in known])),
    }


def read_long_run(name: str) -> list[list[Process]]:
    processes: list[list[Process]] = [[], [], []]
    for line in (WORK / f"long-{name}.jsonl").read_text().splitlines():
        i, record = json.loads(line)
        processes[i].append(process_from_record(record))
    return processes


def replay_claims(processes: Sequence[Sequence[Process]]) -> dict[str, float]:
    """Replays of the stopping rule on random draws from a long run."""
    rng = np.random.default_rng(0)
    settings = ProtocolSettings()
    first, again, slowed = processes
    long_run_ms = median_of_medians([stop.block_medians_ms(p) for p in first])
    covered, stopped_at, same, found = [], [], [], []
    for _ in range(REPLAYS):
        order = rng.permutation(len(first))[: settings.max_processes]
        n, low, high = replay_profile([first[i] for i in order], settings)
        stopped_at.append(n)
        covered.append(low <= long_run_ms <= high)
        draw = partial(replay_compare, order=order, settings=settings)
        same.append(draw(first, again) in ("faster", "slower"))
        found.append(draw(first, slowed) == "slower")
    return {
        "interval_coverage": float(np.mean(covered)),
        "processes_until_stop": float(np.mean(stopped_at)),
        "false_different_share": float(np.mean(same)),
        "power_at_5_percent": float(np.mean(found)),
        "long_run_ms": long_run_ms,
    }


def replay_profile(drawn: Sequence[Process], settings: ProtocolSettings) -> tuple[int, float, float]:
    """Processes used, and the interval in ms."""
    n = next((k for k in range(1, len(drawn) + 1) if stop.is_precise(drawn[:k], settings)), len(drawn))
    low, high = np.exp(bootstrap_interval([np.log(stop.block_medians_ms(p)) for p in drawn[:n]]))
    return n, float(low), float(high)


def replay_compare(a: Sequence[Process], b: Sequence[Process], order: Sequence[int], settings: ProtocolSettings) -> str:
    by_round = {p.round: p for p in b}
    left = [a[i] for i in order]
    right = [by_round[p.round] for p in left]
    for n in range(settings.min_processes, len(left) + 1):
        if compare.is_decided(left[:n], right[:n], settings, compare.MARGIN):
            break
    return compare.verdict(*compare.ratio_interval(left[:n], right[:n])[1:], compare.MARGIN)


def page(results: dict, quiet: dict[str, list[dict]], loaded: dict[str, list[dict]]) -> str:
    lines = [
        "<!-- made by: python tests/benchmarks/protocol_claims.py run && "
        "python tests/benchmarks/protocol_claims.py report -->",
        "# What the protocol claims, and what was measured",
        "",
        f"ONNX Runtime, one thread, one core of this machine; {len(next(iter(quiet.values())))} sessions of "
        f"{len(quiet)} models, alternating with a plain loop (1 warm-up, 1000 runs, median) and with "
        "`torch.utils.benchmark` (blocked_autorange) in the same minutes.",
        "",
        "## Repeatability: pairs of sessions of one model that agree",
        "",
    ]
    for state, title in (
        ("quiet", "No load of ours beside it; other work used the other core at times"),
        ("loaded", "Other core loaded in bursts"),
    ):
        lines += [
            f"**{title}** ({sum(len(rows) for rows in (quiet if state == 'quiet' else loaded).values())} sessions)",
            "",
            "| way | within 2 % | within 5 % | 95 % of pairs within | median difference |",
            "|---|---|---|---|---|",
        ]
        for way, r in results["repeatability"][state].items():
            lines.append(
                f"| {way} | {r['within_2_percent']:.1%} | {r['within_5_percent']:.1%} | "
                f"{r['p95_difference']:.2%} | {r['median_difference']:.2%} |"
            )
        ways = ("plain loop", "hwprof", "hwprof normalized")
        plain, own, normalized = (results["repeatability"][state][w]["p95_difference"] for w in ways)
        lines += [
            "",
            f"The plain loop's 95 % bound is {plain / own:.1f} x hwprof's and {plain / normalized:.1f} x that of its "
            "normalized latency. Goal: 95 % within 2 %, and 2 x closer under load.",
            "",
        ]
    lines += [
        "## The other claims", "",
        "| claim | goal | measured |", "|---|---|---|",
    ]  # fmt: skip
    replays = list(results["replays"].values())
    overhead_ns = results["overhead_ns"]
    empty, identity = overhead_ns["empty_ns"], overhead_ns["identity_ns"]
    worst = max(abs(r - 1) for r in results["agreement_with_plain_loop"]["quiet"].values())
    seconds = results["seconds_per_model"]
    outside = max(abs(o["median_share_outside_operators"]) for o in results["operators"].values())
    rows = [
        ("A/A compared: wrongly called different", "at most 1 %", shares(replays, "false_different_share")),
        ("injected +5 % is found", "at least 80 %", shares(replays, "power_at_5_percent")),
        ("95 % interval covers the long-run value", "at least 90 %", shares(replays, "interval_coverage")),
        ("median against the plain loop of the same minutes", "within 2 %", f"worst model {worst:.2%}"),
        ("operators add up to the whole", "within 5 % or flagged", f"worst model {outside:.1%} outside"),
        ("cost of a stamp (function that does nothing)", "1 us", f"{empty[0] - empty[1]:.0f} ns"),
        ("stamped against unstamped identity network", "1 us", f"{identity[0] - identity[1]:.0f} ns"),
        ("seconds a model at the 1 % target", "at most 60", ", ".join(f"{k} {v:.0f}" for k, v in seconds.items())),
    ]
    lines += [f"| {a} | {b} | {c} |" for a, b, c in rows]
    lines += [
        "",
        f"Figures with several numbers are for {', '.join(results['replays'])}: {REPLAYS} replays of the stopping "
        f"rule on random draws from {LONG_RUN_PROCESSES} processes each.",
        "",
        "## Agreement with the plain loop, by model (ratio of medians, median over the sessions)",
        "",
        *(
            f"- {state}: " + ", ".join(f"{k} {v:.4f}" for k, v in results["agreement_with_plain_loop"][state].items())
            for state in ("quiet", "loaded")
        ),
        "",
        "## How the sessions ended",
        "",
        *(f"- {name}: " + ", ".join(f"{n} x {s}" for s, n in counts(v)) for name, v in results["status"].items()),
        "",
    ]
    return "\n".join(lines)


def shares(rows: Sequence[dict[str, float]], key: str) -> str:
    return ", ".join(f"{row[key]:.1%}" for row in rows)


def counts(values: Sequence[str]) -> list[tuple[str, int]]:
    return [(v, values.count(v)) for v in dict.fromkeys(values)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "report"])
    {"run": run, "report": report}[parser.parse_args().what]()
