"""Times one open network in one process: warm-up, then blocks between anchors, with the causes that spoil one."""

from __future__ import annotations

import ctypes
import math
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from hwprof.interfaces import FigureTimer, MonitoredTimer, NotedTimer, OutputTimer, Timer
from hwprof.measure import cpu_time, disturbance, steady
from hwprof.measure.anchors import Anchor, AnchorTime
from hwprof.measure.energy import EnergyCounter
from hwprof.measure.sampling import CPU_SAMPLE_NS, Samples, averaged, stamped
from hwprof.measurement import DeviceState, ProtocolSettings, TimedBlock
from hwprof.measurement.estimate import Clock, counts
from hwprof.measurement.samples import CpuTime

_SHARE_OF_ANCHORS = 1.0  # anchor time per time of the block, all anchors together
_AVERAGED_SAMPLE_NS = 1_000_000  # networks too short for a stamp each are averaged over this long
# After an anchor the first run of a 2 ms network took 20 % longer, the second 5 %: its caches held the anchor's data.
_REHEAT_NS = 20_000_000
_FEWEST_ENERGY_NS = 200_000_000  # RAPL counts in steps of about a millisecond
_FEWEST_DEVICE_ENERGY_NS = 1_000_000_000  # an accelerator's counter moves in steps of up to a tenth of a second
_FIGURE_NS = 100_000_000  # for each quantity
_MOST_FIGURE_RUNS = 50


def clock_tick_ns() -> int:
    """Smallest step that the clock shows."""
    stamps = [perf_counter_ns() for _ in range(2000)]
    steps = np.diff(stamps)
    return int(steps[steps > 0].min(initial=1_000_000))


@dataclass(slots=True)
class Subject:
    """A network that is open in this process, and what has been seen of it so far.

    `is_elsewhere`: its times come from no clock of this machine, whose disturbances do not touch them. `has_cpu_time`:
    this machine's processor does its work, so that its CPU time is worth taking. `idle_shares`: for each block the
    share of its time in which no thread of this process ran or waited for a core. `running_share`: the part of the
    warm-up that was not spent waiting for a core; `cpu_ns`: its CPU time per inference.
    """

    timer: Timer
    settings: ProtocolSettings
    cores: Sequence[int]
    tick_ns: int
    open_ns: int
    is_elsewhere: bool = False
    has_cpu_time: bool = False
    cold_ns: int = 0
    warmup_ns: list[int] = field(default_factory=list)
    warmup: steady.Warmup = steady.Warmup.NOT_STEADY
    running_share: float = 1.0
    cpu_ns: float = 0.0
    anchors: tuple[Anchor, ...] = ()
    blocks: list[TimedBlock] = field(default_factory=list)
    energy_mj: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    idle_shares: list[float] = field(default_factory=list)

    def start_up(self) -> None:
        """The first, cold inference and a look at its outputs."""
        self.cold_ns = self.timer(1)[0]
        if isinstance(self.timer, NotedTimer):
            self.warnings.extend(self.timer.warnings)
        if isinstance(self.timer, OutputTimer):
            bad = [name for name, values in self.timer.outputs().items() if not _finite(values)]
            if bad:
                self.warnings.append(f"output {bad[0]!r} holds NaN or infinite values")

    def warm(self) -> None:
        s = self.settings
        before, cpu, wall = disturbance.wait_ns(), cpu_time.read_ns(), perf_counter_ns()
        self.warmup_ns, self.warmup = steady.warm_up(self.timer, s.warmup_runs, s.warmup_max_s, s.warmup_tolerance)
        if self.has_cpu_time:
            waited = (disturbance.wait_ns() or 0) - (before or 0)
            self.running_share = max(0.0, 1 - waited / (perf_counter_ns() - wall))
            self.cpu_ns = (cpu_time.read_ns() - cpu) / len(self.warmup_ns)

    @property
    def latency_ns(self) -> float:
        """Estimate from the end of the warm-up, without the time that was spent waiting for a core. A short network
        waits in few of its inferences, so that its median holds no such time: it is not less than the CPU time."""
        wall_ns = max(1.0, float(np.median(self.warmup_ns[-steady.WINDOW_RUNS :])))
        return min(wall_ns, max(self.cpu_ns, wall_ns * self.running_share))

    @property
    def block_ns(self) -> float:
        least = max(self.settings.block_ms * 1e6, self.settings.block_ticks * self.tick_ns)
        return max(least, self.latency_ns)

    def block(self, started_ns: int) -> TimedBlock:
        """One block, its anchors before and after it; appended to `blocks` whether it counts or not."""
        before_anchors = self._time_anchors(self.anchors[::2])
        self._let_threads_rest()
        before, cpu, wall = disturbance.read(self.cores), cpu_time.read_ns(), perf_counter_ns()
        self.timer(max(1, round(_REHEAT_NS / self.latency_ns)), each=False)
        device_before = self._state()
        samples = self._samples()
        device_after = self._state()
        used_cpu, elapsed = cpu_time.read_ns() - cpu, perf_counter_ns() - wall
        after = disturbance.read(self.cores)
        cause = disturbance.cause(before, after, elapsed)
        waited = (after.wait_ns or 0) - (before.wait_ns or 0)
        if cause != "steal":
            self.idle_shares.append(1 - (used_cpu + waited) / elapsed)
        anchors = {**before_anchors, **self._time_anchors(self.anchors[1::2])}
        block = TimedBlock(
            start_ns=wall - started_ns,
            samples_ns=tuple(samples.ns),
            runs_per_sample=samples.runs,
            anchors_ns={name: time.wall_ns for name, time in anchors.items()},
            cpu_ns=used_cpu,
            rejected="" if self.is_elsewhere else cause or disturbance.device_cause(device_before, device_after),
            states=tuple(state for state in (device_before, device_after) if state is not None),
            cpu_samples_ns=tuple(samples.cpu_ns),
            runs_per_cpu_sample=samples.cpu_runs,
            anchors_cpu_ns={name: time.cpu_ns for name, time in anchors.items()} if self.has_cpu_time else {},
        )
        self.blocks.append(block)
        return block

    def _samples(self) -> Samples:
        """Samples of one block. Networks that get a stamp for each inference run in groups that are long enough to read
        the CPU time between them, where it is taken."""
        if self.latency_ns < self.settings.stamp_each_from_us * 1000:
            runs = max(1, round(_AVERAGED_SAMPLE_NS / self.latency_ns))
            samples = averaged(self.timer, runs, max(1, round(self.block_ns / _AVERAGED_SAMPLE_NS)))
            return samples if self.has_cpu_time else replace(samples, cpu_ns=())
        runs = max(1, round(self.block_ns / self.latency_ns))
        if not self.has_cpu_time:
            return Samples(list(self.timer(runs)))
        group = min(runs, math.ceil(CPU_SAMPLE_NS / self.latency_ns))
        return stamped(self.timer, group, max(1, round(runs / group)))

    def _time_anchors(self, anchors: Sequence[Anchor]) -> dict[str, AnchorTime]:
        slice_ns = self.block_ns * _SHARE_OF_ANCHORS / max(1, len(self.anchors))
        each = self.latency_ns >= self.settings.stamp_each_from_us * 1000
        sample_ns = self.latency_ns if each else _AVERAGED_SAMPLE_NS
        times = {}
        for anchor in anchors:
            self._let_threads_rest()
            if self.has_cpu_time:
                times[anchor.name] = anchor.time_of_a_run(slice_ns, sample_ns)
            else:
                times[anchor.name] = AnchorTime(anchor.time_per_run_ns(slice_ns), math.nan)
        return times

    def _let_threads_rest(self) -> None:
        """Two thread pools, of a network and of an anchor, would share the cores as long as one of them spins."""
        if self.has_cpu_time and len(self.cores) > 1:
            cpu_time.wait_until_idle()

    def _state(self) -> DeviceState | None:
        return self.timer.state() if isinstance(self.timer, MonitoredTimer) else None

    @property
    def counted_blocks(self) -> int:
        """How many blocks count, by CPU time where a single core gives it."""
        by = Clock.CPU if self.has_cpu_time and len(self.cores) == 1 else Clock.WALL
        return sum(counts(b, by) for b in self.blocks)

    @property
    def cpu_time(self) -> CpuTime:
        """Whether the CPU time is the network's work; runs it a few times to find out."""
        if not self.has_cpu_time:
            return CpuTime.UNKNOWN
        tries = 5 if self.latency_ns < self.block_ns else 1
        return cpu_time.kind(self.idle_shares, cpu_time.spins(lambda: self.timer(1), tries))

    def measure_figures(self) -> None:
        """Measures the timer's other figures and the energy of an accelerator."""
        if isinstance(self.timer, FigureTimer):
            runs = round(_FIGURE_NS / self.latency_ns)
            self.figures = dict(self.timer.figures(min(max(3, runs), _MOST_FIGURE_RUNS)))
        before = self._state()
        if before is not None and before.energy_mj is not None:
            runs = max(1, round(_FEWEST_DEVICE_ENERGY_NS / self.latency_ns))
            self.timer(runs, each=False)
            after = self._state()
            if after is not None and after.energy_mj is not None:
                self.energy_mj.append((after.energy_mj - before.energy_mj) / runs)

    def measure_energy(self) -> None:
        """Energy of one inference, where this machine's processor does it and has a counter."""
        if self.is_elsewhere or isinstance(self.timer, MonitoredTimer):
            return
        counter = EnergyCounter()
        runs = max(1, round(_FEWEST_ENERGY_NS / self.latency_ns))
        before = counter.read_uj()
        if before is None:
            return
        self.timer(runs, each=False)
        used_mj = counter.used_mj(before, counter.read_uj())
        if used_mj:
            self.energy_mj.append(used_mj / runs)


def _finite(values: np.ndarray) -> bool:
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())


def reset_peak_memory() -> int:
    """Gives free memory back and forgets the peak so far. Returns the memory in use now, bytes."""
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # then the peak is that of the whole process, which errs on the safe side
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS") or 0


def peak_memory_bytes() -> int:
    """Largest resident set since `reset_peak_memory`."""
    return _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status_bytes(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), None)
