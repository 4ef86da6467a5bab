"""The report as Markdown."""

from dataclasses import replace

from hwprof.report.markdown import comparison_markdown, profile_markdown


def test_the_command_stands_first_and_the_verdict_next(measurement, graphs, peaks):
    lines = profile_markdown([measurement()], graphs, peaks, "hwprof report small").splitlines()
    assert lines[0] == "<!-- hwprof report small -->"
    assert lines[2].startswith("# small takes 12.")
    assert lines[2].endswith("ms on cpu-1t")


def test_every_row_of_a_table_has_the_width_of_its_head(measurement, graphs, peaks):
    text = profile_markdown([measurement(), measurement(model="a|b")], graphs, peaks, "x")
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1


def test_names_cannot_act_as_markup(measurement, graphs):
    text = profile_markdown([replace(measurement(), model="<b>*x*_a_b")], graphs, None, "x")
    assert "<b>" not in text
    assert "&lt;b&gt;\\*x\\*\\_a_b" in text


def test_several_profiles_open_with_a_table_of_all(measurement, graphs):
    text = profile_markdown([measurement(), measurement(model="other")], graphs, None, "x")
    assert text.index("**All profiles**") < text.index("## small takes")
    assert "## other takes" in text


def test_a_comparison_says_where_the_difference_lies(comparison, graphs, peaks):
    text = comparison_markdown(comparison, graphs, peaks, "hwprof compare a b")
    assert "# int8 is faster than fp32: 0.602 × its latency" in text
    assert "**Where the difference comes from**" in text
