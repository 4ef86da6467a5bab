"""The jobs that the command line and the Python interface offer, each a few lines over the floors below."""

from hwprof.jobs.measuring import (
    Options,
    Outcome,
    compare,
    explain,
    operators,
    peaks,
    profile,
    profile_many,
    require_times,
    resolve,
    undisturbed_ns,
    variant,
)
from hwprof.jobs.reporting import write_report

__all__ = [
    "Options",
    "Outcome",
    "compare",
    "explain",
    "operators",
    "peaks",
    "profile",
    "profile_many",
    "require_times",
    "resolve",
    "undisturbed_ns",
    "variant",
    "write_report",
]
