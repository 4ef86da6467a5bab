"""Times one open network in one process: warm-up, then blocks between anchors, with the causes that spoil one."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns, process_time_ns, thread_time_ns

import numpy as np

from hwprof.interfaces import FigureTimer, MonitoredTimer, NotedTimer, OutputTimer, Timer
from hwprof.measure import disturbance, steady
from hwprof.measure.anchors import Anchor
from hwprof.measure.energy import EnergyCounter
from hwprof.measurement import DeviceState, ProtocolSettings, TimedBlock

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

    `is_elsewhere`: its times come from no clock of this machine, whose disturbances do not touch them.
    """

    timer: Timer
    settings: ProtocolSettings
    cores: Sequence[int]
    tick_ns: int
    open_ns: int
    is_elsewhere: bool = False
    cold_ns: int = 0
    warmup_ns: list[int] = field(default_factory=list)
    warmup: steady.Warmup = steady.Warmup.NOT_STEADY
    anchors: tuple[Anchor, ...] = ()
    blocks: list[TimedBlock] = field(default_factory=list)
    energy_mj: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

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
        self.warmup_ns, self.warmup = steady.warm_up(self.timer, s.warmup_runs, s.warmup_max_s, s.warmup_tolerance)

    @property
    def latency_ns(self) -> float:
        """Estimate from the end of the warm-up."""
        return max(1.0, float(np.median(self.warmup_ns[-steady.WINDOW_RUNS :])))

    @property
    def block_ns(self) -> float:
        least = max(self.settings.block_ms * 1e6, self.settings.block_ticks * self.tick_ns)
        return max(least, self.latency_ns)

    def block(self, started_ns: int) -> TimedBlock:
        """One block, its anchors before and after it; appended to `blocks` whether it counts or not."""
        before_anchors = self._time_anchors(self.anchors[::2])
        before, cpu, wall = disturbance.read(self.cores), _cpu_ns(self.cores), perf_counter_ns()
        self.timer(max(1, round(_REHEAT_NS / self.latency_ns)), each=False)
        device_before = self._state()
        samples, runs = self._samples()
        device_after = self._state()
        used_cpu, elapsed = _cpu_ns(self.cores) - cpu, perf_counter_ns() - wall
        after = disturbance.read(self.cores)
        cause = disturbance.cause(before, after, elapsed)
        block = TimedBlock(
            start_ns=wall - started_ns,
            samples_ns=tuple(samples),
            runs_per_sample=runs,
            anchors_ns={**before_anchors, **self._time_anchors(self.anchors[1::2])},
            cpu_ns=used_cpu,
            rejected="" if self.is_elsewhere else cause or disturbance.device_cause(device_before, device_after),
            states=tuple(state for state in (device_before, device_after) if state is not None),
        )
        self.blocks.append(block)
        return block

    def _samples(self) -> tuple[list[int], int]:
        """Samples of one block, ns, and the number of inferences in each."""
        if self.latency_ns >= self.settings.stamp_each_from_us * 1000:
            return list(self.timer(max(1, round(self.block_ns / self.latency_ns)))), 1
        runs = max(1, round(_AVERAGED_SAMPLE_NS / self.latency_ns))
        count = max(1, round(self.block_ns / _AVERAGED_SAMPLE_NS))
        return [sum(self.timer(runs, each=False)) for _ in range(count)], runs

    def _time_anchors(self, anchors: Sequence[Anchor]) -> dict[str, float]:
        slice_ns = self.block_ns * _SHARE_OF_ANCHORS / max(1, len(self.anchors))
        return {a.name: a.time_per_run_ns(slice_ns) for a in anchors}

    def _state(self) -> DeviceState | None:
        return self.timer.state() if isinstance(self.timer, MonitoredTimer) else None

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


def _cpu_ns(cores: Sequence[int]) -> int:
    return thread_time_ns() if len(cores) == 1 else process_time_ns()


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
