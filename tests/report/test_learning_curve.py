from pathlib import Path

from hwprof.report import learning_curve


def test_the_figure_has_the_title_both_axes_and_every_training_size(tmp_path: Path):
    path = tmp_path / "curve.svg"
    learning_curve.draw(path, {50: [10.0, 12.0], 200: [5.0, 6.0]}, "darts", noise_floor=1.5)
    comments = [line.strip() for line in path.read_text().splitlines() if line.strip().startswith("<!--")]
    words = {comment.removeprefix("<!--").removesuffix("-->").strip() for comment in comments}
    assert {"darts", "networks in the training set", "MAPE (%)", "noise floor", "50", "200"} <= words


def test_the_same_curve_is_the_same_file(tmp_path: Path):
    for name in ("one.svg", "two.svg"):
        learning_curve.draw(tmp_path / name, {50: [10.0]}, "darts")
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one.svg", "two.svg"))
    assert [line for line in one if "date" in line] == [line for line in two if "date" in line] == []
