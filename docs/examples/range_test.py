"""
Finding the bounds: the range test
==================================

Between which rates should a cycle go? The paper's answer is a short training at a rate that rises
from step to step. The lower bound is the rate at which the network begins to learn. The upper bound
is well below the rate at which the network loses what it has learned. In code::

    result = clr.lr_range_test(model, x, y, batch_size=64)
    lr = result.suggest().schedule(clr.Triangular2, step_size=80)
    model.compile(keras.optimizers.Adam(lr), loss=..., metrics=...)

This page runs the test on scikit-learn's handwritten digits, and tells how to read the curve, what
to do if the curve shows no bound, and what else a test can record. It takes about ten seconds.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import clr_schedules as clr

# %%
# Any compiled model serves, with any learning rate, since the test sets its own. The metric makes
# the curve easier to read: an accuracy begins to rise before a loss can be seen to fall.

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x, x_val, y, y_val = train_test_split(
    images, labels, train_size=1280, stratify=labels, random_state=0
)

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
    keras.optimizers.Adam(),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)

# %%
# The test
# --------
# By default, the rate grows exponentially from 1e-7 to 10. Adam's default rate is 1e-3, so three
# decades on either side of it are enough here. The number of steps is that of an epoch, but at
# least 200, as here.
#
# The test stops early if the smoothed loss is four times its best, or not finite.

settings = {"batch_size": 64, "verbose": 0}
result = clr.lr_range_test(model, x, y, min_lr=1e-6, max_lr=1.0, **settings)
print(result)

# %%
# Reading the curve
# -----------------
# The pale lines are single batches, the strong lines their moving averages, which lag a little.
# From the left:
#
# 1. **Nothing happens.** The steps are too small; the loss and the accuracy stay where they are.
# 2. **The accuracy begins to rise.** That is ``base_lr``: rates below it teach the network nothing.
# 3. **The accuracy slows, or becomes ragged.** The rates are as high as the network bears.
# 4. **The loss blows up.** What was learned is lost. A tenth to a fifth of the rate at which it
#    does is ``max_lr``, but at most the rate in the middle of the range where the loss is lowest.
#
# If no metric is an accuracy, both bounds are read off the loss: ``base_lr`` is the rate at which
# the loss begins to fall.

suggestion = result.suggest()
print(suggestion)
result_axes = result.plot()

# %%
# The markers are rates for a training at a constant rate, or for comparison, by fastai's rules:
# ``steep``, ``valley`` and ``minimum``. The suggested rates hold for this network, optimizer and
# batch size: with others, test again.
#
# A schedule cycles between the bounds. The paper recommends half-cycles of two to ten epochs.

step_size = clr.step_size(len(x), batch_size=64, epochs=4)
print(suggestion.schedule(clr.Triangular2, step_size=step_size))

# %%
# The model is what it was
# ------------------------
# A test trains the model until it breaks, and then restores everything bit for bit: weights,
# optimizer, metrics, random state. The next training is the same as without the test. So one model
# serves for all tests on this page, here for a test with linear growth.
#
# The paper raises the rate linearly. Most steps are then at high rates, which shows ``max_lr`` well
# if its order of magnitude is known; a ``base_lr`` that is much smaller passes within a few steps.
# Exponential growth gives every decade as many steps, and needs no such knowledge.

weights = model.get_weights()
linear = clr.lr_range_test(model, x, y, min_lr=1e-4, max_lr=0.05, growth="linear", **settings)
print(linear)
assert all(map(np.array_equal, weights, model.get_weights()))
assert model.optimizer.iterations == 0

# %%
# None, and why
# -------------
# A test that ends at too low a rate cannot show where the loss blows up. The suggestion is None
# then, never the last rate of the test. Asking for a schedule raises an error with the reason. This
# test needs a higher ``max_lr``.

short = clr.lr_range_test(model, x, y, min_lr=1e-6, max_lr=3e-4, **settings)
print(f"max_lr={short.suggest().max_lr}")
try:
    short.suggest().schedule(clr.Triangular2, step_size=step_size)
except ValueError as error:
    print(f"ValueError: {error}")

# %%
# Validation data
# ---------------
# The losses of the curve are those of training batches. With ``validation_data``, the test also
# evaluates the model at about 30 rates on data that it does not learn from: the circles. The test
# then takes longer. The suggestions do not depend on it.

validated = clr.lr_range_test(
    model, x, y, min_lr=1e-6, max_lr=1.0, validation_data=(x_val, y_val), **settings
)
print(validated)

# %%
# The three tests in one figure: ``plot`` draws on the axes that it is given.

figure, panels = plt.subplots(3, figsize=(7.5, 11.5), layout="constrained")
for other, axes, title in zip(
    (linear, short, validated),
    panels,
    ("linear growth", "a max_lr that is too low", "with validation data"),
    strict=True,
):
    other.plot(axes)
    axes.set_title(title, pad=20)

# %%
# Saving
# ------
# A result is plain numbers. ``load`` returns what ``save`` wrote bit for bit, and ``to_csv`` writes
# a table with a line for each step.

with tempfile.TemporaryDirectory() as folder:
    result.save(Path(folder, "range_test.json"))
    loaded = clr.RangeTestResult.load(Path(folder, "range_test.json"))
    result.to_csv(Path(folder, "range_test.csv"))
    print(*Path(folder, "range_test.csv").read_text().splitlines()[:3], "...", sep="\n")
assert loaded.suggest() == suggestion

# %%
# ``make images`` runs this page where the README is, and saves the first picture for it.

if Path("docs", "images").is_dir():
    picture = Path("docs", "images", "range_test.png")
    result_axes.figure.savefig(picture, dpi=115, facecolor="white")
    print(picture)
