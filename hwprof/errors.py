"""The error family: one base class; the exit status of the command line is part of each error."""


class HwprofError(Exception):
    """Base of every error that hwprof raises on purpose. Its text is one line for the user."""

    exit_status = 2


class InputError(HwprofError):
    """What the user gave cannot be used: a file, a shape, a name, an option."""


class UnknownOperatorError(InputError):
    """An operator has no rule (of cost, of pruning, ...). It is never counted as zero."""


class EnvironmentUnfitError(HwprofError):
    """The machine, as it stands, cannot do what was asked: a library, memory, cores or a lock is missing."""

    exit_status = 3


class NotConvergedError(HwprofError):
    """A measurement ended without reaching its target precision."""

    exit_status = 4


class DeviceLostError(HwprofError):
    """The device, or the worker process on it, went away in the middle of the work."""

    exit_status = 5


class TimeLimitError(DeviceLostError):
    """A worker did not answer in the time that a request may take, and was ended."""
