"""The guides in docs/ are followed as they are written: files are made, commands run, Python executed, in page order.

```python            runs, in one session per page
```python FILE.py    is written to FILE.py (so are ```toml FILE, ...)
```sh                runs line by line; `# exit 1` at the end of a line says which status is right
```console           is output to look at: it is not run
other languages      (a yaml or toml block without FILE) are to read: they are not run

Commands may end with status 4 (not converged) where a guide says so: machines that run tests are busy.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_words import FORBIDDEN

ROOT = Path(__file__).parent.parent
GUIDES = sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "ARCHITECTURE.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"\s*# exit (\d+)$")


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, file name and content of each block."""
    for found in _BLOCK.finditer(page.read_text()):
        yield found[1], found[2] or "", found[3]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "140"}


def run(command: str, folder: Path, expected: int) -> None:
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == expected, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def follow(page: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    for language, file, content in blocks(page):
        if file:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        elif language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what hwprof warns a reader of is not an error
                exec(compile(content, str(page), "exec"), names)
        elif language == "sh":
            for line in filter(None, content.replace("\\\n", " ").splitlines()):
                status = _STATUS.search(line)
                run(_STATUS.sub("", line), folder, int(status[1]) if status else 0)


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The current folder. Modules that are imported from it are forgotten, for several guides have a my_space.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.stem)
def test_a_guide_works_as_it_is_written(page, empty_folder):
    follow(page, empty_folder)


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.stem)
def test_a_guide_names_each_file_where_a_reader_sees_it(page):
    """The name in a fence's first line does not show on a rendered page."""
    prose = _BLOCK.sub("", page.read_text())
    assert [file for _, file, _ in blocks(page) if file and f"`{file}`" not in prose] == []


def test_every_guide_runs_something():
    assert len(GUIDES) >= 5
    for page in GUIDES:
        assert any(language in ("python", "sh") for language, _, _ in blocks(page)), page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_documentation_is_written_in_plain_english(page):
    prose = _BLOCK.sub("", page.read_text())
    found = [phrase for phrase in FORBIDDEN if re.search(phrase, prose, re.IGNORECASE)]
    assert found == []


def test_every_link_of_the_documentation_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
