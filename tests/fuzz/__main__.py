"""`python -m tests.fuzz SECONDS [SEED [KIND]]`: changes and reads files, and lists the faults; build/fuzz/result.json
holds the figures."""

from __future__ import annotations

import json
import sys
import time
import warnings
from itertools import count
from pathlib import Path

from tests.fuzz.fuzzing import faults
from tests.fuzz.kinds import every

FOLDER = Path("build") / "fuzz"


def main(seconds: float, seed: int, name: str = "") -> int:
    """The number of files that were faults. They are kept in build/fuzz."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in every(FOLDER) if name in kind.name]
    end, files, found = time.monotonic() + seconds, 0, 0
    for fault in faults(kinds, (f"{seed}-{i}" for i in count()), FOLDER):
        files += 1
        if fault:
            found += 1
            sys.stdout.write(f"{fault.file}: {fault.problem}\n")
            sys.stdout.flush()
        if time.monotonic() > end:
            break
    record = {"files": files, "kinds": len(kinds), "seconds": seconds, "seed": seed, "faults": found}
    (FOLDER / "result.json").write_text(json.dumps(record) + "\n")
    sys.stdout.write(f"{files:,} files of {len(kinds)} kinds in {seconds:.0f} s, seed {seed}: {found} faults\n")
    return found


if __name__ == "__main__":
    arguments = sys.argv[1:]
    seconds, seed, name = [*arguments, *("60", "0", "")[len(arguments) :]]
    sys.exit(bool(main(float(seconds), int(seed), name)))
