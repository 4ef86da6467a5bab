"""`hwprof data`: data sets of latencies, imported, checked, shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwprof.cli import options
from hwprof.cli.options import Format

if TYPE_CHECKING:
    from hwprof.data.dataset import Dataset

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Data sets of latencies: import, check and show them."
)

_MOST_TOLD = 20  # refused rows; --format json has all


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .parquet or .jsonl file, a network per row.")],
    space: Annotated[str, typer.Option("--space", "-s", help="The search space of the networks.")],
    arch_column: Annotated[
        list[str],
        typer.Option(
            metavar="A[,B...]", help="Column of the architecture; several where the space has structured ones."
        ),
    ],
    latency_column: Annotated[str, typer.Option(help="Column of the latency.")],
    device_name: Annotated[str, typer.Option(help="What was measured on.")],
    source: Annotated[str, typer.Option(help="Who measured it, and where it is from.")],
    licence: Annotated[str, typer.Option(help="Under which licence it may be used.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The data set's folder.")],
    unit: Annotated[str, typer.Option(help="Of the latency: s, ms, us, ns or cycles@200MHz.")] = "ms",
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Make a data set of latencies that others measured.

    Bad rows are refused with their numbers: latencies that are 0, negative or no number, unknown operations,
    networks that are given twice with different latencies.

    \b
    hwprof data import lat.csv --space nasbench201 --arch-column arch --latency-column pixel3 --unit ms
        --device-name pixel3 --source "A paper" --licence MIT --out latency_data/nb201-pixel3
    """
    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof data import"):
        from hwprof.data.dataset import Card
        from hwprof.jobs import importing

    card = Card(out.name, device_name, space=space, source=source, licence=licence)
    columns = [column for text in arch_column for column in text.split(",")]
    found = importing.import_data(file, out, card, columns, latency_column, unit)
    record = summary(found.dataset) | {"refused": len(found.refused), "repeated": found.repeated}
    if format is Format.JSON:
        refused = [{"row": r.row, "reason": r.reason} for r in found.refused]
        output.write_json(record | {"refused": refused})
        return
    output.write_rows([for_people(record)], format)
    for refusal in found.refused[:_MOST_TOLD]:
        output.note(f"row {refusal.row}: {refusal.reason}")
    if len(found.refused) > _MOST_TOLD:
        output.note(f"... and {len(found.refused) - _MOST_TOLD} more rows; --format json lists them all")


@app.command()
def validate(folder: options.DataFolder, format: options.FormatOption = Format.TABLE) -> None:  # noqa: A002
    """Check every sum, graph and sample of a data set.

    \b
    hwprof data validate latency_data/nasbench201-cpu-1t
    """
    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof data validate"):
        from hwprof.jobs import importing

    checked = importing.validate(folder)
    output.write_rows([summary(checked) if format is Format.JSON else for_people(summary(checked))], format)
    output.note("every sum, graph and sample is as it was written")


@app.command()
def show(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Data sets.")],
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
) -> None:
    """Show what data sets hold.

    \b
    hwprof data show latency_data/*
    """
    from hwprof import plugins
    from hwprof.cli import output

    with plugins.optional_library("hwprof data show"):
        from hwprof.data import dataset

    records = [summary(dataset.read(folder)) for folder in folders]
    output.write_rows(records if format is Format.JSON else [for_people(r) for r in records], format)


def summary(found: Dataset) -> dict[str, Any]:
    """What a data set holds, JSON-ready."""
    import numpy as np

    card = found.card
    figures = found.normalized_ms if card.unit == "ms" else found.instructions.sum(axis=1) / 1e6
    statuses = [e.status == "converged" for e in found.entries if e.status]  # others' data have none
    unit = "ms" if card.unit == "ms" else f"m_{card.unit}"  # millions
    half_widths = [(high - low) / 2 / ms for ms, low, high in (e.label for e in found.entries) if high >= low]
    return {
        "data": str(found.folder),
        "space": card.space,
        "variant": card.variant,
        "device": card.device_name,
        "evidence": card.evidence,
        "networks": card.rows,
        "converged": sum(statuses) if statuses else None,
        f"least_{unit}": float(figures.min()),
        f"median_{unit}": float(np.median(figures)),
        f"most_{unit}": float(figures.max()),
        "half_width": float(np.median(half_widths)) if half_widths else None,
        "first_date": card.first_date,
        "last_date": card.last_date,
        "machine": dict(card.machine),
        "licence": card.licence,
        "source": card.source,
        "description": card.description,
    }


def for_people(record: dict[str, Any]) -> dict[str, Any]:
    """A summary's row for the eye: rounded, without prose."""
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
