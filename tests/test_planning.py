"""Numbers of iterations: of a number of samples, and of anything that `fit` takes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers import model_zoo
from helpers.keras_under_test import BACKEND, LEGACY, needs_tensorflow
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr

counts = st.integers(1, 10**6)


@given(counts, counts)
def test_a_partial_last_batch_is_a_step(samples, batch_size):
    steps = clr.steps_per_epoch(samples, batch_size)
    assert (steps - 1) * batch_size < samples <= steps * batch_size
    assert isinstance(steps, int)


def test_the_numbers_of_the_post():
    assert clr.steps_per_epoch(50_000, 100) == 500
    assert clr.step_size(50_000, 100) == 2000
    assert clr.step_size(50_000, 100, epochs=5) == 2500


@given(counts, counts, st.floats(0.01, 100))
def test_step_size_is_the_nearest_whole_number(samples, batch_size, epochs):
    iterations = clr.step_size(samples, batch_size, epochs)
    assert iterations >= 1
    exact = epochs * math.ceil(samples / batch_size)
    assert abs(iterations - exact) <= 0.5 or (iterations == 1 and exact < 0.5)


def test_any_kind_of_number_of_epochs_is_taken_as_it_is():
    for epochs in (np.int8(4), np.float16(4), Fraction(4)):
        assert clr.step_size(500_000, 10, epochs) == 200_000


@pytest.mark.parametrize("epochs", [1e308, 1e-400, 2**53])
def test_a_half_cycle_beyond_all_steps_is_refused(epochs):
    with pytest.raises(ValueError, match=r"`epochs` must be above 0, and .* 50000 per epoch"):
        clr.step_size(500_000, 10, epochs)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (clr.steps_per_epoch, "data"),
        (clr.steps_per_epoch, "batch_size"),
        (clr.step_size, "data"),
        (clr.step_size, "batch_size"),
        (clr.step_size, "epochs"),
    ],
)
@pytest.mark.parametrize(
    "value", [0, -1, math.nan, math.inf, -math.inf, True, "3", None, [1], object(), 1j, 2.5]
)
def test_bad_input_is_refused_by_name(function, name, value):
    if (name, value) in [("epochs", 2.5), ("batch_size", None), ("data", [1])]:
        pytest.skip("two and a half epochs, the usual batch, and data of one sample are good")
    arguments = {"data": 1000, "batch_size": 10, name: value}
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be .*Received: {name}="):
        function(**arguments)


# Data.

ARRAY = np.zeros((1000, 3))


@pytest.mark.parametrize(
    "data",
    [
        1000,
        np.int32(1000),
        np.array(1000),
        ARRAY,
        ARRAY.astype(np.uint8),
        [ARRAY, np.zeros((1000,))],
        (ARRAY, ARRAY),
        {"a": ARRAY, "b": [ARRAY, ARRAY]},
        [0.5] * 1000,
        ["text"] * 1000,
        [np.float32(0.5)] * 1000,
        {"text": [b"text"] * 1000},
    ],
)
def test_arrays_count_as_their_samples(data):
    assert clr.steps_per_epoch(data) == 32  # of 32 samples, as in `fit`
    assert clr.steps_per_epoch(data, 300) == 4
    assert clr.step_size(data, 300, epochs=1.5) == 6


def test_data_in_batches_count_as_their_batches():
    batches = model_zoo.Batches()
    assert clr.steps_per_epoch(batches) == model_zoo.BATCHES
    assert clr.step_size(batches) == 4 * model_zoo.BATCHES
    with pytest.raises(ValueError, match=r"`batch_size` must be None .* Received: batch_size=32"):
        clr.steps_per_epoch(batches, batch_size=32)


@pytest.mark.parametrize("data", [[], {}, (), np.zeros((0, 3))])
def test_data_of_nothing(data):
    with pytest.raises(ValueError, match=r"`data` must be .*, which is empty"):
        clr.steps_per_epoch(data)


def test_data_that_do_not_tell_their_length():
    with pytest.raises(ValueError, match=r"no known length\. Pass the number of samples instead"):
        clr.steps_per_epoch(model_zoo.generate())


@pytest.mark.skipif(LEGACY, reason="a Sequence of tf_keras always has a length")
def test_a_py_dataset_without_a_length():
    class Endless(model_zoo.Batches):
        num_batches = None

    with pytest.raises(ValueError, match="has no end or no known length"):
        clr.step_size(Endless())


@needs_tensorflow
def test_tensorflow_data():
    import tensorflow as tf

    assert clr.steps_per_epoch(tf.constant(1000)) == 32
    assert clr.steps_per_epoch(tf.zeros((1000, 2)), 300) == 4
    dataset = tf.data.Dataset.from_tensor_slices(ARRAY).batch(300)
    assert clr.steps_per_epoch(dataset) == 4
    assert clr.steps_per_epoch(dataset.repeat(2)) == 8
    for unknown in (dataset.repeat(), dataset.filter(lambda x: True)):
        with pytest.raises(ValueError, match="has no end or no known length"):
            clr.steps_per_epoch(unknown)
    with pytest.raises(ValueError, match=r"`batch_size` must be None"):
        clr.step_size(dataset, batch_size=300)


@pytest.mark.skipif(BACKEND != "torch", reason=f"about PyTorch; the backend is {BACKEND}")
def test_torch_data():
    import torch

    assert clr.steps_per_epoch(torch.zeros((1000, 2)), 300) == 4
    tensors = torch.utils.data.TensorDataset(torch.zeros(1000, 3))
    assert clr.steps_per_epoch(torch.utils.data.DataLoader(tensors, batch_size=300)) == 4
