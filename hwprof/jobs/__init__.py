"""The jobs that the command line and the Python interface offer, each a few lines over the floors below."""

from hwprof.jobs.breaking_down import OperatorProfile, operators
from hwprof.jobs.checking import doctor
from hwprof.jobs.comparing import compare
from hwprof.jobs.explaining import explain
from hwprof.jobs.inputs import variant
from hwprof.jobs.profiling import profile, profile_many, profile_models
from hwprof.jobs.reporting import history, history_steps, peaks, report, stored_graphs
from hwprof.jobs.tuning import tune
from hwprof.measure.machine import require_times
from hwprof.measure.recording import Options, Outcome, at_one_baseline
from hwprof.measurement.estimate import undisturbed_ns
from hwprof.workloads.loading import load_network

resolve = load_network  # its name until 0.1

__all__ = [
    "OperatorProfile",
    "Options",
    "Outcome",
    "at_one_baseline",
    "compare",
    "doctor",
    "explain",
    "history",
    "history_steps",
    "load_network",
    "operators",
    "peaks",
    "profile",
    "profile_many",
    "profile_models",
    "report",
    "require_times",
    "resolve",
    "stored_graphs",
    "tune",
    "undisturbed_ns",
    "variant",
]
