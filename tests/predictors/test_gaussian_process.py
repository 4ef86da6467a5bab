import numpy as np
import pytest

from hwprof.predictors.gaussian_process import ProcessRegressor, ResidualProcess


def points(n=40, seed=0):
    return np.random.default_rng(seed).uniform(1, 100, (n, 2))


def wave(features):
    return 0.2 * np.sin(2 * np.log1p(features[:, 0]))


def test_a_smooth_residual_is_learned():
    process = ResidualProcess().fit(points(), wave(points()))
    new = points(seed=1)
    assert np.abs(process.predict(new) - wave(new)).mean() < 0.1 * np.abs(wave(new)).mean()


def test_leave_one_out_residuals_are_those_of_a_refit():
    features, residuals = points(12), wave(points(12))
    process = ResidualProcess().fit(features, residuals)
    squared = ((process.points_[:, None] - process.points_) / process.length_) ** 2
    alone, joint = np.exp(-squared / 2).mean(axis=2), np.exp(-squared.mean(axis=2) / 2)
    gram = process.ratio_ * (process.additive_ * alone + (1 - process.additive_) * joint)
    others = np.arange(12) != 3
    expected = gram[3, others] @ np.linalg.solve(gram[np.ix_(others, others)] + np.eye(11), residuals[others])
    assert process.left_out_residuals()[3] == pytest.approx(residuals[3] - expected)


def test_a_column_that_repeats_another_is_left_out():
    features = points()
    process = ResidualProcess().fit(np.column_stack([features, features[:, 0], np.ones(40)]), wave(features))
    assert process.columns_.tolist() == [0, 1]


def test_arrays_bring_the_same_process_back():
    process = ResidualProcess().fit(points(), wave(points()))
    again = ResidualProcess.from_arrays(process.arrays())
    assert np.array_equal(again.predict(points(seed=2)), process.predict(points(seed=2)))


def test_scores_below_zero_are_learned_from_architectures(architectures):
    scores = np.array([-4.0 + arch[0] + 0.5 * arch[1] * arch[2] for arch in architectures])
    fitted = ProcessRegressor().fit(architectures[:60], scores[:60])
    assert np.abs(fitted.predict(architectures[60:]) - scores[60:]).mean() < 0.2 * scores.std()
    low, high = fitted.predict_interval(architectures[60:], 0.9)
    assert ((low <= scores[60:]) & (scores[60:] <= high)).mean() > 0.8
