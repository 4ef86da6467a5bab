"""The command `hwprof`: runs it, and turns every error into one line and the right exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from typer.exceptions import TyperException

from hwprof.cli.app import app
from hwprof.errors import EnvironmentUnfitError, HwprofError

_INTERRUPTED = 130
_INTERRUPTION = "interrupted; the finished measurements are in the store, and the same command continues from there"
_FAILED = 2
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
    try:
        status = int(app(list(arguments), prog_name="hwprof", standalone_mode=False) or 0)
        return _report(_INTERRUPTION, status) if status == _INTERRUPTED else status  # typer swallows Ctrl-C
    except HwprofError as error:
        return _report(str(error), error.exit_status)
    except TyperException as error:
        return _misused(error)
    except KeyboardInterrupt:
        return _report(_INTERRUPTION, _INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 -- the reader has gone: stay quiet
        return 0
    except OSError as error:
        return _report(f"{error.strerror or error}{': ' + str(error.filename) if error.filename else ''}", _FAILED)
    except MemoryError:
        return _report(_NO_MEMORY, EnvironmentUnfitError.exit_status)
    except Exception as error:  # the rim: no traceback reaches a user
        if os.environ.get("HWPROF_DEBUG"):
            raise
        return _report(f"internal error: {type(error).__name__}: {error} ({_HOW_TO_REPORT})", _FAILED)


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
