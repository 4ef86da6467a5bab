"""`hwprof devices`: lists the devices that networks can be measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from hwprof.device import Device


@groups.expanded
def devices(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help=f"Say which devices can run it, without measuring: {options.A_MODEL}."),
    ] = None,
    *,
    devices: Annotated[
        str | None, typer.Option("--devices", "-d", metavar="A,B,...", help="Only these; with a model.")
    ] = None,
    networks: groups.Networks,
    time_limit: Annotated[float, typer.Option("--time-limit", help="Seconds for a device to run the model.")] = 120.0,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    by: Annotated[Literal["device", "backend"], typer.Option(help="One row for each.")] = "device",
) -> int:
    """List the devices that networks can be measured on, or those that can run a model.

    Lists the shipped devices, those in ./devices and those in $HWPROF_DEVICES. With a model, each opens it and runs it
    once, and those that cannot say why; exits with 3 when none can.

    \b
    hwprof devices --by backend
    hwprof devices --format json
    hwprof devices model.onnx
    hwprof devices model.onnx --devices cpu-1t,openvino-1t --variant int8
    """
    if model is not None:
        from hwprof import jobs
        from hwprof.cli import output as told
        from hwprof.jobs import listing as listed

        asked = jobs.Options(on_warning=told.warn, limit_s=options.positive(time_limit, "--time-limit"))
        chosen = options.names(devices, "--devices") if devices else None
        answers = listed.runnable(model, chosen, **networks.opening, options=asked)
        return _show_runnable(answers, format)
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
    return 0


def _show_runnable(answers: Iterator[tuple[Device, str]], format: Format) -> int:  # noqa: A002 -- the option's name
    from hwprof.cli import output
    from hwprof.errors import EnvironmentUnfitError

    found = list(answers)
    if format is Format.JSON:
        output.write_json([{"device": d.name, "runs": not why, "reason": why or None} for d, why in found])
    elif format is Format.TABLE:
        output.write_rows([{"device": d.name, "runs": "no" if why else "yes"} for d, why in found], format)
        for sentence in _reasons(found):
            output.note(sentence)
    else:
        rows = [{"device": d.name, "runs": "no" if why else "yes", "reason": why} for d, why in found]
        output.write_rows(rows, format)
    return 0 if any(not why for _, why in found) else EnvironmentUnfitError.exit_status


def _reasons(found: Sequence[tuple[Device, str]]) -> list[str]:
    """One sentence for each reason, with all devices that have it."""
    names: dict[str, list[str]] = {}
    for device, why in found:
        if why:
            names.setdefault(why, []).append(device.name)
    return [f"{', '.join(devices)} cannot run it: {why}" for why, devices in names.items()]


def _by_backend(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(str(row["backend"]), []).append(str(row["device"]))
    return [{"backend": backend, "devices": ", ".join(devices)} for backend, devices in sorted(names.items())]
