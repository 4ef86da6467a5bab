"""Contract checks for plug-ins: `check_backend(BACKEND, device)` in a test is enough.

Each check raises AssertionError with one line about the broken rule.
"""

from hwprof.testing.backends import check_backend, check_counting_backend, check_waits, reference_graphs
from hwprof.testing.methods import check_method
from hwprof.testing.predictors import check_predictor
from hwprof.testing.searches import check_search
from hwprof.testing.spaces import check_space
from hwprof.testing.tasks import check_task

__all__ = [
    "check_backend",
    "check_counting_backend",
    "check_method",
    "check_predictor",
    "check_search",
    "check_space",
    "check_task",
    "check_waits",
    "reference_graphs",
]
