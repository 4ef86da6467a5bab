"""The staircase of a latency table over one attribute, as a figure."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import title
from hwprof.latency_table.table import LatencyTable


def plot_steps(table: LatencyTable, path: str | Path, attribute: str, op: str, **key: Attribute) -> Path:
    """Writes the figure in the format of the path's suffix. Raises InputError for an unknown attribute or key."""
    points, ms = table.steps(attribute, op, **key)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    # A value between two grid points runs at the speed of the next one that covers it.
    rounds = {a.name: a.rounds for a in table.numeric}[attribute]
    axes.step(points, ms, where="pre" if rounds == "up" else "post")
    axes.plot(points, ms, "o", markersize=3)
    axes.set(xlabel=attribute, ylabel="latency (ms)", title=f"{title(op, key)} on {table.metadata.device}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
    return Path(path)
