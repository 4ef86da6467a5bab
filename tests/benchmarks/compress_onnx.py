"""Compresses networks of other people without training, where int8 of all layers hurts: reports/compress-onnx.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.compress_onnx FOLDER

FOLDER holds the unpacked wheels of rapidocr-onnxruntime 1.4.4 and nudenet 3.4.2 (pip download --no-deps, unzip). It
takes about half an hour of a quiet core. Inputs are drawn: lines of text on paper of any colour, in eight sizes; half
of them calibrate, half judge. Each network is aimed at the middle between the latencies of float and of int8, gets a
front of others, and where int8 hurts also the fastest network within a quarter of int8's error; in the end float, int8
and all of these are measured in one paired comparison.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from hwprof import onnx_io
from hwprof.compress import post_training
from hwprof.compress.compressed import Compressed
from hwprof.compress.outputs import outputs, relative_error
from hwprof.compress.post_training import Settings
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.measure import environment, recording
from hwprof.measure.recording import Options
from hwprof.measurement import FAST, Comparison
from hwprof.variants.apply import apply_variant
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import load_weights

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python -m tests.benchmarks.compress_onnx FOLDER"
OUT = ROOT / "reports" / "compress-onnx"
DEVICE = "cpu-1t"
SAMPLES, POINTS = 16, 2
PROTOCOL = replace(FAST, target=0.05, min_processes=4, max_processes=4, budget_s=3.0, warmup_max_s=0.5)
WAIT_S = 1800.0  # for another benchmark on the same machine
GAIN, ERROR = 0.5, 0.25  # the goal: this share of int8's gain at this share of its error
HURTS = 0.02  # the error of int8 from which there is something to mend
NETWORKS: Mapping[str, tuple[str, Mapping[str, Sequence[int]]]] = {
    "direction classifier": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}),
    "text recognizer": ("ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 320)}),
    "picture detector": ("320n.onnx", {"images": (1, 3, 320, 320)}),
    "text detector": ("ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 320, 320)}),
}
LETTERS = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ 0123456789")


@dataclass(frozen=True, slots=True)
class Point:
    """A network of one comparison. error: relative, of the outputs. ratio: of its latency to float's, with interval."""

    name: str
    error: float
    ms: float
    ratio: float
    low: float
    high: float
    layers: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    network: str
    float_ms: float
    int8: Point
    front: tuple[Point, ...]

    @property
    def ours(self) -> Point:
        """The network of least error among those that keep the wanted share of int8's gain, else the fastest."""
        wanted = 1 - GAIN * (1 - self.int8.ratio)
        kept = [one for one in self.front if one.ratio <= wanted]
        return min(kept, key=lambda p: p.error) if kept else min(self.front, key=lambda p: p.ratio)

    @property
    def gain(self) -> float:
        """Our share of the time that int8 saves; nan where it saves none."""
        return (1 - self.ours.ratio) / (1 - self.int8.ratio) if self.int8.ratio < 1 else math.nan

    @property
    def is_reached(self) -> bool | None:
        """None where int8 does not hurt, or is not faster."""
        if self.int8.error < HURTS or not self.int8.ratio < 1:
            return None
        return self.gain >= GAIN and self.ours.error <= ERROR * self.int8.error


def page(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """[*shape], in -1 .. 1: lines of text."""
    height, width = shape[-2:]
    paper, ink = (tuple(int(v) for v in rng.integers(*span, 3)) for span in ((150, 256), (0, 90)))
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    for top in range(0, height, 48):
        font = ImageFont.load_default(int(rng.integers(18, 34)))
        draw.text((int(rng.integers(20)), top + int(rng.integers(10))), "".join(rng.choice(LETTERS, 24)), ink, font)
    return (np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1).reshape(shape)


def drawn(graph: Graph, count: int) -> Samples:
    rng = np.random.default_rng(0)
    return {t.name: np.stack([page(rng, t.shape) for _ in range(count)]) for t in graph.inputs}


def error_of(graph: Graph, exact: Mapping[str, np.ndarray], judged: Samples) -> float:
    found = outputs(Weighted(graph, load_weights(graph)), judged)
    return relative_error(dict(zip(exact, found.values(), strict=True)), exact)


def row(name: str, graph: Graph, folder: Path, store: Store) -> Row:
    device = Device.load(DEVICE)
    options = Options(PROTOCOL, on_note=tell, with_operators=False, allow_unfit=True, wait_s=WAIT_S)
    samples = drawn(graph, SAMPLES)
    np.savez(folder / "samples.npz", **{key: array[0::2] for key, array in samples.items()})
    int8, _ = apply_variant(graph, "int8", folder, folder / "samples.npz")
    with recording.recording(device, store, options) as recorder:
        (first,) = recorder.compare([graph, int8], again=False)
    whole_ms, int8_ms = first.a.normalized.median, first.b.normalized.median
    judged = {key: array[1::2] for key, array in samples.items()}
    exact = outputs(Weighted(graph, load_weights(graph)), judged)
    int8_error = error_of(int8, exact, judged)
    aims: list[tuple[list[float], Settings]] = [([], Settings(points=POINTS))]
    if int8_ms < whole_ms:
        aims.append(([(whole_ms + int8_ms) / 2], Settings()))
    if int8_error >= HURTS:
        aims.append(([], Settings(points=1, max_error=ERROR * int8_error)))
    made: list[Compressed] = []
    for targets, settings in aims:
        try:
            made += post_training.compress(
                graph, samples, device, store, folder, targets_ms=targets, settings=settings, options=options
            )
        except InputError as error:  # nothing is faster within the error
            tell(str(error))
    if not made:
        raise InputError(f"no network of {name} is faster than its float one")
    networks = [int8, *(onnx_io.load(one.path) for one in made)]
    with recording.recording(device, store, options) as recorder:
        compared = recorder.compare([graph, *networks], again=False)
    names = ["int8", *(f"{len(one.result.choices)} layers" for one in made)]
    layers = [0, *(len(one.result.choices) for one in made)]
    points = [
        point(title, error_of(network, exact, judged), one, count)
        for title, network, one, count in zip(names, networks, compared, layers, strict=True)
    ]
    return Row(name, compared[0].a.normalized.median, points[0], tuple(points[1:]))


def point(name: str, error: float, compared: Comparison, layers: int) -> Point:
    return Point(name, error, compared.b.normalized.median, compared.ratio, compared.low, compared.high, layers)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the report ----------------------------------------------------------------------------------------


def report(rows: Sequence[Row], skipped: Mapping[str, str]) -> str:
    reached = [one.is_reached for one in rows if one.is_reached is not None]
    cells = "\n".join(map(cell, rows))
    left_out = "".join(f"\n{name}: {reason}\n" for name, reason in skipped.items())
    return f"""`{COMMAND}`

# ONNX files alone: mixed precision, low rank and fewer channels after training

{environment.hardware()["cpu"]}, ONNX Runtime, one thread, on a machine that others used at the same time. The
networks come from the wheels of rapidocr-onnxruntime 1.4.4 and nudenet 3.4.2. The error is that of the outputs on
{SAMPLES // 2} drawn pages of text that did not calibrate, relative to float. "int8" is `--variant int8` of the same
calibration; "ours" is the network of least error that keeps half of int8's gain (else the fastest), of those that
`hwprof compress MODEL --calibration samples.npz` made: for the middle between float and int8, of the front, and with
`--max-error` of a quarter of int8's error. Ratios to float are from one paired comparison of all networks, with their
95 % intervals.

| network | float ms | int8 ms | of float | error | ours ms | of float | error | layers changed | gain kept | goal |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{cells}

The goal is at least half of int8's gain in speed at a quarter of its error, where int8 hurts (an error above {HURTS:g})
and is faster: {sum(reached)} of {len(reached)} networks reach it.
{left_out}
![The error against the latency of each network](fronts.svg)
"""


def cell(one: Row) -> str:
    goal = {True: "reached", False: "missed", None: "int8 is slower" if one.int8.ratio >= 1 else "int8 does not hurt"}
    gain = "" if math.isnan(one.gain) else f"{100 * one.gain:.0f} %"
    return (
        f"| {one.network} | {one.float_ms:.3g} | {one.int8.ms:.3g} | {ratio(one.int8)} | {one.int8.error:.3g} | "
        f"{one.ours.ms:.3g} | {ratio(one.ours)} | {one.ours.error:.3g} | {one.ours.layers} | {gain} | "
        f"{goal[one.is_reached]} |"
    )


def ratio(one: Point) -> str:
    return f"{one.ratio:.2f} ({one.low:.2f} .. {one.high:.2f})"


def draw(rows: Sequence[Row], path: Path) -> None:
    figure = Figure(figsize=(3.4 * len(rows), 3.4), layout="constrained")
    for axes, one in zip(np.atleast_1d(figure.subplots(1, len(rows))), rows, strict=True):
        ours = sorted(one.front, key=lambda p: p.ratio)
        axes.plot([p.ratio for p in ours], [p.error for p in ours], "o-", label="mixed precision, low rank, channels")
        axes.plot([one.int8.ratio], [one.int8.error], "s", label="int8 of all layers")
        axes.axvline(1.0, color="0.6", linewidth=1, linestyle=":", label="float, error 0")
        axes.set(title=one.network, xlabel="latency, of float's", ylim=(0, None))
    figure.axes[0].set_ylabel("relative error of the outputs")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    OUT.mkdir(parents=True, exist_ok=True)
    wheels = Path(sys.argv[1])
    with Store(wheels / "compress-onnx.db") as store, temporary_folder() as folder:
        for name, (file, shapes) in NETWORKS.items():
            tell(f"== {name}")
            (path,) = wheels.rglob(file)
            working = folder / path.stem
            working.mkdir()
            try:
                rows.append(row(name, onnx_io.load(path, shapes), working, store))
            except HwprofError as error:
                skipped[name] = str(error)
                tell(skipped[name])
                continue
            (OUT / "results.json").write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n")
            (OUT / "README.md").write_text(report(rows, skipped))
            draw(rows, OUT / "fronts.svg")


if __name__ == "__main__":
    main()
