"""The measurement of one network on one device: raw samples per process, protocol, environment. The rest is derived."""

from hwprof.measurement.estimate import Baseline, Clock, LatencyStatistics, slowdown
from hwprof.measurement.record import (
    FAST,
    Comparison,
    Evidence,
    Measurement,
    Peaks,
    ProtocolSettings,
    Status,
    at_one_speed,
)
from hwprof.measurement.samples import (
    CpuTime,
    DeviceState,
    OperatorTime,
    Process,
    TimedBlock,
    process_from_record,
)

__all__ = [
    "FAST",
    "Baseline",
    "Clock",
    "Comparison",
    "CpuTime",
    "DeviceState",
    "Evidence",
    "LatencyStatistics",
    "Measurement",
    "OperatorTime",
    "Peaks",
    "Process",
    "ProtocolSettings",
    "Status",
    "TimedBlock",
    "at_one_speed",
    "process_from_record",
    "slowdown",
]
