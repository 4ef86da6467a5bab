"""Trains small networks with the methods for weights of 1 and 2 bits: writes reports/compress-trained-quantizers.

    python tests/benchmarks/compress_methods_trained.py --data FOLDER     # half an hour; FOLDER has Fashion-MNIST
    python tests/benchmarks/compress_methods_trained.py --report          # the tables alone, of the rows that are there

A row of results.jsonl is written when it is there; the same command goes on after the last one. Seeds are the outer
loop, so that a run that is stopped has all methods with fewer seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from hwprof.builder import GraphBuilder
from hwprof.compress import gradient_ratio
from hwprof.compress.ana import Ana
from hwprof.compress.foothill import FoothillBinary
from hwprof.compress.loop import prepare
from hwprof.compress.low_bit import stored
from hwprof.compress.method import Cost, Method, Network
from hwprof.compress.networks import deployed, export, open_network
from hwprof.compress.prox_connect import BinaryConnect, ProxConnect, ProxQuant, ReverseProxConnect
from hwprof.compress.stq import Stq
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Task
from hwprof.measure.recording import Options
from hwprof.measurement import FAST
from hwprof.predictors import neural
from hwprof.predictors.base import LATENCY
from hwprof.tasks.fashion import fashion
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.low_bit import layers

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "compress-trained-quantizers"
COMMAND = "python tests/benchmarks/compress_methods_trained.py --data FOLDER"
SEEDS, EPOCHS, EXAMPLES = 3, 5, 8000
DEVICES = ("cpu-1t", "integer-avx2")
NOISE, LOSS_SEEDS = (0.03, 0.1), 8
LOSSES = ("l1", "l2", "smooth_l1", "foothill")

METHODS: Mapping[str, Callable[[], Method | None]] = {
    "float": lambda: None,
    "binary_connect": BinaryConnect,
    "prox_connect": ProxConnect,
    "prox_quant": ProxQuant,
    "reverse_prox_connect": ReverseProxConnect,
    "ana": Ana,
    "binary_connect, 1 bit": lambda: BinaryConnect(1),
    "foothill, 1 bit": FoothillBinary,
    "stq, gamma 0": lambda: Stq(0.0),
    "stq, gamma 10 by size": Stq,
    "stq, gamma -10 by size": lambda: Stq(-10.0),
    "ana, 4 activation values, from the input": lambda: Ana(activation_levels=4),
    "ana, 4 activation values, from the output": lambda: Ana(activation_levels=4, is_reversed=True),
    "static straight-through, 4 activation values": lambda: Ana("static", forward="mode", activation_levels=4),
}
# After all others: the shape of the noise is said to change little.
SHAPES: Mapping[str, Callable[[], Method]] = {
    "ana, 4 activation values, triangular noise": lambda: Ana(activation_levels=4, shape="triangular"),
    "ana, 4 activation values, normal noise": lambda: Ana(activation_levels=4, shape="normal"),
    "ana, 4 activation values, logistic noise": lambda: Ana(activation_levels=4, shape="logistic"),
}
TITLES = {**METHODS, **SHAPES}


def network(side: int = 14) -> Graph:
    b = GraphBuilder("small-cnn")
    x = b.input((1, 1, side, side))
    for channels, stride in ((8, 2), (16, 1), (16, 2)):
        x = b.relu(b.batch_norm(b.conv(x, channels, 3, stride=stride)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


# -- the rows ------------------------------------------------------------------------------------------


def rows(data: Path) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    """The key of each row, and what makes it."""
    yield "gradients", gradients
    for share, seed in itertools.product(NOISE, range(LOSS_SEEDS)):
        yield f"losses at {share:g} {seed}", partial(losses, share, seed)
    task = fashion(data, 14, EXAMPLES)
    yield from ((f"measure {device}", partial(measured, device, task)) for device in DEVICES)
    for seed in range(SEEDS):
        yield from ((f"train {title} {seed}", partial(trained, title, seed, task)) for title in METHODS)
    for seed, title in itertools.product(range(SEEDS), SHAPES):
        yield f"train {title} {seed}", partial(trained, title, seed, task)


def opened(task: Task, device: Device, seed: int = 0) -> Network:
    return open_network(network(), task, device, Path(tempfile.mkdtemp()), seed=seed)


def by_size(graph: Graph) -> Cost:
    """A device on which a ternary weight takes twice the time of a binary one."""
    sizes = {name: layer.weight.numel for name, layer in layers(graph).items()}
    return lambda choices: torch.tensor(float(sum((c.bits or 32) * sizes[n] for n, c in choices.items())))


def trained(title: str, seed: int, task: Task) -> Mapping[str, Any]:
    start, method = perf_counter(), TITLES[title]()
    made = opened(task, Device.load("cpu-1t"), seed)
    hooks = [] if method is None else [method.attach(made, by_size(made.graph))]
    fit(made.module, task, TrainSettings(epochs=EPOCHS, rate=0.05, seed=seed), hooks)
    accuracy = evaluate(made.module, task)
    if method is None:
        return {"kind": "train", "title": title, "seed": seed, "accuracy": accuracy, "seconds": perf_counter() - start}
    small = method.finish(method.choices())
    path = Path(tempfile.mkdtemp()) / "small.onnx"
    export(small, path)
    return {
        "kind": "train", "title": title, "seed": seed, "accuracy": accuracy, "stored": evaluate(small.module, task),
        "bits": [choice.bits for choice in method.choices().values()], "bytes": path.stat().st_size,
        "seconds": perf_counter() - start,
    }  # fmt: skip


def measured(name: str, task: Task) -> Mapping[str, Any]:
    """The latency of the network with binary and with ternary weights, by that of the network without."""
    device, folder = Device.load(name), Path(tempfile.mkdtemp())
    made = opened(task, device)
    job = prepare(made, task, device, Store(folder / "s.db"), folder, options=Options(FAST))
    found: dict[str, Any] = {"kind": "measure", "device": name}
    for bits in (1, 2):
        small = deployed(stored(made, dict.fromkeys(layers(made.graph), bits)), device)
        compared = job.compare(export(small, folder / f"{bits}.onnx"))
        found[f"ratio of {bits} bits"] = [compared.ratio, compared.low, compared.high]
        found[f"verdict of {bits} bits"] = compared.verdict
    return found


def gradients() -> Mapping[str, Any]:
    """The mean ratio of layers of equal width, by width, with and without batch normalization."""
    found: dict[str, Any] = {"kind": "gradients"}
    for width, norm in itertools.product((32, 64, 128), (False, True)):
        ratios = [list(gradient_ratio.gradient_ratios(deep(width, norm, seed)).values())[:-1] for seed in range(3)]
        found[f"{width}{' with batch norm' if norm else ''}"] = float(np.exp(np.mean(np.log(ratios))))
    return found


def deep(width: int, norm: bool, seed: int) -> Network:
    b = GraphBuilder("deep")
    x = b.input((1, width))
    for _ in range(4):
        x = b.gemm(x, width)
        x = b.relu(b.batch_norm(x) if norm else x)
    graph = b.build(b.gemm(x, 10))
    rng = np.random.default_rng(seed)
    examples = {graph.inputs[0].name: rng.normal(size=(256, 1, width)).astype(np.float32)}
    made = Network(trainable(graph), examples)
    drawn = {
        t.name: (rng.normal(size=t.shape) * math.sqrt(2 / width)).astype(np.float32)
        for t in graph.weights
        if len(t.shape) == 2
    }
    return made.with_weights(graph, made.weights | drawn)


def losses(share: float, seed: int) -> Mapping[str, Any]:
    """The mean absolute error of a small predictor, ms, by its loss, from latencies with heavy-tailed noise."""
    cells = np.array(list(itertools.product(range(4), range(4), range(2), range(2))))
    codes = neural.as_tensor(np.concatenate([np.eye(4)[cells[:, :2]].reshape(-1, 8), cells[:, 2:]], axis=1))
    true_ms = 1 + cells @ [0.5, 0.3, 0.8, 0.4] + 0.2 * cells[:, 0] * cells[:, 2]
    noise = share * np.random.default_rng(seed).standard_t(1.5, len(cells))
    measured_ms = true_ms * np.clip(1 + noise, 0.2, 5)
    units = neural.Units.of(measured_ms, LATENCY)
    target = units.to_units(measured_ms)
    found: dict[str, Any] = {"kind": "losses", "share": share, "seed": seed}
    for loss in LOSSES:
        module = neural.seeded(seed, _predictor)
        neural.train(module, partial(_loss, units, module, codes, target, loss), 300, 1e-2)
        with torch.no_grad():
            found[loss] = float(np.abs(units.from_units(module(codes)[:, 0]) - true_ms).mean())
    return found


def _predictor() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1), nn.Softplus())


def _loss(
    units: neural.Units, module: nn.Module, codes: torch.Tensor, target: torch.Tensor, name: neural.LossName, _step: int
) -> torch.Tensor:
    return units.loss(module(codes)[:, 0], target, name)


# -- the report ----------------------------------------------------------------------------------------


def report(found: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([
        f"`{COMMAND}`",
        "",
        "# Weights of 1 and 2 bits that are trained",
        "",
        f"A CNN of three convolutions with batch normalization, trained for {EPOCHS} epochs from random weights, one",
        f"thread, with five sixths of {EXAMPLES:,} images of Fashion-MNIST at 14 x 14; accuracy on the 10,000 test",
        "images, mean and range over the seeds that are there. Each network was stored and evaluated again:",
        "`stored - trained` is the largest difference.",
        "",
        *_accuracy_table([row for row in found if row["kind"] == "train"]),
        "",
        "No method is shown to be better than BinaryConnect here: the ranges say how far seeds are apart.",
        "",
        "## Latency by that of the float network (integer device: of the int8 network)",
        "",
        "A paired comparison by the fast protocol; above 1 is slower. All methods with the same bits give the same",
        "operators. The rows that are here were measured beside other work on the machine.",
        "",
        "| device | 1 bit | verdict | 2 bits | verdict |",
        "| --- | --- | --- | --- | --- |",
        *(_measured_line(row) for row in found if row["kind"] == "measure"),
        "",
        "## Growth of the gradient's variance per layer with weights of -1 and 1",
        "",
        "| width K | K / 2 | without batch norm | with batch norm |",
        "| --- | --- | --- | --- |",
        *(
            f"| {width} | {width / 2:g} | {row[str(width)]:.1f} | {row[f'{width} with batch norm']:.2f} |"
            for row in found if row["kind"] == "gradients" for width in (32, 64, 128)
        ),
        "",
        "## Foothill as the loss of a predictor, with noise that is a share times Student's t (1.5 degrees of freedom)",
        "",
        *_loss_table([row for row in found if row["kind"] == "losses"]),
        "",
    ])  # fmt: skip


def _accuracy_table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| method | accuracy, % | lowest .. highest | seeds | binary layers | bytes | stored - trained |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for title in TITLES:
        mine = [row for row in found if row["title"] == title]
        if not mine:
            continue
        accuracies = [row["accuracy"] for row in mine]
        spread = f"{min(accuracies):.1f} .. {max(accuracies):.1f}"
        binary = ", ".join(str(row["bits"].count(1)) for row in mine if "bits" in row)
        sizes = "" if "bytes" not in mine[0] else f"{mine[0]['bytes']:,}"
        apart = max((abs(row["stored"] - row["accuracy"]) for row in mine if "stored" in row), default=0.0)
        yield f"| {title} | {np.mean(accuracies):.2f} | {spread} | {len(mine)} | {binary} | {sizes} | {apart:.2f} |"


def _measured_line(row: Mapping[str, Any]) -> str:
    cells = []
    for bits in (1, 2):
        ratio, low, high = row[f"ratio of {bits} bits"]
        cells += [f"{ratio:.2f} ({low:.2f} .. {high:.2f})", row[f"verdict of {bits} bits"]]
    return f"| {row['device']} | {' | '.join(cells)} |"


def _loss_table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if found:
        yield "Mean absolute error in thousandths of a ms. Where Foothill bends was chosen on draws 100 to 111."
        yield ""
        yield f"| noise | draws | {' | '.join(LOSSES)} |"
        yield f"|{' --- |' * (2 + len(LOSSES))}"
        for share in NOISE:
            some = [row for row in found if row["share"] == share]
            means = " | ".join(f"{1e3 * np.mean([row[loss] for row in some]):.1f}" for loss in LOSSES)
            yield f"| {100 * share:g} % | {len(some)} | {means} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "results.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {row["key"] for row in found}
    for key, make in () if asked.report else rows(asked.data):
        if key not in done:
            found.append({"key": key, **make()})
            with path.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
    (FOLDER / "README.md").write_text(report(found))


if __name__ == "__main__":
    main()
