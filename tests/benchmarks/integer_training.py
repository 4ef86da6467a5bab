"""Trains an LSTM that reads digits row by row, fine-tunes it for integers, runs it: writes reports/integer-training.

    python tests/benchmarks/integer_training.py --data ../shared/data   # MNIST; ten minutes of one core
    python tests/benchmarks/integer_training.py OUT                     # scikit-learn's digits; a minute
    python tests/benchmarks/integer_training.py --only-timing           # of the networks that were trained last
    python tests/benchmarks/integer_training.py --no-timing             # nothing needs the machine for itself

The claim is iRNN's (arXiv 2109.09828): recurrent networks in integers only, as accurate as in float, twice as fast and
a quarter as large. The simulation in PyTorch, the NumPy reference and the kernels must agree in every integer.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import torch
from integer_kernels import OURS, Contender, child, ratios
from sklearn.datasets import load_digits

from hwprof import plugins
from hwprof.compress.integer.recurrent import SequenceClassifier
from hwprof.compress.integer.simulation import Simulation, observe
from hwprof.compress.integer.training import FINE_TUNING, FLOAT
from hwprof.integer.lowering import lowering
from hwprof.integer.numerics import piecewise, recurrent
from hwprof.integer.program.program import Program
from hwprof.integer.run import border, library, reference
from hwprof.integer.run.engine import Engine
from hwprof.measure import environment
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.tasks import Classification, idx
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.weights import load_weights, model_with

ROOT = Path(__file__).parents[2]
NETWORKS = ROOT / "build" / "integer-training"
BATCH = 100
UNITS = 128
CALIBRATED_ON = 2000  # digits
COMPARED = 500  # digits on which the NumPy reference runs, and tables of tanh are exchanged
PROCESSES, BLOCKS = 7, 20
FUNCTIONS = {
    "tanh on [-8, 8]": (np.tanh, -8.0, 8.0),
    "sigmoid on [-8, 8]": (lambda x: 1 / (1 + np.exp(-x)), -8.0, 8.0),
    "exp on [-10, 0]": (np.exp, -10.0, 0.0),
    "tanh on [0, 4]": (np.tanh, 0.0, 4.0),
}
SEGMENTS = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class Digits:
    """x: [n, rows, columns] in 0 to 1; y: [n]. The last `n - training` are for the test only."""

    name: str
    x: torch.Tensor
    y: torch.Tensor
    training: int
    in_float: TrainSettings
    in_integers: TrainSettings

    @property
    def task(self) -> Classification:
        known, test = ((self.x[part], self.y[part]) for part in (slice(self.training), slice(self.training, None)))
        return Classification(self.name, known, known, test)  # nothing is chosen: no part "search" is needed

    @property
    def test(self) -> torch.Tensor:
        return self.x[self.training :]

    @property
    def labels(self) -> np.ndarray:
        return self.y[self.training :].numpy()


def digits(folder: Path | None) -> Digits:
    """MNIST's 10,000 test digits where a folder is given, else those of scikit-learn."""
    if folder is None:
        found = load_digits()
        x, y = torch.from_numpy(found.images / 16).float(), torch.from_numpy(found.target)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        settings = settings_for(15, 8e-3, 2, 5e-4)
        return Digits("scikit-learn's digits", x[order], y[order], len(y) * 4 // 5, *settings)
    images, labels = (folder / f"mnist-t10k-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    if not images.is_file() or not labels.is_file():
        sys.exit(f"{folder} holds no {images.name} and {labels.name}")
    pixels, classes = idx.read(images, 3), idx.read(labels, 1)
    x, y = torch.from_numpy((pixels / 255).astype(np.float32)), torch.from_numpy(classes.astype(np.int64))
    return Digits("MNIST", x, y, 8000, *settings_for(8, 4e-3, 1, 3e-4))


def settings_for(float_epochs: int, float_rate: float, epochs: int, rate: float) -> tuple[TrainSettings, TrainSettings]:
    """Of the training in float and of the one in integers, which sees the digits in another order."""
    return (
        replace(FLOAT, epochs=float_epochs, rate=float_rate, batch_size=BATCH),
        replace(FINE_TUNING, epochs=epochs, rate=rate, batch_size=BATCH, seed=1),
    )


# -- training and agreement ----------------------------------------------------------------------------


def learn(data: Digits) -> dict[str, object]:
    """Trains, exports to NETWORKS, and sets everything that computes the network against everything else."""
    torch.manual_seed(0)
    _, rows, columns = data.x.shape
    network = SequenceClassifier(rows, columns, UNITS, classes=10)
    start = time.monotonic()
    fit(network, data.task, data.in_float)
    in_float = evaluate(network, data.task, batch_size=BATCH) / 100
    float_s = time.monotonic() - start
    say(f"float: {in_float:.2%} after {float_s:.0f} s")
    save_float(network, NETWORKS / "float.onnx")
    in_float_scores = scores_of(network, data.test[:COMPARED])
    whole = min(data.training, CALIBRATED_ON) // BATCH * BATCH
    simulated = Simulation(network, observe(network, list(data.x[:whole].split(BATCH))))
    calibrated = evaluate(simulated, data.task, batch_size=BATCH) / 100
    say(f"calibrated: {calibrated:.2%}")
    tables = exchanged_tables(simulated, data, in_float_scores)
    start = time.monotonic()
    fit(simulated, data.task, data.in_integers)
    tuned = evaluate(simulated, data.task, batch_size=BATCH) / 100
    tuning_s = time.monotonic() - start
    say(f"fine-tuned: {tuned:.2%} after {tuning_s:.0f} s")
    simulated.export(NETWORKS / "int8.onnx")
    return {
        "data": data.name, "training": data.training, "test": len(data.test), "units": UNITS,
        "accuracy": {"float": in_float, "calibrated": calibrated, "fine-tuned": tuned},
        "seconds": {"float": float_s, "fine-tuning": tuning_s},
        "agreement": agreement(simulated, data),
        "bytes": {name: (NETWORKS / f"{name}.onnx").stat().st_size for name in ("float", "int8")},
        "tables": tables,
        "knots": knots(),
    }  # fmt: skip


def save_float(network: SequenceClassifier, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: tensor.detach().numpy() for name, tensor in network.tensors().items()}
    onnx.save(model_with(network.graph(1), arrays), path)


def scores_of(network: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(x).numpy()


def agreement(simulated: Simulation, data: Digits) -> dict[str, dict[str, float]]:
    """By what computes it: accuracy, and how many of how many output integers differ from the simulation's."""
    wanted = simulated.integers(data.test).numpy()
    batch = math.gcd(len(data.test), BATCH)
    program = program_of(simulated, batch)
    results = {name: by_kernels(program, data.test, batch, name) for name in library.load().available()}
    results = {f"kernels, {name}": held for name, held in results.items()}
    some = data.test[:COMPARED]
    results["NumPy reference"] = by_reference(program_of(simulated, len(some)), some)
    found = {}
    for name, held in results.items():
        differ = int((held != wanted[: len(held)]).sum())
        right = float((held.argmax(-1) == data.labels[: len(held)]).mean())
        found[name] = {"differ": differ, "integers": held.size, "accuracy": right, "digits": len(held)}
        say(f"{name}: {differ} of {held.size} integers differ")
    return found


def program_of(simulated: Simulation, batch: int) -> Program:
    graph = simulated.export(NETWORKS / f"batch-{batch}.onnx", batch)
    return lowering.lower(graph, load_weights(graph))


def by_kernels(program: Program, x: torch.Tensor, batch: int, name: str) -> np.ndarray:
    """The output's integers, batch by batch; the batch must divide the digits."""
    leaving, parts = program.exits[0], []
    for part in x.split(batch):
        engine = Engine(program, {"x": part.numpy()}, library.load(), name, threads=1)
        engine.run()
        parts.append(engine.held(leaving.value))
        engine.close()
    return np.concatenate(parts)


def by_reference(program: Program, x: torch.Tensor) -> np.ndarray:
    entered = {e.value: border.quantize(e, x.numpy()) for e in program.entries}
    return reference.evaluate(program, entered)[program.exits[0].value]


# -- piecewise-linear functions ------------------------------------------------------------------------


def knots() -> list[dict[str, object]]:
    """The largest error of each function by even and by adaptive knots."""
    return [
        {
            "function": name,
            "segments": n,
            "even": piecewise.largest_error(function, piecewise.even(function, low, high, n)),
            "adaptive": piecewise.largest_error(function, piecewise.adaptive(function, low, high, n)),
        }
        for name, (function, low, high) in FUNCTIONS.items()
        for n in SEGMENTS
    ]


def exchanged_tables(simulated: Simulation, data: Digits, in_float: np.ndarray) -> list[dict[str, object]]:
    """The calibrated network with other tables of tanh, by NumPy: error of its scores against float, and accuracy."""
    x = data.test[:COMPARED]
    program = program_of(simulated, len(x))
    leaving, found = program.exits[0], []
    for name, tanh in {"even, 64, as the kernels": None, **other_tables()}.items():
        if tanh is None:
            held = by_reference(program, x)
        else:
            with patch.object(recurrent, "tanh", tanh):
                held = by_reference(program, x)
        off = border.dequantize(leaving, held.astype(np.uint8)) - in_float
        error = float(np.sqrt(np.mean(off**2) / np.mean(in_float**2)))
        right = float((held.argmax(-1) == data.labels[: len(x)]).mean())
        found.append({"tanh": name, "error": error, "accuracy": right})
        say(f"tanh by {name}: error {error:.5f}, {right:.1%}")
    return found


def other_tables() -> dict[str, Callable[..., np.ndarray]]:
    """Of tanh with as many bits as the kernels' own."""
    found: dict[str, Callable[..., np.ndarray]] = {}
    for n in SEGMENTS:
        placed = piecewise.adaptive(np.tanh, 0.0, 8.0, n)
        found[f"adaptive, {n} on [0, 8]"] = partial(by_pieces, {
            bits: piecewise.in_integers(placed, 2.0**-bits, 2.0**-recurrent.VALUE_BITS)
            for bits in (recurrent.CELL_BITS, recurrent.GATE_BITS, recurrent.GATE_BITS + 1)
        })  # fmt: skip
    found["the function itself"] = exact
    return found


def by_pieces(tables: Mapping[int, piecewise.Piecewise], x: np.ndarray, bits: int, _: np.ndarray) -> np.ndarray:
    wide = x.astype(np.int64)
    return np.sign(wide) * tables[bits](np.abs(wide))


def exact(x: np.ndarray, bits: int, _: np.ndarray) -> np.ndarray:
    return np.rint(np.tanh(x / 2**bits) * 2**recurrent.VALUE_BITS).astype(np.int64)


# -- latency -------------------------------------------------------------------------------------------


def measure(quick: bool) -> dict[str, object]:
    """One sequence at a time, one thread, the contenders' blocks alternating in the same processes."""
    contenders = [
        Contender(OURS, "integer", str(NETWORKS / "int8.onnx")),
        Contender("ORT float", "onnxruntime", str(NETWORKS / "float.onnx")),
    ]
    if not all(Path(c.model).is_file() for c in contenders):
        sys.exit(f"{NETWORKS} holds no trained networks; run without --only-timing first")
    with machine_to_ourselves():
        rows = [child(contenders, 4 if quick else BLOCKS) for _ in range(2 if quick else PROCESSES)]
    say(f"latency: {ratios(rows)}")
    return {
        "processes": rows,
        "cpu": environment.hardware()["cpu"],
        "instruction_set": library.load().available()[0],
        "versions": dict(plugins.load("backend", "onnxruntime").versions()),
    }


# -- report --------------------------------------------------------------------------------------------


def page(results: Mapping[str, object]) -> str:
    shares, sizes = results["accuracy"], results["bytes"]
    lost = 100 * (shares["float"] - shares["fine-tuned"])
    ratio = sizes["float"] / sizes["int8"]
    lines = [
        f"<!-- {results['command']} -->",
        "# A recurrent network trained for integers",
        "",
        f"`{results['command']}` made this page: {results['data']}, {results['training']} digits to train and "
        f"{results['test']} to test, read row by row by an LSTM of {results['units']} units. Trained in float, "
        "calibrated, then fine-tuned on the integers that the kernels compute.",
        "",
        "| | accuracy, % |",
        "|---|---|",
        f"| float, PyTorch | {100 * shares['float']:.2f} |",
        f"| int8, calibrated only | {100 * shares['calibrated']:.2f} |",
        f"| int8, fine-tuned, simulated in PyTorch | {100 * shares['fine-tuned']:.2f} |",
        *(
            f"| the same by {name} ({row['digits']} digits) | {100 * row['accuracy']:.2f} |"
            for name, row in results["agreement"].items()
        ),
        "",
        "| output integers that differ from the simulation's | |",
        "|---|---|",
        *(f"| {name} | {row['differ']} of {row['integers']} |" for name, row in results["agreement"].items()),
        "",
        "| goal | reached |",
        "|---|---|",
        f"| int8 within 1 point of float | {yes(lost <= 1)}: {-lost:+.2f} points |",
        f"| the same integers everywhere | {yes(not any(r['differ'] for r in results['agreement'].values()))} |",
        f"| smaller (iRNN says 4 x) | {ratio:.2f} x: {sizes['float']} to {sizes['int8']} bytes, as .onnx files |",
        *timing_lines(results.get("timing")),
        "",
        "Fine-tuning goes on training, with which the float network might win as much; what it loses by being "
        "quantized is the difference of the first two rows. "
        f"The standard error of an accuracy on {results['test']} digits is about "
        f"{100 * np.sqrt(shares['float'] * (1 - shares['float']) / results['test']):.2f} points.",
        "",
        "## Knots of piecewise-linear functions",
        "",
        "| function | segments | largest error, even knots | adaptive knots | ratio |",
        "|---|---|---|---|---|",
        *(
            f"| {k['function']} | {k['segments']} | {k['even']:.2e} | {k['adaptive']:.2e} "
            f"| {k['even'] / k['adaptive']:.1f} |"
            for k in results["knots"]
        ),
        "",
        "What that is worth to this network, calibrated and not fine-tuned, on "
        f"{min(COMPARED, results['test'])} digits by NumPy: the root mean square of its scores' error against float, "
        "relative.",
        "",
        "| tanh by | error of the scores | accuracy, % |",
        "|---|---|---|",
        *(f"| {t['tanh']} | {t['error']:.4f} | {100 * t['accuracy']:.1f} |" for t in results["tables"]),
        "",
        "The kernels keep even knots, whose place is a shift, for as long as this table gives no reason to search.",
        "",
    ]
    return "\n".join(lines)


def timing_lines(timing: Mapping[str, object] | None) -> list[str]:
    if timing is None:
        return ["| at least 2 x as fast as ORT in float | not measured |"]
    middle, low, high = ratios(timing["processes"])["ORT float"]
    ours, theirs = (
        float(np.median([row["wall_ns"][name] for row in timing["processes"]])) / 1e3 for name in (OURS, "ORT float")
    )
    return [
        f"| at least 2 x as fast as ORT in float | {yes(middle >= 2)}: {middle:.2f} x ({low:.2f} to {high:.2f}); "
        f"{ours:.0f} and {theirs:.0f} us, one sequence, one thread, {timing['cpu']}, {timing['instruction_set']} |"
    ]


def yes(reached: bool) -> str:
    return "yes" if reached else "no"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "reports" / "integer-training")
    parser.add_argument("--data", type=Path, help="a folder with MNIST's 10,000 test digits")
    parser.add_argument("--quick", action="store_true", help="few blocks: to try the timing")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only-timing", action="store_true")
    part.add_argument("--no-timing", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = arguments.out / "results.json"
    if arguments.only_timing:
        if not record.is_file():
            sys.exit(f"{record} is missing: train first")
        results = json.loads(record.read_text(encoding="utf-8"))
    else:
        data_option = f" --data {arguments.data}" if arguments.data else ""
        results = {
            "command": f"python tests/benchmarks/integer_training.py{data_option}",
            **learn(digits(arguments.data)),
        }
    if not arguments.no_timing:
        results["timing"] = measure(arguments.quick)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "README.md").write_text(page(results), encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
