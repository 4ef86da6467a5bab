"""Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747), from files that the user has; MNIST's own files do, too.

The files are IDX files with MNIST's names, gzipped or not. Debian has them in the package dataset-fashion-mnist.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.tasks import idx
from hwprof.tasks.classification import Classification
from hwprof.tasks.examples import TensorExamples, from_arrays, split

SIDES = (28, 14)
_SEARCH_SHARE = 1 / 6  # 10,000 of 60,000
_WHITE = 255


def fashion(folder: str | Path, side: int = 28, n: int | None = None, seed: int = 0) -> Classification:
    """inputs: [n, 1, side, side], float32, 0 to 1; targets: [n], 0 to 9.

    The training file's images are divided by the seed: five sixths are to train, one sixth is to search; the files
    t10k-* are to test. side: 28, or 14, where each pixel is the mean of four. n: the number of the training file's
    images to use, chosen by the seed; all where None. Raises InputError for files that are missing or broken, sizes
    that do not fit, and a side or n that is not possible.
    """
    if side not in SIDES:
        raise InputError(f"the images of task fashion have a side of {' or '.join(map(str, SIDES))} pixels, not {side}")
    known, test = (_examples(Path(folder), start) for start in ("train", "t10k"))
    used = len(known) if n is None else n
    if not 2 <= used <= len(known):
        raise InputError(f"task fashion can use 2 to {len(known)} images to train and search, not {n}")
    shares = [share * used / len(known) for share in (1 - _SEARCH_SHARE, _SEARCH_SHARE)]
    train, search, test = (_scaled(part, side) for part in (*split(known, shares, seed), test))
    return Classification("fashion", train, search, test)


def _examples(folder: Path, start: str) -> TensorExamples:
    """inputs: [n, 28, 28], uint8."""
    image_file, label_file = (_found(folder, f"{start}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    images, labels = idx.read(image_file, 3), idx.read(label_file, 1)
    if len(images) != len(labels):
        raise InputError(
            f"{str(image_file)!r} has {len(images)} images and {str(label_file)!r} {len(labels)} labels; "
            "both must be of one set"
        )
    if images.shape[1:] != (SIDES[0], SIDES[0]) or not len(images):
        raise InputError(f"{str(image_file)!r} has images of shape {images.shape}, not (n, {SIDES[0]}, {SIDES[0]})")
    return from_arrays(images, labels)


def _scaled(part: TensorExamples, side: int) -> TensorExamples:
    """Inputs: [n, 28, 28], uint8, to [n, 1, side, side], 0 to 1."""
    assert isinstance(part.inputs, Tensor)
    pixels = part.inputs[:, None] / _WHITE
    return TensorExamples(functional.avg_pool2d(pixels, SIDES[0] // side), part.targets)


def _found(folder: Path, name: str) -> Path:
    found = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if found is None:
        raise InputError(
            f"{str(folder)!r} has no file {name} or {name}.gz; give the folder of Fashion-MNIST's four IDX files "
            "(on Debian: apt install dataset-fashion-mnist; dpkg -L dataset-fashion-mnist shows the folder)"
        )
    return found
