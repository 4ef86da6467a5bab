from hwprof import jobs
from hwprof.measure.fitness import Fitness


def test_the_checks_end_with_the_runtime():
    checks = jobs.doctor("roofline-edge-gpu")
    assert [c.name for c in checks][:2] == ["cores", "governor"]
    assert (checks[-1].name, checks[-1].fitness) == ("runtime", Fitness.OK)
