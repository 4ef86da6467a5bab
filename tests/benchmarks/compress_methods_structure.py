"""Checks of the methods that change a network's structure that need no target: what a cut costs, on three seeds.

    OMP_NUM_THREADS=1 nice -n 10 python tests/benchmarks/compress_methods_structure.py [DATA_FOLDER]

compress_gallery.py has the same methods at measured targets. Writes reports/compress-structure: results.jsonl, a row as
soon as it is made, and README.md. A row that is there is not made again. DATA_FOLDER defaults to ../shared/data beside
the repository; networks and measurements go to a folder for temporary files. Only the rows "dgconv, cpu-1t" measure. A
quarter of an hour on one core.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from hwprof.builder import GraphBuilder
from hwprof.compress import costs, networks
from hwprof.compress.choice import Choice
from hwprof.compress.dgconv import DGConv
from hwprof.compress.epitome import Epitome, EpitomeReuse
from hwprof.compress.layer_table import LayerTable
from hwprof.compress.method import Cost, Method, Network
from hwprof.compress.networks import open_network
from hwprof.compress.trp import Trp
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Task
from hwprof.measure import recording
from hwprof.measurement import Measurement, ProtocolSettings
from hwprof.tasks.fashion import fashion
from hwprof.training import TrainSettings, evaluate, fit

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/compress_methods_structure.py"
OUT = ROOT / "reports" / "compress-structure"
DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
WORK = Path(tempfile.gettempdir()) / "hwprof-compress-structure"
SEEDS = (0, 1, 2)
IMAGES = 8000
DEVICE = Device.load("cpu-1t")
FIRST = TrainSettings(epochs=6, rate=0.05, keep="best")
LONGER = replace(FIRST, epochs=12)  # of epitomes, whose weights start anew
PROTOCOL = ProtocolSettings(
    target=0.05, min_processes=3, max_processes=4, budget_s=2.0, block_ms=5.0, pilot_blocks=4, max_blocks=20, warmup_max_s=0.2
)  # fmt: skip
RANK = 8
Row: TypeAlias = dict[str, object]


def cnn() -> Graph:
    """16, 32 and 32 channels, and a residual block of 32."""
    b = GraphBuilder("cnn")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 1, 14, 14)), 16, 3)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3, stride=2)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    y = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    x = b.relu(b.add(b.batch_norm(b.conv(y, 32, 3)), x))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def opened(seed: int) -> tuple[Network, Task]:
    """The network with random weights."""
    task = fashion(DATA / "fashion-mnist", side=14, n=IMAGES, seed=seed)
    return open_network(cnn(), task, DEVICE, WORK, seed=seed), task


def trained(seed: int) -> tuple[Network, Task]:
    network, task = opened(seed)
    fit(network.module, task, replace(FIRST, seed=seed))
    return network, task


# -- rows ----------------------------------------------------------------------------------------------


def cut(seed: int) -> Row:
    """Rank 8 in the wide convolutions, without tuning: of a network trained as usual and of one by TRP."""
    found: Row = {}
    for name, (energy, nuclear) in {"plain": (1.0, 0.0), "trp": (0.9, 3e-4)}.items():
        own, task = opened(seed)
        method = Trp(energy=energy, nuclear=nuclear)
        fit(own.module, task, replace(FIRST, seed=seed), [method.attach(own, refuse)])
        wide = [n.label for n in own.graph.nodes if n.op == "Conv" and own.graph.shape(n.inputs[1])[:2] == (32, 32)]
        small = method.finish({layer: Choice(rank=RANK) for layer in wide})
        found[name] = [evaluate(own.module, task), evaluate(small.module, task)]
    return found


def shared(method: Method, seed: int) -> Row:
    """Weights of which the file holds a quarter."""
    network, task = trained(seed)
    own = network.copy()
    fit(own.module, task, replace(LONGER, seed=seed), [method.attach(own, refuse)])
    small = method.finish(method.choices())
    return {
        "float": evaluate(network.module, task), "metric": evaluate(small.module, task),
        "size_bytes": size_bytes(small), "baseline_bytes": size_bytes(network),
    }  # fmt: skip


def grouped(cost_of: Callable[[Graph], Cost], seed: int) -> Row:
    """The groups that the gates learn by a cost, and how far true groups are from the masks."""
    network, task = trained(seed)
    own, method = network.copy(), DGConv()
    fit(own.module, task, replace(FIRST, seed=seed), [method.attach(own, cost_of(own.graph))])
    choices = method.learned()
    small = method.finish(choices)
    images = next(iter(task.examples("test").batches(100))).inputs
    with torch.no_grad():
        masked, true = own.module.eval()(images), small.module.eval()(images)
    return {
        "float": evaluate(network.module, task), "metric": evaluate(small.module, task),
        "groups": {node.label: choices[node.label].groups if node.label in choices else 1 for node in own.graph.nodes if node.op == "Conv"},
        "difference": float((masked - true).abs().max() / masked.abs().max()),
    }  # fmt: skip


def table(graph: Graph) -> LayerTable:
    """That of the device, over groups."""

    def measure(graphs: Sequence[Graph], _unit: str) -> list[Measurement]:
        options = recording.Options(
            PROTOCOL, allow_unfit=True, with_operators=False, keep_unconverged=True, wait_s=1800.0
        )
        with Store(WORK / "s.db") as store, recording.recording(DEVICE, store, options) as recorder:
            return recorder.measure(graphs)

    made = LayerTable(graph, measure, DGConv().options(graph))
    say(made.check(0))
    return made


def size_bytes(network: Network) -> int:
    path = WORK / "size.onnx"
    networks.export(network, path)
    return path.stat().st_size


def refuse(_choices: object) -> torch.Tensor:
    raise AssertionError("this training reads no cost")


ROWS: dict[str, Callable[[int], Row]] = {
    "rank 8": cut,
    "epitome": lambda seed: shared(Epitome(), seed),
    "epitome_reuse": lambda seed: shared(EpitomeReuse(), seed),
    "dgconv, multiply-adds": partial(grouped, costs.macs),
    "dgconv, cpu-1t": partial(grouped, table),
}


# -- report --------------------------------------------------------------------------------------------


def page(rows: Sequence[dict]) -> str:
    lines = [
        f"`{COMMAND}`",
        "",
        "# What a change of structure costs",
        "",
        f"The CNN (16, 32 and 32 channels, then a residual block of 32) reads {IMAGES} images of Fashion-MNIST at 14 x 14, "
        f"5/6 of them to train; {FIRST.epochs} epochs for the network and for a method, {LONGER.epochs} for epitomes, and no "
        "tuning after that. No target decides here: "
        "[compress](../compress/README.md) has the same methods at measured targets. Mean over seeds, with lowest and highest.",
        "",
        "| check | seeds | wanted | measured |",
        "|---|---|---|---|",
        *(f"| {check} | {seeds} | {wanted} | {found} |" for check, seeds, wanted, found in goals(rows)),
    ]
    missing = [f"{name} (seed {seed})" for name in ROWS for seed in SEEDS if not is_made(name, seed, rows)]
    return "\n".join([*lines, "", f"Not made yet: {', '.join(missing)}." if missing else ""]).rstrip() + "\n"


def goals(rows: Sequence[dict]) -> Iterator[tuple[str, int, str, str]]:
    made = {name: [row for row in rows if row["check"] == name] for name in ROWS}
    cuts = made["rank 8"]
    for name, wanted in (("plain", "a drop of at least 7"), ("trp", "a drop of at most 0.5")) if cuts else ():
        drops = [row[name][0] - row[name][1] for row in cuts]
        before = np.mean([row[name][0] for row in cuts])
        yield f"rank {RANK} of 32 without tuning, {name}", len(cuts), wanted, f"{spread(drops)}; before: {before:.2f} %"
    for name in ("epitome", "epitome_reuse"):
        if some := made[name]:
            lost = [row["float"] - row["metric"] for row in some]
            share = np.mean([row["size_bytes"] / row["baseline_bytes"] for row in some])
            yield (
                f"{name}: a quarter of the weights of a layer",
                len(some),
                "at most 1.5 below float",
                f"{spread(lost)}; file: {share:.2f} of float's",
            )
    for name in ("dgconv, multiply-adds", "dgconv, cpu-1t"):
        if some := made[name]:
            groups = "; ".join(", ".join(str(n) for n in row["groups"].values()) for row in some)
            lost = [row["float"] - row["metric"] for row in some]
            apart = max(row["difference"] for row in some)
            yield (
                f"{name}: groups of each convolution",
                len(some),
                "masked = grouped to 1e-5",
                f"{groups}; {spread(lost)} below float; {apart:.0e} apart",
            )


def is_made(check: str, seed: int, rows: Sequence[dict]) -> bool:
    return any(row["check"] == check and row["seed"] == seed for row in rows)


def spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    record = OUT / "results.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for name, make in ROWS.items():
        for seed in SEEDS:
            if is_made(name, seed, rows):
                continue
            say(f"-- {name}, seed {seed}")
            rows.append({"check": name, "seed": seed} | make(seed))
            say(json.dumps(rows[-1]))
            with record.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            (OUT / "README.md").write_text(page(rows), encoding="utf-8")
    (OUT / "README.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
