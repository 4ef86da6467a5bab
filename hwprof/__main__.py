"""The command `hwprof`: runs it, and turns every error into one line and the right exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

_INTERRUPTED = 130
try:
    from typer.exceptions import TyperException
    from typer.main import get_command

    from hwprof.cli.app import app
    from hwprof.errors import EnvironmentUnfitError, HwprofError
except KeyboardInterrupt:  # these take half a second
    sys.stderr.write("hwprof: interrupted\n")
    raise SystemExit(_INTERRUPTED) from None

_RESUMED = "; the finished measurements are in the store, and the same command continues from there"
_FAILED = 2
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NO_MEMORY = "there is not enough memory for this; end other programs, or give fewer or smaller files"
_HOW_TO_REPORT = (
    "this is a fault of hwprof, not of what you gave it; please report it with the command, its files, "
    "`hwprof --version` and the traceback that HWPROF_DEBUG=1 prints"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0 done, 1 a gate failed, 2 usage or bad input, 3 environment unfit, 4 not converged, 5 device lost."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """The exit status."""
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()  # None where the caller closed them
    try:
        status = int(app(list(arguments), prog_name="hwprof", standalone_mode=False) or 0)
        sys.stdout.flush()  # here, where an error is told, and not when Python ends
        return _interrupted(arguments) if status == _INTERRUPTED else status  # typer swallows Ctrl-C
    except HwprofError as error:
        return _report(str(error), error.exit_status)
    except TyperException as error:
        return _misused(error)
    except KeyboardInterrupt:
        return _interrupted(arguments)
    except (BrokenPipeError, SystemExit) as error:  # typer exits where the reader of the output has gone: stay quiet
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _write_no_more()
        return 0
    except OSError as error:
        _write_no_more()
        place = f": {error.filename}" if error.filename else ""
        is_unfit = error.errno in _OF_DISKS
        return _report(f"{error.strerror or error}{place}", EnvironmentUnfitError.exit_status if is_unfit else _FAILED)
    except MemoryError:
        return _report(_NO_MEMORY, EnvironmentUnfitError.exit_status)
    except Exception as error:  # the rim: no traceback reaches a user
        if os.environ.get("HWPROF_DEBUG"):
            raise
        return _report(f"internal error: {type(error).__name__}: {error} ({_HOW_TO_REPORT})", _FAILED)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 -- a device, no file


def _write_no_more() -> None:
    """Drops the rest of the buffer where it cannot be written: Python would try again when it ends, and tell of it."""
    with suppress(OSError, ValueError):  # a test's output has no descriptor
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(arguments: Sequence[str]) -> int:
    command: Any = get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    is_resumed = {"store", "fresh"} <= {parameter.name for parameter in command.params}
    return _report(f"interrupted{_RESUMED if is_resumed else ''}", _INTERRUPTED)


def _misused(error: TyperException) -> int:
    """Says what is wrong with the arguments and whose help to read; of a command without any, shows that help."""
    context, text = getattr(error, "ctx", None), error.format_message()
    if context is not None and text == context.get_help():
        sys.stderr.write(f"{text}\n")
        return error.exit_code
    command = "hwprof" if context is None else context.command_path
    return _report(f"{text} (see {command} --help)", error.exit_code)


def _report(text: str, status: int) -> int:
    sys.stderr.write(f"hwprof: {' '.join(text.split())}\n")
    return status


if __name__ == "__main__":
    main()
