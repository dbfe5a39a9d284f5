"""Writes what TensorFlow Addons 0.23 saves: ``python tools/golden_addons.py``, run once.

It needs ``tensorflow==2.15.1 tensorflow-addons==0.23.0 typeguard<3 numpy<2`` on Python 3.11. The
files are what users of Addons have on their disks; `tests/test_migrate.py` loads them without it.

``NAME.h5``, ``NAME.keras`` and ``NAME.zip`` (a SavedModel folder) are one small model after five
steps; ``models.json`` tells what is in them and what the sixth step makes of the weights;
``schedules.json`` has serialized schedules and the rates that Addons computes from them;
``optimizers.json`` every optimizer of Keras 2.15, as it is in an ``.h5`` file.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_addons.optimizers import (
    CyclicalLearningRate,
    ExponentialCyclicalLearningRate,
    Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate,
)

HERE = Path(__file__).parents[1] / "tests" / "golden" / "addons" / "0.23.0"
OPTIMIZERS = tf.keras.optimizers
OPTIMIZER_NAMES = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lion",
    "Nadam",
    "RMSprop",
    "SGD",
]
MODES = ["cycle", "iterations"]
# What the models are trained on, a batch a row: the same numbers wherever they are made.
BATCHES = np.arange(36, dtype="float32").reshape(6, 3, 2) % 7 / 7


@tf.keras.utils.register_keras_serializable(package="tests")
def harmonic(x):
    return 1 / x


@tf.keras.utils.register_keras_serializable(package="tests")
def doubling(x):
    return 0.5 + x


@tf.keras.utils.register_keras_serializable(package="tests")
class Root:
    def __call__(self, x):
        return x**-0.5

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def models():
    """The schedule and the optimizer of each saved model."""
    return {
        "triangular": OPTIMIZERS.Adam(TriangularCyclicalLearningRate(1e-3, 6e-2, 4)),
        "triangular2": OPTIMIZERS.SGD(
            Triangular2CyclicalLearningRate(1e-3, 6e-2, 1.75), momentum=0.9
        ),
        # With `scale_mode="iterations"`, no other optimizers than these run.
        "exponential": OPTIMIZERS.legacy.Adam(
            ExponentialCyclicalLearningRate(1e-3, 6e-2, 4, gamma=0.9)
        ),
        "exponential_cycle": OPTIMIZERS.Adam(
            ExponentialCyclicalLearningRate(1e-3, 6e-2, 2, scale_mode="cycle", gamma=0.9)
        ),
        "cyclical": OPTIMIZERS.RMSprop(CyclicalLearningRate(1e-3, 6e-2, 2, scale_fn=harmonic)),
        "cyclical_object": OPTIMIZERS.legacy.SGD(
            CyclicalLearningRate(1e-3, 6e-2, 2, scale_fn=Root()), momentum=0.9
        ),
        "lambda": OPTIMIZERS.Adam(CyclicalLearningRate(1e-3, 6e-2, 2, scale_fn=lambda x: 1 / x)),
        "tensor": OPTIMIZERS.Adam(
            TriangularCyclicalLearningRate(
                tf.constant(1e-3), tf.constant(6e-2), tf.constant(2.5, tf.float64)
            )
        ),
    }


def optimizers():
    """Each optimizer, with arguments of its own."""
    schedule = TriangularCyclicalLearningRate(1e-3, 6e-2, 4)
    for name in OPTIMIZER_NAMES:
        optimizer = getattr(OPTIMIZERS, name)(schedule, clipnorm=0.5)
        yield name, tf.keras.utils.legacy.serialize_keras_object(optimizer)


def schedules():
    """Each schedule of which the rates are recorded."""
    plain = {"initial_learning_rate": 1e-3, "maximal_learning_rate": 6e-3}
    yield TriangularCyclicalLearningRate(**plain, step_size=2000)
    yield Triangular2CyclicalLearningRate(**plain, step_size=2000)
    yield ExponentialCyclicalLearningRate(**plain, step_size=2000)
    for size in (2000, 781.25, 60_000 / 7, 8.0, 3.3, 1):
        for mode in MODES:
            yield TriangularCyclicalLearningRate(**plain, step_size=size, scale_mode=mode)
            yield Triangular2CyclicalLearningRate(**plain, step_size=size, scale_mode=mode)
            for gamma in (0.99994, 0.9, 1.0, 1.0001, 0.0, -0.5):
                yield ExponentialCyclicalLearningRate(
                    **plain, step_size=size, gamma=gamma, scale_mode=mode
                )
    for mode in MODES:
        yield CyclicalLearningRate(**plain, step_size=8, scale_fn=doubling, scale_mode=mode)
    yield CyclicalLearningRate(**plain, step_size=781.25, scale_fn=harmonic, name="mine")
    yield CyclicalLearningRate(**plain, step_size=8, scale_fn=Root())
    yield TriangularCyclicalLearningRate(0.1, 0.01, 8)
    yield Triangular2CyclicalLearningRate(0.1, 0.0, 8.5)
    yield TriangularCyclicalLearningRate(0.01, 0.01, 8)
    # A typing error counts as "iterations".
    yield ExponentialCyclicalLearningRate(0.01, 0.1, 8, scale_mode="iteration", gamma=0.9)
    for dtype in (tf.float32, tf.float64):
        low, high, size = (tf.constant(x, dtype) for x in (1e-3, 6e-3, 781.25))
        yield TriangularCyclicalLearningRate(low, high, size)
        yield Triangular2CyclicalLearningRate(low, 6e-3, 8)
        yield ExponentialCyclicalLearningRate(
            low, high, size, gamma=tf.constant(0.99, dtype), scale_mode="cycle"
        )


STEPS = [*range(41), 780, 781, 782, 1562, 1563, 1999, 2000, 2001, 4000, 8571, 8572, 12_345, 100_003]


def record(schedule):
    """A schedule as Keras writes it, now and before, and its rates as Addons computes them."""
    rates = [schedule(tf.constant(step, tf.float32)).numpy() for step in STEPS]
    return {
        "serialized": tf.keras.utils.serialize_keras_object(schedule),
        "legacy": legacy(schedule),
        "float32": np.array(rates, "<f4").tobytes().hex(),
    }


def legacy(schedule):
    """As Keras wrote it before 2.13, and still does in a SavedModel; None if it cannot."""
    try:
        return json.loads(
            json.dumps(
                tf.keras.utils.legacy.serialize_keras_object(schedule),
                default=tf.keras.utils.get_registered_name,
            )
        )
    except TypeError:
        return None


def save(name, optimizer):
    """Trains a model, saves it in every format that takes it, and tells what it is."""
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
    model.compile(optimizer, "mean_squared_error")
    *begin, last = BATCHES
    for x in begin:
        model.train_on_batch(x, x[:, :1])
    model.save(HERE / f"{name}.h5")
    model.save(HERE / f"{name}.keras")
    formats = ["h5", "keras"]
    if name != "tensor":  # Keras itself does not put a tensor into a SavedModel
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder, save_format="tf")
            shutil.make_archive(str(HERE / name), "zip", folder)
        formats.append("zip")
    variables = optimizer.variables
    variables = variables() if callable(variables) else variables
    weights = [weight.tolist() for weight in model.get_weights()]
    slots = [slot.numpy().tolist() for slot in variables if slot.shape.rank]
    model.train_on_batch(last, last[:, :1])
    return {
        "formats": formats,
        "iterations": len(begin),
        "weights": weights,
        "slots": slots,
        "sixth_step": [weight.tolist() for weight in model.get_weights()],
    }


def main() -> None:
    """Writes everything."""
    records = {name: save(name, optimizer) for name, optimizer in models().items()}
    (HERE / "models.json").write_text(json.dumps(records, indent=1) + "\n")
    (HERE / "optimizers.json").write_text(json.dumps(dict(optimizers()), indent=1) + "\n")
    lines = ",\n".join(json.dumps(record(schedule)) for schedule in schedules())
    (HERE / "schedules.json").write_text(f'{{"steps": {STEPS}, "schedules": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
