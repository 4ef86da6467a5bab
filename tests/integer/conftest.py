"""The compiled kernels: those that are installed, or those of the folder that $HWPROF_TEST_KERNELS names."""

import os
from pathlib import Path

import pytest

from hwprof.integer.kernels.compile import FOLDER
from hwprof.integer.run.library import INSTRUCTION_SETS, Library


@pytest.fixture(scope="session")
def kernels() -> Library:
    return Library(Path(os.environ.get("HWPROF_TEST_KERNELS", FOLDER)))


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, kernels) -> str:
    if not kernels.runs(request.param):
        pytest.skip(f"this processor has no {request.param}")
    return request.param
