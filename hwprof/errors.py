"""The errors: one base class; each error carries the exit status of the command line."""

_LONGEST_REASON = 1000  # characters
_LONGEST_TEXT = 1800


class HwprofError(Exception):
    """Base of every error that hwprof raises on purpose. Its text is one line for the user, whatever it quotes."""

    exit_status = 2

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text, _LONGEST_TEXT))


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


def one_line(reason: object, longest: int = _LONGEST_REASON) -> str:
    """The text of another library's error as part of ours: without line breaks, and cut where it quotes a name or a
    value of any length."""
    text = " ".join(str(reason).split())
    return text if len(text) <= longest else f"{text[:longest]} ..."
