"""Writes small files in the formats that the tasks read."""

import gzip
import struct
import wave
from pathlib import Path

import numpy as np

SHARED = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)


def idx(array, magic=None):
    header = magic or bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def fashion_like(folder, n_train=12, n_test=4, packed=True):
    """Each image's upper left pixel is its number; the others are random."""
    rng = np.random.default_rng(0)
    for start, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        images[:, :2, :2] = np.arange(n)[:, None, None]
        labels = (np.arange(n) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            name = f"{start}-{kind}-ubyte"
            (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (
                (folder / name).write_bytes(content)
            )
    return folder


def recording(path, hz=440.0, rate=8000, seconds=0.3, channels=1):
    times = np.arange(int(rate * seconds)) / rate
    tone = (8000 * np.sin(2 * np.pi * hz * times)).astype("<i2").repeat(channels)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(channels)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(tone.tobytes())
