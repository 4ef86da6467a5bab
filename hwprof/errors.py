"""The errors: one base class; each error carries the exit status of the command line."""


class HwprofError(Exception):
    """Base of every error that hwprof raises on purpose. Its text is one line for the user."""

    exit_status = 2


class InputError(HwprofError):
    """The user's input cannot be used: a file, a shape, a name, an option."""


class UnknownOperatorError(InputError):
    """An operator is not supported (by the cost rules, by pruning, ...). It is never counted as zero."""


class EnvironmentUnfitError(HwprofError):
    """The machine lacks something that was asked for: a library, memory, cores or a lock."""

    exit_status = 3


class MachineBusyError(EnvironmentUnfitError):
    """Another hwprof is measuring on the machine."""


class NotConvergedError(HwprofError):
    """A measurement ended without reaching its target precision."""

    exit_status = 4


class DeviceLostError(HwprofError):
    """The device, or the worker process on it, was lost during the work."""

    exit_status = 5


class TimeLimitError(DeviceLostError):
    """A worker did not answer in the time that a request may take, and was ended."""
