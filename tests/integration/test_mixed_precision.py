"""Rates in the compiled train step, late in a training and in mixed precision: always float32."""

import math

import numpy as np
import pytest
from helpers import exact
from helpers.keras_under_test import BACKEND, LEGACY, keras

import clr_schedules as clr

# Float16 rounds numbers below 3e-8, half of its smallest number, to 0.
TINY = clr.Triangular(1e-9, 6e-9, 4)
POLICIES = ["mixed_float16", "mixed_bfloat16"]
# The last step but one that the optimizer's counter and the promise reach.
LAST = (2**53 if BACKEND == "tensorflow" else 2**31) - 2


@pytest.fixture
def set_policy():
    """Sets Keras's policy of mixed precision for a test."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def output(y_true, y_pred):
    """A loss whose gradient is the input of a model of one weight."""
    return y_pred


def make(optimizer):
    """A model of one weight, at 0."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    model.compile(optimizer, loss=output, jit_compile=BACKEND != "torch")
    return model


def take_step(model, gradient):
    """The weight after a step with this gradient."""
    x = np.full((1, 1), gradient, np.float32)
    model.train_on_batch(x, np.zeros((1, 1), np.float32))
    (weight,) = model.get_weights()
    assert weight.dtype == np.float32
    return weight.item()


def descents(optimizer, gradients):
    """The weights after each of the steps."""
    model = make(optimizer)
    return [take_step(model, gradient) for gradient in gradients]


def sums_of_rates(steps):
    """The weight after each of these steps with a gradient of 1, in float32."""
    return np.cumsum(-TINY.values(steps).astype(np.float32), dtype=np.float32).tolist()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_rate_below_float16_moves_the_weights(policy, set_policy):
    assert np.all(TINY.values(range(8)).astype(np.float16) == 0)
    set_policy(policy)
    assert descents(keras.optimizers.SGD(TINY), [1.0] * 8) == sums_of_rates(range(8))


def test_a_step_that_overflows_float16_is_left_out(set_policy):
    """The scaled loss overflows in the third batch, and the next step takes the rate of the third.

    The legacy Keras counts the step that it leaves out, so that its rate is left out too.
    """
    set_policy("mixed_float16")
    model = make(keras.optimizers.SGD(TINY))
    assert "LossScale" in type(model.optimizer).__name__
    weights = [take_step(model, gradient) for gradient in [1.0, 1.0, 4.0, 1.0, 1.0]]
    *before, last = sums_of_rates([0, 1])
    after = sums_of_rates([0, 1, *([3, 4] if LEGACY else [2, 3])])[2:]
    assert weights == [*before, last, last, *after]
    assert int(np.asarray(model.optimizer.inner_optimizer.iterations)) == (5 if LEGACY else 4)


@pytest.mark.skipif(LEGACY, reason="the hyperparameters of the legacy optimizers are not scheduled")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_with_momentum_weights_are_those_of_float32(kind, set_policy):
    cycle = clr.OneCycle(6e-9, 10)

    def optimizer():
        name = {"SGD": "momentum", "Adam": "beta_1"}[kind]
        plain = getattr(keras.optimizers, kind)(cycle, **{name: 0.9})
        return clr.schedule_hyperparameters(plain, **{name: cycle.momentum()})

    gradients = [1.0, 0.5, -0.25, 1.0, 1.5, -1.0]
    set_policy("float32")
    expected = descents(optimizer(), gradients)
    for policy in POLICIES:
        set_policy(policy)
        weights = descents(optimizer(), gradients)
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
        assert np.all(np.diff([0.0, *weights]) != 0)


@pytest.mark.parametrize(
    "schedule",
    [
        clr.ExpRange(1e-3, 6e-3, 2000, gamma=1 - 2.0**-30),
        clr.CosineRestarts(6e-3, 1000, 1.5, 0.9, 1e-3),
        clr.Warmup(clr.Piecewise([6e-3, clr.OneCycle(6e-3, 2**30)], [2**30]), 2000),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_the_rate_of_a_step_is_right_far_on(schedule):
    """A step with a gradient of 1 takes a weight of 0 to minus the rate."""
    model = make(keras.optimizers.SGD(schedule))
    for step in (1, 2**24 + 1, 10**9 + 7, 2**31 - 2, LAST):
        model.optimizer.iterations.assign(step)
        model.set_weights([np.zeros((1, 1), np.float32)])
        rate = -take_step(model, 1.0)
        truth = exact.of(schedule, step)
        assert abs(rate - truth) / 2.0 ** (math.frexp(truth)[1] - 24) <= 0.502, step
