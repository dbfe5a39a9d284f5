"""Real trainings of a model whose weight shows which rate every step took.

How Keras calls a schedule does not depend on the schedule, so two are enough here.
"""

import numpy as np
import pytest
from helpers import strategies
from helpers.keras_under_test import BACKEND, LEGACY, keras
from helpers.weight_model import descend, fit, weight, weight_model

import clr_schedules as clr

SCHEDULES = [
    clr.Cyclical(1e-3, 6e-3, 4, wave="cosine", gamma=0.99, scale_fn=strategies.harmonic),
    clr.Warmup(clr.Piecewise([6e-3, clr.CosineRestarts(6e-3, 7, 1.5, 0.9, 1e-3)], [20]), 10),
]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


WAYS = {
    "default": {},
    "several steps": {"steps_per_execution": 7},
    "XLA": {"jit_compile": True},
    "eager": {"run_eagerly": True},
}
if BACKEND == "torch":  # which compiles with a C++ compiler, and takes one step per execution
    del WAYS["XLA"], WAYS["several steps"]


@schedules
@pytest.mark.parametrize("way", WAYS)
def test_every_step_of_fit_takes_its_rate(schedule, way):
    model = weight_model(keras.optimizers.SGD(schedule), **WAYS[way])
    fit(model, 14, epochs=2)
    fit(model, 21)
    exact = descend(schedule.values(range(49)))
    # XLA may multiply and subtract with one rounding.
    assert weight(model) == (pytest.approx(exact, rel=1e-6) if way == "XLA" else exact)
    last = 48 if LEGACY else 49
    assert np.asarray(model.optimizer.learning_rate) == np.float32(schedule.values(last))


@pytest.mark.skipif(LEGACY, reason="the legacy Keras has no gradient accumulation")
def test_under_gradient_accumulation_the_iteration_is_still_the_batch():
    """As the docstrings say: `optimizer._iterations`, which Keras hands over, counts batches."""
    schedule = clr.Triangular(1e-3, 6e-3, 7)
    model = weight_model(keras.optimizers.SGD(schedule, gradient_accumulation_steps=4))
    fit(model, 40)
    # The rate is read when the gradients of four batches are applied: at the fourth.
    assert weight(model) == pytest.approx(descend(schedule.values(range(3, 40, 4))), rel=1e-6)


def test_an_optimizer_that_asks_for_the_rate_at_every_variable_shows_it():
    schedule = SCHEDULES[0]
    model = weight_model(keras.optimizers.AdamW(schedule))
    fit(model, 11)
    last = 10 if LEGACY else 11
    assert np.asarray(model.optimizer.learning_rate) == np.float32(schedule.values(last))


@pytest.mark.skipif(not LEGACY, reason="optimizers of the legacy Keras")
def test_legacy_optimizers_pass_the_step_as_a_float():
    schedule = clr.Triangular(1e-3, 6e-3, 7)
    model = weight_model(keras.optimizers.legacy.SGD(schedule))
    fit(model, 50)
    assert weight(model) == descend(schedule.values(range(50)))


def test_a_training_longer_than_planned_goes_on():
    schedule = clr.OneCycle(6e-3, 20)
    model = weight_model(keras.optimizers.SGD(schedule))
    fit(model, 50)
    rates = schedule.values(range(50))
    assert np.all(rates[20:] == rates[19])
    assert weight(model) == descend(rates)
