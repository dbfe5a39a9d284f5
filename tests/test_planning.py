import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr

counts = st.integers(1, 10**6)


@given(counts, counts)
def test_a_partial_last_batch_is_a_step(num_samples, batch_size):
    steps = clr.steps_per_epoch(num_samples, batch_size)
    assert (steps - 1) * batch_size < num_samples <= steps * batch_size
    assert isinstance(steps, int)


def test_the_numbers_of_the_post():
    assert clr.steps_per_epoch(50_000, 100) == 500
    assert clr.step_size(50_000, 100) == 2000
    assert clr.step_size(50_000, 100, epochs=5) == 2500


@given(counts, counts, st.floats(0.01, 100))
def test_step_size_is_the_nearest_whole_number(num_samples, batch_size, epochs):
    iterations = clr.step_size(num_samples, batch_size, epochs)
    assert iterations >= 1
    exact = epochs * math.ceil(num_samples / batch_size)
    assert abs(iterations - exact) <= 0.5 or (iterations == 1 and exact < 0.5)


def test_any_kind_of_number_of_epochs_is_taken_as_it_is():
    for epochs in (np.int8(4), np.float16(4), Fraction(4)):
        assert clr.step_size(500_000, 10, epochs) == 200_000


@pytest.mark.parametrize("epochs", [1e308, 1e-400, 2**62])
def test_a_half_cycle_beyond_all_steps_is_refused(epochs):
    with pytest.raises(ValueError, match=r"`epochs` must be above 0, and 50000 steps times"):
        clr.step_size(500_000, 10, epochs)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (clr.steps_per_epoch, "num_samples"),
        (clr.steps_per_epoch, "batch_size"),
        (clr.step_size, "num_samples"),
        (clr.step_size, "batch_size"),
        (clr.step_size, "epochs"),
    ],
)
@pytest.mark.parametrize(
    "value", [0, -1, math.nan, math.inf, -math.inf, True, "3", None, [1], object(), 1j, 2.5]
)
def test_bad_input_is_refused_by_name(function, name, value):
    if (name, value) == ("epochs", 2.5):
        pytest.skip("two and a half epochs are a good half-cycle")
    arguments = {"num_samples": 1000, "batch_size": 10, name: value}
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be .*Received: {name}="):
        function(**arguments)
