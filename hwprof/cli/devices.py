"""`hwprof devices`: what can be measured on."""

from __future__ import annotations

from hwprof.cli import options
from hwprof.cli.options import Format


def devices(format: options.FormatOption = Format.TABLE) -> None:  # noqa: A002 -- the option's name
    """List what can be measured on.

    The shipped devices, those in ./devices and in $HWPROF_DEVICES.
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
    output.write_rows(rows, format)
