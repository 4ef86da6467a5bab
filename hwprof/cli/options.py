"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwprof import files
from hwprof.errors import InputError

if TYPE_CHECKING:
    from hwprof.measurement import ProtocolSettings


class Format(StrEnum):
    """The format of standard output."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"


A_MODEL = (
    "an .onnx file, a reference network by its name (mobilenet_v2; a wrong one lists them all), or a function that "
    "makes a PyTorch module, as file.py:factory or package.module:factory"
)
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help=f"Each is {A_MODEL}. MODEL@x=1,3,64,64 gives one of them a shape of its own."
    ),
]
DeviceName = Annotated[str, typer.Option("--device", "-d", help="A device's name or .toml file; see hwprof devices.")]
ShapeTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME=1,3,224,224", help="Sets the shape of an input with dynamic dimensions; repeatable."
    ),
]
InputTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=VALUE",
        help="The values of an input: FILE.npy (its shape, too), a number, 1,3,64, or randint:LOW:HIGH; repeatable.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="The format of standard output.")]
StorePath = Annotated[
    Path,
    typer.Option("--store", help="The file that keeps every sample, and from which interrupted measurements resume."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again, even if the store holds the measurement.")]
Target = Annotated[str, typer.Option(help="Half-width of the 95 % interval at which to stop.")]
BudgetS = Annotated[
    float,
    typer.Option(
        "--budget",
        help="Seconds to measure each model, even if it is short of the target then; more than the default also allows "
        "more processes. Up to three times as long where three processes do not fit, four times where a comparison "
        "hangs on one process. The operators' pass comes on top; --total-budget limits all models together.",
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="3 to 5 processes, a target of 3 % and a budget of 10 s for each model; the record says so. The budget "
        "is for the measuring processes and ends no process early: loading, warm-up and the operators' pass of a slow "
        "model come on top, up to a minute or two; --total-budget limits everything.",
    ),
]
AllowUnfit = Annotated[bool, typer.Option("--allow-unfit", help="Measure even if the preflight check fails.")]
StoreFile = Annotated[Path, typer.Argument(metavar="STORE", help="A file that keeps samples, such as hwprof.db.")]
TimeLimitS = Annotated[
    float | None,
    typer.Option(
        "--time-limit", help="Seconds that a worker may take for one request; by default 300 and 10 times the budget."
    ),
]
TotalBudgetS = Annotated[
    float | None,
    typer.Option("--total-budget", help="Seconds for all models together; those not reached are named."),
]


def _waiting(seconds: float) -> float:
    """Raises InputError unless they are a number from 0."""
    if not 0 <= seconds < math.inf:
        raise InputError(f"--wait must be a number of seconds from 0, not {seconds:g}")
    return seconds


WaitS = Annotated[
    float,
    typer.Option(
        "--wait", callback=_waiting, help="Seconds to wait for another hwprof that is measuring on this machine."
    ),
]
FleetFile = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="FLEET.toml", help="Measure on the boards of this fleet; see hwprof fleet."),
]
_VARIANTS = "int8, int8:s8s8, integer, fp16, prune:0.5, lowrank:0.25, cut, folded or prune:0.5+int8"


LARGEST_SEED = 2**32 - 1  # which every library takes


def variant(text: str | None) -> str | None:
    """The text itself. Raises InputError, before the command starts, where it names no variant."""
    from hwprof.variants import spec

    return spec.parse(text).text if text else None


def writable(path: Path | None) -> Path | None:
    """The path itself. Raises EnvironmentUnfitError, before the command starts, where no file can be written there."""
    if path is not None:
        files.require_writable(path)
    return path


def _weightless_variant(text: str | None) -> str | None:
    """The text itself. Raises InputError, before the command starts, where networks without weights have no such
    variant."""
    from hwprof.variants import spec

    if text:
        spec.change(text)
    return text or None


VariantSpec = Annotated[
    str | None,
    typer.Option(
        "--variant",
        callback=variant,
        help=f"Use this variant of each model instead: {_VARIANTS}, or sparse:0.9.",
    ),
]
WeightlessVariantSpec = Annotated[
    str | None,
    typer.Option(
        "--variant", callback=_weightless_variant, help=f"Use this variant of each network instead: {_VARIANTS}."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Inputs to calibrate int8 or integer with, by name: an .npz file or a folder of .npy files.",
    ),
]
_SPACE = typer.Option("--space", "-s", help="The search space: a name, package.module:OBJECT or file.py:OBJECT.")
SpaceReference = Annotated[str, _SPACE]
OptionalSpaceReference = Annotated[str | None, _SPACE]
DataFolder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A data set's folder, or the name of one in latency_data/; see hwprof collect."),
]
PredictorName = Annotated[str, typer.Option("--predictor", "-p", help="physical, lut, xgboost, mlp, gcn, ...")]
Sources = Annotated[
    list[Path] | None,
    typer.Option("--source", metavar="FILE.hwp", help="For transfer: a predictor of another device; repeatable."),
]
ExpectedSpace = Annotated[str | None, typer.Option("--space", "-s", help="Refuse any other search space.")]
ExpectedDevice = Annotated[str | None, typer.Option("--device", "-d", help="Refuse any other device.")]


def shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Raises InputError for a text that is not NAME=1,3,224,224, and for a name that is given twice."""
    several = swept_shapes(texts)
    for name, given in several.items():
        if len(given) > 1:
            raise InputError(
                f"--shape gives {name!r} {len(given)} shapes; give one, measure all with hwprof sweep, or give each "
                f"model its own: MODEL@{name}={','.join(map(str, given[0]))}"
            )
    return {name: given[0] for name, given in several.items()}


def swept_shapes(texts: list[str] | None) -> dict[str, list[tuple[int, ...]]]:
    """Every shape of each input. Raises InputError for a text that is not NAME=1,3,224,224."""
    from hwprof.workloads.shapes import shape_of

    result: dict[str, list[tuple[int, ...]]] = {}
    for text in texts or []:
        name, shape = shape_of(text)
        result.setdefault(name, []).append(shape)
    return result


def names(text: str, option: str) -> list[str]:
    """The words between commas. Raises InputError where one is empty."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise InputError(f"{option} {text!r} is not of the form A,B,...")
    return found


def devices(text: str | None, fleet: Path | None) -> list[str]:
    """The names of the devices: those given, all of the fleet, or the default one. Raises InputError for an empty
    name."""
    if text is not None:
        return names(text, "--devices")
    if fleet is None:
        return ["cpu-1t"]
    from hwprof.fleet.plan import Plan

    return Plan.load(fleet).devices


def numbers(text: str, option: str) -> list[int]:
    """The numbers between commas, from 1; none for an empty text. Raises InputError for anything else."""
    found = [int(word) if word.strip().isdecimal() else 0 for word in text.split(",")] if text else []
    if not all(found):
        raise InputError(f"{option} {text!r} is not of the form 1,4,16")
    return found


def inputs(texts: list[str] | None) -> dict[str, str]:
    """The value of each input as text, by name. Raises InputError for a text that is not NAME=VALUE, and for a name
    that is given twice."""
    result: dict[str, str] = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise InputError(f"--input {text!r} is not of the form NAME=VALUE, such as ids=ids.npy or rate=16000")
        if name in result:
            raise InputError(f"--input gives {name!r} twice; give it once, and run once for each value")
        result[name] = value
    return result


def share(text: str, option: str) -> float:
    """Reads 5% or 0.05 as 0.05. Raises InputError unless it is between 0 and 1."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise InputError(f"{option} {text!r} must be a share such as 5% or 0.05")
    return value


def settings(target: str, budget_s: float, fast: bool, budget_option: str = "--budget") -> ProtocolSettings:
    """The protocol's numbers. An explicit target or budget overrides --fast; a larger budget allows as many more
    processes."""
    from dataclasses import replace

    from hwprof.measurement import FAST, ProtocolSettings

    base, standard = (FAST if fast else ProtocolSettings()), ProtocolSettings()
    asked = share(target, "--target")
    budget_s = positive(budget_s, budget_option) if budget_s != standard.budget_s else base.budget_s
    return replace(
        base,
        target=asked if asked != standard.target else base.target,
        budget_s=budget_s,
        max_processes=math.ceil(base.max_processes * max(1.0, budget_s / base.budget_s)),
    )


def fast_settings(target: str, budget_s: float) -> ProtocolSettings:
    """The protocol's numbers for a sweep."""
    from dataclasses import replace

    from hwprof.measurement import FAST

    return replace(FAST, target=share(target, "--target"), budget_s=positive(budget_s))


def time_limit(limit_s: float | None) -> float | None:
    """Raises InputError unless it is positive."""
    return None if limit_s is None else positive(limit_s, "--time-limit")


def positive(seconds: float, option: str = "--budget", unit: str = "seconds") -> float:
    """Raises InputError unless they are a positive number."""
    if not 0 < seconds < math.inf:
        raise InputError(f"{option} must be a positive number of {unit}, not {seconds:g}")
    return seconds
