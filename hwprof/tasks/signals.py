"""A synthetic set of 1-D signals, made from a seed in a moment and learned in seconds: for tests.

As in MNIST-1D (Greydanus & Kobak, arXiv 2011.14439), each class has a template, which is scaled, moved along
the signal and sheared, and has noise added. The templates here are drawn, too.
"""

from __future__ import annotations

import numpy as np

from hwprof.errors import InputError
from hwprof.tasks.classification import Classification
from hwprof.tasks.examples import from_arrays, split

_SHARES = (0.6, 0.2, 0.2)
_KNOTS = 8  # of a template
_TEMPLATE = 0.5  # share of the signal that a template covers
_SHEAR = 0.3
_NOISE = 0.25


def signals(n: int = 4000, length: int = 40, n_classes: int = 10, seed: int = 0) -> Classification:
    """inputs: [n, 1, length], float32, about -2 to 2, without a unit; targets: [n], 0 to n_classes - 1.

    60 % of the n examples are to train, 20 % to search and 20 % to test. Raises InputError for sizes that are too
    small.
    """
    if n < 10 or length < 2 * _KNOTS or n_classes < 2:
        raise InputError(
            f"signals need n >= 10, length >= {2 * _KNOTS} and n_classes >= 2, not {n}, {length} and {n_classes}"
        )
    rng = np.random.default_rng(seed)
    templates = _templates(rng, n_classes, round(_TEMPLATE * length))
    labels = rng.permutation(np.arange(n) % n_classes)
    inputs = np.stack([_signal(rng, templates[label], length) for label in labels])
    train, search, test = split(from_arrays(inputs[:, None].astype(np.float32), labels), _SHARES, seed)
    return Classification("signals", train, search, test)


def _templates(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    """[n, width], piecewise linear, each with mean 0 and largest size 1."""
    knots = rng.standard_normal((n, _KNOTS))
    places = np.linspace(0, _KNOTS - 1, width)
    drawn = np.stack([np.interp(places, np.arange(_KNOTS), of_class) for of_class in knots])
    drawn -= drawn.mean(axis=1, keepdims=True)
    return np.asarray(drawn / np.abs(drawn).max(axis=1, keepdims=True))


def _signal(rng: np.random.Generator, template: np.ndarray, length: int) -> np.ndarray:
    """template: [width]. Returns [length]."""
    found = rng.normal(0, _NOISE, length) + rng.uniform(-_SHEAR, _SHEAR) * np.linspace(-1, 1, length)
    start = rng.integers(0, length - len(template) + 1)
    found[start : start + len(template)] += rng.uniform(0.6, 1.4) * template
    return np.asarray(found)
