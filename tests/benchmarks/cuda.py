"""Measures a real NVIDIA GPU: data sets in latency_data/, and repeatability, modes and predictors in reports/cuda.

    python tests/benchmarks/cuda.py run --minutes 8    # measures; the same command goes on where it stopped
    python tests/benchmarks/cuda.py learn              # trains on what was measured; needs no GPU
    python tests/benchmarks/cuda.py report             # writes reports/cuda

Everything is kept in --work, so that it can be carried from one machine to the next. `--kind cpu --quick` tries
all of it on the CPU; those figures stay in --work.

2026-11-21, how the minutes are spent. By estimate a fresh process of PyTorch on a GPU costs 5 s, a row of the modes
40 s (90 s where it compiles), a session 60 s, a network of a sweep 2 s: all of it takes two hours, a borrowed GPU stays
half an hour. So each run divides its minutes (`SHARES`), each part begins with what matters most, and the sweeps take
turns. A row or step that has begun is finished: leave two minutes between --minutes and the time when all is killed.
What is killed keeps all but its last row or step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwprof import jobs, plugins, workloads
from hwprof.data import dataset
from hwprof.data.dataset import Entry
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.jobs import Options, collecting
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import FAST, ProtocolSettings
from hwprof.spaces.varied import VariedSpace
from hwprof.workloads.bert import bert

ROOT = Path(__file__).parent.parent.parent
STEP = 25  # networks between two looks at the clock
# A sweep of thousands of networks in minutes: two processes of three blocks each.
LEAN = ProtocolSettings(
    target=0.05, pilot_processes=2, min_processes=2, max_processes=2, budget_s=4.0, block_ms=10.0, pilot_blocks=3,
    min_blocks=3, max_blocks=3, warmup_max_s=1.0,
)  # fmt: skip
MODES = (  # and batch
    ("eager", 1), ("graph", 1), ("compile-graph", 1), ("graph", 64), ("compile-graph", 64), ("compile", 1),
    ("eager", 64), ("compile", 64),
)  # fmt: skip
MODE_MODELS = ("mobilenet_v2", "resnet50", "bert_base")
REPEATED = ("mobilenet_v2", "resnet50", "bert_tiny")
SESSIONS = 10
ENCODER_STEP = 8
BERT_GRID = tuple(itertools.product((2, 4, 6, 12), (128, 256, 512, 768), (32, 128, 512)))  # layers, width, tokens


@dataclass(frozen=True, slots=True)
class Sweep:
    """A data set to collect: `n` networks of the space at the batch."""

    space: str
    batch: int
    n: int


SWEEPS = (
    Sweep("nasbench201", 1, 1000), Sweep("darts", 1, 500), Sweep("ofa_mbv3", 1, 300), Sweep("nasbench201", 256, 1000),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how much: `deadline` by time.monotonic."""

    kind: str
    quick: bool
    work: Path
    deadline: float = 0.0

    @property
    def time_is_up(self) -> bool:
        return self.left_s <= 0

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def device(self, mode: str = "graph", batch: int = 1, precision: str = "float16") -> Device:
        """On the CPU there are no CUDA graphs, and half precision is slow."""
        if self.kind == "cpu":
            mode, precision = "eager", "float32"
        name = "-".join((self.kind, precision, mode, *([f"b{batch}"] if batch > 1 else [])))
        device = Device(name, "torch", f"PyTorch, {mode}", self.kind, batch=batch, precision=precision)
        return device.with_options(mode=mode, channels_last=precision == "float16")


# -- measuring -----------------------------------------------------------------------------------------


def run(bench: Bench) -> None:
    """Each part until it is done or the time is up. Raises HwprofError at once where the device is not there."""
    device = bench.device()
    with LOCAL.open(device) as worker:
        (hello,) = worker.ask("hello", device=device.to_record())
    bench.work.mkdir(parents=True, exist_ok=True)
    card = {"versions": hello["versions"], "hardware": hello["accelerator_hardware"], "state": hello["state"]}
    (bench.work / "card.json").write_text(json.dumps(card, indent=1))
    with Store(bench.work / "hwprof.db") as store:
        total_s = bench.left_s
        for part, share in SHARES:
            part(replace(bench, deadline=min(bench.deadline, time.monotonic() + share * total_s)), store)
    print("time is up; the same command goes on" if bench.time_is_up else "all is measured")


def rows_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    file = bench.work / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(bench: Bench, name: str, row: Mapping[str, Any]) -> None:
    with (bench.work / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(name, {k: v for k, v in row.items() if not isinstance(v, dict | list)}, flush=True)


def modes(bench: Bench, store: Store) -> None:
    """Share of the measured peak for networks at batch 1 and 64, by mode."""
    done = {(r["model"], r["device"]) for r in rows_of(bench, "modes")}
    chosen = (("eager", 1), ("eager", 4)) if bench.kind == "cpu" else MODES
    models = ("bert_tiny",) if bench.quick else MODE_MODELS
    for (mode, batch), model in itertools.product(chosen, models):
        device = bench.device(mode, batch)
        if (model, device.name) in done or bench.time_is_up:
            continue
        peak = peaks(bench, replace(device, batch=1))
        try:
            m = jobs.profile(model, device, store=store, options=Options(FAST))
        except HwprofError as error:
            keep(bench, "modes", {"model": model, "device": device.name, "error": str(error)})
            continue
        macs = batch * sum(c.macs for c in costs(workloads.build(model)))
        keep(bench, "modes", {
            "model": model, "device": device.name, "mode": mode, "batch": batch, "precision": device.precision,
            "latency_ms": m.latency_ms, "interval_ms": m.interval_ms, "status": m.status, "macs": macs,
            "peak_share": macs / (m.latency_ms / 1e3) / max(peak["macs_per_s"].values(), default=float("nan")),
            "figures": m.figures,
            "accelerator": m.device_state, "energy_mj": m.energy_mj, "peaks": peak,
        })  # fmt: skip


def costs(graph: Graph) -> Sequence[Any]:
    from hwprof import cost

    return cost.of_nodes(graph)


def peaks(bench: Bench, device: Device) -> dict[str, Any]:
    """Measured once by element type, call by call."""
    plain = bench.device("eager", precision=device.precision)
    found = next((r for r in rows_of(bench, "peaks") if r["device"] == plain.name), None)
    if found is None:
        measured = jobs.peaks(plain)
        found = {"device": plain.name, "macs_per_s": dict(measured.macs_per_s), "bytes_per_s": measured.bytes_per_s}
        keep(bench, "peaks", found)
    return found


def repeat(bench: Bench, _: Store) -> None:
    """A/A sessions of all models: hwprof, triton.testing.do_bench and torch.utils.benchmark one after the other."""
    done = {r["session"] for r in rows_of(bench, "sessions")}
    models = ("bert_tiny",) if bench.quick else REPEATED
    device = bench.device("graph")
    for session in range(2 if bench.quick else SESSIONS):
        if session in done or bench.time_is_up:
            continue
        with Store() as fresh:
            asked = Options(FAST, with_operators=False)
            outcomes = list(jobs.profile_many([workloads.build(m) for m in models], device, fresh, asked))
        measured = {o.graph.name: o.measurement for o in outcomes if o.measurement}
        for model, m in measured.items():
            own = {"hwprof_ms": m.latency_ms, "hwprof_normalized_ms": m.normalized.median}
            row = {"model": model, "session": session, "device": device.name, **own}
            keep(bench, "sessions", row | told_by_others(bench, model))


def told_by_others(bench: Bench, model: str) -> dict[str, float]:
    """What `others` prints in a process of its own; nothing where that fails, which is told."""
    command = [sys.executable, __file__, "others", "--model", model, "--kind", bench.kind]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        print(f"others on {model}: {ended.stderr.strip().splitlines()[-1:]}", flush=True)
        return {}
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def others(bench: Bench, model: str) -> None:
    """What other timers tell of one open network, ms, as JSON; and what hwprof's costs in the same process."""
    from torch.utils.benchmark import Timer

    with plugins.load("backend", "torch").open(workloads.build(model), bench.device("graph")) as timer:
        call = timer.network.run
        timer(20)
        found = {"torch_utils_benchmark_ms": Timer("call()", globals={"call": call}).blocked_autorange().median * 1e3}
        found["hwprof_timer_ms"] = float(np.median(timer(200))) / 1e6
        found["hwprof_together_ms"] = timer(200, each=False)[0] / 200 / 1e6
        if bench.kind == "cuda":
            from triton.testing import do_bench

            found["do_bench_ms"] = do_bench(call, return_mode="median")  # it makes the L2 cold
            found["hwprof_cold_ms"] = timer.figures(50)["cold_device_ns"] / 1e6
    print(json.dumps(found))


def sweeps(bench: Bench, store: Store) -> None:
    """The data sets of the spaces in turns, a step of networks each; each step rewrites its set."""
    took_s: dict[str, float] = {}
    waiting = [
        collecting.Plan(s.space, bench.device(batch=min(s.batch, 4) if bench.quick else s.batch), s.n) for s in SWEEPS
    ]
    while waiting:
        plan = waiting.pop(0)
        folder = bench.work / "latency_data" / plan.name
        have, wanted = tried(folder), 3 if bench.quick else plan.n
        if have >= wanted or took_s.get(plan.name, 0.0) > bench.left_s or bench.time_is_up:
            continue
        start = time.monotonic()
        have = min(wanted, have + STEP)
        collecting.carry_out(replace(plan, n=have), folder, store, Options(LEAN))
        (folder / "tried.txt").write_text(str(have))
        took_s[plan.name] = time.monotonic() - start
        print(plan.name, have, f"{took_s[plan.name]:.0f} s", flush=True)
        waiting.append(plan)


def tried(folder: Path) -> int:
    """How many networks were drawn so far; some may have failed."""
    file = folder / "tried.txt"
    return int(file.read_text()) if file.exists() else 0


def encoders(bench: Bench, store: Store) -> None:
    """Transformer encoders over layers, width and tokens: a data set with its graphs, a few more at each step."""
    device = bench.device()
    folder = bench.work / "latency_data" / f"bert-{device.name}"
    mixed = np.random.default_rng(0).permutation(len(BERT_GRID))
    grid = [BERT_GRID[i] for i in mixed[: 2 if bench.quick else len(BERT_GRID)]]
    while (have := tried(folder)) < len(grid) and not bench.time_is_up:
        have = min(len(grid), have + ENCODER_STEP)
        graphs = [
            bert(f"bert-{layers}-{width}-{tokens}", layers, width, max(2, width // 64), tokens)
            for layers, width, tokens in grid[:have]
        ]
        by_digest = {g.digest: g for g in graphs}
        asked = Options(LEAN, with_operators=False, keep_unconverged=True)
        measured = [o.measurement for o in jobs.profile_many(graphs, device, store, asked) if o.measurement]
        card = dataset.card_of(folder.name, measured)
        dataset.write(folder, card, [Entry.of(m, graph=by_digest[m.digest]) for m in measured], with_graphs=True)
        (folder / "tried.txt").write_text(str(have))


# Each part with its share of a run's minutes; what one leaves over is the next ones'.
SHARES = ((modes, 0.45), (repeat, 0.15), (sweeps, 0.32), (encoders, 1.0))


# -- learning and reporting ----------------------------------------------------------------------------


def learn(bench: Bench) -> None:
    """The error of the default predictor by its number of measurements, and a table of each space."""
    from hwprof.jobs import evaluating, predicting, tables
    from hwprof.predictors.evaluation import FEWEST_TESTED

    (bench.work / "learned.jsonl").unlink(missing_ok=True)
    for folder in folders(bench):
        n = len(dataset.read(folder).entries)
        sizes = [size for size in (20, 100) if size + FEWEST_TESTED <= n]
        if not sizes:
            print(f"{folder.name}: {n} networks are too few to learn from")
            continue
        found = evaluating.evaluate(folder, "physical", sizes)
        keep(bench, "learned", {"data": folder.name, "rows": n, "figures": [asdict(f) for f in found.figures]})
        card = dataset.read(folder).card
        predicting.train(folder).save(bench.work / f"{folder.name}.hwp")
        if card.space and card.device:
            source = tables.ByPredictor.load(bench.work / f"{folder.name}.hwp", card.device)
            built = tables.choice_table(VariedSpace(card.space, card.variant), source, 200)
            built.table.save(bench.work / f"{folder.name}.json")


def folders(bench: Bench) -> list[Path]:
    return sorted(p.parent for p in (bench.work / "latency_data").glob(f"*/{dataset.CARD}"))


def report(bench: Bench) -> None:
    """reports/cuda and latency_data/ of the project; on the CPU everything stays in --work."""
    text = "\n".join(page(bench)) + "\n"
    target = ROOT if bench.kind == "cuda" else bench.work / "report"
    out = target / "reports" / "cuda" / "README.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    for folder in folders(bench) if target == ROOT else ():
        copy = ROOT / "latency_data" / folder.name
        copy.mkdir(parents=True, exist_ok=True)
        for name in (dataset.CARD, dataset.GRAPHS, dataset.MEASUREMENTS):
            (copy / name).write_bytes((folder / name).read_bytes())
    print(f"wrote {out}")


def page(bench: Bench) -> Iterator[str]:
    card = json.loads((bench.work / "card.json").read_text())
    yield f"<!-- python tests/benchmarks/cuda.py report --kind {bench.kind} -->"
    yield "# PyTorch on " + card["hardware"].get("gpu", "the CPU")
    yield ""
    yield ", ".join(f"{k} {v}" for k, v in (card["versions"] | card["hardware"]).items())
    yield from ("", "## Modes: share of the measured peak", "")
    yield "| network | batch | precision | mode | ms | peak | hot host ms | cold ms | mJ |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for r in rows_of(bench, "modes"):
        if "error" in r:
            yield f"| {r['model']} | | | {r['device']} | {r['error']} | | | | |"
            continue
        f = r["figures"]
        host, cold = f.get("hot_host_ns", f.get("hot_ns")), f.get("cold_device_ns", f.get("cold_ns"))
        energy = "" if r["energy_mj"] is None else f"{r['energy_mj']:.4g}"
        yield (
            f"| {r['model']} | {r['batch']} | {r['precision']} | {r['mode']} | {r['latency_ms']:.4g} | "
            f"{r['peak_share']:.1%} | {host / 1e6:.4g} | {cold / 1e6:.4g} | {energy} |"
        )
    yield from ("", "Peaks: " + "; ".join(_peak(r) for r in rows_of(bench, "peaks")), "")
    yield from ("## A/A sessions: 95 % of pairs agree within", "", "| timer | " + " | ".join(_models(bench)) + " |")
    yield "|---|" + "---|" * len(_models(bench))
    for timer in ("hwprof_ms", "hwprof_normalized_ms", "do_bench_ms", "torch_utils_benchmark_ms"):
        yield f"| {timer[:-3]} | " + " | ".join(_spread(bench, m, timer) for m in _models(bench)) + " |"
    yield from ("", "Median over the sessions, ms:", "", "| model | timer | ms |", "|---|---|---|")
    for model in _models(bench):
        rows = [r for r in rows_of(bench, "sessions") if r["model"] == model]
        for timer in dict.fromkeys(key for r in rows for key in r if key.endswith("_ms")):
            yield f"| {model} | {timer[:-3]} | {np.median([r[timer] for r in rows if timer in r]):.4g} |"
    yield from ("", "## Predictors (physical), MAPE on networks not learned from", "", "| data | networks | N | MAPE |")
    yield "|---|---|---|---|"
    for r in rows_of(bench, "learned"):
        for f in r["figures"]:
            yield f"| {r['data']} | {r['rows']} | {f['n']} | {f['mape']:.2f} % |"


def _peak(row: Mapping[str, Any]) -> str:
    rates = ", ".join(f"{rate / 1e12:.4g} TMAC/s in {dtype}" for dtype, rate in row["macs_per_s"].items())
    return f"{row['device']} {rates}, {row['bytes_per_s'] / 1e9:.4g} GB/s"


def _models(bench: Bench) -> list[str]:
    return list(dict.fromkeys(r["model"] for r in rows_of(bench, "sessions")))


def _spread(bench: Bench, model: str, timer: str) -> str:
    values = [r[timer] for r in rows_of(bench, "sessions") if r["model"] == model and timer in r]
    ratios = [max(a, b) / min(a, b) - 1 for a, b in itertools.combinations(values, 2)]
    return f"{np.quantile(ratios, 0.95):.2%}" if ratios else "not there"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "learn", "report", "others"])
    parser.add_argument("--kind", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a few networks of each part")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop between two networks after so long")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "cuda")
    parser.add_argument("--model", help="of `others`")
    given = parser.parse_args()
    bench = Bench(given.kind, given.quick, given.work, time.monotonic() + 60 * given.minutes)
    parts: dict[str, Callable[[], None]] = {
        "run": lambda: run(bench), "learn": lambda: learn(bench), "report": lambda: report(bench),
        "others": lambda: others(bench, given.model),
    }  # fmt: skip
    try:
        parts[given.what]()
    except HwprofError as error:
        print(f"hwprof: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
