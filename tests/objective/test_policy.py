import numpy as np
import pytest

from hwprof.objective.policy import Policy


def test_it_starts_without_a_preference():
    for probabilities in Policy([2, 4]).probabilities():
        np.testing.assert_allclose(probabilities, 1 / len(probabilities))


def test_it_learns_what_is_rewarded():
    policy, rng = Policy([3, 3, 3]), np.random.default_rng(0)
    for _ in range(40):
        drawn = policy.drawn(10, rng)
        policy.learn([(arch, -float(sum(abs(a - b) for a, b in zip(arch, (2, 0, 1), strict=True)))) for arch in drawn])
    assert [int(p.argmax()) for p in policy.probabilities()] == [2, 0, 1]
    assert all(p.max() > 0.8 for p in policy.probabilities())


def test_one_step_is_along_the_advantage_in_deviations():
    policy = Policy([2], rate=0.1, memory=0.95)
    policy.learn([((0,), 1.0), ((1,), 3.0)])
    # by hand: the first reward is the mean; the second one is 2 above it, with the variance 0.05 * 4
    step = 0.1 * 2 / np.sqrt(0.2) * np.array([-0.5, 0.5])
    expected = np.exp(step) / np.exp(step).sum()
    np.testing.assert_allclose(policy.probabilities()[0], expected)


def test_equal_rewards_teach_nothing():
    policy = Policy([3])
    policy.learn([((0,), 1.0), ((1,), 1.0)])
    assert policy.probabilities()[0] == pytest.approx(np.full(3, 1 / 3))
