import pytest

from hwprof.backends import nvml


def test_the_bits_of_a_throttled_clock_are_told_in_words():
    # nvmlClocksEventReasons: idle 0x1, power cap 0x4, hardware thermal slowdown 0x40, software thermal 0x20
    assert nvml.throttle_causes(0x1) == ()
    assert nvml.throttle_causes(0x4 | 0x40 | 0x20) == ("power limit", "overheated")


def test_the_drivers_version_is_unknown_without_a_driver():
    try:
        nvml.pynvml.nvmlInit()
    except nvml.Error:
        assert nvml.driver_version() is None
    else:
        assert nvml.driver_version()


def test_a_gpu_that_is_not_there_is_an_error_of_the_library():
    with pytest.raises(nvml.Error):
        nvml.GpuSensors("00000000-0000-0000-0000-000000000000")
