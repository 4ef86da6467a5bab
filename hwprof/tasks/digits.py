"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels.

Small networks reach 99 %, so that only strong changes to a network show.
"""

from __future__ import annotations

import numpy as np

from hwprof import plugins
from hwprof.tasks.classification import Classification
from hwprof.tasks.examples import from_arrays, split

with plugins.optional_library("the task digits"):
    from sklearn.datasets import load_digits

_SHARES = (0.6, 0.2, 0.2)
_DARKEST = 16


def digits(seed: int = 0) -> Classification:
    """inputs: [n, 1, 8, 8], float32, 0 to 1; targets: [n], 0 to 9. The seed decides which examples are in which part:
    1,078 to train, 360 to search and 359 to test."""
    found = load_digits()
    images = (found.images[:, None] / _DARKEST).astype(np.float32)
    train, search, test = split(from_arrays(images, found.target), _SHARES, seed)
    return Classification("digits", train, search, test)
