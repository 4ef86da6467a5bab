"""The page: verdict first, self-contained, escaped, honest; opened in a real browser where there is one."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hwprof.errors import InputError
from hwprof.measurement import Evidence, Status
from hwprof.report.markdown import profile_markdown
from hwprof.report.page import render_comparison, render_profile

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"br", "circle", "hr", "line", "meta", "path", "polygon", "polyline", "rect"}


class Balance(HTMLParser):
    """Checks that every element is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.ids = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID or (tag in ("rect", "polygon", "circle") and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(measurement, graphs, peaks):
    return render_profile([measurement()], graphs, peaks, "hwprof report small")


def test_the_first_line_holds_the_command_and_the_first_heading_the_verdict(page):
    assert page.splitlines()[0] == "<!doctype html><!-- hwprof report small -->"
    heading = re.search(r"<h1>.*?</h1>", page).group()
    assert re.search(r"small takes 12\.\d+ ms on cpu-1t", heading)
    assert page.index("<h1>") < page.index("<svg")


def test_the_page_is_well_formed_and_its_ids_are_unique(measurement, graphs, peaks):
    parser = Balance()
    parser.feed(render_profile([measurement(), measurement(model="b")], graphs, peaks, "x"))
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)) == 2


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|url\(|@import|https?://""", page)


def test_what_the_user_named_is_escaped(measurement, graphs, peaks):
    made = measurement(model="<script>alert(1)</script>", warnings=("<img src=x>",))
    page = render_profile([made], graphs, peaks, "hwprof --> <b>")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "--> <b>" not in page


def test_every_figure_has_words_for_those_who_do_not_see_it(page):
    images = re.findall(r"<svg[^>]*>", page)
    assert len(images) == 7  # the treemap twice, for wide and for narrow screens
    assert all('role="img"' in i and re.search(r'aria-label="[^"]{20,}"', i) for i in images)


@pytest.mark.parametrize("evidence", [Evidence.ANALYTIC, Evidence.REPLAYED])
def test_a_page_of_times_that_were_not_measured_says_so(measurement, graphs, evidence):
    page = render_profile([measurement(evidence=evidence)], graphs, None, "x")
    assert 'class="verdict caution"' in page
    assert f"<li>{str(evidence).capitalize()}: " in page


def test_a_measurement_that_did_not_converge_is_amber(measurement, graphs):
    page = render_profile([measurement(status=Status.UNSTABLE)], graphs, None, "x")
    assert 'class="verdict caution"' in page
    assert "the machine was disturbed" in page


def test_a_measurement_without_a_block_that_counts_still_makes_a_page(measurement):
    made = measurement(status=Status.INVALID)
    made = replace(made, processes=tuple(replace(p, blocks=()) for p in made.processes))
    page = render_profile([made], {}, None, "x")
    assert 'class="verdict bad"' in page
    assert "nothing to draw" in page


def test_what_is_missing_is_said(measurement):
    page = render_profile([measurement()], {}, None, "x")
    assert "The cost of small is unknown: the graph is not at hand." in page
    assert "peaks were not measured" in page
    assert "Operators were not timed" in render_profile([measurement(operators=())], {}, None, "x")


def test_a_profile_that_profiling_distorted_is_flagged(measurement, graphs):
    assert "read shares with care" in render_profile([measurement(inflation=1.6)], graphs, None, "x")
    assert "read shares with care" not in render_profile([measurement(inflation=1.1)], graphs, None, "x")


def test_several_profiles_are_listed_and_linked(measurement, graphs):
    page = render_profile([measurement(), measurement(model="other")], graphs, None, "x")
    assert re.findall(r'<a href="(#[^"]+)">([^<]+)</a>', page) == [("#profile-0", "small"), ("#profile-1", "other")]


@pytest.mark.parametrize("render", [render_profile, profile_markdown])
def test_what_was_measured_beside_the_latency_is_shown(render, measurement, graphs):
    m = measurement()
    m = replace(m, processes=tuple(replace(p, figures={"cold_device_ns": 1.5e6}) for p in m.processes))
    text = render([m], graphs, None, "hwprof")
    assert "cold device" in text
    assert "1.5 ms" in text


def test_no_measurement_is_an_error():
    with pytest.raises(InputError, match="none was given"):
        render_profile([], {}, None, "x")


def test_a_comparison_shows_the_ratio_and_both_sides(comparison, graphs, peaks):
    page = render_comparison(comparison, graphs, peaks, "hwprof compare a b")
    assert "int8 is faster than fp32: 0.602 × its latency" in re.search(r"<h1>.*?</h1>", page).group()
    assert "Where the difference comes from" in page
    assert page.count('<section id="profile-') == 2


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_browser_opens_the_page_without_an_error(measurement, graphs, peaks, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(render_profile([measurement()], graphs, peaks, "x"), encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert re.search(r"<h1>.*small takes 12\.\d+ ms on cpu-1t.*</h1>", done.stdout)
    assert '<button type="button">share</button>' in done.stdout  # the script ran
