"""`hwprof doctor`: is this machine fit to measure?"""

from __future__ import annotations

from hwprof.cli import options
from hwprof.cli.options import Format


def doctor(
    device: options.DeviceName = "cpu-1t",
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Check whether this machine is fit to measure.

    Checks the cores, clocks, temperature, pressure, timer, memory and the runtime. Exits with 3 when it is unfit.

    \b
    hwprof doctor
    hwprof doctor --device openvino-1t
    """
    from hwprof import jobs
    from hwprof.cli import output
    from hwprof.errors import EnvironmentUnfitError
    from hwprof.measure.fitness import Fitness

    checks = jobs.doctor(device)
    rows = [{"check": c.name, "result": str(c.fitness), "found": c.found, "advice": c.advice} for c in checks]
    output.write_rows(rows, format)
    unfit = any(c.fitness is Fitness.UNFIT for c in checks)
    return EnvironmentUnfitError.exit_status if unfit else 0
