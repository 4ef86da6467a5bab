"""Whether larger or smaller figures of a metric are better, where a compression depends on it."""

from __future__ import annotations

import re

from hwprof.interfaces import higher_is_better

_ERRORS = {
    "error", "errors", "loss", "mse", "rmse", "mae", "mape", "nll", "perplexity", "wer", "cer", "eer", "fid",
    "divergence", "distance", "deviation",
}  # fmt: skip


def doubt(judge: object, name: str) -> str:
    """A warning about a task, or a metric that is a function, which does not say its direction and whose metric has the
    name of an error; empty otherwise. Raises InputError as `higher_is_better`."""
    words = re.findall(r"[a-z]+", name.lower())
    if not higher_is_better(judge) or hasattr(judge, "higher_is_better") or _ERRORS.isdisjoint(words):
        return ""
    return (
        f"larger figures of the metric {name!r} count as better; if smaller ones are, set its attribute "
        "higher_is_better to False"
    )


def of_key(judge: object) -> dict[str, bool]:
    """The direction as a part of a key, JSON-ready: empty where larger figures are better, as in stores that are older
    than the direction."""
    return {} if higher_is_better(judge) else {"higher_is_better": False}
