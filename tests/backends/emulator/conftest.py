"""What the tests of the emulator share. Those that run it are skipped where it was not built (`make test-arm`)."""

from __future__ import annotations

import pytest

from hwprof.backends.emulator import location
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError


@pytest.fixture(scope="session")
def built() -> None:
    """Skips where there is no emulator."""
    try:
        location.versions()
    except EnvironmentUnfitError as error:
        pytest.skip(str(error))


@pytest.fixture
def a72() -> Device:
    return Device("emulated", "emulator").with_options(core="cortex-a72")
