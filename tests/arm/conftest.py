"""The devices of the backends' tests."""

from tests.backends.conftest import device_of

__all__ = ["device_of"]
