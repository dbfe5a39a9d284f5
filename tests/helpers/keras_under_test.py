"""The Keras that the suite runs on, and the ways in which it can compute a schedule."""

import os

import numpy as np
import pytest

from clr_schedules._backend import backend

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")
if LEGACY:
    import tf_keras as keras

    BACKEND = "tensorflow"
else:
    import keras

    BACKEND = keras.config.backend()

# Steps are below it. JAX counts in 32 bits.
MAX_STEP = 2**31 if BACKEND == "jax" else 2**53

needs_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason=f"about TensorFlow; the backend is {BACKEND}"
)

if BACKEND == "tensorflow":
    import tensorflow as tf

    _compilers = {
        "eager": lambda function: function,
        "graph": lambda function: tf.function(function, autograph=False),
        "xla": lambda function: tf.function(function, autograph=False, jit_compile=True),
    }
    as_tensor = tf.constant
elif BACKEND == "jax":
    import jax

    _compilers = {"eager": lambda function: function, "xla": jax.jit}

    def as_tensor(array):
        return jax.numpy.asarray(array.astype(np.int32))
else:
    _compilers = {"eager": lambda function: function}
    as_tensor = keras.ops.convert_to_tensor

ENGINES = list(_compilers)
# A graph runs the kernels that eager execution runs: a few fixed steps of it are enough.
DIFFERENT_ENGINES = [engine for engine in ENGINES if engine != "graph"]


def compute(engine, schedule, steps):
    """The schedule's rates of an int64 array of steps, on this engine."""
    return compute_all(engine, [(schedule, steps)])[0]


def compute_all(engine, pairs):
    """The rates of several schedules, each of its own steps, in one program of this engine."""
    schedules = [schedule for schedule, _ in pairs]
    tensors = [as_tensor(np.asarray(steps, np.int64)) for _, steps in pairs]

    def program(*tensors):
        return [schedule(steps) for schedule, steps in zip(schedules, tensors, strict=True)]

    return [backend.to_numpy(rates) for rates in _compilers[engine](program)(*tensors)]
