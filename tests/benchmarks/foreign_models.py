"""Networks of other people on every device: does it run, how fast, and if not, for which reason?

    pip download --no-deps -d wheels rapidocr-onnxruntime silero-vad magika nudenet
    python -m tests.benchmarks.foreign_models wheels --out foreign.jsonl --report reports/foreign-models/README.md

FOLDER holds wheels and .onnx files; a wheel's .onnx files are taken from it, none is kept. With them come PyTorch
modules of this file: a vision transformer, a U-Net, a detector with non-maximum suppression, a decoder with past, and a
tagger with a GRU. Each network runs in float32, as fp16, int8 and integer, on every device of --devices. A row is
written as soon as it is known, and a row that is there is not measured again, so that a killed run continues.

`--fast` only opens each network and runs it once: "does it run", without a latency. What ONNX Runtime itself does with
a file, without hwprof, is the yardstick: the goal is 100 % of its files in float32, and 95 % as int8 and fp16.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from torch import nn

import hwprof as hp
from hwprof import onnx_io
from hwprof.data.store import Store
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.jobs.inputs import Wanted
from hwprof.measure.opening import require_runnable
from hwprof.measurement import FAST

VARIANTS = ("", "fp16", "int8", "integer")
DEVICES = "cpu-1t,openvino-1t,torch-cpu-1t,tvm-1t,integer-avx2,roofline-edge-gpu"
FREE_DIMENSION = 64  # where neither the file nor ONNX Runtime says how large an input is
YARDSTICK = "onnxruntime itself"
Open = Callable[[Path], Graph]


# -- PyTorch modules -----------------------------------------------------------------------------------


class Attention(nn.Module):
    """One transformer block. x: [batch, tokens, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        x = x + self.mix(y, y, y, need_weights=False)[0]
        return x + self.mlp(x)


class VisionTransformer(nn.Module):
    """image: [batch, 3, 64, 64]. Returns [batch, 10]."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patch, self.position = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.zeros(1, 64, width))
        self.blocks, self.head = nn.Sequential(*(Attention(width, 4) for _ in range(2))), nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2) + self.position
        return self.head(self.blocks(x).mean(1))


def convolved(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU())


class UNet(nn.Module):
    """image: [batch, 3, 64, 64]. Returns [batch, 2, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = convolved(3, 16), convolved(16, 32), nn.ConvTranspose2d(32, 16, 2, 2)
        self.last = nn.Sequential(convolved(32, 16), nn.Conv2d(16, 2, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.down(image)
        return self.last(torch.cat([x, self.up(self.middle(nn.functional.max_pool2d(x, 2)))], 1))


class Decoder(nn.Module):
    """One step of a decoder with past. ids: [batch, 1]; keys, values: [batch, 4, past, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.project, self.out = nn.Embedding(100, 64), nn.Linear(64, 192), nn.Linear(64, 100)

    def forward(self, ids: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = self.project(self.table(ids)).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        mixed = nn.functional.scaled_dot_product_attention(q, keys, values)
        return self.out(mixed.transpose(1, 2).flatten(2)), keys, values


class Tagger(nn.Module):
    """ids: [batch, words]. Returns [batch, words, 9]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru = nn.Embedding(1000, 32), nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.out = nn.Linear(64, 9)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(self.table(ids))[0])


MODULES: Mapping[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]] = {
    "vision-transformer": lambda: (VisionTransformer(), (torch.randn(1, 3, 64, 64),)),
    "u-net": lambda: (UNet(), (torch.randn(1, 3, 64, 64),)),
    "decoder-with-past": lambda: (
        Decoder(),
        (torch.zeros(1, 1, dtype=torch.long), torch.randn(1, 4, 12, 16), torch.randn(1, 4, 12, 16)),
    ),
    "gru-tagger": lambda: (Tagger(), (torch.randint(0, 1000, (1, 16)),)),
}


def detector() -> Graph:
    """Boxes from a convolution, and non-maximum suppression, which PyTorch has no operator of its own for."""
    b = hp.GraphBuilder("detector-with-nms")
    x = b.relu(b.conv(b.input((1, 3, 64, 64), name="image"), 16, 3, stride=8, bias=True))
    boxes = b.reshape(b.conv(x, 4, bias=True), (1, 64, 4))
    scores = b.reshape(b.conv(x, 2, bias=True), (1, 2, 64))
    limits = [b.constant([10], "int64"), b.constant([0.5], "float32"), b.constant([0.1], "float32")]
    return b.build(b.node("NonMaxSuppression", [boxes, scores, *limits], (20, 3), "int64"))


# -- networks ------------------------------------------------------------------------------------------


def networks(folder: Path, work: Path) -> Iterator[tuple[str, Path | None, Open]]:
    """The name, the .onnx file and how to open each network."""
    files = [*folder.rglob("*.onnx")]
    for wheel in sorted(folder.rglob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members = [m for m in archive.namelist() if m.endswith((".onnx", ".onnx.data", ".onnx_data"))]
            archive.extractall(work / wheel.stem, members)
        files += [work / wheel.stem / m for m in members if m.endswith(".onnx")]
    for file in sorted(files):
        root = work if file.is_relative_to(work) else folder
        yield str(file.relative_to(root)), file, partial(_opened, file)
    for name, make in MODULES.items():
        yield name, None, partial(_exported, make)
    path = work / "detector-with-nms.onnx"
    onnx_io.save(detector(), path)
    yield "detector-with-nms", path, partial(_opened, path)


def _opened(file: Path, work: Path) -> Graph:
    return Wanted(shapes=free_shapes(file)).load(str(file), work)


def _exported(make: Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]], work: Path) -> Graph:
    from hwprof.torch_io import onnx_export

    module, arguments = make()
    names = list(Decoder.forward.__annotations__)[: len(arguments)] if isinstance(module, Decoder) else ["x"]
    example = dict(zip(names, (a.numpy() for a in arguments), strict=True))
    return onnx_export.export(module.eval(), example, work / f"{type(module).__name__}.onnx")


def free_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """A shape for each input with free dimensions: 1 for the batch, 64 for the rest."""
    session = _session(file)
    shapes = {}
    for value in session.get_inputs():
        if any(not isinstance(d, int) or d < 1 for d in value.shape):
            shapes[value.name] = tuple(
                d if isinstance(d, int) and d > 0 else 1 if i == 0 else FREE_DIMENSION
                for i, d in enumerate(value.shape)
            )
    return shapes


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def plain_run(file: Path) -> str:
    """The reason for which ONNX Runtime itself cannot run the file with the inputs that hwprof draws; empty where it
    can."""
    try:
        graph = onnx_io.load(file, free_shapes(file))
        inputs = {name: np.asarray(array) for name, array in onnx_io.random_inputs(graph).items()}
        _session(file).run(None, inputs)
    except Exception as error:  # noqa: BLE001 -- whatever the runtime throws is the answer
        return _line(error)
    return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


# -- rows ----------------------------------------------------------------------------------------------


def row(open_: Open, variant: str, device: str, work: Path, is_fast: bool) -> dict[str, object]:
    """The latency, or that it runs, or the reason for which it does not."""
    asked = hp.Options(FAST, allow_unfit=True, with_operators=False, on_warning=lambda _text: None)
    try:
        chosen = hp.Device.load(device)
        wanted = Wanted(variant=variant or None).on(chosen, asked)
        graph = wanted.varied(open_(work), work, asked.on_warning)
        if is_fast:
            require_runnable(graph, chosen, asked.limited_transport)
            return {"runs": True}
        with Store() as store:
            m = hp.profile(graph, chosen, store=store, options=asked)
    except HwprofError as error:
        return {"runs": False, "reason": _line(error)}
    s = m.statistics
    return {"runs": True, "ms": s.median, "high_ms": s.high if math.isfinite(s.high) else None, "status": str(m.status)}


def measure(folder: Path, out: Path, devices: list[str], variants: list[str], is_fast: bool) -> None:
    known = {(r["network"], r["variant"], r["device"]) for r in read(out)}
    with TemporaryDirectory() as temporary, out.open("a", encoding="utf-8") as stream:
        work = Path(temporary)
        for name, file, open_ in networks(folder, work):
            cases = [(v, d) for v in variants for d in devices]
            if file is not None and ("", YARDSTICK) not in cases:
                cases.insert(0, ("", YARDSTICK))
            for variant, device in cases:
                if (name, variant, device) in known:
                    continue
                if device == YARDSTICK and file is not None:
                    reason = plain_run(file)
                    found: dict[str, object] = {"runs": not reason, "reason": reason}
                else:
                    found = row(open_, variant, device, work, is_fast)
                stream.write(json.dumps({"network": name, "variant": variant, "device": device, **found}) + "\n")
                stream.flush()
                sys.stderr.write(f"{name} {variant or 'fp32'} {device}: {found}\n")


def read(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


# -- the report ----------------------------------------------------------------------------------------


def report(rows: list[dict[str, object]], command: str) -> str:
    """Markdown: the shares that run, then every reason."""
    names = list(dict.fromkeys(str(r["network"]) for r in rows))
    told = f"{len(names)} networks. A cell says how many of them run; the reasons of the others are below."
    lines = ["# Networks of other people", "", f"Made by `{command}`.", "", told, ""]
    devices = list(dict.fromkeys(str(r["device"]) for r in rows))
    variants = list(dict.fromkeys(str(r["variant"]) for r in rows))
    lines += ["| device | " + " | ".join(v or "fp32" for v in variants) + " |", "| --- |" + " --: |" * len(variants)]
    for device in devices:
        cells = []
        for variant in variants:
            found = [bool(r["runs"]) for r in rows if (r["device"], r["variant"]) == (device, variant)]
            cells.append(f"{sum(found)} of {len(found)}" if found else "")
        lines.append(f"| {device} | " + " | ".join(cells) + " |")
    lines += ["", "## Reasons", "", "| network | variant | device | reason |", "| --- | --- | --- | --- |"]
    for r in rows:
        if not r["runs"]:
            reason = str(r.get("reason", "")).replace("|", "\\|")
            lines.append(f"| {r['network']} | {r['variant'] or 'fp32'} | {r['device']} | {reason} |")
    timed = [r for r in rows if r.get("ms")]
    if timed:
        lines += [
            "",
            "## Latencies",
            "",
            "| network | variant | device | ms | status |",
            "| --- | --- | --- | --: | --- |",
        ]
        lines += [
            f"| {r['network']} | {r['variant'] or 'fp32'} | {r['device']} | {r['ms']:.4g} | {r['status']} |"
            for r in timed
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("foreign.jsonl"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--devices", default=DEVICES)
    parser.add_argument("--variants", default=",".join(v or "fp32" for v in VARIANTS))
    parser.add_argument("--fast", action="store_true")
    asked = parser.parse_args()
    variants = ["" if v == "fp32" else v for v in asked.variants.split(",")]
    measure(asked.folder, asked.out, asked.devices.split(","), variants, asked.fast)
    if asked.report:
        asked.report.parent.mkdir(parents=True, exist_ok=True)
        shown = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
        command = f"python -m tests.benchmarks.foreign_models {' '.join(shown)}"
        asked.report.write_text(report(read(asked.out), command), encoding="utf-8")


if __name__ == "__main__":
    main()
