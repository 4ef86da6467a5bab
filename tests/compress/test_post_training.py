"""Compression of an ONNX file alone, on a board whose times are known; outputs are computed by ONNX Runtime."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress.post_training import Settings, compress
from hwprof.data.result import Met
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measure.output_error import WRONG_ERROR
from hwprof.measure.recording import Options
from hwprof.measure.transport import Request
from hwprof.measurement import FAST
from hwprof.variants.quantize import quantize
from tests.compress.board import DEVICE, KernelBoard
from tests.samples import make_process

FEW_CHANNELS = 0.5  # of the latency: without faster int8 that takes half of the channels, and harms


def network() -> Graph:
    b = GraphBuilder("small")
    x = b.relu(b.conv(b.input((1, 8, 16, 16), name="x"), 16, 3))
    x = b.relu(b.conv(x, 16, 3))
    x = b.relu(b.conv(x, 16, 3))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


@pytest.fixture
def model(tmp_path: Path) -> Graph:
    onnx_io.save(onnx_io.to_model(network()), tmp_path / "small.onnx")
    return onnx_io.load(tmp_path / "small.onnx")


def samples(count: int = 8) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=(count, 1, 8, 16, 16)).astype(np.float32)}


class Told(list):
    def options(self, **changes) -> Options:
        return Options(FAST, on_note=self.append, on_warning=self.append, **{"transport": KernelBoard(), **changes})


def run(model: Graph, folder: Path, targets_ms=(), store=None, told=None, settings=None, **changes):
    options = (told if told is not None else Told()).options(**changes)
    folder.mkdir(exist_ok=True)
    kept = store or Store(folder / "s.db")
    return compress(
        model, samples(), DEVICE, kept, folder, targets_ms=targets_ms, settings=settings, options=options
    )  # fmt: skip


def whole_ms() -> float:
    return sum(kernel["ns"] for kernel in KernelBoard().kernels(network())) / 1e6


def test_a_network_that_is_faster_than_wanted_gives_way_to_a_larger_one(model: Graph, tmp_path: Path):
    told = Told()
    (made,) = run(model, tmp_path, [0.4 * whole_ms()], told=told, transport=KernelBoard(paired=0.6))
    assert any("is faster than wanted; tries a larger network" in line for line in told)
    assert made.met is Met.YES
    assert made.result.table_ms > 0.4 * whole_ms()
    assert made.result.digest == onnx_io.load(made.path).digest


def test_a_target_can_be_a_share_of_the_measured_latency(model: Graph, tmp_path: Path):
    store = Store(tmp_path / "s.db")
    (made,) = compress(
        model, samples(), DEVICE, store, tmp_path, shares=[0.7], options=Told().options()
    )  # fmt: skip
    assert made.result.target.ms == pytest.approx(0.7 * whole_ms(), rel=1e-3)
    assert all(change == "32 -> 8 bits" for change in made.result.changes.values())


def test_a_target_is_met_by_some_layers_of_8_bits(model: Graph, tmp_path: Path):
    steps: list[str] = []
    (made,) = run(model, tmp_path, [0.7 * whole_ms()], on_step=steps.append)
    result = made.result
    assert "error of outputs with all layers int8" in steps
    assert steps[-1] == f"error of outputs of {made.path.name}"
    assert made.met is Met.YES
    assert 0 < len(result.choices) < 4
    assert all(choice["bits"] == 8 for choice in result.choices.values())
    assert (result.method, result.task, result.baseline_metric) == ("post_training", "outputs", 0.0)
    assert -0.1 < result.metric < 0.0
    assert result.table_ms == pytest.approx(result.latency("board").median, rel=0.05)
    assert result.measured["board"].a.digest == model.digest
    assert result.size_bytes == made.path.stat().st_size


def test_the_file_runs_and_has_the_error_that_the_result_says(model: Graph, tmp_path: Path):
    (made,) = run(model, tmp_path, [0.7 * whole_ms()])
    onnx.checker.check_model(onnx.load(made.path), full_check=True)
    runs = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (model.source, made.path)
    ]
    exact, found = (np.stack([one.run(None, {"x": x})[0] for x in samples()["x"][1::2]]) for one in runs)
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert made.result.metric == pytest.approx(-error, rel=1e-3)


def test_a_tighter_target_costs_more(model: Graph, tmp_path: Path):
    easy, hard = run(model, tmp_path, [0.8 * whole_ms(), 0.5 * whole_ms()])
    assert easy.met is hard.met is Met.YES
    assert easy.result.metric > hard.result.metric
    assert len(easy.result.choices) < len(hard.result.choices)


def test_a_target_that_the_network_itself_meets_changes_nothing(model: Graph, tmp_path: Path):
    (made,) = run(model, tmp_path, [1.1 * whole_ms()])
    assert (made.met, made.result.choices, made.result.metric) == (Met.YES, {}, 0.0)


def test_a_target_out_of_reach_says_the_least_that_is_reached(model: Graph, tmp_path: Path):
    with pytest.raises(
        InputError, match=r"cannot be brought to 0\.01 ms on board without training: the least .* 0\.\d"
    ):
        run(model, tmp_path, [0.01])


def test_layers_that_are_slower_with_8_bits_stay_float(model: Graph, tmp_path: Path):
    made = run(model, tmp_path, transport=KernelBoard(int8=1.5))
    assert {name for one in made for choice in one.result.choices.values() for name in choice} == {"kept"}


def test_without_a_target_there_is_a_front(model: Graph, tmp_path: Path):
    made = run(model, tmp_path)
    ms = [one.result.latency("board").median for one in made]
    assert len(made) > 1
    assert ms == sorted(ms)
    assert [one.result.metric for one in made] == sorted(one.result.metric for one in made)
    assert {one.met for one in made} == {None}


def test_a_network_that_is_slower_in_pairs_is_tightened(model: Graph, tmp_path: Path):
    told = Told()
    (made,) = run(model, tmp_path, [0.6 * whole_ms()], told=told, transport=KernelBoard(paired=1.2))
    assert made.met is Met.YES
    assert any("round 2: " in line for line in told)


def test_a_network_whose_outputs_are_far_off_comes_with_a_warning(model: Graph, tmp_path: Path):
    told = Told()
    (made,) = run(model, tmp_path, [FEW_CHANNELS * whole_ms()], told=told, transport=KernelBoard(int8=1.5))
    assert made.met is Met.YES
    error = made.result.output_error
    assert error == -made.result.metric > WRONG_ERROR
    assert any(f"its outputs are {error:.0%} off those of the float network" in line for line in told)


def test_a_largest_error_keeps_the_outputs_and_says_how_fast_that_is(model: Graph, tmp_path: Path):
    strict = Settings(max_error=0.1)
    with pytest.raises(InputError, match=r"within an error of outputs of 0\.1 is about"):
        run(model, tmp_path, [FEW_CHANNELS * whole_ms()], settings=strict, transport=KernelBoard(int8=1.5))
    made = run(model, tmp_path / "int8", [0.7 * whole_ms()], settings=strict)
    assert made[0].met is Met.YES
    assert 0 < made[0].result.output_error <= 0.1


def test_a_noisy_round_is_measured_again_before_more_is_cut(model: Graph, tmp_path: Path):
    target, told = 0.7 * whole_ms(), Told()
    (calm,) = run(model, tmp_path / "calm", [target])
    (made,) = run(model, tmp_path / "noisy", [target], told=told, transport=OnceNoisyBoard())
    assert any("too wide to tell; measures it again" in line for line in told)
    assert made.met is Met.YES
    assert made.result.choices == calm.result.choices


def test_noise_that_stays_cuts_nothing(model: Graph, tmp_path: Path):
    target = 0.7 * whole_ms()
    (calm,) = run(model, tmp_path / "calm", [target])
    (made,) = run(model, tmp_path / "noisy", [target], transport=OnceNoisyBoard(noisy_comparisons=99))
    assert made.met is Met.CANNOT_TELL
    assert made.result.choices == calm.result.choices


def test_the_errors_of_layers_are_kept_for_a_run_that_goes_on(model: Graph, tmp_path: Path):
    first, second = Told(), Told()
    with pytest.raises(InputError, match="cannot be brought to"):
        run(model, tmp_path, [0.01], told=first)
    (made,) = run(model, tmp_path, [0.7 * whole_ms()], Store(tmp_path / "other.db"), second)
    (before,) = [line for line in first if "measures the error of" in line]
    assert "known from before" not in before
    (after,) = [line for line in second if "measures the error of" in line]
    assert after.startswith("measures the error of 0 changes")
    assert made.met is Met.YES


@dataclass
class OnceNoisyBoard(KernelBoard):
    """In the first comparisons the processes of the second network differ by up to 60 %."""

    noisy_comparisons: int = 1
    seen: int = field(default=0, init=False)

    def measure(self, request: Request) -> Iterator[Mapping[str, Any]]:
        graphs = [Graph.from_json(text) for text in request["graphs"]]
        self.seen += len(graphs) > 1 and request["round"] == 0
        is_noisy = len(graphs) > 1 and self.seen <= self.noisy_comparisons
        factor = (0.9, 0.95, 0.97, 1.3, 1.5)[request["round"] % 5] if is_noisy else 0.98
        for place, graph in enumerate(graphs):
            whole = (factor if place else 0.98) * sum(kernel["ns"] for kernel in self.kernels(graph))
            yield {"index": place, "process": asdict(make_process(request["round"], [whole] * request["blocks"]))}


def test_a_result_is_not_computed_twice(model: Graph, tmp_path: Path):
    store = Store(tmp_path / "s.db")
    (first,) = run(model, tmp_path, [0.7 * whole_ms()], store)
    told = Told()
    (second,) = run(model, tmp_path, [0.7 * whole_ms()], store, told)
    assert second == first
    assert any("is in the store" in line for line in told)
    assert not any("error of" in line for line in told)


def test_the_user_says_what_is_worse(model: Graph, tmp_path: Path):
    def agreement(found, exact):
        return 100 * float(np.mean([np.mean(found[y].argmax(-1) == exact[y].argmax(-1)) for y in exact]))

    (made,) = compress(
        model, samples(), DEVICE, Store(tmp_path / "s.db"), tmp_path, targets_ms=[0.7 * whole_ms()],
        metric=agreement, metric_name="agreement", options=Told().options(),
    )  # fmt: skip
    assert (made.result.task, made.result.baseline_metric) == ("agreement", 100.0)
    assert 0 <= made.result.metric <= 100


def largest_error(found, exact):
    return float(max(np.abs(found[y] - exact[y]).max() for y in exact))


def test_a_metric_that_is_an_error_decides_by_how_much_it_grows(model: Graph, tmp_path: Path):
    def error(found, exact):
        return largest_error(found, exact)

    error.higher_is_better = False
    easy, hard = compress(
        model, samples(), DEVICE, Store(tmp_path / "s.db"), tmp_path, targets_ms=[0.8 * whole_ms(), 0.5 * whole_ms()],
        metric=error, metric_name="error", options=Told().options(),
    )  # fmt: skip
    assert 0 == easy.result.baseline_metric < easy.result.metric < hard.result.metric == hard.result.metric_loss
    assert len(easy.result.choices) < len(hard.result.choices)


def test_a_metric_that_sounds_like_an_error_and_says_nothing_is_warned_of(model: Graph, tmp_path: Path):
    told = Told()
    compress(
        model, samples(), DEVICE, Store(tmp_path / "s.db"), tmp_path, targets_ms=[0.7 * whole_ms()],
        metric=largest_error, metric_name="my.py:largest_error", options=told.options(),
    )  # fmt: skip
    assert told[0].startswith("larger figures of the metric 'my.py:largest_error' count as better")


def test_a_quantized_network_is_compressed_from_its_float_weights(tmp_path: Path):
    made, *_ = run(quantize(network()), tmp_path)
    (path,) = tmp_path.glob("*-float.onnx")
    baseline = onnx_io.load(path)
    assert made.result.measured["board"].a.digest == baseline.digest
    assert [node.op for node in baseline.nodes if node.op.endswith("Linear")] == []


def test_a_device_of_integers_alone_is_refused(model: Graph, tmp_path: Path):
    with pytest.raises(InputError, match="runs integer networks only"):
        compress(model, samples(), Device.load("integer-numpy"), Store(tmp_path / "s.db"), tmp_path)


def test_samples_that_are_not_finite_are_refused(model: Graph, tmp_path: Path):
    spoiled = samples()
    spoiled["x"][0, 0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="the samples of input 'x' hold values that are not finite"):
        compress(model, spoiled, DEVICE, Store(tmp_path / "s.db"), tmp_path)


def test_settings_need_a_round_and_an_error_above_0():
    with pytest.raises(InputError, match="at least one round"):
        Settings(rounds=0)
    with pytest.raises(InputError, match="must be positive"):
        Settings(max_error=0.0)
