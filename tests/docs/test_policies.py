"""What `docs/policies.md` says beside the lines that Sphinx runs."""

import numpy as np
import pytest
from helpers.keras_under_test import LEGACY, keras

import clr_schedules as clr

if LEGACY:
    pytest.skip("the page is about Keras 3", allow_module_level=True)


def normalized():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    return keras.Sequential([keras.layers.Input((3,)), *layers])


def moving(model):
    return [np.asarray(keras.ops.convert_to_numpy(v)) for v in model.layers[0].variables[2:]]


def test_passes_over_the_data_estimate_batch_normalization_anew():
    x = np.random.default_rng(0).normal(5, 3, (100, 3)).astype("float32")
    model = normalized()
    model.layers[0].moving_mean.assign(1000 * np.ones(3))
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    for _ in range(500):
        model(x, training=True)
    mean, variance = moving(model)
    np.testing.assert_allclose(mean, x.mean(0), atol=0.01 * 1000)  # a hundredth of the old one
    np.testing.assert_allclose(variance, x.var(0), rtol=0.01)
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_frozen_batch_normalization_keeps_its_averages():
    x = np.random.default_rng(0).normal(5, 3, (100, 3)).astype("float32")
    model = normalized()
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    before = moving(model)
    model.fit(x, x, verbose=0)
    assert all(np.array_equal(*pair) for pair in zip(before, moving(model), strict=True))


@pytest.mark.parametrize("kind", [clr.OneCycle, clr.Triangular])
def test_a_warm_up_takes_steps_of_its_own(kind):
    arguments = (0.1, 300) if kind is clr.OneCycle else (0.0, 0.1, 150)
    schedule = kind(*arguments)
    lr = clr.Warmup(schedule, 50)
    assert schedule.cycle_ends(349).tolist() == [300]
    assert lr.cycle_ends(350).tolist() == [350]
    assert lr.values(349) == schedule.values(299)
