"""Tasks, one per file: examples, a loss and a metric. `load` finds them by name (entry point group `hwprof.tasks`).

A task of your own is any object with the members of `hwprof.interfaces.Task`; for labelled data, fill in
`Classification` (arrays, tensors, Datasets and DataLoaders all do):

    from hwprof.tasks import Classification

    def task():
        images, labels = ...
        return Classification("mine", train=(images[200:], labels[200:]), search=(images[100:200], labels[100:200]),
                              test=(images[:100], labels[:100]))

and name it `package.module:task` or `file.py:task`.
"""

from __future__ import annotations

import inspect
from typing import Any

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Task

with plugins.optional_library("a task"):
    from hwprof.tasks.classification import Classification
    from hwprof.tasks.examples import DatasetExamples, LoaderExamples, TensorExamples, as_examples

__all__ = ["Classification", "DatasetExamples", "LoaderExamples", "TensorExamples", "as_examples", "load"]

_MEMBERS = ("name", "metric_name", "examples", "loss", "metric")


def load(reference: str, **options: Any) -> Task:
    """The task of that name; `NAME:FOLDER` is short for `load(NAME, folder=FOLDER)`.

    reference: a name among `hwprof.plugins.names("task")`, or PACKAGE.MODULE:OBJECT or FILE.py:OBJECT, where the object
    is a task, or a function or class that returns one. Raises InputError for an unknown name or option, and for an
    object that is not a task.
    """
    name, _, folder = reference.partition(":")
    if ":" not in reference or name in plugins.names("task"):
        made = plugins.load("task", name)
        options = {**options, "folder": folder} if folder else options
    else:
        made = plugins.user_object(reference)
    if isinstance(made, type) or _missing(made):
        made = _called(reference, made, options)
    elif options:
        raise InputError(f"{reference!r} is a task that takes no options, but {', '.join(options)} was given")
    return _checked(reference, made)


def _called(reference: str, make: Any, options: dict[str, Any]) -> Any:
    """Raises InputError for options that the object does not take."""
    if not callable(make):
        return make
    signature = inspect.signature(make)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise InputError(f"task {reference!r}: {error}; its options: {', '.join(signature.parameters)}") from None
    return make(**options)


def _checked(reference: str, task: Any) -> Task:
    missing = _missing(task)
    if missing:
        given = f"task {reference!r} is a {type(task).__name__} without {', '.join(missing)}"
        raise InputError(f"{given}; a task has {', '.join(_MEMBERS)}")
    found: Task = task
    return found


def _missing(task: Any) -> list[str]:
    return [member for member in _MEMBERS if not hasattr(task, member)]
