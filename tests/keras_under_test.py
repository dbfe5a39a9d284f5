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

# JAX counts in 32 bits.
MAX_STEP = 2**31 if BACKEND == "jax" else 2**53

needs_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason=f"about TensorFlow; the backend is {BACKEND}"
)


def _eager(schedule):
    return schedule


if BACKEND == "tensorflow":
    import tensorflow as tf

    def _graph(schedule):
        return tf.function(schedule.__call__, autograph=False)

    def _xla(schedule):
        return tf.function(schedule.__call__, autograph=False, jit_compile=True)

    _ways = {"eager": _eager, "graph": _graph, "xla": _xla}
    as_tensor = tf.constant
elif BACKEND == "jax":
    import jax

    _ways = {"eager": _eager, "xla": lambda schedule: jax.jit(schedule.__call__)}

    def as_tensor(array):
        return jax.numpy.asarray(array.astype(np.int32))
else:
    _ways = {"eager": _eager}
    as_tensor = keras.ops.convert_to_tensor

ENGINES = list(_ways)


def compute(engine, schedule, steps):
    """The schedule's rates of an int64 array of steps, on this engine."""
    steps = np.asarray(steps, np.int64)
    return backend.to_numpy(_ways[engine](schedule)(as_tensor(steps)))
