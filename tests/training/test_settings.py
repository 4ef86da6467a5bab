import pytest

from hwprof.errors import InputError
from hwprof.training import TrainSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "at least one epoch, not 0"),
        ({"batch_size": 0}, "at least one example, not 0"),
        ({"optimizer": "lion"}, "no optimizer is named 'lion'; known: sgd, adam, adamw"),
        ({"schedule": "step"}, "no schedule is named 'step'; known: cosine, constant"),
        ({"keep": "first"}, "no state to keep is named 'first'; known: last, best"),
        ({"rate": 0.0}, "rate must be a positive number, not 0.0"),
        ({"rate": float("nan")}, "rate must be a positive number, not nan"),
        ({"weight_decay": -1e-3}, "weight_decay must be a number of at least 0, not -0.001"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm must be positive or None, not 0.0"),
        ({"keep": "best", "validation": None}, "keep='best' needs a part for validation"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        TrainSettings(**wrong)


def test_the_rate_falls_on_a_half_cosine_after_each_epoch():
    settings = TrainSettings(epochs=4, rate=2.0, least_rate=1.0)
    assert [settings.rate_share(done) for done in (0, 0.9, 2, 4)] == pytest.approx([1.0, 1.0, 0.75, 0.5])


def test_a_constant_rate_stays():
    assert TrainSettings(epochs=4, schedule="constant").rate_share(3.5) == 1.0


def test_the_rate_grows_evenly_while_it_warms_up():
    settings = TrainSettings(epochs=4, schedule="constant", warmup_epochs=2)
    assert [settings.rate_share(done) for done in (0, 0.5, 1, 2, 3)] == [0, 0.25, 0.5, 1, 1]
