"""Builds HTML and SVG; any text that is not `Markup` is escaped.

2026-11-20, no template engine. The pages have one author and few loops. Plain functions are typed, are tested like any
other and cannot forget to escape. The alternative was Jinja2: one more dependency on a small ARM board, for markup that
is far from the data it shows.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

_VOID = frozenset({"br", "circle", "col", "hr", "line", "meta", "path", "polygon", "polyline", "rect"})
_SVG_VOID = _VOID - {"br", "col", "hr", "meta"}


class Markup(str):
    """Text that is already HTML or SVG."""

    __slots__ = ()


Child: TypeAlias = str | None
Attribute: TypeAlias = str | float | None


def element(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """`<tag ...>children</tag>`. A child or attribute that is None is left out.

    In attribute names `_` represents `-`, and one at the end is dropped (`class_`). Numbers are written with at most
    two decimals, enough for pixels.
    """
    head = tag + "".join(_attribute(name, value) for name, value in attributes.items() if value is not None)
    inner = join(children)
    if not inner and tag in _VOID:
        return Markup(f"<{head}/>" if tag in _SVG_VOID else f"<{head}>")
    return Markup(f"<{head}>{inner}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """The children in sequence, with text escaped."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children if c is not None))


def comment(text: str) -> Markup:
    """A comment; two adjacent hyphens, which would end it, are separated."""
    return Markup(f"<!-- {html.escape(text, quote=False).replace('--', '- -')} -->")


def number(value: float) -> str:
    """At most two decimals, and none where they are zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def _attribute(name: str, value: str | float) -> str:
    text = value if isinstance(value, str) else number(value)
    return f' {name.rstrip("_").replace("_", "-")}="{html.escape(text)}"'
