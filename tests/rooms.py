"""Draws the rooms of hwprof: their lines, the arrows between them, and cycles of files.

python -m tests.rooms                  # as text
python -m tests.rooms docs/rooms.svg   # as a drawing, too
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path

from tests.imports import PACKAGE, arrows, cycles, floors, modules, room

SOURCES = frozenset({".py", ".cpp", ".c", ".h", ".inl", ".css", ".js"})
_WIDTH, _ROW, _BOX, _TOP = 1180, 84, 46, 20
_SHIFTS = (0, 0.1, -0.1, 0.2, -0.2)
_STYLE = """
text { font: 13px sans-serif; fill: #222 } .lines { font-size: 11px; fill: #666 }
rect { fill: #eef3fa; stroke: #456 } path { fill: none; stroke: #456; stroke-opacity: .35 }
path:hover { stroke: #c30; stroke-opacity: 1; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #eee } .lines { fill: #aaa } rect { fill: #223; stroke: #9ab } path { stroke: #9ab }
}
"""


def lines_by_room() -> dict[str, int]:
    """Lines of source in each room, C++ and the page's style included."""
    lines: dict[str, int] = {}
    for path in PACKAGE.rglob("*"):
        if path.suffix in SOURCES:
            name = path.relative_to(PACKAGE).with_suffix("").parts[0]
            lines[name] = lines.get(name, 0) + len(path.read_bytes().splitlines())
    return lines


def arrows_by_room(by_module: Mapping[str, set[str]]) -> dict[tuple[str, str], int]:
    """How many imports lead from one room to another."""
    counts: dict[tuple[str, str], int] = {}
    for module, imported in by_module.items():
        for other in imported:
            pair = room(module), room(other)
            if pair[0] != pair[1] and "__init__" not in pair:
                counts[pair] = counts.get(pair, 0) + 1
    return counts


def text(lines: Mapping[str, int], counts: Mapping[tuple[str, str], int], found: list[list[str]]) -> str:
    rows = []
    for number, rooms in reversed(list(enumerate(floors()))):
        for name in sorted(rooms & lines.keys()):
            below = sorted(((n, other) for (own, other), n in counts.items() if own == name), reverse=True)
            share = f"{lines[name] / sum(lines.values()):.0%}"
            imports = ", ".join(f"{other} {n}" for n, other in below)
            rows.append(f"{number:3} {name:14} {lines[name]:6} lines {share:>4}  -> {imports or 'nothing'}")
    return "\n".join([*rows, f"cycles: {found or 'none'}"])


def drawing(lines: Mapping[str, int], counts: Mapping[tuple[str, str], int]) -> str:
    """An SVG: a row for each floor, the highest at the top; arrows are as wide as they have imports. Every room imports
    the facts on floor 0: those arrows are left out."""
    facts, *higher = floors()
    rows = [sorted(rooms & lines.keys()) for rooms in reversed(higher)]
    rows = [row for row in rows if row]
    boxes = {}
    for y, row in enumerate(rows):
        step = _WIDTH / len(row)
        shift = _SHIFTS[y % len(_SHIFTS)] * step  # so that arrows do not run through the boxes between
        for x, name in enumerate(row):
            boxes[name] = (step * (x + 0.5) + shift, _TOP + y * _ROW, min(step - 8, 150))
    height = _TOP + (len(rows) + 1) * _ROW
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"><style>{_STYLE}</style>']
    for (own, other), n in sorted(counts.items()):
        if other in facts:
            continue
        (x1, y1, _), (x2, y2, _) = boxes[own], boxes[other]
        start, end = (y1 + _BOX, y2) if y1 < y2 else (y1 + _BOX / 2, y2 + _BOX / 2)
        middle = (start + end) / 2 if y1 < y2 else start + _BOX
        shape = f"M{x1:.0f},{start:.0f} C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{end:.0f}"
        parts.append(
            f'<path d="{shape}" stroke-width="{1 + n**0.5 / 2:.1f}"><title>{own} imports {other}: {n}</title></path>'
        )
    for name, (x, y, width) in boxes.items():
        parts.append(
            f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{_BOX}" rx="5"/>'
            f'<text x="{x:.0f}" y="{y + 19}" text-anchor="middle">{escape(name)}</text>'
            f'<text class="lines" x="{x:.0f}" y="{y + 36}" text-anchor="middle">{lines[name]} lines</text>'
        )
    total = sum(lines.get(name, 0) for name in facts)
    parts.append(
        f'<rect x="8" y="{height - _ROW + _TOP}" width="{_WIDTH - 16}" height="{_BOX}" rx="5"/>'
        f'<text x="{_WIDTH / 2}" y="{height - _ROW + _TOP + 19}" text-anchor="middle">'
        f"{', '.join(sorted(facts))}</text>"
        f'<text class="lines" x="{_WIDTH / 2}" y="{height - _ROW + _TOP + 36}" text-anchor="middle">{total} lines'
        "</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str]) -> None:
    by_module = arrows(modules())
    lines, counts = lines_by_room(), arrows_by_room(by_module)
    print(text(lines, counts, cycles(by_module)))
    for path in arguments:
        Path(path).write_text(drawing(lines, counts))


if __name__ == "__main__":
    main(sys.argv[1:])
