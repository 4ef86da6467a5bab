"""`hwprof emulator`: makes what the devices emulated-* run on."""

from __future__ import annotations

from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Emulated ARM cores: make what they run on.")


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command()
def build(
    fresh: Annotated[bool, typer.Option("--fresh", help="Make it again, though it is there.")] = False,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Make qemu with its counting plugin, and the ARM files that run under it.

    Debian's source package of qemu is built for AArch64 in user mode; ONNX Runtime and its ARM libraries are
    unpacked. Nothing is installed, no privilege is needed; all lies in ~/.cache/hwprof/emulator ($HWPROF_CACHE).

    \b
    hwprof emulator build
    hwprof profile mobilenet_v2 --device emulated-cortex-a72
    """
    from hwprof.backends.emulator import location
    from hwprof.backends.emulator.build import build as make
    from hwprof.cli import output

    versions = make(output.note, fresh)
    output.write_rows([{"folder": str(location.cache()), **versions}], format)
