"""A benchmark's program in a fresh process, which reads a request and prints an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def answer_of(program: str, request: object) -> Any:
    """What PROGRAM --worker prints, JSON like the request on its standard input. One thread, pinned to the last core
    that this process may use."""
    core = max(os.sched_getaffinity(0))
    run = subprocess.run(
        [sys.executable, program, "--worker"], input=json.dumps(request), capture_output=True, text=True, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}), env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if run.returncode:
        sys.exit(f"a worker failed: {run.stderr.strip().splitlines()[-1:]}")
    return json.loads(run.stdout.splitlines()[-1])
