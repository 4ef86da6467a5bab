"""`hwprof emulator`: builds the emulator of the devices emulated-*."""

from __future__ import annotations

from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Emulated ARM cores: build the emulator.")


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command()
def build(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Build everything again, even if it is built already.")
    ] = False,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Build qemu with its counting plugin, and unpack the ARM files that run under it.

    Builds Debian's source package of qemu for AArch64 in user mode, and unpacks ONNX Runtime with its ARM libraries.
    Installs nothing and needs no privileges; everything goes into ~/.cache/hwprof/emulator ($HWPROF_CACHE).

    \b
    hwprof emulator build
    hwprof profile mobilenet_v2 --device emulated-cortex-a72
    """
    from hwprof.cli import output
    from hwprof.jobs import emulating

    output.write_rows([emulating.build_emulator(fresh, output.note)], format)
