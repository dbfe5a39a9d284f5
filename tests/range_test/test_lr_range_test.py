"""What a range test takes as arguments, what it refuses, and the curve that it returns."""

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers import model_zoo
from helpers.model_zoo import BATCH, X, Y

import clr_schedules as clr

GOOD = {"batch_size": BATCH, "num_steps": 40, "verbose": 0, "max_lr": 1.0}


@pytest.fixture(scope="module")
def model():
    return model_zoo.make(model_zoo.plain)


NOT_NUMBERS = [None, "0.1", True, 1j, [0.1], np.array([0.1])]
NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("min_lr", NOT_NUMBERS, TypeError),
        ("max_lr", NOT_NUMBERS, TypeError),
        ("min_lr", [*NOT_FINITE, 0, -1e-3, 1e-60], ValueError),
        ("max_lr", [*NOT_FINITE, 0, -1.0, 1e60], ValueError),
        ("max_lr", [1e-7, 1e-8], ValueError),  # at and below min_lr
        ("num_steps", ["40", True, 1j, [40]], TypeError),
        ("num_steps", [0, 1, -3, 2.5, math.nan, math.inf, 2**62], ValueError),
        ("batch_size", ["16", True, [16]], TypeError),
        ("batch_size", [0, -16, 2.5, math.nan], ValueError),
        ("growth", [None, 3, True], TypeError),
        ("growth", ["", "geometric", "Linear"], ValueError),
        ("stop_factor", NOT_NUMBERS[1:], TypeError),
        ("stop_factor", [math.nan, -math.inf, 1, 0.5, -4], ValueError),
        ("smoothing", NOT_NUMBERS[1:], TypeError),
        ("smoothing", [*NOT_FINITE, -0.1, 1, 1.5], ValueError),
        ("class_weight", [[1.0, 2.0], "balanced", 2.0], TypeError),
        ("class_weight", [{"0": 1.0}, {-1: 1.0}, {0: -1.0}, {0: math.nan}], ValueError),
        ("steps_per_execution", ["20", True, [20]], TypeError),
        ("steps_per_execution", [0, -1, 1.5, math.inf], ValueError),
        ("verbose", [None, "loud", 3, -1, 0.5, math.nan, [1]], ValueError),
    ],
)
def test_bad_arguments(model, name, values, error):
    before = [np.array(weight) for weight in model.get_weights()]
    for value in values:
        with pytest.raises(error, match=rf"`{name}` must be .*Received: {name}="):
            clr.lr_range_test(model, X, Y, **GOOD | {name: value})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("value", ["2", True, 0, -1, 1.5, math.nan])
def test_bad_epochs(model, value):
    error = TypeError if isinstance(value, (str, bool)) else ValueError
    with pytest.raises(error, match=r"`epochs` must be .*Received: epochs="):
        clr.lr_range_test(model, X, Y, **GOOD | {"num_steps": None, "epochs": value})


def test_steps_and_epochs_exclude_each_other(model):
    with pytest.raises(ValueError, match=r"Received: num_steps=40, epochs=2"):
        clr.lr_range_test(model, X, Y, epochs=2, **GOOD)


def test_one_epoch_of_one_batch_is_no_test(model):
    with pytest.raises(ValueError, match=r"`epochs` must be at least 2, .* Received: epochs=1"):
        clr.lr_range_test(model, X, Y, epochs=1, batch_size=len(X), verbose=0)


def test_no_data(model):
    with pytest.raises(ValueError, match=r"`x` must be the training data.* Received: x=None"):
        clr.lr_range_test(model, None, Y, **GOOD)
    for x in (X, [X], {"x": X}):
        with pytest.raises(ValueError, match=r"`y` must be the targets.* Received: y=None"):
            clr.lr_range_test(model, x, **GOOD)
    with pytest.raises(ValueError, match="`x` must have at least one batch"):
        clr.lr_range_test(model, X[:0], Y[:0], **GOOD)


def test_validation_data_that_cannot_be_gone_through_again(model):
    for data in ((), (X, Y, None, None), model_zoo.generate()):
        with pytest.raises(ValueError, match="`validation_data` must be data that have an end"):
            clr.lr_range_test(model, X, Y, validation_data=data, **GOOD)


def test_unknown_lengths_have_no_epochs(model):
    with pytest.raises(ValueError, match=r"`epochs` cannot be given .* Give `num_steps` instead"):
        clr.lr_range_test(model, model_zoo.generate(), epochs=2, verbose=0)


@pytest.mark.parametrize("never", [None, np.float32("inf")])
def test_no_rise_ends_it(model, never):
    options = GOOD | {"stop_factor": never, "min_lr": 1.0, "max_lr": 1e3, "smoothing": 0}
    assert clr.lr_range_test(model, X, Y, **options).stop_reason.startswith("completed")


# Rates may be numbers of any kind.
@pytest.mark.parametrize(
    ("growth", "low", "high"),
    [("exponential", Fraction(1, 10**6), np.int64(1)), ("linear", 1e-7, np.float32(0.5))],
)
def test_the_curve_has_the_rates_of_its_growth_and_smoothed_losses(model, growth, low, high):
    arguments = {"growth": growth, "min_lr": low, "max_lr": high, "stop_factor": math.inf}
    result = clr.lr_range_test(model, X, Y, **GOOD | arguments)
    low, high, done = float(low), float(high), np.arange(40) / 39
    rates = low * (high / low) ** done if growth == "exponential" else low + (high - low) * done
    np.testing.assert_allclose(result.learning_rates, rates, rtol=1e-14)
    assert result.learning_rates[[0, -1]].tolist() == [low, high]
    assert result.growth == growth
    assert result.stop_reason == f"completed: reached the last learning rate, {high:g}"
    average = 0.0
    for step, loss in enumerate(result.losses):
        average = 0.5 * average + 0.5 * loss  # by default, 1 - 20 / 40 is the weight of the past
        smoothed = average / (1 - 0.5 ** (step + 1))
        np.testing.assert_allclose(result.smoothed_losses[step], smoothed, rtol=1e-12)


def test_two_steps_are_a_test_that_suggests_nothing(model):
    suggestion = clr.lr_range_test(model, X, Y, **GOOD | {"num_steps": 2}).suggest()
    assert suggestion.base_lr is suggestion.max_lr is suggestion.steepest is None
    assert suggestion.reasons.keys() == {"base_lr", "max_lr", "steepest", "valley", "minimum"}
    with pytest.raises(ValueError, match="The test took only 2 steps"):
        suggestion.schedule(clr.Triangular, step_size=20)
