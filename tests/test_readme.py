"""What the README promises is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwprof.__main__ import run

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(TEXT.split()) <= 1000


def test_the_table_of_devices_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HWPROF_DEVICES", raising=False)
    assert run(["devices", "--by", "backend", "--format", "md"]) == 0
    table = TEXT.split("<!-- hwprof devices --by backend --format md -->\n")[1].split("<!-- end -->")[0]
    assert table == capsys.readouterr().out


def test_every_link_leads_somewhere():
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in t]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_every_command_that_it_names_exists():
    named = set(re.findall(r"(?:`|\$ |> )hwprof ([a-z]+)", TEXT))
    shown = subprocess.run([sys.executable, "-m", "hwprof", "--help"], capture_output=True, text=True, check=True)
    assert all(re.search(rf"^  {name}\b", shown.stdout, re.M) for name in named), named


def test_make_has_both_commands():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:", makefile, re.M)
    assert re.search(r"^test:", makefile, re.M)
