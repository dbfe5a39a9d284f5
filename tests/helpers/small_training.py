"""A small training that one process begins and another continues. Imports no Keras itself."""

import numpy as np

BATCH, STEPS = 16, 20


def batches():
    """The batches of an epoch: inputs and labels, the same in every process."""
    x = np.random.default_rng(1).normal(size=(STEPS, BATCH, 4)).astype("float32")
    return list(zip(x, (x[..., :1] * x[..., 1:2] > 0).astype("float32"), strict=True))


def arrays():
    """Inputs and labels of an epoch."""
    return map(np.concatenate, zip(*batches(), strict=True))


def make(keras, learning_rate):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(learning_rate), loss="binary_crossentropy")
    return model


def train(model, **arguments):
    """Trains for one epoch, unless the arguments of `fit` say otherwise."""
    model.fit(*arrays(), batch_size=BATCH, shuffle=False, verbose=0, **arguments)
    return model


def state(model):
    """Everything that a training has changed, bit for bit, as JSON."""
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    optimizer = model.optimizer.variables
    optimizer = optimizer() if callable(optimizer) else optimizer
    return {
        "variables": [np.asarray(v).tobytes().hex() for v in [*model.variables, *optimizer]],
        "rate": float(np.asarray(model.optimizer.learning_rate)),
        # In Keras 3.6, an optimizer around another counts no steps itself.
        "iterations": int(np.asarray(inner.iterations)),
    }
