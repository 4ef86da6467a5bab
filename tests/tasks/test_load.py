"""How tasks are found: `hwprof.tasks.load`."""

import pytest

from hwprof import plugins, tasks
from hwprof.errors import InputError
from hwprof.testing import check_task

TEN_LINES = """
import numpy as np
from hwprof.tasks import Classification

def task(n=30):
    x = np.arange(3 * n, dtype=np.float32)[:, None]
    y = (x[:, 0] > n).astype(int)
    return Classification("mine", train=(x[:n], y[:n]), search=(x[n:2*n], y[n:2*n]), test=(x[2*n:], y[2*n:]))

made = task()

class Half:
    name = "half"
    def examples(self, part):
        return made.examples(part)

half = Half()
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "their_task.py"
    path.write_text(TEN_LINES)
    monkeypatch.syspath_prepend(tmp_path)  # so that what is added to the path is undone
    monkeypatch.delitem(__import__("sys").modules, "their_task", raising=False)
    return path


def test_the_built_in_tasks_are_plug_ins_like_any_other():
    assert {"digits", "fashion", "signals", "spoken_digits"} <= set(plugins.names("task"))


def test_a_task_is_made_with_its_options():
    assert tasks.load("signals", n=50, length=20).examples("train").inputs.shape == (30, 1, 20)


def test_a_folder_can_follow_the_name(tmp_path):
    with pytest.raises(InputError, match=rf"'{tmp_path}' has no file train-images-idx3-ubyte"):
        tasks.load(f"fashion:{tmp_path}")


def test_a_task_of_the_users_own_takes_ten_lines(file):
    made = tasks.load(f"{file}:task", n=40)
    assert len(made.examples("train")) == 40
    check_task(made)


def test_a_task_that_is_made_already_is_taken_as_it_is(file):
    assert tasks.load(f"{file}:made").name == "mine"


def test_an_object_that_is_not_a_task_is_refused_with_its_missing_members(file):
    with pytest.raises(InputError, match="is a Half without metric_name, loss, metric; a task has name, metric_name,"):
        tasks.load(f"{file}:half")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"task 'digits': .*'side'; its options: seed"):
        tasks.load("digits", side=14)
    with pytest.raises(InputError, match="task 'fashion': missing a required argument: 'folder'; its options: folder,"):
        tasks.load("fashion")


def test_options_for_a_task_that_is_made_already_are_refused(file):
    with pytest.raises(InputError, match=r"made' is a task that takes no options, but n was given"):
        tasks.load(f"{file}:made", n=3)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no task is named 'nope'; known: digits, fashion"):
        tasks.load("nope")
