"""`hwprof devices`: what can be measured on."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hwprof.cli import options
from hwprof.cli.options import Format


def devices(
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    by: Annotated[Literal["device", "backend"], typer.Option(help="One row for each.")] = "device",
) -> None:
    """List what can be measured on.

    The shipped devices, those in ./devices and in $HWPROF_DEVICES.

    \b
    hwprof devices --by backend
    hwprof devices --format json
    """
    from hwprof import plugins
    from hwprof.cli import output
    from hwprof.device import Device, available

    known = plugins.names("backend")
    rows = []
    for name in available():
        d = Device.load(name)
        rows.append(
            {
                "device": d.name,
                "backend": d.backend if d.backend in known else f"{d.backend} (not installed)",
                "threads": d.threads or "all",
                "description": d.description,
            }
        )
    if by == "backend":
        backends = sorted({str(row["backend"]) for row in rows})
        named = {b: ", ".join(str(row["device"]) for row in rows if row["backend"] == b) for b in backends}
        output.write_rows([{"backend": b, "devices": names} for b, names in named.items()], format)
    else:
        output.write_rows(rows, format)
