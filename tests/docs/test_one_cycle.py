"""What `docs/one_cycle.md` says beside the lines that Sphinx runs."""

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, keras

import clr_schedules as clr


def quadratic(optimizer):
    """Falls on a parabola, and is unstable above a rate of 1."""
    layers = keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential(layers)
    model.compile(optimizer, loss="mse")
    return model


def epochs_trained(stop):
    lr = clr.OneCycle(max_lr=1.5, total_steps=12 * 5)
    keras.utils.set_random_seed(0)
    model = quadratic(keras.optimizers.SGD(lr))
    ones = np.ones((5, 1), np.float32)
    history = model.fit(ones, 0 * ones, batch_size=1, epochs=12, verbose=0, callbacks=[stop])
    return len(history.epoch)


def test_early_stopping_stops_a_one_cycle_at_its_peak_unless_it_waits():
    arguments = {"monitor": "loss", "patience": 1}
    assert epochs_trained(keras.callbacks.EarlyStopping(**arguments)) <= 5
    stop = keras.callbacks.EarlyStopping(**arguments, start_from_epoch=8)
    assert epochs_trained(stop) == 12


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about tf.data")
def test_what_leaves_data_of_unknown_length():
    import tensorflow as tf

    data = tf.data.Dataset.range(60)
    signature = tf.TensorSpec((), tf.int64)
    unknown = [
        data.filter(lambda number: number > 5),
        data.flat_map(lambda number: tf.data.Dataset.range(number)),
        tf.data.Dataset.from_generator(lambda: iter(range(60)), output_signature=signature),
    ]
    for each in unknown:
        assert int(each.cardinality()) == -2
        with pytest.raises(ValueError, match="no known length"):
            clr.steps_per_epoch(each)
    assert int(data.repeat().cardinality()) == -1
    with pytest.raises(ValueError, match="no known length"):
        clr.steps_per_epoch(data.repeat())
    wrong = unknown[0].apply(tf.data.experimental.assert_cardinality(50))
    assert clr.steps_per_epoch(wrong) == 50
    with pytest.raises(tf.errors.FailedPreconditionError):
        list(wrong)
