from hwprof.device import Device
from hwprof.errors import DeviceLostError
from hwprof.measure.peaks import measure_peaks
from tests.measure.scripted import ScriptedTransport


def test_the_ceilings_of_an_analytic_device_are_the_ones_it_was_given():
    device = Device("ideal", "roofline", kind="analytic").with_options(peak_macs_per_s=1e12, peak_bytes_per_s=1e10)
    peaks = measure_peaks(device)
    assert 0.5e12 < peaks.macs_per_s["float32"] <= 1e12
    assert 0.99e10 < peaks.bytes_per_s <= 1.01e10


def test_the_ceilings_of_this_machine_are_plausible_and_caches_are_faster_than_memory():
    peaks = measure_peaks(Device.load("cpu-1t"))
    assert 1e8 < peaks.macs_per_s["float32"] < 1e13
    assert 1e8 < peaks.bytes_per_s < 1e12
    sizes = [size for size, _ in peaks.bandwidths]
    assert sizes == sorted(sizes)
    assert peaks.bandwidths[0][1] > peaks.bytes_per_s


def test_a_worker_that_is_lost_is_started_again():
    def lose_third(_request):
        if len(transport.requests) == 3:
            raise DeviceLostError("killed")
        return [{"latency_ns": 1e7}]

    transport = ScriptedTransport(lose_third)
    peaks = measure_peaks(Device("any", "roofline"), transport)
    assert peaks == measure_peaks(Device("any", "roofline"), ScriptedTransport(lambda _: [{"latency_ns": 1e7}]))
    assert transport.workers == 2
