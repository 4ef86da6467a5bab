"""The two forms in which a contract states a rule: a condition with its text, and a call that must be refused."""

from __future__ import annotations

from collections.abc import Callable

from hwprof.errors import InputError


def require(condition: bool, text: str) -> None:
    """Raises AssertionError with the text unless the condition holds."""
    if not condition:
        raise AssertionError(text)


def require_refusal(call: Callable[[], object], what: str) -> None:
    """Raises AssertionError unless the call raises InputError, in one line."""
    try:
        call()
    except InputError as error:
        require("\n" not in str(error).strip(), f"the error about {what} has more than one line: {error}")
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__} instead of InputError: {error}") from error
    else:
        raise AssertionError(f"{what} was accepted")
