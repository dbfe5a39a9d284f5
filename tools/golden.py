"""Writes the golden files of this version that are missing: `python tools/golden.py`.

A golden file is what users of a version have on their disks, and `tests/integration/test_golden.py`
loads them all.
Once a version is released, its files stay as they are. Before that, delete the files of a format
that has changed, and run this with the newest Keras.
"""

import json
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from clr_schedules import migrate

SCHEDULES = {
    "triangular": clr.Triangular(1e-3, 6e-3, 2000),
    "triangular_asymmetric": clr.Triangular(0.0, 0.1, 300, 2**33 + 1, name="slow_fall"),
    "triangular2": clr.Triangular2(1e-3, 6e-3, 2000),
    "exp_range": clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994),
    "cyclical_cosine": clr.Cyclical(1e-3, 6e-3, 2000, 500, wave="cosine"),
    "cyclical_decay": clr.Cyclical(1e-3, 6e-3, 2000, peak_mult=0.8, gamma=0.99994),
    "one_cycle": clr.OneCycle(6e-3, 100_000),
    "one_cycle_three_phases": clr.OneCycle(
        0.1, 4000, pct_start=0.45, anneal="linear", three_phase=True
    ),
    "one_cycle_momentum": clr.OneCycle(6e-3, 100_000).momentum(0.95, 0.8),
    "cosine_restarts": clr.CosineRestarts(0.1, 1000),
    "cosine_restarts_growing": clr.CosineRestarts(0.1, 300, 1.5, 0.9, min_lr=1e-4),
    "cosine_restarts_shrinking": clr.CosineRestarts(0.1, 100_000, 0.9),
    "warmup_stable_decay": clr.Warmup(
        clr.Piecewise(
            [0.1, clr.OneCycle(0.1, 2000, pct_start=0.0, div_factor=1.0, anneal="linear")], [1999]
        ),
        300,
        name="wsd",
    ),
    "addons_cyclical": migrate.AddonsCyclical(6e-3, 1e-3, 781.25, scale_fn=migrate.Power(0.9)),
    # What `CyclicalLR` has in the optimizer where its cycles began at another step.
    "shifted": clr.Shifted(clr.Triangular2(1e-3, 6e-3, 2000), 300),
}
MOMENTUM = clr.OneCycle(0.05, 8).momentum()
OPTIMIZERS = {
    "sgd": clr.schedule_hyperparameters(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), momentum=MOMENTUM
    ),
    "adamw": clr.schedule_hyperparameters(
        keras.optimizers.AdamW(clr.OneCycle(0.05, 8)),
        beta_1=MOMENTUM,
        weight_decay=clr.Warmup(0.01, 4),
    ),
    "loss_scale": clr.schedule_hyperparameters(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)), beta_1=MOMENTUM
    ),
}
STEPS = [0, 1, 299, 300, 1999, 2000, 2001, 4000, 123_456, 10**7 + 1, 10**9 + 7, 2**31 - 1]


class Counted(tf.Module):
    """A schedule in a SavedModel: each call takes a step and returns its rate."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.step = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[])
    def next_rate(self) -> tf.Tensor:
        """The rate of the present step."""
        rate = self.schedule(self.step)
        self.step.assign_add(1)
        return rate


def write_saved_model(schedule: keras.optimizers.schedules.LearningRateSchedule, to: Path) -> None:
    """Writes the schedule as a zipped SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(Counted(schedule), folder)
        shutil.make_archive(str(to), "zip", folder)


def trained(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """A model after three steps."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    train_on(model)
    return model


def train_on(model: keras.Model) -> None:
    """Three steps."""
    x = np.ones((15, 2), "float32")
    model.fit(x, x[:, :1], batch_size=5, verbose=0)


def main() -> None:
    """Writes the files of each schedule and of each optimizer that has none.

    A schedule has a zipped SavedModel, a `.keras` file and a JSON file. An optimizer has a `.keras`
    file, saved in mid-training, and a JSON file with the weights after three more steps.
    """
    folder = Path(__file__).parents[1] / "tests" / "golden" / clr.__version__
    (folder / "hyperparameters").mkdir(parents=True, exist_ok=True)
    for name, optimizer in OPTIMIZERS.items():
        path = folder / "hyperparameters" / f"{name}.json"
        if path.exists():
            continue
        model = trained(optimizer)
        model.save(path.with_suffix(".keras"))
        train_on(model)
        record = {
            "keras": keras.__version__,
            "weights": [np.asarray(w).ravel().tolist() for w in model.trainable_variables],
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
    for name, schedule in SCHEDULES.items():
        if not (folder / f"{name}.saved_model.zip").exists():
            write_saved_model(schedule, folder / f"{name}.saved_model")
        if (folder / f"{name}.json").exists():
            continue
        trained(keras.optimizers.Adam(schedule)).save(folder / f"{name}.keras")
        record = {
            "keras": keras.__version__,
            "config": keras.optimizers.schedules.serialize(schedule),
            "repr": repr(schedule),
            "steps": STEPS,
            "float32": [float(rate).hex() for rate in np.asarray(schedule(STEPS))],
        }
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
