"""How it is usually done: one warm-up, 1000 runs, the median. Prints ms. Arguments: plain|torch CORE MODEL.onnx..."""

import os
import sys
from time import perf_counter

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.sched_setaffinity(0, {int(sys.argv[2])})
import numpy as np  # noqa: E402 -- the settings above must stand first
import onnxruntime as ort  # noqa: E402

KINDS = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def opened(path: str) -> tuple[ort.InferenceSession, dict[str, np.ndarray]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, {i.name: np.ones(i.shape, KINDS[i.type]) for i in session.get_inputs()}


def plain(path: str) -> float:
    session, feeds = opened(path)
    session.run(None, feeds)
    times = []
    for _ in range(1000):
        start = perf_counter()
        session.run(None, feeds)
        times.append(perf_counter() - start)
    return float(np.median(times)) * 1e3


def with_torch(path: str) -> float:
    from torch.utils import benchmark

    session, feeds = opened(path)
    timer = benchmark.Timer("session.run(None, feeds)", globals={"session": session, "feeds": feeds})
    return float(timer.blocked_autorange().median) * 1e3


for model in sys.argv[3:]:
    print({"plain": plain, "torch": with_torch}[sys.argv[1]](model))
