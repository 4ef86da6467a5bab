from hwprof import jobs
from hwprof.measure.fitness import Fitness


def test_the_checks_end_with_a_network_on_the_device():
    checks = jobs.doctor("roofline-edge-gpu")
    assert [c.name for c in checks] == ["cores", "runtime", "device"]  # nothing here disturbs a formula
    assert {c.fitness for c in checks[-2:]} == {Fitness.OK}
