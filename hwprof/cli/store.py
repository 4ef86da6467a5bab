"""`hwprof store`: checks the files that keep every sample, and merges them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import InputError

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Stores, which keep every sample: check and merge them."
)

Stores = Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores, such as hwprof.db.")]


@app.command()
def check(store: options.StoreFile, format: options.FormatOption = Format.TABLE) -> None:  # noqa: A002
    """Read everything in a store: is it as it was written?

    \b
    hwprof store check hwprof.db
    """
    from hwprof.cli import output
    from hwprof.jobs import storing

    found = storing.check_store(store)
    output.write_rows([{"store": str(store), **asdict(found), "damage": len(found.damage)}], format)
    for line in found.damage:
        output.note(line)
    if found.damage:
        raise InputError(
            f"store {str(store)!r} is damaged in {len(found.damage)} places; hwprof store merge {store} --out NEW.db "
            "saves the rest"
        )


@app.command()
def merge(
    stores: Stores,
    out: Annotated[Path, typer.Option("--out", "-o", callback=options.writable, help="The new store.")],
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Write all that stores hold into a new one, each measurement once. What is damaged is left out.

    \b
    hwprof store merge monday.db tuesday.db --out both.db
    """
    from hwprof.cli import output
    from hwprof.jobs import storing

    merged = storing.merge_stores(stores, out)
    output.write_rows([{"store": str(out), **asdict(merged), "damage": len(merged.damage)}], format)
    for line in merged.damage:
        output.warn(f"left out: {line}")
