"""
The rate and the loss of a training
===================================

What did the learning rate do while the loss fell? ``LearningRateLogger`` logs the rate of every
step, and its ``plot`` draws the rate over the losses. This page trains a small network on
scikit-learn's handwritten digits, with the cycles of ``Triangular2``. It takes about ten seconds.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import clr_schedules as clr

# %%
# The data: 1,280 images to train on, which makes 20 full batches of 64, and 517 to validate with.

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x, x_val, y, y_val = train_test_split(
    images, labels, train_size=1280, stratify=labels, random_state=0
)

BATCH_SIZE = 64
STEPS_PER_EPOCH = clr.steps_per_epoch(len(x), BATCH_SIZE)

# %%
# The schedule: half-cycles of two epochs between the bounds that a range test found for this
# network (``range_test.py`` beside this page), and three cycles.

lr = clr.Triangular2(1.2e-4, 1e-2, step_size=clr.step_size(len(x), BATCH_SIZE, epochs=2))
EPOCHS = 3 * 2 * lr.step_size // STEPS_PER_EPOCH

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
)
model.compile(
    keras.optimizers.Adam(lr),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=STEPS_PER_EPOCH,
)

# %%
# The training
# ------------
# The schedule is part of the compiled train step, and here a whole epoch is one call into it. The
# logger has the rates of all its steps nevertheless: a rate is a function of the step, and the
# logger computes the rates when the epoch has ended.

logger = clr.LearningRateLogger()
history = model.fit(
    x,
    y,
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    validation_data=(x_val, y_val),
    callbacks=[logger],
    verbose=0,
)
steps, rates = logger.history["iteration"], logger.history["learning_rate"]
assert steps == list(range(EPOCHS * STEPS_PER_EPOCH))
assert np.array_equal(np.float32(rates), np.float32(lr.values(steps)))

# %%
# The logs of an epoch have the rate of its last step. ``CSVLogger``, ``TensorBoard`` and other
# callbacks see it if they come after the logger.

ends = np.arange(1, EPOCHS + 1) * STEPS_PER_EPOCH
assert np.array_equal(history.history["learning_rate"], np.array(rates)[ends - 1])
for epoch in logger.epochs:
    print(
        f"epoch {epoch['epoch'] + 1:2}, step {epoch['iteration']:3}: "
        f"loss {epoch['loss']:.3f}, validation loss {epoch['val_loss']:.3f}, "
        f"learning rate {epoch['learning_rate']:.5f}"
    )

# %%
# The picture
# -----------
# The loss of an epoch is the mean over its batches, and is drawn at the end of the epoch, where the
# validation loss is measured. Where the rate is high, the losses hardly fall. In the second half of
# every cycle, the loss falls together with the rate.

axes = logger.plot()
losses = np.array(history.history["loss"])
assert (losses[3::4] < losses[1::4]).all()

# %%
# ``make images`` runs this page where the README is, and saves the picture for it.

if Path("docs", "images").is_dir():
    picture = Path("docs", "images", "history.png")
    axes.figure.savefig(picture, dpi=130, facecolor="white")
    print(picture)
