"""The methods that quantize weights, beside the float network and rounding after training, on Fashion-MNIST at 14x14.

    python tests/benchmarks/compress_methods_quant.py ../shared/data/fashion-mnist

writes a line for each training to reports/compress-quantization/results.jsonl, which a run that was stopped goes on
from, and the page README.md beside it. `--pages` only writes the page again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress import networks
from hwprof.compress.choice import Choices
from hwprof.compress.dnq import BITS, Dnq, search
from hwprof.compress.dq import Dq
from hwprof.compress.lutq import LutQ
from hwprof.compress.method import Method, Network
from hwprof.compress.slq import Mlq, Slq
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measure import recording
from hwprof.measurement import FAST
from hwprof.tasks.digits import digits
from hwprof.tasks.fashion import fashion
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.low_bit import dictionary_weights, layers, low_bits_weights
from hwprof.variants.weights import load_weights

FOLDER = Path(__file__).parents[2] / "reports" / "compress-quantization"
IMAGES = 8000
SEEDS = (0, 1, 2)
ORDER_SEEDS = (0, 1, 2, 3, 4)
FLOAT = TrainSettings(epochs=10, rate=0.05, keep="best")
METHOD = TrainSettings(epochs=5, rate=0.03, keep="best")
LONGER = replace(METHOD, epochs=15, rate=0.01)  # the best of five pairs of epochs and rate for LUT-Q on seed 0
LONGER_SEEDS = (1, 2, 3)  # on which nothing was chosen
DIGITS_FLOAT = TrainSettings(epochs=15, rate=0.05, batch_size=32)
DIGITS_METHOD = TrainSettings(epochs=10, rate=0.05, batch_size=32, keep="best")
METHODS: dict[str, Callable[[], Method]] = {  # the most important ones first
    "LUT-Q, 4 values": lambda: LutQ(4),
    "DQ, (d, q_max), 3 bits": Dq,
    "SLQ, 4 values": lambda: Slq(4),
    "MLQ, ternary": Mlq,
    "DNQ": Dnq,
    "LUT-Q, 4 values, 70 % pruned": lambda: LutQ(4, pruned=0.7),
    "LUT-Q, 16 powers of two": lambda: LutQ(16, "pow2"),
    "DQ, (b, q_max), 3 bits": lambda: Dq("b_qmax"),
    "DQ, (b, d), 3 bits": lambda: Dq("b_d"),
    "DQ, powers of two, 3 bits": lambda: Dq("pow2"),
    "LUT-Q, 2 values": lambda: LutQ(2),
}
ORDERED: dict[str, Callable[[], Method]] = {
    "SLQ, 4 values, largest loss first": lambda: Slq(4),
    "SLQ, 4 values, smallest loss first": lambda: Slq(4, "smallest"),
    "MLQ, ternary, from the first layer": Mlq,
    "MLQ, ternary, from the last layer": lambda: Mlq("last"),
    "MLQ, ternary, all layers at once": lambda: Mlq("at_once"),
    "DNQ, near weights first": Dnq,
    "DNQ, far weights first": lambda: Dnq(order="far"),
}
MEASURED = ("LUT-Q, 4 values", "DQ, (d, q_max), 3 bits", "SLQ, 4 values", "MLQ, ternary", "DNQ")
DEVICES = ("cpu-1t", "integer-avx2")


def network(seed: int, task) -> Network:
    """16, 32 and 32 channels, 14x14 to 10 classes, 19,178 weights, yet to be trained."""
    b = GraphBuilder("cnn-14x14")
    x = b.relu(b.conv(b.input((1, 1, 14, 14)), 16, 3, bias=True))
    x = b.relu(b.conv(x, 32, 3, stride=2, bias=True))
    x = b.relu(b.conv(x, 32, 3, stride=2, bias=True))
    return _open(b.build(b.gemm(b.flatten(x), 10)), seed, task)


def eight_layers(task) -> Network:
    """8 layers on the digits, 8x8 to 10 classes, for the exhaustive search."""
    b = GraphBuilder("eight")
    x = b.input((1, 1, 8, 8))
    for channels, stride in ((8, 1), (8, 1), (8, 2), (12, 1), (12, 1), (16, 2), (16, 1)):
        x = b.relu(b.conv(x, channels, 3, stride=stride, bias=True))
    return _open(b.build(b.gemm(b.flatten(x), 10)), 0, task)


def digits_network(seed: int, task) -> Network:
    """16 and 32 channels, 8x8 to 10 classes."""
    b = GraphBuilder("cnn-8x8")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), 16, 3, stride=2, bias=True))
    x = b.relu(b.conv(x, 32, 3, stride=2, bias=True))
    return _open(b.build(b.gemm(b.flatten(x), 10)), seed, task)


def _open(graph: Graph, seed: int, task) -> Network:
    images = next(iter(task.examples("train").batches(64))).inputs.numpy()
    examples = {graph.inputs[0].name: images[:, None]}
    return Network(trainable(graph, onnx_io.initial_weights(graph, seed)), examples)


def choices_text(choices: Choices) -> str:
    return " ".join(f"{c.bits} bits" if c.bits else f"{c.levels} values" for c in choices.values())


def mean_bits(made: Network, before: Network) -> float:
    found = layers(before.graph)
    spared = sum(layer.weight.size_bytes for layer in found.values())
    rest = before.graph.weight_bytes - spared
    return 8 * (made.graph.weight_bytes - rest) / sum(layer.weight.numel for layer in found.values())


def after_training(trained: Network) -> Iterator[tuple[str, Network]]:
    names = layers(trained.graph)
    for bits in (8, 4, 3, 2):
        made = low_bits_weights(trained.graph, trained.weights, dict.fromkeys(names, bits))
        yield f"{bits} bits after training, a step for each output", trained.with_weights(*made)
    made = dictionary_weights(trained.graph, trained.weights, dict.fromkeys(names, 4))
    yield "4 values after training, by k-means", trained.with_weights(*made)


class Rows:
    """The rows of the file; a finished one is not computed again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.all = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def has(self, **key: object) -> bool:
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.all)

    def add(self, **row: object) -> None:
        self.all.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def train_all(rows: Rows, task, models: Path) -> None:
    planned = [("LUT-Q, 4 values, 15 epochs", lambda: LutQ(4), LONGER, LONGER_SEEDS)]
    planned += [(name, make, METHOD, SEEDS) for name, make in METHODS.items()]
    for name, make, settings, seeds in planned:
        for seed in seeds:
            if rows.has(name=name, seed=seed, kind="accuracy"):
                continue
            trained = float_network(seed, task, models)
            told = {"kind": "accuracy", "seed": seed, "float": evaluate(trained.module, task)}
            if not rows.has(name="float", seed=seed, kind="accuracy"):
                baselines(rows, trained, task, told, models)
            rows.add(**told, name=name, **one(make(), trained, task, settings, seed, models, name))


def float_network(seed: int, task, models: Path) -> Network:
    """Trained once, and kept in a file."""
    path, made = models / f"float-{seed}.onnx", network(seed, task)
    if path.exists():
        return made.with_weights(made.graph, load_weights(onnx_io.load(path)))
    fit(made.module, task, replace(FLOAT, seed=seed))
    networks.export(made, path)
    return made


def baselines(rows: Rows, trained: Network, task, told: dict[str, object], models: Path) -> None:
    rows.add(**told, name="float", accuracy=told["float"], file_bytes=size(trained, models, "float"))
    for name, made in after_training(trained):
        accuracy = evaluate(made.module, task)
        rows.add(
            **told, name=name, accuracy=accuracy, file_bytes=size(made, None, name), mean_bits=mean_bits(made, trained)
        )


def order_all(rows: Rows) -> None:
    task = digits()
    for seed in ORDER_SEEDS:
        if all(rows.has(kind="order", name=name, seed=seed) for name in ORDERED):
            continue
        trained = digits_network(seed, task)
        fit(trained.module, task, replace(DIGITS_FLOAT, seed=seed))
        told = {"kind": "order", "seed": seed, "float": evaluate(trained.module, task)}
        ternary = trained.with_weights(
            *dictionary_weights(trained.graph, trained.weights, dict.fromkeys(layers(trained.graph), 3))
        )
        rows.add(**told, name="3 values after training, by k-means", accuracy=evaluate(ternary.module, task))
        for name, make in ORDERED.items():
            rows.add(**told, name=name, **one(make(), trained, task, DIGITS_METHOD, seed, None, name))


def one(
    method: Method, trained: Network, task, settings: TrainSettings, seed: int, models: Path | None, name: str
) -> dict[str, object]:
    start, own = perf_counter(), trained.copy()
    hooks = method.attach(own, lambda _choices: torch.tensor(float("nan")))
    fit(own.module, task, replace(settings, seed=seed), [hooks])
    choices = method.choices()
    made = method.finish(choices)
    return {
        "accuracy": evaluate(made.module, task), "choices": choices_text(choices),
        "mean_bits": mean_bits(made, trained), "file_bytes": size(made, models if seed == 0 else None, name),
        "seconds": perf_counter() - start,
    }  # fmt: skip


def size(made: Network, models: Path | None, name: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = (models or Path(folder)) / f"{file_name(name)}.onnx"
        networks.export(made, path)
        return path.stat().st_size


def file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def search_all(rows: Rows) -> None:
    """The policy of DNQ against all 6,561 choices of 8 layers, and against as many random ones."""
    if rows.has(kind="search"):
        return
    task = digits()
    trained = eight_layers(task)
    fit(trained.module, task, TrainSettings(epochs=15, rate=0.05))
    method = Dnq()
    method.attach(trained.copy(), lambda _choices: torch.tensor(float("nan")))
    reward = method.reward(lambda _choices: torch.tensor(float("nan")))
    n = len(layers(trained.graph))
    known = {arch: reward(arch) for arch in np.ndindex(*[len(BITS)] * n)}
    optimum, rewards = max(known.values()), np.array(list(known.values()))
    for seed in range(10):
        found = known[search(n, known.__getitem__, 300, seed)]
        drawn = np.random.default_rng(seed).choice(rewards, 300, replace=False).max()
        rows.add(kind="search", seed=seed, policy=found, random=float(drawn), optimum=optimum, layers=n,
                 float=evaluate(trained.module, task))  # fmt: skip


def measure_all(rows: Rows, task, models: Path) -> None:
    """Latencies beside those of the float network, or on the integer device of int8, measured in turns."""
    examples = network(0, task).examples
    for device in map(Device.load, DEVICES):
        for name in MEASURED:
            if (
                rows.has(kind="latency", name=name, device=device.name)
                or not (models / f"{file_name(name)}.onnx").exists()
            ):
                continue
            with tempfile.TemporaryDirectory() as folder:
                pair = [_deployed(models / f"{file_name(n)}.onnx", device, examples, Path(folder) / f"{i}.onnx")
                        for i, n in enumerate(("float", name))]  # fmt: skip
                with recording.recording(device, Store(Path(folder) / "s.db"), recording.Options(FAST)) as recorder:
                    compared = recorder.compare(pair)[0]
            rows.add(kind="latency", name=name, device=device.name, verdict=str(compared.verdict),
                     before_ms=compared.a.normalized.median, ms=compared.b.normalized.median)  # fmt: skip


def _deployed(path: Path, device: Device, examples, to: Path) -> Graph:
    graph = onnx_io.load(path)
    opened = Network(trainable(graph, load_weights(graph)), {graph.inputs[0].name: next(iter(examples.values()))})
    return networks.export(networks.deployed(opened, device), to)


# -- the page ------------------------------------------------------------------------------------------


def page(rows: Rows) -> str:
    found = [row for row in rows.all if row["kind"] == "accuracy"]
    names = list(dict.fromkeys(row["name"] for row in found))
    lines = [
        "<!-- python tests/benchmarks/compress_methods_quant.py ../shared/data/fashion-mnist -->",
        "# Weights of few bits, trained",
        "",
        f"Fashion-MNIST at 14x14, {IMAGES:,} images to train and search, 10,000 to test; three convolutions of 16, 32 "
        f"and 32 channels and a matrix. {FLOAT.epochs} epochs of the float network, then {METHOD.epochs} of a method. "
        "Accuracy in %, mean over the seeds with the standard deviation; the difference is to the float network of the "
        f"same seed. LUT-Q has another row with {LONGER.epochs} epochs, the best of five settings on seed 0 alone, and "
        "with seeds on which nothing was chosen. Bits count everything that a layer's weight needs in the file, steps "
        "and dictionaries as well.",
        "",
        "| method | seeds | accuracy | difference | bits a weight | file, bytes | choices of the first seed |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(name, [row for row in found if row["name"] == name]) for name in names]
    return "\n".join([*lines, *_orders(rows), *_searched(rows), *_latencies(rows), ""])


def _line(name: str, rows: list[dict]) -> str:
    bits = np.mean([row.get("mean_bits", 32) for row in rows])
    size_bytes, choices = rows[0]["file_bytes"], rows[0].get("choices", "")
    return f"| {name} | {_accuracies(rows)} | {bits:.2f} | {size_bytes:,} | {choices} |"


def _accuracies(rows: list[dict]) -> str:
    accuracy = np.array([row["accuracy"] for row in rows])
    difference = accuracy - [row["float"] for row in rows]
    spread = f" ± {accuracy.std(ddof=1):.1f}" if len(rows) > 1 else ""
    return f"{len(rows)} | {accuracy.mean():.1f}{spread} | {difference.mean():+.1f}"


def _orders(rows: Rows) -> list[str]:
    found = [row for row in rows.all if row["kind"] == "order"]
    names = list(dict.fromkeys(row["name"] for row in found))
    return [
        "",
        "## Which part is quantized first",
        "",
        "On the digits of scikit-learn: convolutions of 16 and 32 channels and a matrix, "
        f"{DIGITS_METHOD.epochs} epochs of a method.",
        "",
        "| method | seeds | accuracy | difference |",
        "|---|---|---|---|",
        *(f"| {name} | {_accuracies([row for row in found if row['name'] == name])} |" for name in names),
    ]


def _searched(rows: Rows) -> list[str]:
    found = [row for row in rows.all if row["kind"] == "search"]
    if not found:
        return []
    shares = np.array([[row[who] / row["optimum"] for who in ("policy", "random")] for row in found])
    return [
        "",
        "## The policy of DNQ",
        "",
        f"{found[0]['layers']} layers with 8, 4 or 2 bits, on the digits; the rewards of all "
        f"{3 ** found[0]['layers']:,} choices are known. After 300 tries, over {len(found)} seeds, its best has "
        f"{shares[:, 0].mean():.3f} of the optimum (lowest {shares[:, 0].min():.3f}), the best of as many different "
        f"random ones {shares[:, 1].mean():.3f} (lowest {shares[:, 1].min():.3f}).",
    ]


def _latencies(rows: Rows) -> list[str]:
    found = [row for row in rows.all if row["kind"] == "latency"]
    if not found:
        return []
    return [
        "",
        "## Latency",
        "",
        "Measured in turns with the float network, or with int8 on the device `integer-avx2`, first seed, on a machine "
        "that others used at the same time. These networks are smaller, not faster: see reports/low-bit for the sizes "
        "at which narrow weights are.",
        "",
        "| method | device | before, ms | after, ms | after by before | verdict of the pairs |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['name']} | {r['device']} | {r['before_ms']:.4g} | {r['ms']:.4g} | "
            f"{r['ms'] / r['before_ms']:.2f} | {r['verdict']} |"
            for r in found
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of Fashion-MNIST's files")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "hwprof-quantized")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--only", choices=["search", "order", "train", "latency"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(FOLDER / "results.jsonl")
    given.models.mkdir(parents=True, exist_ok=True)
    if not given.pages:
        task = fashion(given.data, 14, IMAGES)
        stages = {
            "search": lambda: search_all(rows),
            "order": lambda: order_all(rows),
            "train": lambda: train_all(rows, task, given.models),
            "latency": lambda: measure_all(rows, task, given.models),
        }
        for name, run in stages.items():
            if given.only in (None, name):
                run()
    (FOLDER / "README.md").write_text(page(rows))


if __name__ == "__main__":
    main()
