"""`hwprof devices`: lists the devices that networks can be measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import typer

from hwprof.cli import options
from hwprof.cli.options import Format


def devices(
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    by: Annotated[Literal["device", "backend"], typer.Option(help="One row for each.")] = "device",
) -> None:
    """List the devices that networks can be measured on.

    Lists the shipped devices, those in ./devices and those in $HWPROF_DEVICES.

    \b
    hwprof devices --by backend
    hwprof devices --format json
    """
    from hwprof.cli import output
    from hwprof.jobs import listing

    found = listing.list_devices()
    rows = [
        {
            "device": d.name,
            "backend": d.backend if listing.is_installed(d) else f"{d.backend} (not installed)",
            "threads": d.threads or "all",
            "description": d.description,
        }
        for d in found
    ]
    output.write_rows(_by_backend(rows) if by == "backend" else rows, format)


def _by_backend(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(str(row["backend"]), []).append(str(row["device"]))
    return [{"backend": backend, "devices": ", ".join(devices)} for backend, devices in sorted(names.items())]
