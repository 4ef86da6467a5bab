"""Compression of an ONNX file alone: no training code, no task, only samples of its inputs.

The error of the outputs against the float network on the samples stands for the metric. Each layer's time is measured
in place (`in_place`), so is its error when it alone has 8 bits, a lower rank or fewer channels; `front` decides from
both which layers change. The network with the choices is exported, and compared with the user's in pairs; where it is
not yet fast enough, or much faster than wanted, the table gets another target (`aim`), at most `Settings.rounds` times.
A wide interval is measured once more first, because a smaller network does not help against noise.

Half of the samples give the ranges of activations and the directions of responses, the other half judge.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hwprof import __version__, cost, plugins
from hwprof.compress import metric_direction
from hwprof.compress.aim import TOLERANCE, Aim
from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.choices import changes, told
from hwprof.compress.compressed import Compressed
from hwprof.compress.fewer_channels import removable
from hwprof.compress.float_network import float_network
from hwprof.compress.front import Point, front
from hwprof.compress.in_place import InPlaceTable
from hwprof.compress.layer_harm import LayerHarm, singles
from hwprof.compress.outputs import Judge, Metric
from hwprof.compress.rewriting import Rewriting, prepared
from hwprof.data.result import OUTPUTS, Estimate, Result, ResultKey, Target, estimate, known_latency, relative_ms
from hwprof.data.store import Store, key_of
from hwprof.device import Device
from hwprof.errors import InputError, NotConvergedError
from hwprof.graph import Graph
from hwprof.interfaces import OneVariantBackend
from hwprof.measure import recording
from hwprof.measure.machine import require_times
from hwprof.measure.output_error import WRONG_ERROR
from hwprof.measurement import Comparison, Measurement
from hwprof.onnx_io import load, save
from hwprof.report.quantity import plural
from hwprof.variants.factorize import smaller_ranks
from hwprof.variants.grids import LARGEST_WEIGHT, REDUCED_WEIGHT
from hwprof.variants.int8_layers import layers
from hwprof.variants.prune import ChannelGroup
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import load_weights, model_with

NAME = "post_training"
_VERSION = 2  # of the choice within an error: another one makes other networks
ERROR = OUTPUTS  # in place of a task's name
MOST_MAPE = 25.0  # of the table's sums, percent, above which they would choose the wrong layers
_JUDGED = 8  # samples for the error of a layer; all that judge for that of a result
_MIXED = 2  # networks with mixed choices that correct the table
_MOST_LOST = 0.05  # of a layer's energy at a lower rank: more is not tried
_RANKS = 2  # of a layer that are tried, by halves
_SHARES = (0.75, 0.5)  # of the channels of a group that are tried
_GRANULE = 8  # channels
_UNDERRATED = 2.0  # by which the error of a network may be below that of its harms' sum
_WIDE = 0.1  # logarithm of high by low of an interval that is measured again
_WORTH_TELLING_S = 10.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """rounds: how often the table's target may be set; points: how many networks make a front without targets;
    max_error: the largest relative error of the outputs that a network may have."""

    rounds: int = 3
    points: int = 4
    max_error: float | None = None

    def __post_init__(self) -> None:
        if self.max_error is not None and not self.max_error > 0:
            raise InputError(f"the largest error of the outputs must be positive, such as 0.05, not {self.max_error:g}")
        if self.rounds < 1 or self.points < 1:
            raise InputError(f"compression needs at least one round and point, not {self.rounds} and {self.points}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One network of the front: at most `ms`, or the fastest and those between it and the float one, by share."""

    ms: float | None
    share: float = 0.0

    @property
    def title(self) -> str:
        return f"{self.ms:g}ms" if self.ms is not None else f"front{self.share:.2g}"


def compress(
    graph: Graph,
    samples: Samples,
    device: Device,
    store: Store,
    folder: Path,
    *,
    targets_ms: Sequence[float] = (),
    shares: Sequence[float] = (),
    metric: Metric | None = None,
    metric_name: str = ERROR,
    settings: Settings | None = None,
    options: recording.Options | None = None,
    seed: int = 0,
) -> list[Compressed]:
    """A network for each target; without any, some from the fastest that can be reached to the float one. shares: of
    the network's own measured latency, which are targets, too.

    samples: [n, *shape] for each input of the graph, whose weights are those of its source. metric: of the outputs of a
    changed and of the float network; without it, minus their relative error.

    A Q/DQ network is made float first (`float_network`). Raises InputError for one that computes with integers or
    cannot be quantized, samples that are not finite, a target out of reach (within `Settings.max_error`), and a device
    that runs no float networks or does not time kernels; NotConvergedError where the table of the layers would mislead;
    and what measuring raises.
    """
    require_times(device)
    _require_floats(device)
    for name, array in samples.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"the samples of input {name!r} hold values that are not finite")
    targets = [Target(device.name, ms) for ms in targets_ms]
    settings = settings or Settings()
    if settings.max_error is not None and metric is not None:
        raise InputError("--max-error limits the error of the outputs, in place of which there is a --metric; give one")
    if metric is not None and (doubt := metric_direction.doubt(metric, metric_name)):
        (options or recording.Options()).on_warning(doubt)
    folder.mkdir(parents=True, exist_ok=True)
    graph = float_network(graph, folder, (options or recording.Options()).on_note)
    networks = len(targets) + len(shares) or settings.points
    run = _Run(graph, samples, device, store, folder, metric, metric_name, settings, options, seed, networks)
    wanted = [_Wanted(ms) for ms in (*targets_ms, *(run.relative_ms(share) for share in shares))]
    return [run.result(one) for one in wanted or run.shares()]


def _require_floats(device: Device) -> None:
    backend = plugins.load("backend", device.backend)
    if isinstance(backend, OneVariantBackend) and backend.variant:
        raise InputError(
            f"device {device.name!r} runs {backend.variant} networks only, so no layer of one can stay float; use "
            f"hwprof profile --variant {backend.variant}"
        )


class _Run:
    """Compresses one network on one device."""

    def __init__(
        self, graph: Graph, samples: Samples, device: Device, store: Store, folder: Path, metric: Metric | None,
        metric_name: str, settings: Settings, options: recording.Options | None, seed: int,
        networks: int,
    ) -> None:  # fmt: skip
        self.graph, self.device, self.store, self.folder = graph, device, store, folder
        self.settings, self.seed, self.task = settings, seed, metric_name
        self.networks = networks
        self.options = options or recording.Options()
        weights = load_weights(graph, seed)
        self.float = prepared(graph, weights)
        self.calibration, self.judged = _halves(samples)
        self.judge = Judge(self.float, self.judged, metric)
        self.direction = metric_direction.of_key(metric)
        few = {name: array[:_JUDGED] for name, array in self.judged.items()}
        self.layer_judge = Judge(self.float, few, metric)
        self.identity = _digest(weights) + _digest(samples)

    def shares(self) -> list[_Wanted]:
        """Different networks of the front, the fastest first. Raises InputError where none is faster than the float
        one."""
        some = [_Wanted(None, i / self.settings.points) for i in range(self.settings.points)]
        if not self.allowed[0].choices:
            raise InputError(
                f"no layer of {self.graph.name!r} is faster with int8, a lower rank or fewer channels on "
                f"{self.device.name}{self._within_error}: the network itself, {self.table.latency_ms({}):.3g} ms, is "
                "the fastest"
            )
        points = {id(self._best(self._least(wanted))): wanted for wanted in reversed(some)}
        return list(points.values())[::-1]

    def relative_ms(self, share: float) -> float:
        """The target that is a share of the network's latency. Raises as the function of that name."""
        return relative_ms(share, self.baseline_alone)

    def result(self, wanted: _Wanted) -> Compressed:
        key = self._key(wanted)
        path = self.folder / f"{self.graph.name}-{wanted.title}-{key_of(asdict(key))[:8]}.onnx"
        kept = None if self.options.fresh else self.store.result(key)
        if kept is not None and path.exists():
            self._tell(wanted, "is in the store")
            self._warn_of(kept, path)
            return Compressed(kept, path)
        start = perf_counter()
        choices, table_ms, compared = self._rounds(wanted, path)
        self.options.on_step(f"error of outputs of {path.name}")
        network = self.rewriting.network(choices)
        graph = load(path)
        result = Result(
            **asdict(key) | {"target": key.target},
            choices=_all_told(choices),
            changes=changes(self.float.graph, choices),
            metric=self.judge.score(network),
            baseline_metric=self.judge.best,
            higher_is_better=self.judge.higher_is_better,
            size_bytes=path.stat().st_size,
            macs=None if cost.unknown_operators(graph) else cost.of(graph).macs,
            table_ms=table_ms,
            measured={self.device.name: compared},
            digest=graph.digest,
            versions={**compared.b.versions, "hwprof": __version__, "python": platform.python_version()},
            seconds=perf_counter() - start,
            baseline_alone=self.baseline_alone,
        )
        self.store.add_result(result)
        error = result.output_error
        judged = f"metric {result.metric:.4g}" if error is None else f"error of outputs {error:.4g}"
        self._tell(wanted, f"{judged}; met: {result.met or 'no target'}")
        self._warn_of(result, path)
        return Compressed(result, path)

    def _warn_of(self, result: Result, path: Path) -> None:
        error = result.output_error
        if error is not None and error > WRONG_ERROR:
            self.options.on_warning(
                f"{path.name}: its outputs are {error:.0%} off those of the float network, on the samples: it may "
                "compute something else. Raise --target-ms, or refuse such networks with --max-error 0.1"
            )

    def _key(self, wanted: _Wanted) -> ResultKey:
        given = {name: value for name, value in asdict(self.settings).items() if value is not None}
        version = {} if self.settings.max_error is None else {"version": _VERSION}
        settings = {
            **given, **version, **self.direction, "share": wanted.share, "network": self.identity,
            "device": self.device.digest, "hardware": self.measured[0].hardware,
            "protocol": asdict(self.options.settings),
        }  # fmt: skip
        return ResultKey(
            NAME, settings, self.graph.name, self.task, self.seed, Target(self.device.name, wanted.ms)
        )  # fmt: skip

    # -- the loop ------------------------------------------------------------------------------------

    def _rounds(self, wanted: _Wanted, path: Path) -> tuple[Choices, float, Comparison]:
        """The choices, their latency by the table, and the measured one; the network is in the file."""
        aim = Aim(math.nan if wanted.ms is None else wanted.ms, self._least(wanted))
        point = self._best(aim.within_ms)
        compared, number = self._compared(wanted, point, path, 1), 1
        while aim.is_missed(measured_ms := self._likely_ms(compared)) and number < self.settings.rounds:
            aim = aim.tightened(point.ms, measured_ms)
            smaller = self._best(aim.within_ms)
            if smaller.choices == point.choices:
                break  # there is nothing faster
            number += 1
            point, compared = smaller, self._compared(wanted, smaller, path, number)
        if aim.is_overshot(measured_ms):
            aim = aim.loosened(point.ms, measured_ms)
            point, compared = self._loosened(wanted, aim, (point, compared), path, number + 1)
        return point.choices, point.ms, compared

    def _loosened(
        self, wanted: _Wanted, aim: Aim, found: tuple[Point, Comparison], path: Path, number: int
    ) -> tuple[Point, Comparison]:
        """The larger network where it is less harmful and fast enough, too; else the one that was found. The network is
        in the file."""
        larger = self._best(aim.within_ms)
        if larger.choices == found[0].choices or larger.harm >= found[0].harm:
            return found
        self._tell(wanted, "is faster than wanted; tries a larger network")
        compared = self._compared(wanted, larger, path, number)
        if aim.is_reached(self._likely_ms(compared)):
            return larger, compared
        _export(self.rewriting.network(found[0].choices), path)
        return found

    def _likely_ms(self, compared: Comparison) -> float:
        """The latency that the network surely has; where an interval stays wide the one that it likely has, for nothing
        makes up for what noise cuts. nan where it is not known."""
        latency = known_latency(compared, self.baseline_alone)
        if latency is None:
            return math.nan
        return latency.median if latency.log_width > _WIDE else latency.cautious

    def _least(self, wanted: _Wanted) -> float:
        """The latency by the table within which the network is wanted."""
        fastest, whole = self.allowed[0].ms, self.table.latency_ms({})
        if wanted.ms is None:
            return fastest + wanted.share * (whole - fastest)
        if fastest > wanted.ms * TOLERANCE:
            raise InputError(
                f"{self.graph.name!r} cannot be brought to {wanted.ms:g} ms on {self.device.name} without training: "
                f"the least that int8, lower ranks and fewer channels reach{self._within_error} is about "
                f"{fastest:.3g} ms (the network itself takes {whole:.3g} ms)"
            )
        return wanted.ms

    def _best(self, within_ms: float) -> Point:
        """The point of least harm within the latency; the fastest where none is."""
        within = [point for point in self.allowed if point.ms <= within_ms]
        return min(within, key=lambda point: point.harm) if within else self.allowed[0]

    @property
    def _within_error(self) -> str:
        return "" if self.settings.max_error is None else f" within an error of outputs of {self.settings.max_error:g}"

    def _compared(self, wanted: _Wanted, point: Point, path: Path, number: int) -> Comparison:
        exported, alone = _export(self.rewriting.network(point.choices), path), self.baseline_alone
        with recording.recording(self.device, self.store, replace(self.options, with_operators=False)) as recorder:
            (compared,) = recorder.compare([self.graph, exported], again=False)
            latency = known_latency(compared, alone)
            if _is_noise(latency, wanted.ms):
                self._tell(wanted, f"round {number}: {_latency(latency)} is too wide to tell; measures it again")
                (compared,) = recorder.compare([self.graph, exported])
                latency = known_latency(compared, alone)
        self._tell(wanted, f"round {number}: {plural(len(point.choices), 'layer')} changed; {_latency(latency)}")
        return compared

    # -- what is measured once -----------------------------------------------------------------------

    @cached_property
    def rewriting(self) -> Rewriting:
        """With the weights' range that is more accurate where all layers are int8: products of the full one saturate
        on processors without VNNI."""
        self.options.on_step("error of outputs with all layers int8")
        everything = dict.fromkeys(layers(self.float.graph), Choice(bits=8))
        found = [Rewriting(self.float, self.calibration, largest) for largest in (LARGEST_WEIGHT, REDUCED_WEIGHT)]
        harms = [self.layer_judge.harm(rewriting.network(everything)) for rewriting in found]
        self.options.on_note(f"all layers int8: harm {harms[0]:.3g} with weights of 8 bits, {harms[1]:.3g} with 7 bits")
        return found[int(np.argmin(harms))]

    @cached_property
    def measured(self) -> list[Measurement]:
        """The networks of `_columns`."""
        self.options.on_note("measures the layers in place: in float, in int8, and mixed")
        start = perf_counter()
        found = self._measure(self._columns)
        self._tell_time(perf_counter() - start, len(found))
        return found

    def _tell_time(self, seconds: float, networks: int) -> None:
        """An upper bound of what follows, from what the first networks took."""
        more = len(_SHARES) + 2 * _RANKS + 2 * self.settings.rounds * self.networks
        if seconds > _WORTH_TELLING_S:
            self.options.on_note(
                f"the first {networks} networks took {seconds:.0f} s; up to {more} more are measured, which takes up "
                f"to {max(1, round(seconds / networks * more / 60))} min, besides the errors of the layers"
            )

    @cached_property
    def baseline_alone(self) -> Estimate | None:
        """The latency of the user's network, measured without another one; None where it has no valid one."""
        options = replace(self.options, with_operators=False, keep_unconverged=True)
        with recording.recording(self.device, self.store, options) as recorder:
            return estimate(recorder.measure([self.graph])[0])

    @cached_property
    def _columns(self) -> list[Choices]:
        """No layer in int8, all, and random runs of neighbours."""
        names = layers(self.float.graph)
        rng = np.random.default_rng(self.seed)
        mixed = []
        for _ in range(_MIXED if len(names) > 1 else 0):
            flips = np.cumsum(rng.random(len(names)) < 0.3) % 2  # runs of about three layers
            mixed.append({name: Choice(bits=8) for name, flip in zip(names, flips, strict=True) if flip})
        return [{}, dict.fromkeys(names, Choice(bits=8)), *mixed]

    @cached_property
    def _working(self) -> Path:
        working = self.folder / "work"
        working.mkdir(exist_ok=True)
        return working

    def _measure(self, some: Sequence[Choices]) -> list[Measurement]:
        graphs = [
            _export(
                self.rewriting.network(choices),
                self._working / f"{self.graph.name}-{key_of(_all_told(choices))[:8]}.onnx",
            )
            for choices in some
        ]
        options = replace(self.options, with_operators=True, keep_unconverged=True)
        with recording.recording(self.device, self.store, options) as recorder:
            return recorder.measure(graphs)

    @cached_property
    def table(self) -> InPlaceTable:
        table = InPlaceTable(self.float.graph)
        whole, int8, *mixed = self.measured
        table.add_float(whole)
        table.add_int8(int8, self._columns[1])
        for choices, measured in zip(self._columns[2:], mixed, strict=True):
            table.learn(choices, measured.normalized.median)
        self.options.on_note(f"sums of the layers are {table.mape:.1f} % from {len(self.measured)} measured networks")
        if not table.mape <= MOST_MAPE:
            raise NotConvergedError(
                f"the sums of the layers are {table.mape:.0f} % from the measured networks (at most {MOST_MAPE:.0f} % "
                "is allowed), so they would choose the wrong layers; measure on a quiet machine, or raise --budget"
            )
        return table

    @cached_property
    def front(self) -> list[Point]:
        options, harms = self._options(), self._harms()
        changes = dict.fromkeys(
            (layer, one) for layer, some in options.items() for choice in some for one in singles(choice)
        )
        harms.measure(changes, self.options.on_note, self.options.on_step)
        return front(options, harms.of, self.table.latency_ms)

    @cached_property
    def allowed(self) -> list[Point]:
        """The points of the front whose networks' outputs have an error of at most `Settings.max_error`. Each error is
        measured, because the sums of the harms only tell roughly, and its square is the harm of the point."""
        most = self.settings.max_error
        if most is None:
            return self.front
        likely = [point for point in self.front if point.harm <= (_UNDERRATED * most) ** 2]
        self.options.on_note(f"measures the error of {len(likely)} networks of the front")
        self.options.on_step(f"error of outputs of {len(likely)} networks")
        judged = [replace(point, harm=self._error(point) ** 2) for point in likely]
        return [point for point in judged if point.harm <= most**2] or self.front[-1:]

    def _error(self, point: Point) -> float:
        return -self.judge.score(self.rewriting.network(point.choices))

    def _harms(self) -> LayerHarm:
        depends_on = {
            "network": self.identity, "graph": self.graph.digest, "metric": self.task, "hwprof": __version__,
            "largest_weight": self.rewriting.largest_weight, "versions": self.measured[0].versions,
            "host": platform.node(), **self.direction,
        }  # fmt: skip
        path = self._working / f"errors-{key_of(depends_on)[:16]}.json"
        if self.options.fresh:
            path.unlink(missing_ok=True)
        return LayerHarm(self.rewriting, self.layer_judge, path)

    def _options(self) -> Options:
        ranks, kept = self._faster_ranks(), self._faster_channels()
        return {
            layer: (AS_BEFORE, Choice(bits=8), *ranks.get(layer, ()), *kept.get(layer, ()))
            for layer in layers(self.float.graph)
        }

    def _faster_channels(self) -> dict[str, list[Choice]]:
        """By group of channels the smaller numbers with which the network is faster, in float and in int8."""
        found: dict[str, list[Choice]] = {}
        names = set(layers(self.float.graph))
        groups = {name: group for name, group in removable(self.float.graph).items() if name in names}
        for share in _SHARES:
            kept = {name: _fewer(group, share) for name, group in groups.items()}
            kept = {name: n for name, n in kept.items() if 0 < n < groups[name].channels}
            if not kept:
                continue
            choices = {name: Choice(kept=n) for name, n in kept.items()}
            (measured,) = self._measure([choices])
            self.table.add_kept(measured, choices)
            for name in (name for name, n in kept.items() if self.table.saved_ms(name, n) > 0):
                found.setdefault(name, []).extend(Choice(kept=kept[name], bits=bits) for bits in (None, 8))
        return found

    def _faster_ranks(self) -> dict[str, list[Choice]]:
        """By layer the ranks that lose little and are faster, in float and in int8."""
        tried: list[Choices] = []
        largest = smaller_ranks(self.float.graph)
        for halvings in range(1, _RANKS + 1):
            ranks = {layer: rank >> halvings for layer, rank in largest.items() if rank >> halvings}
            kept = {k: r for k, r in ranks.items() if self.rewriting.lost_share(k, r) <= _MOST_LOST}
            if kept:
                tried += [{k: Choice(rank=r, bits=bits) for k, r in kept.items()} for bits in (None, 8)]
        for choices, measured in zip(tried, self._measure(tried) if tried else (), strict=True):
            self.table.add_ranks(measured, choices)
        found: dict[str, list[Choice]] = {}
        for layer, choice in (pair for choices in tried for pair in choices.items()):
            faster_than = Choice(bits=choice.bits) if choice.bits else AS_BEFORE
            if self.table.layer_ms(layer, choice) < self.table.layer_ms(layer, faster_than):
                found.setdefault(layer, []).append(choice)
        return found

    def _tell(self, wanted: _Wanted, text: str) -> None:
        self.options.on_note(f"{NAME}, {wanted.title}: {text}")


def _fewer(group: ChannelGroup, share: float) -> int:
    """About this share of the group's channels, in multiples that kernels work on."""
    step = math.lcm(_GRANULE, group.granule)
    return step * round(share * group.channels / step)


def _halves(samples: Samples) -> tuple[Samples, Samples]:
    """Samples to calibrate and samples to judge by; a single one does both."""
    if min(len(array) for array in samples.values()) < 2:
        return samples, samples
    return {k: v[0::2] for k, v in samples.items()}, {k: v[1::2] for k, v in samples.items()}


def _export(network: Weighted, path: Path) -> Graph:
    save(model_with(network.graph, network.weights), path)
    return load(path)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _all_told(choices: Choices) -> dict[str, Any]:
    return {layer: told(choice) for layer, choice in choices.items()}


def _is_noise(found: Estimate | None, wanted_ms: float | None) -> bool:
    """Whether the interval covers the latency that is wanted because it is wide."""
    if wanted_ms is None or found is None:
        return False
    return found.log_width > _WIDE and not (found.high <= wanted_ms or found.low > wanted_ms)


def _latency(found: Estimate | None) -> str:
    return "not measured" if found is None else found.words
