from hwprof.backends.emulator.cores import CORES


def test_cores_from_2018_on_have_dot_products():
    assert {name: core.has_dot for name, core in CORES.items()} == {
        "cortex-a53": False,
        "cortex-a72": False,
        "cortex-a76": True,
        "neoverse-n1": True,
    }


def test_cpuinfo_names_the_part_as_linux_does():
    lines = CORES["cortex-a72"].cpuinfo().splitlines()
    assert "CPU implementer\t: 0x41" in lines
    assert "CPU part\t: 0xd08" in lines
    assert next(line for line in lines if line.startswith("Features")).split()[2:4] == ["fp", "asimd"]
