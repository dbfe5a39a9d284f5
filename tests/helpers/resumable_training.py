"""A training that may be killed at any moment, and continues from its last complete backup.

Run as ``python -m helpers.resumable_training WAY FOLDER``. Each step writes its number to
``FOLDER/log``, each process appends the step at which it began to ``FOLDER/begins``, and the final
state is written to ``FOLDER/state.json``. The backup at the end of an epoch takes longer than the
epoch, so that a kill often hits it.
"""

import inspect
import json
import shutil
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

import clr_schedules as clr
from helpers.keras_under_test import LEGACY, keras
from helpers.small_training import STEPS, batches, make, state, train

EPOCHS = 10
CYCLE = clr.Triangular2(1e-3, 6e-2, 7)
ONE_CYCLE = clr.OneCycle(6e-2, EPOCHS * STEPS)
RATES = {
    "backup": clr.Piecewise([CYCLE, clr.ExpRange(0, 0.1, 9, gamma=0.99)], [90]),
    "checkpoint": clr.CosineRestarts(6e-2, 7, 1.1, 0.95, 1e-3),
    "tensorflow": clr.Warmup(clr.OneCycle(6e-2, EPOCHS * STEPS - 30), 30),
    "callback": 0.01,
    "hyperparameters": ONE_CYCLE,
    "layers": ONE_CYCLE,
}
# Whether Keras's backup keeps the previous pair of files too. In `tf_keras`, the backup is one
# checkpoint.
DOUBLE = "double_checkpoint" in inspect.signature(keras.callbacks.BackupAndRestore).parameters


def main(way, folder):
    """Begins or continues the training."""
    {"checkpoint": from_checkpoints, "tensorflow": own_loop}.get(way, with_backup)(way, folder)


def new_model(way):
    model = make(keras, RATES[way])
    if way == "hyperparameters":
        optimizer = keras.optimizers.Adam(ONE_CYCLE)
        optimizer = clr.schedule_hyperparameters(optimizer, beta_1=ONE_CYCLE.momentum())
        model.compile(optimizer, loss="binary_crossentropy")
    if way == "layers":
        thawing = clr.Piecewise([0.0, 0.5], [EPOCHS * STEPS // 2])
        optimizer = keras.optimizers.Adam(ONE_CYCLE)
        optimizer = clr.scale_learning_rates(optimizer, {".*kernel": thawing, ".*bias": 0.3})
        model.compile(optimizer, loss="binary_crossentropy")
    return model


def note(folder, model):
    """Notes the steps taken so far, for the test that kills this process."""
    (folder / "log").write_text(str(int(np.asarray(model.optimizer.iterations))))


def note_begin(folder, model):
    """Notes the step at which this process begins."""
    with (folder / "begins").open("a") as file:
        print(int(np.asarray(model.optimizer.iterations)), file=file)


class Note(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        note_begin(self.folder, self.model)

    def on_train_batch_end(self, batch, logs=None):
        note(self.folder, self.model)


def fit(model, folder, callbacks, epoch=0):
    callbacks = [*callbacks, Note(folder)]
    return train(model, epochs=EPOCHS, initial_epoch=epoch, callbacks=callbacks)


def finish(model, folder, **more):
    beside = folder / "state.new"
    beside.write_text(json.dumps(state(model) | more))
    beside.rename(folder / "state.json")


# `docs/resuming.md` has this function too.
def mend_backup(folder, model, steps_per_epoch):
    """Makes what a kill has left of a backup whole; `model` is one to throw away."""
    scaled = hasattr(model.optimizer, "inner_optimizer")  # as under mixed_float16
    if scaled or getattr(model.optimizer, "gradient_accumulation_steps", None):
        raise ValueError("Not every batch is a step of this optimizer: save a file for each epoch")
    model.optimizer.build(model.trainable_variables)
    latest, copy = folder / "latest.weights.h5", folder / "copy.weights.h5"
    found = [path for path in (latest, folder / "latest.weights.h5.bkp") if path.exists()]
    for path in found:
        shutil.copy(path, copy)
        try:
            model.load_weights(copy)
        except Exception:  # h5py has errors of many kinds for half a file
            continue
        # Weights and epoch are two files; the weights know how many steps they have behind them.
        steps = int(np.asarray(model.optimizer.iterations))
        if steps == 0 or steps % steps_per_epoch:
            raise ValueError(f"{path} is of no whole number of epochs: it has {steps} steps")
        copy.replace(latest)
        metadata = {"epoch": steps // steps_per_epoch, "batch": 0}
        (folder / "training_metadata.json").write_text(json.dumps(metadata))
        return
    if len(found) > 1:
        raise ValueError(f"Of {folder}, no file can be read: they are of another model")
    if found:  # it was killed while it wrote, and no pair before was kept: training begins anew
        folder.rename(f"{folder}-unreadable-{time.time_ns()}")


def with_backup(way, folder):
    """Keras's own backup, which continues by itself."""
    model = new_model(way)
    if not LEGACY:
        mend_backup(folder / "backup", new_model(way), STEPS)
    both = {"double_checkpoint": True} if DOUBLE else {}
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"), **both)
    callbacks = [clr.CyclicalLR(1e-3, 6e-2, 7, "triangular2")] if way == "callback" else []
    logger = clr.LearningRateLogger()
    fit(model, folder, [backup, *callbacks, logger])
    finish(model, folder, logged=logger.history["learning_rate"][-1])


def from_checkpoints(way, folder):
    """One file of the whole model for each epoch; continues from the newest complete one."""
    folder = folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    model, done = new_model(way), 0
    for path in sorted(folder.glob("*.keras"), reverse=True):
        if zipfile.is_zipfile(path):  # a file that a kill has cut off is not
            model, done = keras.models.load_model(path), int(path.stem)
            break
    checkpoint = keras.callbacks.ModelCheckpoint(str(folder / "{epoch:04d}.keras"))
    finish(fit(model, folder.parent, [checkpoint], done), folder.parent)


def own_loop(way, folder):
    """A custom training loop, whose checkpoints TensorFlow writes."""
    import tensorflow as tf

    model = new_model(way)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.BinaryCrossentropy()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), max_to_keep=3)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    note_begin(folder, model)
    data = batches()
    while (done := int(np.asarray(optimizer.iterations))) < EPOCHS * STEPS:
        step(*data[done % STEPS])
        note(folder, model)
        if (done + 1) % STEPS == 0:
            manager.save()
    finish(model, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
