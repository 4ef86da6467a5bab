"""Docstrings, comments and messages are plain English: a list of phrases that a native engineer would not write."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports import ROOT, modules, room

PACKAGE = modules()["hwprof"].parent
FORBIDDEN = {
    r"(?<!there )\b(is|are|was|were) no\b(?! (longer|more|less|fewer))": "is not a, has no, there is no",
    r"\b(stands?|stood)\b(?! (for|in for)\b)(?!-)": "is, are, was",
    r"\b(lie|lies|lay)\b(?! (in [\[(]|between|within|outside|above|below))": "is, are, was",
    r"\bbehind\b": "after, from, follows",
    r"\bbeside\b": "besides, next to, in addition to, compared with",
    r"\bthat which\b": "the noun itself",
    r"\b(have|has|be|of|for|with) such\b(?! (an?|as)\b)(?=[.,;:)]|$)": "the noun itself",
    r"\bas (it|they) (is|are|stands?)(?=[.,;:\"]|$)": "unchanged, as written",
    r"\b(is|are|was|were) of (\d+|one|two|type|an?|another|the) ": "has, is a",
    r"\bof one (shape|size|length|rank)\b": "of the same shape",
    r"\bbelow (two|three|four|five)\b(?! (thirds|fifths))": "fewer than two",
    r"\bknows? no\b": "does not know, has no",
    r"\ball the same\b": "nevertheless",
    r"\bin the way of\b": "like, as in",
    r"\bwarns? of\b": "warns about",
    r"\bso many\b": "this many",
    r"\belse than\b": "other than",
    r"\bbesides(?=[.;)])": "in addition",
    r"\bmeans? something\b": "is meaningful",
    r"\b(mend(s|ed|ing)?|anew)\b": "fix; again",
}
FIRST_WORDS = r"(Of|What|That which|Those|As) "  # that a docstring does not begin with
ALLOWED: dict[str, set[str]] = {}  # path in hwprof/: lines, stripped, in which such a phrase is right
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("CONTRIBUTING.md")]
ROOMS = sorted({room(module) for module in modules()})


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of every comment and of every string literal with more than one word."""
    with tokenize.open(path) as stream:
        for token in tokenize.generate_tokens(stream.readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
                yield from enumerate(token.string.splitlines(), token.start[0])


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of every docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def prose(markdown: str) -> Iterator[str]:
    """The paragraphs of a guide, each as one line, without its code."""
    without_code = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`]+`", "", markdown)
    return (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", without_code))


def faults(path: Path) -> Iterator[str]:
    """One line for each place: file, line number, text, and the words to use instead."""
    name = path.relative_to(PACKAGE).as_posix()
    for number, line in texts(path):
        if line.strip() not in ALLOWED.get(name, ()):
            for pattern, better in FORBIDDEN.items():
                if found := re.search(pattern, line, re.IGNORECASE):
                    yield f"hwprof/{name}:{number}: {found[0]!r} in {line.strip()!r}; write: {better}"
    for number, text in docstrings(path):
        if found := re.match(FIRST_WORDS, text):
            yield f"hwprof/{name}:{number}: a docstring begins with {found[1]!r}; name the thing that is described"


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_is_written_in_plain_english(name: str):
    found = [fault for module, path in modules().items() if room(module) == name for fault in faults(path)]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ['"""Of a Relu or Clip."""', '"""What a rule is given."""', "# it is no matrix", 'f"its result is of 16 bits"',
     "# the table lies in memory", "# the word that stands before it", "# one behind the other",
     "# tensors of one shape", '"""Raises InputError below two networks."""', "# it warns of what is lost"],
)  # fmt: skip
def test_a_bad_phrase_is_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.test_words.PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text(f"{line}\n")
    assert [fault.split(":")[1] for fault in faults(tmp_path / "module.py")] == ["1"]


@pytest.mark.parametrize(
    "line",
    ["# there is no cache", "# it is no longer read", "# what each integer stands for", "# x lies in [0, 1)",
     '"""Whether it is a matrix."""', "# tensors of one batch", "# below two thirds"],
)  # fmt: skip
def test_plain_words_are_not_faults(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.test_words.PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text(f"{line}\n")
    assert list(faults(tmp_path / "module.py")) == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_a_guide_is_written_in_plain_english(path: Path):
    found = [
        match[0] for text in prose(path.read_text()) for p in FORBIDDEN for match in [re.search(p, text, re.I)] if match
    ]
    assert found == []


def test_an_allowed_line_is_still_there():
    for name, lines in ALLOWED.items():
        assert lines <= {line.strip() for line in (PACKAGE / name).read_text().splitlines()}, name
