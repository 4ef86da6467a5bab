import pytest

from hwprof.__main__ import run

pytestmark = pytest.mark.usefixtures("tiny_spaces")


@pytest.fixture
def arguments(tmp_path):
    lines = [f"{d}-{c}-{k}-{u},{d + c / 10}" for d in range(4) for c in range(4) for k in range(2) for u in range(2)]
    (tmp_path / "scores.csv").write_text("arch,score\n" + "\n".join(lines) + "\n")
    return [
        "search", "--space", "space", "--score", f"table:{tmp_path / 'scores.csv'}", "--device", "roofline-edge-gpu",
        "--store", str(tmp_path / "s.db"), "--budget", "16", "--fast",
    ]  # fmt: skip


def test_a_target_that_nothing_meets_is_told_with_the_least_latency(arguments, capsys):
    assert run([*arguments, "--target-ms", "0.000001"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the least latency found is" in line
