"""`hwprof lut`: builds latency tables, checks them against whole networks, converts and draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hwprof.cli import groups, options
from hwprof.cli.options import Format
from hwprof.errors import InputError, NotConvergedError

if TYPE_CHECKING:
    from hwprof.jobs import Options
    from hwprof.latency_table import LatencyTable, NumericAttribute
    from hwprof.latency_table.build import TableCheck
    from hwprof.latency_table.operators import Attribute

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Latency tables: build, check, convert and draw them."
)

Table = Annotated[
    Path, typer.Argument(metavar="TABLE", help="A latency table that hwprof wrote: a .json or .parquet file.")
]
SpaceName = Annotated[
    str | None,
    typer.Option(
        "--space", "-s", help="A search space instead of models: a name, package.module:OBJECT or file.py:OBJECT."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=options.LARGEST_SEED, help="Decides which networks of the space are used.")
]


@app.command()
@groups.expanded
def build(
    out: Annotated[
        Path, typer.Option("--out", "-o", callback=options.writable, help="The table's file: .json or .parquet.")
    ],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help=f"Each is {options.A_MODEL}.")
    ] = None,
    *,
    space: SpaceName = None,
    rows: Annotated[
        Literal["operators", "choices"],
        typer.Option(
            help="operators: one row per operator, timed alone; choices: one row per choice of the space, "
            "the time that it adds."
        ),
    ] = "operators",
    networks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of networks of the space to use; by default twice as many as a table of choices has free "
            "entries, or enough for every choice to occur four times.",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="cout=8:64:8", help="Also time convolutions and products at these channels; repeatable."),
    ] = None,
    variant: options.WeightlessVariantSpec = None,
    predictor: Annotated[
        Path | None,
        typer.Option(
            "--predictor",
            "-p",
            help="Predict with this .hwp file, or the one that hwprof ships for this device, instead of measuring.",
        ),
    ] = None,
    device: options.DeviceName = "cpu-1t",
    inputs: groups.Inputs,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    recording: groups.LocalRecording,
    time_limit: options.TimeLimitS = None,
    seed: Seed = 0,
) -> int:
    """Build a table of operators, or of the choices of a search space.

    Each operator is timed as a network of its own. The times that choices add are fitted to whole networks.

    \b
    hwprof lut build mobilenet_v2 -o mobilenet_v2.json
    hwprof lut build mobilenet_v2 --sweep cout=16:128:16 -o staircase.json
    hwprof lut build --space fbnet --rows choices --predictor fbnet.hwp -o fbnet.json
    """
    from hwprof.cli import output
    from hwprof.jobs import converting, tables

    if not converting.is_own(out):
        raise InputError(f"a table is a .json or .parquet file, not {str(out)!r}; other formats: hwprof lut convert")
    with _measuring(recording, time_limit) as asked:
        built = tables.build_table(
            models or [], device, space=space, rows=rows, networks=networks, sweep=_sweeps(sweep),
            variant=variant or "", predictor=predictor, shapes=inputs.shapes, inputs=inputs.values,
            store=recording.store, options=asked, seed=seed,
        )  # fmt: skip
    built.table.save(out)
    output.write_rows([_summary(out, built.table)], format)
    if built.unconverged:
        raise NotConvergedError(
            f"{out}: {built.unconverged} measurements did not reach the target precision (see the intervals of the "
            "rows); raise --budget"
        )
    return 0


@app.command()
@groups.expanded
def check(
    table: Table,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="At least four networks, given as to hwprof profile."),
    ] = None,
    *,
    space: SpaceName = None,
    networks: Annotated[int, typer.Option(help="Number of fresh networks of the space to measure.")] = 20,
    variant: options.WeightlessVariantSpec = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", callback=options.writable, help="Save the table with the new correction here."),
    ] = None,
    max_mape: Annotated[
        str | None, typer.Option(help="Exit with status 1 when the mean error of the corrected sums is above this.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="The .toml file of the table's device, if hwprof does not find it."),
    ] = None,
    shape: options.ShapeTexts = None,
    format: options.FormatOption = Format.TABLE,  # noqa: A002 -- the option's name
    recording: groups.LocalRecording,
    time_limit: options.TimeLimitS = None,
    seed: Seed = 0,
) -> int:
    """Compare a table's sums with whole networks, measured now.

    The sum of operators is a model of a network, not a measurement. The errors are shown raw, and after a
    correction that is fitted to the other networks. --max-mape judges the correction in the table, or the new
    one where it has none.

    \b
    hwprof lut check fbnet.json --space fbnet --networks 30 -o fbnet.json
    hwprof lut check mine.json a.onnx b.onnx c.onnx d.onnx --max-mape 10%
    """
    from hwprof.cli import output
    from hwprof.jobs import tables
    from hwprof.latency_table import LatencyTable

    limit = options.share(max_mape, "--max-mape") if max_mape else None
    with _measuring(recording, time_limit) as asked:
        found = tables.check_table(
            LatencyTable.load(table), models or [], space=space, networks=networks, variant=variant or "",
            device=device, shapes=options.shapes(shape), store=recording.store, options=asked, seed=seed,
        )  # fmt: skip
    output.write_rows([_errors(table, found, format)], format)
    if out:
        found.table.save(out)
        output.note(f"wrote {out}")
    return _gate(found, limit)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The table to read.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", callback=options.writable, help="The file to write.")],
    from_format: Annotated[
        str | None, typer.Option("--from", help="The source's format, where it is not hwprof's own.")
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="The target's format, where it is not hwprof's own.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="The device of the source's latencies.")] = None,
    runtime: Annotated[str | None, typer.Option(help="The runtime; by default that of the known device.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="The threads, 0 for all; by default those of the known device.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="The batch size; by default that of the known device.")] = None,
    dtype: Annotated[str | None, typer.Option(help="The element type; by default that of the known device.")] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="The unit of the latencies, where the format states none: s, ms, us, ns, cycles@200MHz."),
    ] = None,
    numeric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:GRANULE][:down]",
            help="An attribute along which latency is a staircase (down: it falls, as with sparsity); repeatable.",
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Read formats that are pickles; only plain containers and numbers are read."
        ),
    ] = False,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="For modelopt, whose rows are layers: a network that has them, given as to hwprof profile; repeatable."
        ),
    ] = None,
) -> None:
    """Convert a table from or to another tool's format.

    Warns about content that the target format cannot hold, and asks for facts that the source does not state. Formats:
    csv, fbnet-json, halp, haq, modelopt, netadapt, nni, ofa-yaml, proxyless-yaml, tfnas, and hwprof's own .json and
    .parquet.

    \b
    hwprof lut convert mine.json mine.csv --to csv
    hwprof lut convert mine.json mine.csv --to modelopt --network float.onnx --network int8.onnx
    hwprof lut convert note10.yaml note10.json --from ofa-yaml -d note10 --runtime tflite --threads 1 \\
      --batch 1 --dtype float32
    """
    from hwprof.cli import output
    from hwprof.jobs import converting

    attributes = tuple(_numeric(text) for text in numeric or [])
    stated = converting.Stated(device, runtime, threads, batch, dtype, unit, attributes, allow_pickle)
    for lost in converting.convert_table(source, target, from_format, to_format, stated, network or ()):
        output.warn(lost)
    output.note(f"wrote {target}")


@app.command()
def plot(
    table: Table,
    over: Annotated[str, typer.Argument(metavar="ATTRIBUTE", help="A numeric attribute, such as cout.")],
    key: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE...]", help="The operator's other attributes.")
    ] = None,
    op: Annotated[str, typer.Option(help="The operator.")] = "Conv",
    out: Annotated[
        Path, typer.Option("--out", "-o", callback=options.writable, help="An .svg, .png or .pdf file.")
    ] = Path("staircase.svg"),
) -> None:
    """Draw the staircase of latency over an attribute.

    \b
    hwprof lut plot staircase.json cout kernel=3 stride=2 cin=3 -o staircase.svg
    """
    from hwprof.cli import output
    from hwprof.jobs import converting
    from hwprof.latency_table import LatencyTable

    converting.plot_table(LatencyTable.load(table), out, over, op, dict(_pair(text) for text in key or []))
    output.note(f"wrote {out}")


@contextmanager
def _measuring(recording: groups.LocalRecording, limit_s: float | None) -> Iterator[Options]:
    """How the command measures, with its progress on standard error."""
    from hwprof.cli import output, progress

    asked = replace(recording.job_options(), limit_s=options.time_limit(limit_s))
    with progress.bars(asked.settings) as shown:
        yield replace(
            asked, on_progress=shown.on_progress, on_step=shown.on_step, on_note=output.note, on_warning=output.warn
        )


def _summary(out: Path, table: LatencyTable) -> dict[str, object]:
    return {
        "table": str(out),
        "device": table.metadata.device,
        "rows": len(table.rows),
        "operators": ", ".join(sorted({row.op for row in table.rows})),
        "protocol": table.metadata.protocol,
    }


def _errors(table: Path, found: TableCheck, format: Format) -> dict[str, object]:  # noqa: A002 -- the option's name
    """Percent; in JSON `within_10` is a share."""
    return {
        "table": str(table),
        "networks": found.networks,
        "raw_mape": round(found.raw_mape, 3),
        "calibrated_mape": round(found.corrected_mape, 3),
        "within_10": round(found.within_10, 3) if format is Format.JSON else f"{found.within_10:.0%}",
        "stored_mape": None if found.stored_mape is None else round(found.stored_mape, 3),
    }


def _gate(found: TableCheck, limit: float | None) -> int:
    """The exit status. limit: the largest mean error that passes, a share."""
    from hwprof.cli import output

    judged = found.corrected_mape if found.stored_mape is None else found.stored_mape
    if limit is None or judged <= 100 * limit:
        return 0
    output.note(f"hwprof: the mean error of the sums is {judged:.1f} %; allowed: {limit:.1%}")
    return 1


def _sweeps(texts: list[str] | None) -> Mapping[str, range]:
    """The points of each NAME=FIRST:LAST:STEP."""
    points = {}
    for text in texts or []:
        match = re.fullmatch(r"(\w+)=(\d+):(\d+):(\d+)", text)
        first, last, step = map(int, match.groups()[1:]) if match else (0, 0, 0)
        if match is None or step < 1 or first % step or last < first:
            raise InputError(f"--sweep {text!r} is not of the form cout=8:64:8, which starts at a multiple of its step")
        points[match[1]] = range(first, last + 1, step)
    return points


def _numeric(text: str) -> NumericAttribute:
    from hwprof.latency_table import NumericAttribute

    match = re.fullmatch(r"(\w+?)(?::(\d+(?:\.\d+)?))?(:down)?", text)
    if match is None:
        raise InputError(f"--numeric {text!r} is not of the form NAME, NAME:8 or NAME:8:down")
    return NumericAttribute(match[1], float(match[2]) if match[2] else None, "down" if match[3] else "up")


def _pair(text: str) -> tuple[str, Attribute]:
    """kernel=3 as ("kernel", 3)."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"{text!r} is not of the form NAME=VALUE")
    for number in (int, float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value
