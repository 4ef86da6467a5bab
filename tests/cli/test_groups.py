"""Groups of options: every command that takes one has its options, in the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from hwprof.cli import groups
from hwprof.cli.app import app
from hwprof.errors import InputError
from hwprof.jobs.inputs import Change, Opening, Wanted

COMMANDS = {command.name: command for command in typer.main.get_command(app).commands.values()}


@dataclass(frozen=True, slots=True)
class Size(groups.Group):
    """How large it is."""

    width: Annotated[int, typer.Option("--width", help="Its width.")] = 1
    height: int = 2


@dataclass(frozen=True, slots=True)
class TallSize(Size):
    """How large it is, and taller."""

    height: int = 9


def area(command: list[str], kind: type[Size]) -> str:
    """What a command with a group of the kind prints."""

    def show(name: str, *, size: Size, twice: bool = False) -> None:
        print(name, size.width * size.height * (1 + twice))

    show.__annotations__["size"] = kind
    made = typer.Typer()
    made.command()(groups.expanded(show))
    return CliRunner().invoke(made, command).output.strip()


@pytest.mark.parametrize(
    ("command", "kind", "shown"),
    [(["a"], Size, "a 2"), (["a", "--width", "3", "--twice"], Size, "a 12"), (["a"], TallSize, "a 9")],
)
def test_a_command_gets_its_group_with_the_values_given_or_the_defaults(
    command: list[str], kind: type[Size], shown: str
):
    assert area(command, kind) == shown


@pytest.mark.parametrize("name", ["profile", "sweep", "operators", "compare"])
def test_a_measuring_command_has_all_options_of_measuring(name: str):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--store", "--fresh", "--target", "--budget", "--fast", "--allow-unfit"} <= options
    assert {"--time-limit", "--total-budget", "--wait", "--fleet"} <= options
    assert {"--shape", "--input", "--variant", "--calibration"} <= options


@pytest.mark.parametrize("name", ["compress", "explain", "search"])
def test_a_command_that_measures_within_its_work_can_wait_for_the_machine_and_keep_what_it_measured(name: str):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--store", "--wait"} <= options


def test_the_time_to_wait_reaches_the_job():
    assert groups.LocalRecording(wait=7.0).job_options().wait_s == 7.0
    assert groups.Measuring(wait=7.0).job_options().wait_s == 7.0


def test_a_search_measures_with_a_budget_of_another_name():
    options = {parameter.name: parameter.opts for parameter in COMMANDS["search"].params}
    assert (options["budget"], options["evaluations"]) == (["--measure-budget"], ["--budget", "-n"])


def test_the_arguments_of_a_job_are_the_fields_of_what_it_wants():
    assert set(Opening.__annotations__) == set(Wanted.__dataclass_fields__)
    assert set(Change.__annotations__) == set(Opening.__annotations__) - {"shapes"}


def test_numbers_that_cannot_be_are_refused_before_anything_is_opened():
    with pytest.raises(InputError, match="--total-budget must be a positive number"):
        groups.Measuring(total_budget=0.0).job_options()


@pytest.mark.parametrize(
    ("given", "budget_s", "most"),
    [
        ({}, 60.0, 20),
        ({"budget": 120.0}, 120.0, 40),
        ({"budget": 30.0}, 30.0, 20),
        ({"fast": True}, 10.0, 5),
        ({"fast": True, "budget": 25.0}, 25.0, 13),
    ],
)
def test_a_larger_budget_allows_more_processes(given: dict[str, float], budget_s: float, most: int):
    settings = groups.Measuring(**given).job_options().settings
    assert (settings.budget_s, settings.max_processes) == (budget_s, most)
