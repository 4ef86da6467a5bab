"""How it is usually done, 20 lines: one warm-up, 1000 runs, the median. Prints ms. Arguments: MODEL.onnx CORE [torch]."""

import os
import sys
from time import perf_counter

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.sched_setaffinity(0, {int(sys.argv[2])})
import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
feeds = {i.name: np.ones(i.shape, kinds[i.type]) for i in session.get_inputs()}
if sys.argv[3:] == ["torch"]:
    from torch.utils import benchmark

    timer = benchmark.Timer("session.run(None, feeds)", globals={"session": session, "feeds": feeds})
    print(timer.blocked_autorange().median * 1e3)
else:
    session.run(None, feeds)
    times = []
    for _ in range(1000):
        start = perf_counter()
        session.run(None, feeds)
        times.append(perf_counter() - start)
    print(np.median(times) * 1e3)
