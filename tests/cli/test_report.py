from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hwprof.__main__ import run
from hwprof.data.store import Store
from tests.results import make_result


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds two profiles and a comparison on the analytic device."""
    path = tmp_path_factory.mktemp("measured") / "s.db"
    common = ("--device", "roofline-edge-gpu", "--fast", "--store", str(path))
    assert run(["profile", "bert_tiny", "resnet18", *common]) == 0
    assert run(["compare", "bert_tiny", "resnet18", *common]) == 0
    return path


@pytest.fixture
def store(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of the test's own."""
    capsys.readouterr()
    return Path(shutil.copy(measured, tmp_path / "s.db"))


def report(store: Path, *arguments: object) -> int:
    return run(["report", *map(str, arguments), "--store", str(store)])


def test_the_page_stands_alone_and_says_that_nothing_was_measured(store: Path, tmp_path: Path):
    assert report(store, "-o", tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "bert_tiny" in page
    assert "resnet18" in page
    assert "nalytic" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_json_holds_every_profile_and_only_those_asked_for(store: Path, tmp_path: Path):
    report(store, "-o", tmp_path / "r.json")
    assert [r["model"] for r in json.loads((tmp_path / "r.json").read_text())] == ["bert_tiny", "resnet18"]
    report(store, "resnet18", "-o", tmp_path / "r.json")
    assert [r["model"] for r in json.loads((tmp_path / "r.json").read_text())] == ["resnet18"]


def test_markdown_begins_with_the_verdict(store: Path, tmp_path: Path):
    report(store, "resnet18", "-o", tmp_path / "r.md")
    assert "resnet18 is calculated to take" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_the_last_comparison_has_a_page_of_its_own(store: Path, tmp_path: Path):
    assert report(store, "--comparison", "-o", tmp_path / "c.json") == 0
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == "slower"


def test_a_comparison_of_three_has_a_page_for_each_row(store: Path, tmp_path: Path):
    common = ("--device", "roofline-edge-gpu", "--fast", "--store", str(store))
    assert run(["compare", "resnet18", "bert_tiny", "mobilenet_v2", *common]) == 0
    assert report(store, "--comparison", "-o", tmp_path / "c.md") == 0
    assert sorted(p.name for p in tmp_path.glob("c*.md")) == ["c-2.md", "c.md"]
    assert "mobilenet_v2" in (tmp_path / "c-2.md").read_text(encoding="utf-8")
    assert report(store, "--comparison", "-o", tmp_path / "c.json") == 0
    assert [r["b"]["model"] for r in json.loads((tmp_path / "c.json").read_text())] == ["bert_tiny", "mobilenet_v2"]


def test_a_comparison_takes_no_names(store: Path, capsys: pytest.CaptureFixture[str]):
    assert report(store, "resnet18", "--comparison") == 2
    assert "leave out the models" in capsys.readouterr().err


def test_the_trace_holds_the_kernels_of_an_inference(store: Path, tmp_path: Path):
    assert report(store, "bert_tiny", "-o", tmp_path / "r.html", "--trace", tmp_path / "t.json") == 0
    names = {e.get("name") for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"]}
    assert any(str(name).startswith("MatMul") for name in names)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing-of-the-kind"], "holds no matching measurement"),
        (["-o", "r.pdf"], "a report is an .html, .md or .json file, not 'r.pdf'"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
):
    assert report(store, *arguments) == 2
    assert told in capsys.readouterr().err


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert report(tmp_path / "missing.db") == 2
    assert "there is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def with_results(tmp_path: Path) -> Path:
    path = tmp_path / "r.db"
    with Store(path) as opened:
        opened.add_result(make_result(5.0, 6.0))
        opened.add_result(make_result(7.0, 6.0, model="other"))
    return path


def test_results_have_a_page_of_their_own(with_results: Path, tmp_path: Path):
    assert report(with_results, "--results", "-o", tmp_path / "r.html") == 0
    assert "1 of 2 networks meets its latency target" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert report(with_results, "--results", "-o", tmp_path / "r.md") == 0
    assert "| prune" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_results_of_a_model_can_be_asked_for(with_results: Path, tmp_path: Path):
    assert report(with_results, "other", "--results", "-o", tmp_path / "r.json") == 0
    assert [(r["model"], r["met"]) for r in json.loads((tmp_path / "r.json").read_text())] == [("other", "no")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing", "--results"], "holds no matching result"),
        (["--results", "-d", "phone"], "there is no result for device 'phone'; known: d"),
        (["--results", "--comparison"], "leave out the models and --results"),
    ],
)
def test_results_that_are_not_there_are_one_line(with_results: Path, capsys, arguments, told):
    assert report(with_results, *arguments) == 2
    assert told in capsys.readouterr().err
