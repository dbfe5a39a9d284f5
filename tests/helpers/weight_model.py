"""A model of one weight that every step lowers by its learning rate: it tells what rates it had."""

import numpy as np

from helpers.keras_under_test import keras


def weight_model(optimizer, **compile_arguments):
    """A model of one weight, whose gradient is 1 at every step: SGD subtracts the rate from it."""
    model = keras.Sequential(
        [
            keras.layers.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    model.compile(optimizer, loss=lambda y_true, y_pred: y_pred, **compile_arguments)
    return model


def descend(rates):
    """The weight after steps of these float32 rates, in float32."""
    weight = np.float32(0)
    for rate in np.asarray(rates, np.float32):
        weight -= rate
    return weight


def fit(model, steps, **arguments):
    ones = np.ones((steps, 1), np.float32)
    model.fit(ones, ones, batch_size=1, verbose=0, **arguments)


def weight(model):
    return np.asarray(model.get_weights()[0]).item()
