"""The evaluation job: the error of a predictor on networks that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hwprof.data.dataset import Dataset
from hwprof.jobs.predicting import names_trained, open_predictor, opened_sources
from hwprof.predictors import evaluation, learning, trained
from hwprof.predictors.base import LatencyPredictor
from hwprof.predictors.evaluation import Evaluation
from hwprof.predictors.trained import Trained


def evaluate(
    data: Dataset | str | Path,
    predictor: str | Path | Trained = "physical",
    train_sizes: Sequence[int] | None = None,
    seeds: int = 5,
    *,
    sources: Sequence[str | Path | Trained | LatencyPredictor] = (),
    space: str | None = None,
    device: str | None = None,
    on_fit: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Tests a predictor on networks that it did not learn from, as `hwprof evaluate` does.

    predictor: a name, which is trained on `seeds` random sets of each of the `train_sizes`, by default those of
    `evaluation.TRAIN_SIZES` that leave enough to test on; or a trained one, its .hwp file or the device that hwprof
    ships one for, which is tested on the whole data set. sources: for transfer, predictors of other devices or their
    files. on_fit is called after each training. Raises InputError for an unknown predictor, a data set that is too
    small or of another space or device than the given one, and for a trained predictor that learned from it.
    """
    found = learning.opened(data, space, device)
    if isinstance(predictor, Trained):
        return evaluation.evaluate_trained(found, predictor)
    if names_trained(predictor):
        return evaluation.evaluate_trained(found, open_predictor(predictor))
    others = trained.load_sources(opened_sources(sources), found.card.space)
    return evaluation.evaluate(found, str(predictor), train_sizes, seeds, others, on_fit)
