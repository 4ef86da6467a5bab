"""Writes reports/reliability from the figures of three runs, which take an hour and a half together:

make fuzz FUZZ_SECONDS=3600 FUZZ_SEED=23 && cp build/fuzz/result.json reports/reliability/fuzz.json
python tests/benchmarks/kills.py --kills 200 --out reports/reliability/kills.json
make sanitize > build/sanitize.txt && tail -1 build/sanitize.txt > reports/reliability/sanitize.txt
python tests/benchmarks/reliability.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path("reports/reliability")
COMMAND = "<!-- python tests/benchmarks/reliability.py; its docstring has the commands of the runs -->"


def main() -> None:
    fuzz, kills = (json.loads((FOLDER / name).read_text()) for name in ("fuzz.json", "kills.json"))
    sanitized = (FOLDER / "sanitize.txt").read_text().strip().strip("= ")
    (FOLDER / "README.md").write_text("\n".join([COMMAND, *_page(fuzz, kills, sanitized)]) + "\n")


def _page(fuzz: dict[str, Any], kills: dict[str, Any], sanitized: str) -> list[str]:
    ended = len(kills["ended_with_a_worker"])
    total = sum(kills["kills"].values())
    return [
        "# Files that are broken, and processes that are killed",
        "",
        f"{fuzz['files']:,} changed files: {fuzz['faults']} faults. {total} kills: {kills['rows_lost']} rows lost.",
        "",
        "| tried | how often | result |",
        "| --- | --: | --- |",
        f"| changed files of {fuzz['kinds']} kinds (models, functions, external data, predictors, tables of all "
        f"formats, data sets, stores, devices) in {fuzz['seconds'] / 60:.0f} minutes | {fuzz['files']:,} | "
        f"{fuzz['faults']} that "
        "ended in anything but a result or one line, or took above 20 s |",
        f"| SIGKILL of the command, at a random moment | {kills['kills'].get('command', 0)} | {kills['rows_lost']} of "
        f"{kills['rows_seen']:,} stored processes lost; {kills['completed']} of {kills['jobs']} jobs complete after "
        "their restarts |",
        f"| SIGKILL of a worker | {kills['kills'].get('worker', 0)} | {ended} commands did not go on by themselves |",
        f"| all tests of the kernels, with AddressSanitizer and UBSan | | {sanitized} |",
        "",
        f"The kills took {kills['seconds'] / 60:.0f} minutes on the device {kills['device']}. After each of them every "
        "stored process was still there as it was; at the end nothing was running or left in the temporary folder.",
        *(f"- A command that ended with its worker said: {text}" for text in kills["ended_with_a_worker"]),
    ]


if __name__ == "__main__":
    main()
