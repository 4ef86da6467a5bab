"""Groups of options: a command takes each group as one parameter, and its values from there.

2026-11-29, why a command's signature is expanded. Typer makes an option of each parameter and has no groups. Ten
options were written out, and handed on one by one, in each of seven commands, where a new one had to be added seven
times. `expanded` is the only place that knows of this.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from hwprof.cli import options

if TYPE_CHECKING:
    from hwprof.jobs import Options
    from hwprof.jobs.inputs import Change, Opening

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Group:
    """Options by their names, with their defaults."""


@dataclass(frozen=True, slots=True)
class Inputs(Group):
    """The shapes and values of a model's inputs."""

    shape: options.ShapeTexts = None
    input: options.InputTexts = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Raises as `options.shapes`."""
        return options.shapes(self.shape)

    @property
    def values(self) -> dict[str, str]:
        """Raises as `options.inputs`."""
        return options.inputs(self.input)


@dataclass(frozen=True, slots=True)
class Networks(Inputs):
    """How the models of a command are opened."""

    variant: options.VariantSpec = None
    calibration: options.CalibrationFile = None

    @property
    def change(self) -> Change:
        """The arguments of a job that has shapes of its own."""
        return {"inputs": self.values, "variant": self.variant, "calibration": self.calibration}

    @property
    def opening(self) -> Opening:
        """The arguments of a job."""
        return {"shapes": self.shapes, **self.change}


@dataclass(frozen=True, slots=True)
class LocalRecording(Group):
    """How precisely networks are measured, and where that is kept."""

    budget_option: ClassVar[str] = "--budget"  # the name of that option

    store: options.StorePath = Path("hwprof.db")
    fresh: options.Fresh = False
    target: options.Target = "1%"
    budget: options.BudgetS = 60.0
    fast: options.Fast = False
    allow_unfit: options.AllowUnfit = False
    wait: options.WaitS = 0.0

    def job_options(self) -> Options:
        """Raises InputError for an impossible number."""
        from hwprof.jobs import Options

        settings = options.settings(self.target, self.budget, self.fast, self.budget_option)
        return Options(settings, allow_unfit=self.allow_unfit, fresh=self.fresh, wait_s=self.wait)


@dataclass(frozen=True, slots=True)
class Recording(LocalRecording):
    """Further, the fleet that measures."""

    fleet: options.FleetFile = None


@dataclass(frozen=True, slots=True)
class Measuring(Recording):
    """Further, how long that may take."""

    time_limit: options.TimeLimitS = None
    total_budget: options.TotalBudgetS = None

    def job_options(self) -> Options:
        """Raises InputError for an impossible number."""
        from dataclasses import replace

        total_s = math.inf if self.total_budget is None else options.positive(self.total_budget, "--total-budget")
        return replace(
            super(Measuring, self).job_options(), limit_s=options.time_limit(self.time_limit), total_s=total_s
        )


def expanded(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """The command with the options of a group in place of each parameter that takes a group."""
    signature = inspect.signature(command, eval_str=True)
    groups = {name: p.annotation for name, p in signature.parameters.items() if _is_group(p.annotation)}

    @wraps(command)
    def run(**given: object) -> _Result:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in _options(group)})
        return command(**given)

    parameters = [
        option.replace(kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        for option in (_options(groups[name]) if name in groups else [parameter])
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # which Typer reads
    return run


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Group)


def _options(group: type[Group]) -> list[Parameter]:
    return list(inspect.signature(group, eval_str=True).parameters.values())
