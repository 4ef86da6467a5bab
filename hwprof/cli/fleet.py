"""`hwprof fleet`: many boards that measure for one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwprof.cli import options
from hwprof.cli.options import Format

app = typer.Typer(
    no_args_is_help=True,
    help="Measure on many boards at once. Opens network services: read docs/fleet.md first.",
    rich_markup_mode=None,
)
FleetFile = Annotated[Path, typer.Argument(metavar="FLEET", help="The fleet's file; hwprof fleet init makes one.")]
BoardName = Annotated[str, typer.Argument(metavar="BOARD", help="The name of a board in the fleet's file.")]
OutboxFolder = Annotated[Path, typer.Option(help="Keeps answers that are not in a driver's store yet.")]
Listen = Annotated[
    str | None, typer.Option(help="The scheduler's address on this machine, where others reach it by another one.")
]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True)]


@app.command()
def init(
    fleet: FleetFile = Path("fleet.toml"),
    renew: Annotated[bool, typer.Option("--renew", help="New certificates of the same authority.")] = False,
) -> int:
    """Make the fleet's file and its keys.

    Copy ca.pem, agent.pem and agent-key.pem to each board with an agent. ca-key.pem stays here: whoever has it can make
    certificates, and whoever has a certificate can run code on the whole fleet.
    """
    from hwprof.cli import output
    from hwprof.jobs import fleets

    for path in fleets.init(fleet, renew):
        output.note(f"wrote {path}")
    return 0


@app.command()
def up(
    fleet: FleetFile = Path("fleet.toml"), folder: OutboxFolder = Path("hwprof.fleet"), listen: Listen = None
) -> int:
    """Run the scheduler, and the agents of boards with launch = "here" or "ssh", until Ctrl-C."""
    from hwprof.cli import output
    from hwprof.jobs import fleets

    fleets.bring_up(fleet, output.note, folder, listen)
    return 0


@app.command()
def agent(
    fleet: FleetFile,
    board: BoardName,
    folder: OutboxFolder = Path("hwprof.fleet"),
    host: Annotated[str | None, typer.Option(help="This board's address, as the scheduler reaches it.")] = None,
    with_parent: WithParent = False,
) -> int:
    """Run the agent of a board, on the board, until it is drained or ended by Ctrl-C."""
    from hwprof.cli import output
    from hwprof.fleet import serving
    from hwprof.jobs import fleets

    if with_parent:
        serving.end_with_input()
    fleets.serve_board(fleet, board, output.note, folder, host)
    return 0


@app.command(hidden=True)
def scheduler(fleet: FleetFile, listen: Listen = None, with_parent: WithParent = False) -> int:
    """Run the scheduler alone."""
    from hwprof.cli import output
    from hwprof.fleet import serving
    from hwprof.jobs import fleets

    if with_parent:
        serving.end_with_input()
    fleets.serve_scheduler(fleet, output.note, listen)
    return 0


@app.command()
def status(
    fleet: FleetFile = Path("fleet.toml"),
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    html: Annotated[
        Path | None,
        typer.Option("--html", callback=options.writable, help="Also write a page of the state to this file."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Also count what this store of a driver has of each board.")
    ] = None,
) -> int:
    """Show what each board does, and the last errors.

    \b
    hwprof fleet status fleet.toml --html fleet.html --store hwprof.db
    """
    from hwprof.cli import output, results
    from hwprof.files import write_text
    from hwprof.jobs import fleets
    from hwprof.report import boards, page

    state = fleets.state(fleet, output.note, store)
    output.write_rows(boards.rows(state), format)
    for trouble in state.troubles if format is Format.TABLE else ():
        output.note(f"board {trouble.board}: {trouble.text}")
    if html:
        write_text(html, page.render_fleet(state, results.command()))
        output.note(f"wrote {html}")
    return 0


@app.command()
def drain(fleet: FleetFile, board: BoardName) -> int:
    """Let a board finish what it measures and then end."""
    from hwprof.cli import output
    from hwprof.jobs import fleets

    fleets.drain(fleet, board, output.note)
    output.note(f"board {board} finishes what it measures and takes nothing new")
    return 0
