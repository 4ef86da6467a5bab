"""Times the integer-only kernels beside the runtimes that they stand against: writes reports/integer-kernels.

    python tests/benchmarks/integer_kernels.py                 # half an hour, on a machine that does nothing else
    python tests/benchmarks/integer_kernels.py --quick OUT     # to try the program: two processes, few blocks
    python tests/benchmarks/integer_kernels.py --only mobilenet_v2 ceilings   # the page keeps the rest
    python tests/benchmarks/integer_kernels.py --busy          # by the threads' own time, beside other load
    python tests/benchmarks/integer_kernels.py --pages         # measures nothing: writes the pages of what was measured

The page has the name of the instruction set: what holds on one machine is not told of another. Where two products are
summed in 16 bits (AVX2), all weights take the reduced range from -64 to 64, those of the other runtimes as well, whose
sums saturate without it.

Every contender of a case is open in the same processes, in which their blocks alternate (A B C C B A ...), one
thread each. A ratio is the median of the processes' paired ratios, with the lowest and highest process beside it.
Weights are random: latency and error against float mean something, accuracy does not. They are normal, because our time
on AVX2 depends on them. A product is fastest where weights are summed in pairs of quads (`hwprof.integer.run.parts`).
Of 11 trained networks of others, 10 have 86 to 99 % of their convolutions' weights in panels where they are; 6 trained
recurrent networks have 32 to 75 %; normal weights behave alike. Of evenly spread weights, with which layers begin their
training, none are. The cases named "-even" have those, the slowest for us.

LSTMs are calibrated on the sequence that they are compared on, as dynamic quantization finds its scales on it. Its
outputs are float where ours have 8 bits, so that they are compared behind our output's grid, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from time import perf_counter_ns, thread_time_ns

import numpy as np
import onnx
from fresh_process import answer_of
from onnx import TensorProto, helper, numpy_helper

from hwprof import cost, onnx_io, plugins, workloads
from hwprof.backends.host_timer import HostTimer
from hwprof.builder import GraphBuilder
from hwprof.compress.integer import calibrate
from hwprof.device import Device
from hwprof.graph import Graph, Tensor
from hwprof.integer.run import library
from hwprof.interfaces import Timer
from hwprof.measure import environment
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.spaces.blocks import attend, causal_mask
from hwprof.variants.apply import apply_variant
from hwprof.variants.weights import load_weights, model_with

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "hwprof" / "integer" / "kernels"
COMMAND = "python tests/benchmarks/integer_kernels.py"
STEPS = 35
BLOCK_NS = 60_000_000
PROCESSES = 7
NETWORKS = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "resnet50")
EVEN = ("resnet18", "mobilenet_v2")  # with evenly spread weights, too
TOKENS, WORDS, WIDTH, LAYERS = 64, 1000, 256, 2  # of the transformer
RECURRENT = (  # units, layers and batch
    (256, 1, 1), (1024, 1, 1), (650, 2, 1), (1500, 2, 1), (1024, 1, 16), (650, 2, 16), (1500, 2, 16)
)  # fmt: skip
CELLS = (("norm-lstm", 128), ("norm-lstm", 650), ("norm-gru", 128), ("norm-gru", 650))  # and units; batch 1
QUICK = ("mobilenet_v2", "causal-transformer", "lstm-650x2-batch-1", "norm-lstm-128")
OURS = "integer-only"
CEILINGS = "ceilings"  # the name of the last part, for --only
RUNTIMES = ("onnxruntime", "openvino")
SIDE = 1024  # of the matrix product
VECTOR_SIDE = 4096  # of the product of a matrix with one vector
_LSTMS = [f"lstm-{units}x{layers}-batch-{batch}" for units, layers, batch in RECURRENT]
_SINGLE = [f"lstm-{units}x{layers}-batch-{batch}" for units, layers, batch in RECURRENT if batch == 1]
GOALS = {  # of each instruction set: how many times as long the other takes at least, by network
    "avx2": {
        "ORT float": {"resnet18": 2.0, "mobilenet_v2": 2.0},
        "ORT int8": {"resnet18": 1.0, "mobilenet_v2": 1.0, "causal-transformer": 1.0},
        "OpenVINO int8": {"resnet18": 1.0, "mobilenet_v2": 1.0, "causal-transformer": 1.0},
        "ORT dynamic int8": dict.fromkeys(_LSTMS, 1.0) | dict.fromkeys(_SINGLE, 1.3),
    },
    "avx512-vnni": {
        "ORT float": {"lstm-1024x1-batch-1": 3.0, "lstm-650x2-batch-1": 5.5, "lstm-1500x2-batch-1": 4.0},
        "ORT int8": {"resnet18": 1.3, "mobilenet_v2": 1.1},
        "ORT dynamic int8": dict.fromkeys(_LSTMS, 1.0),
        "torch dynamic int8": dict.fromkeys(_LSTMS, 1.0),
    },
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A model on a runtime. `runtime`: a backend of hwprof, or "torch"."""

    title: str
    runtime: str
    model: str

    def open(self, stack: ExitStack) -> Timer:
        if self.runtime == "torch":
            return torch_timer(self.model)
        options = {"instruction_set": "best"} if self.runtime == "integer" else {}
        device = Device(self.title, self.runtime).with_options(**options)
        backend = plugins.load("backend", self.runtime)
        timer: Timer = stack.enter_context(backend.open(onnx_io.load(self.model), device))
        return timer


Case = tuple[str, list[Contender]]


# -- models --------------------------------------------------------------------------------------------


def cases(folder: Path, wanted: Collection[str]) -> Iterator[Case]:
    """Those that are wanted; all for none."""
    makers: dict[str, Callable[[], list[Contender]]] = {name: partial(network, name, folder) for name in NETWORKS}
    makers |= {f"{name}-even": partial(network, name, folder, is_even=True) for name in EVEN}
    makers["causal-transformer"] = partial(causal_transformer, folder)
    for units, layers, batch in RECURRENT:
        makers[f"lstm-{units}x{layers}-batch-{batch}"] = partial(lstm, units, layers, batch, folder)
    makers |= {f"{name}-{units}": partial(cell, name, units, folder) for name, units in CELLS}
    for title, make in makers.items():
        if not wanted or title in wanted:
            yield title, make()


def is_reduced() -> bool:
    """Whether weights have 7 bits on this machine."""
    kernels = library.load()
    return kernels.arithmetic(kernels.available()[0]).sums_parts


def bits() -> int:
    return 7 if is_reduced() else 8


def network(name: str, folder: Path, is_even: bool = False) -> list[Contender]:
    """is_even: with evenly spread weights in place of normal ones."""
    graph = workloads.build(name)
    source = folder / f"{name}{'-even' if is_even else ''}.onnx"
    onnx_io.save(graph if is_even else with_normal_weights(graph), source)
    quantized, _ = apply_variant(onnx_io.load(source), "int8:reduced" if is_reduced() else "int8", folder)
    return [
        Contender(OURS, "integer", str(quantized.source)),
        Contender("ORT int8", "onnxruntime", str(quantized.source)),
        Contender("OpenVINO int8", "openvino", str(quantized.source)),
        Contender("ORT float", "onnxruntime", str(source)),
    ]


def with_normal_weights(graph: Graph) -> onnx.ModelProto:
    """The model with normal weights of the same deviations; rows such as biases stay."""
    rng = np.random.default_rng(0)
    return model_with(
        graph, {n: rng.normal(0, w.std(), w.shape) if w.ndim > 1 else w for n, w in load_weights(graph).items()}
    )  # fmt: skip


def causal_transformer(folder: Path) -> list[Contender]:
    """A small language model. Ours is calibrated by hwprof, which gives the mask no part of the range of the scores."""
    b = GraphBuilder("causal-transformer")
    x = b.add(b.embedding(b.input((1, TOKENS), "int64"), WORDS, WIDTH), b.weight((TOKENS, WIDTH)))
    mask = causal_mask(b, TOKENS)
    for _ in range(LAYERS):
        y = b.layer_norm(x)
        y = attend(b, *(b.linear(y, WIDTH) for _ in range(3)), heads=WIDTH // 64, mask=mask)
        x = b.add(x, b.linear(y, WIDTH))
        x = b.add(x, b.linear(b.gelu(b.linear(b.layer_norm(x), 4 * WIDTH)), WIDTH))
    source, calibrated = (folder / f"causal-transformer{end}.onnx" for end in ("", "-integer"))
    onnx_io.save(with_normal_weights(b.build(b.linear(b.layer_norm(x), WORDS))), source)
    graph = onnx_io.load(source)
    calibrate(graph, [onnx_io.random_inputs(graph, seed) for seed in range(8)], calibrated, weight_bits=bits())
    quantized, _ = apply_variant(graph, "int8:reduced" if is_reduced() else "int8", folder)
    return [
        Contender(OURS, "integer", str(calibrated)),
        Contender("ORT int8", "onnxruntime", str(quantized.source)),
        Contender("OpenVINO int8", "openvino", str(quantized.source)),
        Contender("ORT float", "onnxruntime", str(source)),
    ]


def lstm(units: int, layers: int, batch: int, folder: Path) -> list[Contender]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    stem = folder / f"lstm-{units}-{layers}-{batch}"
    weights = lstm_weights(units, layers)
    source, quantized, dynamic = (stem.with_suffix(s) for s in (".onnx", ".int8.onnx", ".dynamic.onnx"))
    onnx.save(lstm_model(weights, batch), source)
    calibrate(onnx_io.load(source), [inputs_of(batch, units)], quantized, weight_bits=bits())
    quantize_dynamic(
        source, dynamic, weight_type=QuantType.QInt8, per_channel=True, reduce_range=is_reduced()
    )  # fmt: skip
    np.savez(
        stem.with_suffix(".npz"), batch=batch, **{f"{n}{i}": w for i, one in enumerate(weights) for n, w in one.items()}
    )
    return [
        Contender(OURS, "integer", str(quantized)),
        Contender("ORT dynamic int8", "onnxruntime", str(dynamic)),
        Contender("torch dynamic int8", "torch", str(stem.with_suffix(".npz"))),
        Contender("ORT float", "onnxruntime", str(source)),
    ]


def cell(name: str, units: int, folder: Path) -> list[Contender]:
    """A cell with layer normalization, of which PyTorch's exporter writes out every step."""
    import torch
    from cells import NormGru, NormLstm

    from hwprof.compress.integer import calibrate
    from hwprof.torch_io import onnx_export

    torch.manual_seed(0)
    source = folder / f"{name}-{units}.onnx"
    graph = onnx_export.export(
        {"norm-lstm": NormLstm, "norm-gru": NormGru}[name](units, units), inputs_of(1, units), source
    )
    quantized = {bits: folder / f"{name}-{units}-{bits}.onnx" for bits in (8, 16)}
    for bits_, path in quantized.items():
        calibrate(graph, (onnx_io.random_inputs(graph, seed) for seed in range(1, 5)), path, bits_, bits())
    return [
        Contender(OURS, "integer", str(quantized[16])),
        Contender(f"{OURS}, 8-bit states", "integer", str(quantized[8])),
        Contender("ORT int8", "onnxruntime", str(quantized[8])),
        Contender("ORT float", "onnxruntime", str(source)),
    ]


def lstm_weights(units: int, layers: int) -> list[dict[str, np.ndarray]]:
    """Of each layer, normal, with the deviation of those that PyTorch draws; the inputs are as many as the units."""
    rng, deviation = np.random.default_rng(0), 1 / math.sqrt(3 * units)
    shapes = {"W": (1, 4 * units, units), "R": (1, 4 * units, units), "B": (1, 8 * units)}
    return [
        {n: rng.normal(0, deviation, shape).astype(np.float32) for n, shape in shapes.items()} for _ in range(layers)
    ]


def lstm_model(weights: Sequence[Mapping[str, np.ndarray]], batch: int) -> onnx.ModelProto:
    """The outputs are the states of the last layer."""
    nodes, stored, x, units = [], [numpy_helper.from_array(np.array([1]), "axes")], "x", weights[0]["W"].shape[2]
    for i, layer in enumerate(weights):
        stored += [numpy_helper.from_array(w, f"{n}{i}") for n, w in layer.items()]
        states = "y" if i + 1 == len(weights) else f"h{i}"
        nodes.append(helper.make_node("LSTM", [x, f"W{i}", f"R{i}", f"B{i}"], [states], hidden_size=units))
        if states != "y":
            x = f"x{i + 1}"
            nodes.append(helper.make_node("Squeeze", [states, "axes"], [x]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (STEPS, batch, units)), ("y", (STEPS, 1, batch, units)))
    ]
    graph = helper.make_graph(nodes, "lstm", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def torch_timer(weights: str) -> HostTimer:
    """PyTorch's dynamically quantized LSTM of the same weights, whose gates stand in another order."""
    import torch

    torch.set_num_threads(1)
    with np.load(weights, allow_pickle=False) as stored:
        layers, batch, units = len(stored.files) // 3, int(stored["batch"]), stored["W0"].shape[2]
        arrays = [{n: stored[f"{n}{i}"] for n in ("W", "R", "B")} for i in range(layers)]
    order = np.concatenate([np.arange(units) + units * gate for gate in (0, 2, 3, 1)])
    float_lstm = torch.nn.LSTM(units, units, layers)
    parts = []
    for layer in arrays:
        biases = np.split(layer["B"][0], 2)
        parts += [layer["W"][0][order], layer["R"][0][order], biases[0][order], biases[1][order]]
    with torch.no_grad():
        for parameter, part in zip(float_lstm.parameters(), parts, strict=True):
            parameter.copy_(torch.from_numpy(part))
    # It exchanges the parts of a module, not the module itself.
    (network_,) = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(float_lstm), {torch.nn.LSTM})
    x = torch.from_numpy(inputs_of(batch, units)["x"])

    def run() -> np.ndarray:
        with torch.inference_mode():
            return network_(x)[0].numpy()[:, None]

    return HostTimer(run, lambda: {"y": run()})


def inputs_of(batch: int, units: int) -> dict[str, np.ndarray]:
    """What every backend of hwprof gives to a network with this input."""
    graph = Graph((Tensor("x", "float32", (STEPS, batch, units)),), ("x",), ())
    return onnx_io.random_inputs(graph)


# -- one process ---------------------------------------------------------------------------------------


def work(contenders: Sequence[Contender], blocks: int) -> dict[str, object]:
    """Medians of the blocks, ns, by contender: of wall time and of the thread's own; outputs' errors."""
    with ExitStack() as stack:
        timers = [contender.open(stack) for contender in contenders]
        for timer in timers:
            timer(5)
        counts = [max(1, round(BLOCK_NS / min(timer(3)))) for timer in timers]
        wall: list[list[float]] = [[] for _ in timers]
        own: list[list[float]] = [[] for _ in timers]
        order = list(range(len(timers)))
        for _ in range(blocks):
            for i in order:
                before, before_own = perf_counter_ns(), thread_time_ns()
                timers[i](counts[i], each=False)
                own[i].append((thread_time_ns() - before_own) / counts[i])
                wall[i].append((perf_counter_ns() - before) / counts[i])
            order.reverse()
        outputs = [next(iter(timer.outputs().values())) for timer in timers]
    rounded = on_output_grid(contenders[0].model, outputs)
    return {
        "wall_ns": {c.title: float(np.median(w)) for c, w in zip(contenders, wall, strict=True)},
        "thread_ns": {c.title: float(np.median(o)) for c, o in zip(contenders, own, strict=True)},
        "error": {c.title: relative_rms(y, outputs[-1]) for c, y in zip(contenders, outputs, strict=True)},
        "rounded_error": {c.title: relative_rms(y, outputs[-1]) for c, y in zip(contenders, rounded, strict=True)},
    }


def on_output_grid(model: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays as a model whose output has 8 bits would give them."""
    graph = onnx_io.load(model)
    last = graph.producers()[graph.outputs[0]]
    weights = load_weights(graph)
    scale, zero = (weights[name] for name in last.inputs[1:])
    lowest, highest = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    steps = (np.clip(np.rint(y / scale) + zero, lowest, highest) for y in arrays)
    return [(step - zero) * scale for step in steps]


def relative_rms(y: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y - exact) ** 2)) / np.sqrt(np.mean(exact**2)))


def ceilings(folder: Path, rounds: int) -> dict[str, float]:
    """Shares of this machine's own peaks, the parts of each alternating; by the thread's own time, as of one thread."""
    kernels = library.load()
    name = kernels.available()[0]
    square, row = product_model(SIDE, SIDE, folder), product_model(1, VECTOR_SIDE, folder)
    plain = np.random.default_rng(0).integers(0, 2**63, VECTOR_SIDE * VECTOR_SIDE // 8, dtype=np.uint64)
    with ExitStack() as stack:
        matrix = Contender("matrix", "integer", str(square)).open(stack)
        vector = Contender("vector", "integer", str(row)).open(stack)
        shares, reads = [], []
        macs_per_s = bytes_per_s = 0.0
        for _ in range(rounds):
            peak = best_rate(lambda: kernels.multiply(name, 100_000))
            macs_per_s = max(macs_per_s, peak * 1e9)
            shares.append(best_rate(lambda: len(matrix(1)) * SIDE**3) / peak)
            read = best_rate(lambda: plain.max() is not None and plain.nbytes)
            bytes_per_s = max(bytes_per_s, read * 1e9)
            reads.append(best_rate(lambda: len(vector(1)) * VECTOR_SIDE**2) / read)
    return {
        "peak_macs_per_s": macs_per_s,
        "share_of_peak": float(np.median(shares)),
        "read_bytes_per_s": bytes_per_s,
        "share_of_reading": float(np.median(reads)),
    }


def best_rate(work_: Callable[[], int]) -> float:
    """What the function says it did, per ns of the thread: the best of three times."""
    rates = []
    for _ in range(3):
        start = thread_time_ns()
        done = work_()
        rates.append(done / (thread_time_ns() - start))
    return max(rates)


def product_model(rows: int, side: int, folder: Path) -> Path:
    """[rows, side] by a stored matrix [side, side], quantized, of normal weights: like those of most networks, they are
    multiplied in the way whose peak they are compared with."""
    rng = np.random.default_rng(0)
    grid, limit = {"x": 8 / 255, "y": 40 / 255}, 2 ** (bits() - 1) - 1
    weight = np.clip(np.rint(rng.normal(0, limit / 4, (side, side))), -limit, limit)
    stored = [numpy_helper.from_array(weight.astype(np.int8), "w_q")]
    stored += [numpy_helper.from_array(np.float32(4 / limit / math.sqrt(side)), "w_s")]
    stored += [numpy_helper.from_array(np.int8(0), "w_z")]
    for name, scale in grid.items():
        stored.append(numpy_helper.from_array(np.float32(scale), f"{name}_s"))
        stored.append(numpy_helper.from_array(np.uint8(128), f"{name}_z"))
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_s", "x_z"], ["x_r"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"]),
        helper.make_node("MatMul", ["x_r", "w"], ["y_f"], name="product"),
        helper.make_node("QuantizeLinear", ["y_f", "y_s", "y_z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, (rows, side)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], stored)
    path = folder / f"product-{rows}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


# -- all of them ---------------------------------------------------------------------------------------


def measure(processes: int, quick: bool, wanted: Collection[str], clock: str) -> dict[str, object]:
    blocks = 4 if quick else 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = {}
        for title, contenders in cases(folder, wanted):
            rows = [child(contenders, blocks) for _ in range(processes)]
            sizes = [Path(c.model).stat().st_size if c.model.endswith(".onnx") else None for c in contenders]
            results[title] = {"processes": rows, "bytes": sizes, **taken()}
            print(title, {k: round(v[0], 2) for k, v in ratios(rows, clock).items()}, file=sys.stderr)
        peaks = ceilings(folder, 3 if quick else 15) if not wanted or CEILINGS in wanted else None
    versions = {name: dict(plugins.load("backend", name).versions()) for name in RUNTIMES}
    machine = {
        "cpu": environment.hardware()["cpu"],
        "instruction_set": library.load().available()[0],
        "python": platform.python_version(),
    }
    asked = "" if processes == PROCESSES else f" --processes {processes}"
    asked += " --quick" if quick else ""
    asked += " --busy" if clock == "thread_ns" else ""
    asked += f" --only {' '.join(wanted)}" if wanted else ""
    return {
        **taken(), "command": COMMAND + asked, "clock": clock, "machine": machine, "versions": versions,
        "cases": results, "ceilings": peaks,
    }  # fmt: skip


def taken() -> dict[str, str]:
    """The day of a measurement, a digest of the kernels' sources that it measured, and how weights were drawn."""
    sources = sorted(path for path in KERNELS.iterdir() if path.suffix in (".cpp", ".h", ".inl", ".py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return {"date": date.today().isoformat(), "kernels": digest[:12], "weights": "normal"}


def with_rest(results: dict[str, object], page: Path) -> dict[str, object]:
    """The results, and those cases and ceilings of the page, a file of results, that were not measured again."""
    if not page.exists():
        return results
    old = json.loads(page.read_text(encoding="utf-8"))
    if old["machine"]["cpu"] != results["machine"]["cpu"] or old["clock"] != results["clock"]:
        raise SystemExit(f"{page} was measured on another processor or by another clock; give another folder")
    of_old = {"date": old["date"], "kernels": old.get("kernels", ""), "weights": old.get("weights", "evenly spread")}
    kept = {title: of_old | case for title, case in old["cases"].items()}
    return {
        **results, "command": f"{old['command']}, then {results['command']}",
        "cases": kept | results["cases"], "ceilings": results["ceilings"] or old["ceilings"],
    }  # fmt: skip


def child(contenders: Sequence[Contender], blocks: int) -> dict[str, dict[str, float]]:
    request = {"contenders": [[c.title, c.runtime, c.model] for c in contenders], "blocks": blocks}
    answer: dict[str, dict[str, float]] = answer_of(__file__, request)
    return answer


def ratios(rows: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> dict[str, tuple[float, float, float]]:
    """How many times as long each other contender takes: median, lowest and highest process."""
    found = {}
    for title in rows[0][clock]:
        if title != OURS:
            each = [row[clock][title] / row[clock][OURS] for row in rows]
            found[title] = (float(np.median(each)), min(each), max(each))
    return found


def report(results: Mapping[str, object]) -> str:
    machine, peaks = results["machine"], results["ceilings"]
    lines = [
        f"<!-- {results['command']} -->",
        f"# Integer-only kernels beside other runtimes: {machine['instruction_set']}, {results['date']}",
        "",
        f"`{results['command']}` made this page, on {machine['cpu']} with {machine['instruction_set']}, one thread. "
        f"Versions: {', '.join(f'{k} {v}' for parts in results['versions'].values() for k, v in parts.items())}.",
        "",
        "A ratio says how many times as long the other takes: median of the processes' paired ratios (lowest to "
        "highest process). Error: root mean square of the outputs against float, relative; rounded: of its outputs on "
        "the grid of 8 bits that ours lie on. Random weights: normal ones, as those of trained networks mostly are; "
        "evenly spread ones where the name ends with -even, for which our products on AVX2 are slowest. "
        "norm-lstm, norm-gru: cells with layer normalization, "
        f"written out over {STEPS} steps; ours keep 16 bits between products. "
        + ("Times are the thread's own: the machine did other things, too." if results["clock"] == "thread_ns" else ""),
        "",
        *earlier_lines(results),
        f"| network | {OURS}, ms | other | ratio | goal | reached | error | its error | rounded | its size / ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, case in results["cases"].items():
        lines += case_lines(title, case, results["clock"], GOALS.get(machine["instruction_set"], {}))
    return "\n".join([*lines, "", *(ceiling_lines(results) if peaks else [])])


def ceiling_lines(results: Mapping[str, object]) -> list[str]:
    """The shares of this machine's own peaks."""
    peaks = results["ceilings"]
    return [
        f"Matrix product of {SIDE} x {SIDE} x {SIDE}: {peaks['share_of_peak']:.0%} of the "
        f"{peaks['peak_macs_per_s'] / 1e9:.0f} GMAC/s that the same instructions reach on registers (goal 75 %). "
        f"One vector by a matrix of {VECTOR_SIDE} x {VECTOR_SIDE}: {peaks['share_of_reading']:.0%} of the rate, up to "
        f"{peaks['read_bytes_per_s'] / 1e9:.1f} GB/s, at which NumPy finds the maximum of as many bytes (goal 80 %).",
        "",
        "What a network's multiply-adds take at that peak, and so the best ratio to ORT int8 that convolutions which "
        "compute each of them can reach:",
        "",
        "| network | at the peak, ms | ours, ms | ORT int8 / peak |",
        "|---|---|---|---|",
        *(
            peak_line(name, results["cases"][name], peaks["peak_macs_per_s"])
            for name in results["cases"]
            if name in NETWORKS
        ),
        "",
    ]


def peak_line(name: str, case: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]], macs_per_s: float) -> str:
    least_ms = cost.of(workloads.build(name)).macs / macs_per_s * 1e3
    ours_ms, other_ms = (
        float(np.median([row["wall_ns"][who] for row in case["processes"]])) / 1e6 for who in (OURS, "ORT int8")
    )
    return f"| {name} | {least_ms:.3g} | {ours_ms:.3g} | {other_ms / least_ms:.2f} |"


def earlier_lines(results: Mapping[str, object]) -> list[str]:
    """Which figures are those of other kernels than there are now, of which day and with which weights."""
    current, earlier = taken()["kernels"], {}
    for title, case in results["cases"].items():
        of = {"weights": "evenly spread", **results, **case}
        if of.get("kernels") != current:
            earlier.setdefault((of["date"], of["weights"]), []).append(title)
    kept = [f"of {day}, {weights} weights: {', '.join(titles)}" for (day, weights), titles in sorted(earlier.items())]
    return [f"The kernels have changed since these figures were taken, {'; '.join(kept)}.", ""] if kept else []


def case_lines(
    title: str,
    case: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],
    clock: str,
    goals: Mapping[str, Mapping[str, float]],
) -> Iterator[str]:
    rows = case["processes"]
    ours_ms = float(np.median([row[clock][OURS] for row in rows])) / 1e6
    names = list(rows[0][clock])
    for name, (middle, low, high) in ratios(rows, clock).items():
        goal = goals.get(name, {}).get(title)
        reached = "" if goal is None else "yes" if middle >= goal else "no"
        size = case["bytes"][names.index(name)]
        errors, rounded = rows[0]["error"], rows[0]["rounded_error"]
        yield (
            f"| {title} | {ours_ms:.3g} | {name} | {middle:.2f} ({low:.2f} to {high:.2f}) | {goal or ''} | {reached} "
            f"| {errors[OURS]:.4f} | {errors[name]:.4f} | {rounded[name]:.4f} "
            f"| {'' if size is None else format(size / case['bytes'][0], '.2f')} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "reports" / "integer-kernels")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="for each case")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--busy", action="store_true", help="ratios of the threads' own time, beside other load")
    parser.add_argument("--only", nargs="+", default=(), help="names of cases")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pages", action="store_true", help="only write the pages of what was measured")
    arguments = parser.parse_args()
    if arguments.pages:
        for page in sorted(arguments.out.glob("*.json")):
            write_page(json.loads(page.read_text(encoding="utf-8")), arguments.out)
        return
    if arguments.worker:
        request = json.loads(sys.stdin.read())
        print(json.dumps(work([Contender(*c) for c in request["contenders"]], request["blocks"])))
        return
    if arguments.quick and arguments.out == parser.get_default("out"):
        parser.error("--quick needs a folder of its own to write to")
    with machine_to_ourselves():
        clock = "thread_ns" if arguments.busy else "wall_ns"
        wanted = arguments.only or (QUICK if arguments.quick else ())
        results = measure(2 if arguments.quick else arguments.processes, arguments.quick, wanted, clock)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = results["machine"]["instruction_set"]
    if arguments.only:
        results = with_rest(results, arguments.out / f"{name}.json")
    (arguments.out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(results, arguments.out)


def write_page(results: Mapping[str, object], folder: Path) -> None:
    page = folder / f"{results['machine']['instruction_set']}.md"
    page.write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
