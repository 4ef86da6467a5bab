"""Compresses a small CNN and an LSTM by the methods that change a network's structure, on three seeds.

    OMP_NUM_THREADS=1 nice -n 10 python tests/benchmarks/compress_methods_structure.py [DATA_FOLDER]

Writes reports/compress-structure: results.jsonl, a row as soon as it is made, and README.md. A row that is there is not
made again. DATA_FOLDER defaults to ../shared/data beside the repository; networks and trainings go to a folder for
temporary files. It takes about an hour of one core.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.compressed import Compressed
from hwprof.compress.loop import Job, Settings, compress, prepare
from hwprof.compress.networks import open_network
from hwprof.compress.trp import Trp
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.interfaces import Task
from hwprof.measure.recording import Options
from hwprof.measurement import ProtocolSettings
from hwprof.tasks.fashion import fashion
from hwprof.tasks.spoken_digits import spoken_digits
from hwprof.training import TrainSettings, evaluate, fit

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/compress_methods_structure.py"
OUT = ROOT / "reports" / "compress-structure"
DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
WORK = Path(tempfile.gettempdir()) / "hwprof-compress-structure"
SEEDS = (0, 1, 2)
IMAGES = 8000
FIRST = TrainSettings(epochs=6, rate=0.05, keep="best")
SETTINGS = Settings(tuning=replace(FIRST, epochs=3, rate=0.02), training=FIRST, first=FIRST)
PROTOCOL = ProtocolSettings(
    target=0.03, min_processes=3, max_processes=4, budget_s=2.0, block_ms=5.0, pilot_blocks=4, max_blocks=20, warmup_max_s=0.2, stamp_each_from_us=2.0,
    anchor_tolerance=0.1, max_rejected_share=0.5,
)  # fmt: skip
LONGER = replace(SETTINGS, training=replace(FIRST, epochs=12))
WITHOUT_CHOICES = ("epitome", "epitome_reuse")  # methods that train the longer way: their weights start anew
ADAM = TrainSettings(epochs=15, batch_size=50, optimizer="adam", rate=4e-3, max_gradient_norm=1.0, keep="best")
RECURRENT = Settings(tuning=replace(ADAM, epochs=4, rate=2e-3), training=replace(ADAM, epochs=3, rate=1e-3), first=ADAM)
CNN = (
    ("magnitude", 0.7), ("dmp", 0.7), ("trp", 0.8), ("dgconv", 0.8), ("dmp_block", 0.8), ("int8", 0.8), ("trp_spatial", 0.8), ("dmp_weight", 0.8), ("low_rank", 0.8),
)  # fmt: skip
Row: TypeAlias = tuple[dict[str, object], Callable[[], dict[str, object]]]  # what it is about, and how it is made
SMALLER = (0.6, 0.5)  # further targets of magnitude and DMP
LSTM = (("irnn", 0.7), ("dmp", 0.7), ("magnitude", 0.7))


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    graph: Callable[[], Graph]
    task: Callable[[int], Task]
    settings: Settings


def cnn() -> Graph:
    """16, 32 and 32 channels, and a residual block of 32."""
    b = GraphBuilder("cnn")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 1, 14, 14)), 16, 3)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3, stride=2)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    y = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    x = b.relu(b.add(b.batch_norm(b.conv(y, 32, 3)), x))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def lstm(units: int = 64) -> Graph:
    b = GraphBuilder("lstm")
    states = b.lstm(b.transpose(b.input((1, 20, 20)), (1, 0, 2)), units)
    return b.build(b.gemm(b.reshape(b.slice(states, 0, 19, 20), (1, units)), 10))


def images(seed: int) -> Task:
    return fashion(DATA / "fashion-mnist", side=14, n=IMAGES, seed=seed)


def speech(seed: int) -> Task:
    return spoken_digits(DATA / "spoken-digits", seed=seed)


NETWORKS = {
    "cnn": Network("cnn", cnn, images, SETTINGS),
    "lstm": Network("lstm", lstm, speech, RECURRENT),
}


# -- rows ----------------------------------------------------------------------------------------------


def started(network: str, device_name: str, method: str, seed: int) -> Job:
    """The float network, trained and measured; the second time from the store."""
    chosen, folder = NETWORKS[network], WORK / f"{network}-{device_name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    task, on = chosen.task(seed), Device.load(device_name)
    options = Options(PROTOCOL, allow_unfit=True, on_note=say)
    opened = open_network(chosen.graph(), task, on, folder, seed=seed)
    settings = LONGER if method in WITHOUT_CHOICES else chosen.settings
    return prepare(opened, task, on, Store(WORK / "s.db"), folder, settings=settings, options=options, seed=seed)


def compressed(network: str, device_name: str, method: str, share: float, seed: int) -> dict[str, object]:
    job = started(network, device_name, method, seed)
    target_ms = share * baseline_ms(job, f"{network}-{device_name}")
    row: dict[str, object] = {"target_ms": target_ms, "float": job.metric}
    start = time.monotonic()
    try:
        made = compress(job, method, target_ms)
    except HwprofError as error:
        return row | {"error": str(error)}
    return row | figures(made) | {"seconds": time.monotonic() - start}


def baseline_ms(job: Job, name: str) -> float:
    """The latency of the baseline when it was first measured, so that all seeds have the same targets."""
    kept = WORK / f"{name}.txt"
    if not kept.exists():
        kept.write_text(str(job.measured.normalized.median))
    return float(kept.read_text())


def figures(made: Compressed) -> dict[str, object]:
    result = made.result
    latency, compared = result.estimate(result.target.device), result.measured[result.target.device]
    return {
        "metric": result.metric, "met": str(result.met), "ratio": compared.ratio, "verdict": compared.verdict,
        "ms": None if latency is None else [latency.median, latency.low, latency.high], "table_ms": result.table_ms,
        "size_bytes": result.size_bytes, "baseline_bytes": (made.path.parent / f"{result.model}-baseline.onnx").stat().st_size,
        "choices": {layer: dict(choice) for layer, choice in result.choices.items()},
    }  # fmt: skip


def cut(network: str, seed: int) -> dict[str, object]:
    """Rank 8 in the wide convolutions, without tuning: of a network trained as usual and of one by TRP."""
    task, found = NETWORKS[network].task(seed), {}
    for name, (energy, nuclear) in {"plain": (1.0, 0.0), "trp": (0.9, 3e-4)}.items():
        own = open_network(cnn(), task, Device.load("cpu-1t"), WORK, seed=seed)
        method = Trp(energy=energy, nuclear=nuclear)
        fit(own.module, task, replace(FIRST, epochs=6, seed=seed), [method.attach(own, refuse)])
        wide = [n.label for n in own.graph.nodes if n.op == "Conv" and own.graph.shape(n.inputs[1])[:2] == (32, 32)]
        small = method.finish({layer: Choice(rank=8) for layer in wide})
        found[name] = [evaluate(own.module, task), evaluate(small.module, task)]
        say(f"rank 8, {name}: {found[name]}")
    return found


def refuse(_choices: object) -> torch.Tensor:
    raise AssertionError("this training reads no cost")


def plan() -> Iterator[Row]:
    """What a row is about, and how it is made: first all methods once, then DMP beside projection alone, then the other
    seeds."""
    for seed in SEEDS:
        yield {"network": "cnn", "seed": seed, "method": "rank 8"}, partial(cut, "cnn", seed)
    yield from every_method(SEEDS[0])
    for seed, share in itertools.product(SEEDS, (0.7, *SMALLER)):
        yield from (planned("cnn", "cpu-1t", method, share, seed) for method in ("dmp", "magnitude"))
    yield planned("cnn", "cpu-1t", "dmp", 0.8, 0)
    for seed in SEEDS[1:]:
        yield from every_method(seed)


def every_method(seed: int) -> Iterator[Row]:
    yield from (planned("cnn", "cpu-1t", method, 0.6, seed) for method in WITHOUT_CHOICES)
    yield from (planned("cnn", "cpu-1t", method, share, seed) for method, share in CNN)
    for on, (method, share) in itertools.product(("integer-avx2", "cpu-1t"), LSTM):
        yield planned("lstm", on, method, share, seed)


def planned(network: str, on: str, method: str, share: float, seed: int) -> Row:
    about = {"network": network, "device": on, "seed": seed, "method": method, "share": share}
    return about, partial(compressed, network, on, method, share, seed)


# -- report --------------------------------------------------------------------------------------------


def page(rows: Sequence[dict]) -> str:
    results = [row for row in rows if "share" in row]
    keys = dict.fromkeys((r["network"], r["device"], r["method"], r["share"]) for r in results)
    lines = [
        f"`{COMMAND}`",
        "",
        "# Methods that change the structure of a network",
        "",
        f"The CNN (16, 32 and 32 channels, then a residual block of 32) reads {IMAGES} images of Fashion-MNIST at 14 x 14, "
        "5/6 of them to train; the LSTM has 64 units and reads spoken digits, one speaker left out. "
        f"{FIRST.epochs} epochs for the CNN itself, {SETTINGS.training.epochs} for a method that learns "
        f"({LONGER.training.epochs} for the epitomes), "
        f"{SETTINGS.tuning.epochs} of tuning. Target: a share of the measured latency of the baseline, which is the float network; on "
        "integer-avx2 the network after training with 8 bits. Met and ratio are from the paired measurement. "
        "Mean over seeds, with lowest and highest.",
        "",
        f"{len(rows)} of {len({str(about) for about, _ in plan()})} rows are here; the same command makes the others. Measured on a shared, busy "
        "machine, at its undisturbed speed as far as that is known; the targets are shares of the latency that the baseline had when it was first measured.",
        "",
        missing(rows),
        "",
        "| network | device | method | target | met | latency / baseline | accuracy, % | against float | file / baseline | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            line(key, [r for r in results if (r["network"], r["device"], r["method"], r["share"]) == key])
            for key in keys
        ),
        "",
        *goals(rows, results),
    ]
    return "\n".join(lines) + "\n"


def missing(rows: Sequence[dict]) -> str:
    """The rows of the plan that are not here, by method; empty where all are."""
    seeds: dict[str, set[int]] = {}
    for about, _ in plan():
        if not is_made(about, rows):
            name = " ".join(str(about[key]) for key in ("network", "device", "method", "share") if key in about)
            seeds.setdefault(name, set()).add(int(str(about["seed"])))
    told = "; ".join(f"{name} (seeds {', '.join(map(str, sorted(some)))})" for name, some in seeds.items())
    return f"Not here, for want of time: {told}." if told else ""


def is_made(about: dict[str, object], rows: Sequence[dict]) -> bool:
    return any(all(row.get(name) == value for name, value in about.items()) for row in rows)


def line(key: tuple[str, str, str, float], rows: Sequence[dict]) -> str:
    network, on, method, share = key
    made = [row for row in rows if "metric" in row]
    if not made:
        return f"| {network} | {on} | {method} | {share} | {rows[0]['error'].replace('|', ' ')} | | | | | |"
    met = ", ".join(str(row["met"]) if "met" in row else "cannot" for row in rows)
    lost = [row["metric"] - row["float"] for row in made]
    sizes = [row["size_bytes"] / row["baseline_bytes"] for row in made]
    return (
        f"| {network} | {on} | {method} | {share} | {met} | {spread([r['ratio'] for r in made])} | "
        f"{spread([r['metric'] for r in made])} | {spread(lost, '+')} | {np.mean(sizes):.2f} | "
        f"{np.mean([r['seconds'] for r in made]):.0f} |"
    )


def spread(values: Sequence[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.2f} ({min(values):{sign}.2f} to {max(values):{sign}.2f})"


def goals(rows: Sequence[dict], results: Sequence[dict]) -> Iterator[str]:
    yield from ("| goal | reached |", "|---|---|")
    dmp = [r for r in results if r["method"] == "dmp" and r["network"] == "cnn" and "metric" in r]
    if dmp:
        met = sum(row["met"] == "yes" for row in dmp)
        yield f"| DMP meets the measured target in 9 of 10 runs | {met} of {len(dmp)} |"
        lost = [row["float"] - row["metric"] for row in dmp]
        yield f"| DMP is at most 2 points below float | {np.mean(lost):.2f} on average, {max(lost):.2f} at most |"
    cuts = [row for row in rows if row["method"] == "rank 8"]
    for name in ("plain", "trp") if cuts else ():
        drops = [row[name][0] - row[name][1] for row in cuts]
        wanted = "at least 7" if name == "plain" else "at most 0.5"
        yield f"| rank 8 of 32 without tuning, {name}: a drop of {wanted} | {spread(drops)}; before: {np.mean([r[name][0] for r in cuts]):.2f} |"
    for name in ("epitome", "epitome_reuse"):
        lost = [r["float"] - r["metric"] for r in results if r["method"] == name and "metric" in r]
        if lost:
            yield f"| {name}, 4 x smaller: at most 1.5 below float | {spread(lost)} |"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    record = OUT / "results.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for about, make in plan():  # a row that the plan has twice is made once
        if is_made(about, rows):
            continue
        say(f"-- {about}")
        rows.append(about | make())
        with record.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rows[-1]) + "\n")
        (OUT / "README.md").write_text(page(rows), encoding="utf-8")
    (OUT / "README.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
