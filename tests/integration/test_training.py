"""Real trainings of a model whose weight shows which rate every step took.

How Keras calls a schedule does not depend on the schedule, so two are enough here.
"""

import numpy as np
import pytest
from helpers import keras_under_test, strategies
from helpers.keras_under_test import LEGACY, keras
from helpers.weight_model import descend, fit, weight, weight_model

import clr_schedules as clr

SCHEDULES = [
    clr.Cyclical(1e-3, 6e-3, 4, wave="cosine", gamma=0.99, scale_fn=strategies.harmonic),
    clr.Warmup(clr.Piecewise([6e-3, clr.CosineRestarts(6e-3, 7, 1.5, 0.9, 1e-3)], [20]), 10),
]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


@schedules
@pytest.mark.parametrize("steps_per_execution", [1, 7])
def test_every_step_of_fit_takes_its_rate(schedule, steps_per_execution):
    if keras_under_test.BACKEND == "torch" and steps_per_execution > 1:
        pytest.skip("Keras on PyTorch takes one step per execution")
    model = weight_model(keras.optimizers.SGD(schedule), steps_per_execution=steps_per_execution)
    fit(model, 49, epochs=2)
    assert weight(model) == descend(schedule.values(range(98)))
    fit(model, 21)
    assert weight(model) == descend(schedule.values(range(119)))


@schedules
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_or_not(schedule, jit_compile):
    if keras_under_test.BACKEND == "torch" and jit_compile:
        pytest.skip("torch.compile needs a C++ compiler")
    model = weight_model(keras.optimizers.SGD(schedule), jit_compile=jit_compile)
    fit(model, 40)
    assert weight(model) == pytest.approx(descend(schedule.values(range(40))), rel=1e-6)


@schedules
def test_run_eagerly(schedule):
    model = weight_model(keras.optimizers.SGD(schedule), run_eagerly=True)
    fit(model, 20)
    assert weight(model) == descend(schedule.values(range(20)))


@pytest.mark.skipif(LEGACY, reason="the legacy Keras has no gradient accumulation")
def test_under_gradient_accumulation_the_iteration_is_still_the_batch():
    """As the docstrings say: `optimizer._iterations`, which Keras hands over, counts batches."""
    schedule = clr.Triangular(1e-3, 6e-3, 7)
    model = weight_model(keras.optimizers.SGD(schedule, gradient_accumulation_steps=4))
    fit(model, 40)
    # The rate is read when the gradients of four batches are applied: at the fourth.
    assert weight(model) == pytest.approx(descend(schedule.values(range(3, 40, 4))), rel=1e-6)


@schedules
def test_optimizers_show_the_rate(schedule):
    for optimizer in (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.RMSprop):
        model = weight_model(optimizer(schedule))
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
    schedule = clr.Triangular2(1e-3, 6e-3, 1)
    model = weight_model(keras.optimizers.SGD(schedule))
    fit(model, 3000)
    assert weight(model) == pytest.approx(-schedule.values(range(3000)).sum(), rel=1e-4)
