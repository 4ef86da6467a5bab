"""The learning curve of a predictor as a figure: error over the number of networks in the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def draw(path: Path, mape_by_seed: Mapping[int, Sequence[float]], title: str, noise_floor: float | None = None) -> None:
    """mape_by_seed: by training size, the MAPE of each training set, percent. The band spans the best and the worst of
    them."""
    sizes = list(mape_by_seed)
    mape = np.array(list(mape_by_seed.values()))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(sizes, mape.min(axis=1), mape.max(axis=1), alpha=0.2, linewidth=0)
    axes.plot(sizes, mape.mean(axis=1), "o-")
    if noise_floor is not None:
        axes.axhline(noise_floor, linestyle="--", color="gray")
        axes.annotate("noise floor", (sizes[0], noise_floor), xytext=(0, 3), textcoords="offset points", color="gray")
    axes.set(xscale="log", xlabel="networks in the training set", ylabel="MAPE (%)", title=title)
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
