"""`hwprof data`: imports, checks and shows data sets of latencies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwprof.cli import options
from hwprof.cli.options import Format
from hwprof.errors import HwprofError

if TYPE_CHECKING:
    from hwprof.data.foreign import Import

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Data sets of latencies: import, check and show them."
)

_MOST_TOLD = 20  # refused rows; --format json has all


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .parquet or .jsonl file with one network per row.")
    ],
    space: options.SpaceReference,
    arch_column: Annotated[
        list[str],
        typer.Option(
            metavar="A[,B...]", help="Column of the architecture; several where the space reads it from several."
        ),
    ],
    latency_column: Annotated[str, typer.Option(help="Column of the latency.")],
    device_name: Annotated[str, typer.Option(help="The device that was measured.")],
    source: Annotated[str, typer.Option(help="Who measured the latencies, and where they come from.")],
    licence: Annotated[str, typer.Option(help="The licence of the data.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The data set's folder.")],
    unit: Annotated[str, typer.Option(help="The unit of the latency: s, ms, us, ns or cycles@200MHz.")] = "ms",
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Make a data set from latencies that others measured.

    Refuses bad rows and reports their numbers: latencies that are not positive numbers, unknown operations,
    networks that occur twice with different latencies.

    \b
    hwprof data import lat.csv --space nasbench201 --arch-column arch --latency-column pixel3 --unit ms \\
        --device-name pixel3 --source "A paper" --licence MIT --out latency_data/nb201-pixel3
    """
    from hwprof import plugins

    with plugins.optional_library("hwprof data import"):
        from hwprof.data.dataset import Card
        from hwprof.jobs import importing

    card = Card(out.name, device_name, space=space, source=source, licence=licence)
    columns = [column for text in arch_column for column in text.split(",")]
    found = importing.import_data(file, out, card, columns, latency_column, unit)
    _show_import(found, format)


@app.command()
def validate(folder: options.DataFolder, format: options.FormatOption = Format.TABLE) -> None:  # noqa: A002
    """Check every checksum, graph and sample of a data set.

    \b
    hwprof data validate latency_data/nasbench201-cpu-1t
    """
    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof data validate"):
        from hwprof.data.summary import summarize
        from hwprof.jobs import importing

    write_summaries([summarize(importing.validate(folder))], format)
    output.note("every checksum, graph and sample is correct")


@app.command()
def show(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of data sets, or names of those in latency_data/.")
    ],
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> int:
    """Show the content of data sets.

    \b
    hwprof data show latency_data/*-cpu-1t
    """
    from hwprof import plugins

    with plugins.optional_library("hwprof data show"):
        from hwprof.cli import results
        from hwprof.data import dataset
        from hwprof.data.summary import summarize

    rows, failures = [], results.Failures()
    for folder in folders:
        try:
            rows.append(summarize(dataset.read(folder)))
        except HwprofError as error:
            if len(folders) == 1:
                raise
            failures.tell(str(folder), error)
    if rows:
        write_summaries(rows, format)
    return failures.status([])


def write_summaries(records: list[dict[str, Any]], format: Format) -> None:  # noqa: A002 -- the option's name
    """The summaries of data sets: whole as JSON, else rounded and without prose."""
    from hwprof.cli import output

    output.write_rows(records if format is Format.JSON else [for_people(r) for r in records], format)


def _show_import(found: Import, format: Format) -> None:  # noqa: A002 -- the option's name
    from hwprof.cli import output
    from hwprof.data.summary import summarize

    record = summarize(found.dataset) | {"refused": len(found.refused), "repeated": found.repeated}
    if format is Format.JSON:
        refused = [{"row": r.row, "reason": r.reason} for r in found.refused]
        output.write_json(record | {"refused": refused})
        return
    write_summaries([record], format)
    for refusal in found.refused[:_MOST_TOLD]:
        output.note(f"row {refusal.row}: {refusal.reason}")
    if len(found.refused) > _MOST_TOLD:
        output.note(f"... and {len(found.refused) - _MOST_TOLD} more rows; --format json lists them all")


def for_people(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a summary as a row for people: rounded, without prose."""
    from hwprof.report import quantity

    half_width = record["half_width"]
    unit, title = ("ms", "ms") if "median_ms" in record else ("m_instructions", "M instructions")
    shown = {
        "data": record["data"],
        "space": f"{record['space']} {record['variant']}".strip(),
        "device": record["device"],
        "evidence": record["evidence"],
        "networks": record["networks"],
        "converged": record["converged"],
        f"median {title}": f"{record[f'median_{unit}']:.4g}",
        f"range {title}": f"{record[f'least_{unit}']:.4g} .. {record[f'most_{unit}']:.4g}",
        "+-": "" if half_width is None else quantity.half_width(half_width),
    }
    rest = {"failed": "failed", "refused": "refused", "repeated": "repeated"}
    return shown | {title: record[key] for key, title in rest.items() if key in record}
