"""The program that runs under emulation: opens models with ONNX Runtime and marks the begin and end of each inference.

It does not import hwprof: the emulated root holds only NumPy and ONNX Runtime. For each byte on standard input, a fork
of the process that has loaded the runtime connects to `socket` in its folder. The first line sent there says what to
open: {"model": FILE, "inputs": FILE, "level": ..., "dimensions": {...}}. So every model starts in the same state: other
models leave no trace in the process that is forked.

    python guest.py MARKER

2026-11-21, why the clock is stopped. ONNX Runtime reads the clock in every inference, and every few seconds it adds up
its statistics, which takes about a hundred more instructions: under a slow emulator that hit one inference and not
another.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import signal
import socket
import struct
import sys
from typing import Any

import numpy as np
import onnxruntime

_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_PAGE = 4096
_NOUGHT = (0xA9007C3F, 0x52800000, 0xD65F03C0)  # stp xzr, xzr, [x1]; mov w0, #0; ret


def session_of(model: str, level: str, dimensions: dict[str, int]) -> onnxruntime.InferenceSession:
    """A session with the settings of hwprof's ONNX Runtime backend, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = _LEVELS[level]
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, size in dimensions.items():
        options.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def serve(marker: int) -> None:
    """Answers {"count": n} with the counts before and after each of n inferences and one empty run, as the plugin
    writes them, and {"save": FILE} by writing the outputs to that file; a line of JSON ends each answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("socket")
        lines = connection.makefile(encoding="utf-8")
        try:
            request = json.loads(lines.readline())
            session = session_of(request["model"], request["level"], request["dimensions"])
            binding = session.io_binding()
            bound = {k: onnxruntime.OrtValue.ortvalue_from_numpy(v) for k, v in np.load(request["inputs"]).items()}
            for name, value in bound.items():
                binding.bind_ortvalue_input(name, value)
            for output in session.get_outputs():
                binding.bind_output(output.name, "cpu")
            answer(connection, {"open": True})
            for line in lines:
                obey(json.loads(line), session, binding, connection, marker)
        except Exception as error:  # noqa: BLE001 -- whatever a runtime throws is one line
            answer(connection, {"error": str(error)})


def obey(
    command: dict[str, Any],
    session: onnxruntime.InferenceSession,
    binding: onnxruntime.IOBinding,
    connection: socket.socket,
    marker: int,
) -> None:
    """Executes one command."""
    mark, fd = ctypes.CDLL(None).prctl, connection.fileno()
    if "save" in command:
        session.run_with_iobinding(binding)
        names = [output.name for output in session.get_outputs()]
        np.savez(command["save"], **dict(zip(names, binding.copy_outputs_to_cpu(), strict=True)))
    if "count" in command:
        for _ in range(command["count"]):
            mark(marker, fd)
            session.run_with_iobinding(binding)
            mark(marker, fd)
        mark(marker, fd)
        mark(marker, fd)
    answer(connection, {"done": True})


def answer(connection: socket.socket, record: dict[str, object]) -> None:
    """Sends one line, unbuffered, since the plugin writes to the same connection."""
    connection.sendall((json.dumps(record) + "\n").encode())


def stop_clock() -> None:
    """From now on the time is the start of 1970 for everything in this process."""
    libc = ctypes.CDLL(None)
    code = struct.pack("<3I", *_NOUGHT)
    address = ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value
    assert address is not None  # it is a function
    page = address & -_PAGE
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(address - page + len(code)), everything):
        raise OSError("the C library's code cannot be changed")
    ctypes.memmove(address, code, len(code))


def main() -> None:
    """Serves until standard input ends."""
    stop_clock()
    gc.disable()  # a collection would run in one inference and not in another
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while os.read(0, 1):
        if os.fork() == 0:
            try:
                serve(int(sys.argv[1]))
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()
