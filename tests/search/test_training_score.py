import pickle

from hwprof.search.training_score import SHORT, TrainingScore
from hwprof.training import TrainSettings

SPACE = """
from hwprof.builder import GraphBuilder


class Space:
    choices = (2, 2)

    def graph(self, arch):
        b = GraphBuilder("digits")
        x = b.relu(b.conv(b.input((1, 1, 8, 8)), 4 * (arch[0] + 1), 3))
        return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


SPACE = Space()
"""


def test_a_training_is_the_same_each_time_and_in_another_process(tmp_path):
    (tmp_path / "trained_space.py").write_text(SPACE)
    score = TrainingScore(
        f"{tmp_path / 'trained_space.py'}:SPACE", "digits", settings=TrainSettings(1, validation=None)
    )
    value = score((1, 0))
    assert 5 < value <= 100
    assert pickle.loads(pickle.dumps(score))((1, 0)) == value
    assert 5 < score.final((1, 0)) <= 100


def test_the_identity_changes_with_the_settings():
    short, other = (TrainingScore("s", "digits", settings=s).identity() for s in (SHORT, TrainSettings(7)))
    assert short != other


TASK = """
from hwprof.tasks.digits import digits

def task():
    made = digits()
    made.metric_name = "error, %"
    made.higher_is_better = False
    made.metric = lambda output, targets: 100 * float((output.argmax(-1) != targets).double().mean())
    return made
"""


def test_of_an_error_the_score_is_minus_it(tmp_path):
    (tmp_path / "trained_space.py").write_text(SPACE)
    (tmp_path / "task.py").write_text(TASK)
    score = TrainingScore(
        f"{tmp_path / 'trained_space.py'}:SPACE",
        f"{tmp_path / 'task.py'}:task",
        settings=TrainSettings(1, validation=None),
    )
    assert -100 <= score((0, 0)) < 0 < score.final((0, 0)) <= 100
    assert score.identity()["higher_is_better"] is False
