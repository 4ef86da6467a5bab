"""Trains and measures the networks of `hwprof.workloads` that a task of ours teaches: super-resolution, separation.

    OMP_NUM_THREADS=1 python tests/benchmarks/workloads.py [DATA_FOLDER]        # writes reports/workloads

DATA_FOLDER, with spoken digits, defaults to ../shared/data beside the repository; scikit-image has the photographs.
Each training and each latency is a line of reports/workloads/rows.jsonl, and the same command computes nothing twice.
It takes about fifteen minutes of one core.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

import hwprof as hp
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.jobs import Options
from hwprof.measure import environment
from hwprof.measurement import ProtocolSettings
from hwprof.tasks.separation import separation
from hwprof.tasks.super_resolution import super_resolution
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.spec import parse
from hwprof.workloads.keypoint import keypoint_network
from hwprof.workloads.separation import FEATURES, real_time_factor, separation_network
from hwprof.workloads.super_resolution import super_resolution as super_resolution_network

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/workloads.py"
OUT = ROOT / "reports" / "workloads"
STORE = ROOT / "build" / "workloads.db"
DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
SEEDS = (0, 1, 2)
SIDE, CHANNELS = 16, 16
FRAMES, HIDDEN, MIXTURES, RATE_HZ = 40, 64, 800, 8000
PHOTOS = TrainSettings(epochs=60, batch_size=16, optimizer="adam", rate=4e-3, validation=None)
VOICES = TrainSettings(
    epochs=25, batch_size=32, optimizer="adam", rate=3e-3, max_gradient_norm=1.0, validation="search", keep="best"
)
DEVICES = ("cpu-1t", "openvino-1t", "torch-cpu-1t", "integer-avx2")
PROTOCOL = ProtocolSettings(target=0.03, min_processes=3, max_processes=4, budget_s=2.0, pilot_blocks=4)
NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "keypoint, 96 x 96": lambda: keypoint_network(96, 96),
    f"super-resolution, {SIDE} x {SIDE} to {2 * SIDE} x {2 * SIDE}": lambda: super_resolution_network(SIDE, CHANNELS),
    f"separation, {FRAMES} frames, amplitude": lambda: separation_network(FRAMES, HIDDEN, 1),
    f"separation, {FRAMES} frames, amplitude and phase": lambda: separation_network(FRAMES, HIDDEN, len(FEATURES)),
}
Row: TypeAlias = Mapping[str, Any]


def enlarge(seed: int) -> Row:
    """PSNR of bicubic interpolation and of the trained network on the test photograph, dB."""
    task = super_resolution(SIDE)
    network = trainable(super_resolution_network(SIDE, CHANNELS), seed=seed)
    fit(network, task, PHOTOS)
    bicubic = {
        part: task.metric(torch.zeros_like(batch.targets), batch.targets)
        for part in ("search", "test")
        for batch in task.examples(part).batches(10**6)
    }
    return {"bicubic": bicubic, "network": {part: evaluate(network, task, part, 10**6) for part in ("search", "test")}}


def separate(with_phase: bool, seed: int) -> Row:
    """SDR of speakers who were not heard before, dB; that of the mixture itself is the baseline."""
    task = separation(DATA / "spoken-digits", with_phase, MIXTURES, FRAMES, seed)
    network = trainable(separation_network(FRAMES, HIDDEN, len(FEATURES) if with_phase else 1), seed=seed)
    fit(network, task, VOICES)
    mixture = next(iter(task.examples("test").batches(10**6)))
    return {
        **{part: evaluate(network, task, part, 10**6) for part in ("search", "test")},
        "mixture": task.metric(torch.ones_like(mixture.targets[..., 0]), mixture.targets),
    }


def latency(network: str, device: str) -> Row:
    """Median of the measured latency with its 95 % interval, ms; or why there is none."""
    graph = NETWORKS[network]().renamed(network)
    try:
        graph = parse("integer").change(graph) if device.startswith("integer") else graph
        options = Options(PROTOCOL, allow_unfit=True, with_operators=False, keep_unconverged=True)
        found = hp.profile(graph, device, store=STORE, options=options).normalized
    except HwprofError as error:
        return {"error": str(error)[:200]}
    low, high = (round(x, 6) if np.isfinite(x) else None for x in (found.low, found.high))
    return {"ms": found.median, "low": low, "high": high}


WORK: dict[str, Callable[..., Row]] = {"enlarge": enlarge, "separate": separate, "latency": latency}


def wanted() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from (("enlarge", {"seed": seed}) for seed in SEEDS)
    yield from (
        ("separate", {"with_phase": with_phase, "seed": seed}) for seed in SEEDS for with_phase in (False, True)
    )
    yield from (("latency", {"network": network, "device": device}) for network in NETWORKS for device in DEVICES)


def stored() -> list[Row]:
    file = OUT / "rows.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def compute() -> None:
    """Adds the rows that are missing to the file."""
    known = [(row["kind"], row["given"]) for row in stored()]
    with (OUT / "rows.jsonl").open("a") as stream:
        for kind, given in wanted():
            if (kind, given) in known:
                continue
            start = time.monotonic()
            found = WORK[kind](**given)
            stream.write(json.dumps({"kind": kind, "given": given, "found": found}) + "\n")
            stream.flush()
            print(f"{time.monotonic() - start:.0f} s: {kind} {given}: {found}", file=sys.stderr, flush=True)


# -- the page ------------------------------------------------------------------------------------------


def page(rows: Sequence[Row]) -> str:
    return "\n".join(
        [
            f"`{COMMAND}`", "", "# Networks of the tasks that learn here", "",
            f"Measured on {environment.hardware()['cpu']}, one thread, while other programs kept both cores busy: latencies are at the undisturbed speed, by the processor's time.", "",
            *enlarged(rows), *separated(rows), *latencies(rows),
        ]
    )  # fmt: skip


def enlarged(rows: Sequence[Row]) -> Iterator[str]:
    found = [row["found"] for row in rows if row["kind"] == "enlarge"]
    if not found:
        return
    yield from ("## Super-resolution by two", "")
    yield (
        f"Two photographs of scikit-image to train, patches of {SIDE} x {SIDE} pixels, {PHOTOS.epochs} epochs; the test photograph is a third one. The network's output "
        "is added to the bicubic image. PSNR, dB."
    )
    yield from ("", "| part | bicubic | network, mean of seeds | each seed |", "|---|---|---|---|")
    for part, name in (("search", "left out of the training's photographs"), ("test", "test photograph")):
        ours = [f["network"][part] for f in found]
        yield f"| {name} | {found[0]['bicubic'][part]:.2f} | {np.mean(ours):.2f} | {', '.join(f'{x:.2f}' for x in ours)} |"
    gained = [f["network"]["test"] - f["bicubic"]["test"] for f in found]
    yield from (
        "",
        f"Better than bicubic on the test photograph by {np.mean(gained):.2f} dB, by {min(gained):.2f} dB with the worst seed.",
        "",
    )


def separated(rows: Sequence[Row]) -> Iterator[str]:
    found = {
        p: [r["found"] for r in rows if r["kind"] == "separate" and r["given"]["with_phase"] is p]
        for p in (False, True)
    }
    if not all(found.values()):
        return
    yield from ("## Separation of two speakers (Muth et al., arXiv 1807.02710)", "")
    yield (
        f"{MIXTURES} mixtures of two spoken digits, {FRAMES} frames; an LSTM of {HIDDEN} units, {VOICES.epochs} epochs, the best on the mixtures to search is kept. The two speakers "
        "of the test were never heard before. SDR of the masked amplitudes, dB; without a mask it is that of the mixture."
    )
    yield from (
        "",
        "| input | mixture | known speakers | unknown speakers, mean of seeds | each seed |",
        "|---|---|---|---|---|",
    )
    for with_phase, name in ((False, "amplitude"), (True, "amplitude and phase")):
        own = found[with_phase]
        test = [f["test"] for f in own]
        yield f"| {name} | {np.mean([f['mixture'] for f in own]):.2f} | {np.mean([f['search'] for f in own]):.2f} | {np.mean(test):.2f} | {', '.join(f'{x:.2f}' for x in test)} |"
    paired = [b["test"] - a["test"] for a, b in zip(found[False], found[True], strict=False)]
    yield from (
        "",
        f"Phase against amplitude alone, on unknown speakers, paired by seed: {', '.join(f'{x:+.2f}' for x in paired)} dB, mean {np.mean(paired):+.2f}.",
        "",
    )


def latencies(rows: Sequence[Row]) -> Iterator[str]:
    found = [row for row in rows if row["kind"] == "latency"]
    if not found:
        return
    yield from (
        "## Latency on each device",
        "",
        "ms; of separation, in brackets, the real-time factor: ms of work for each ms of sound.",
        "",
    )
    yield f"| network | {' | '.join(DEVICES)} |"
    yield f"|---|{'---|' * len(DEVICES)}"
    for network in NETWORKS:
        own = {r["given"]["device"]: r["found"] for r in found if r["given"]["network"] == network}
        yield f"| {network} | {' | '.join(cell(network, own.get(device, {})) for device in DEVICES)} |"
    reasons = dict.fromkeys(
        f"- {r['given']['network']} on {r['given']['device']}: {r['found']['error']}"
        for r in found
        if "error" in r["found"]
    )
    yield from ("", *(["No latency:", "", *reasons, ""] if reasons else []))


def cell(network: str, found: Row) -> str:
    if "ms" not in found:
        return ""
    factor = f" ({real_time_factor(found['ms'], FRAMES, RATE_HZ):.4f})" if network.startswith("separation") else ""
    return f"{found['ms']:.3f}{factor}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    STORE.parent.mkdir(exist_ok=True)
    compute()
    (OUT / "README.md").write_text(page(stored()))
