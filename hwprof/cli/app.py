"""Puts the commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from hwprof import __version__
from hwprof.cli import data, emulator, fleet, store
from hwprof.cli.collect import collect
from hwprof.cli.compare import compare
from hwprof.cli.compress import compress
from hwprof.cli.devices import devices
from hwprof.cli.doctor import doctor
from hwprof.cli.evaluate import evaluate
from hwprof.cli.explain import explain
from hwprof.cli.history import history
from hwprof.cli.lut import app as lut
from hwprof.cli.operators import operators
from hwprof.cli.predict import predict
from hwprof.cli.profile import profile
from hwprof.cli.report import report
from hwprof.cli.search import search
from hwprof.cli.sweep import sweep
from hwprof.cli.train import train
from hwprof.cli.tune import tune

app = typer.Typer(
    name="hwprof",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="How fast will this network run on that device?",
    epilog="Exit status: 0 done, 1 a gate failed, 2 bad input, 3 environment unfit, 4 not converged, 5 device lost.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hwprof {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """How fast will this network run on that device?"""


for command in (
    doctor, devices, profile, sweep, operators, compare, compress, explain, history, report, tune, collect, train,
    evaluate, predict, search,
):  # fmt: skip
    app.command()(command)
app.add_typer(lut, name="lut")
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")
app.add_typer(emulator.app, name="emulator")
app.add_typer(fleet.app, name="fleet")
