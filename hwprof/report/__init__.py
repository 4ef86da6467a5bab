"""Reports of measurements: HTML pages, Markdown, figures, traces. Functions return text; the caller writes files."""

from hwprof.report.markdown import comparison_markdown, profile_markdown, results_markdown
from hwprof.report.page import render_comparison, render_profile, render_results
from hwprof.report.record import comparison_record, profile_record, results_records
from hwprof.report.trace import render_trace

__all__ = [
    "comparison_markdown",
    "comparison_record",
    "profile_markdown",
    "profile_record",
    "render_comparison",
    "render_profile",
    "render_results",
    "render_trace",
    "results_markdown",
    "results_records",
]
