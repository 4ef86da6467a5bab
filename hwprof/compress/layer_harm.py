"""The harm of each change of each layer, kept in a file: a compression that goes on does not measure it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from hwprof.compress.choice import Choice
from hwprof.compress.outputs import Judge
from hwprof.compress.rewriting import Rewriting
from hwprof.files import write_text

_FIRST = 3  # changes, of which the time of all is estimated


class LayerHarm:
    """The harm of a layer's choices, each measured once; that of a rank and of 8 bits adds up.

    path: of the file, whose name holds everything that the harms depend on.
    """

    def __init__(self, rewriting: Rewriting, judge: Judge, path: Path) -> None:
        self._rewriting, self._judge, self._path = rewriting, judge, path
        self._found = _kept(path)

    def measure(
        self,
        changes: Collection[tuple[str, Choice]],
        tell: Callable[[str], None],
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """Measures those that are not known yet. tell: is told how many, and after the first how long they take;
        on_step: which one is measured."""
        left = [change for change in changes if _key(*change) not in self._found]
        known = f" ({len(changes) - len(left)} are known from before)" if len(left) < len(changes) else ""
        tell(f"measures the error of {len(left)} changes of {len({layer for layer, _ in changes})} layers{known}")
        start = monotonic()
        for number, (layer, choice) in enumerate(left, 1):
            on_step(f"error of outputs of change {number} of {len(left)}")
            self._measured(layer, choice)
            if number == _FIRST:
                tell(f"the errors take about {len(left) / number * (monotonic() - start):.0f} s")

    def of(self, layer: str, choice: Choice) -> float:
        """The sum over the choice's fields."""
        return sum(self._measured(layer, one) for one in singles(choice))

    def _measured(self, layer: str, choice: Choice) -> float:
        key = _key(layer, choice)
        if key not in self._found:
            self._found[key] = self._judge.harm(self._rewriting.network({layer: choice}))
            write_text(self._path, json.dumps(self._found))
        return self._found[key]


def singles(choice: Choice) -> list[Choice]:
    """The choice, one field each."""
    return [Choice(**{name: value}) for name, value in asdict(choice).items() if value is not None]


def _key(layer: str, choice: Choice) -> str:
    return json.dumps([layer, {name: value for name, value in asdict(choice).items() if value is not None}])


def _kept(path: Path) -> dict[str, float]:
    """The harms in the file, by change; empty where there is none, or it is damaged."""
    try:
        return {str(key): float(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
