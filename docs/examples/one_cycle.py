"""
One cycle, with momentum that mirrors it
========================================

The one-cycle policy spends the whole training on a single cycle: up to a rate at which a network
could not stay, and down to nearly 0. Momentum goes the other way, from 0.95 to 0.85 and back, since
a high rate and a high momentum together make a training unstable. ``OneCycle`` is the schedule of
the rate, its method ``momentum()`` makes the schedule of the momentum, and
``schedule_hyperparameters`` lets the optimizer follow it within the compiled step.

This page compares one cycle of both with one cycle of the rate alone and with constant rates, on
scikit-learn's handwritten digits, over five seeds. It takes less than a minute.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import clr_schedules as clr

tf.get_logger().setLevel("ERROR")  # TensorFlow warns that every new model is traced

# %%
# The data: 1,280 images to train on, which makes 20 full batches of 64, and 517 to validate with.

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x, x_val, y, y_val = train_test_split(
    images, labels, train_size=1280, stratify=labels, random_state=0
)

BATCH_SIZE, EPOCHS, SEEDS = 64, 16, 5
STEPS = EPOCHS * clr.steps_per_epoch(len(x), BATCH_SIZE)

# %%
# The optimizers
# --------------
# One cycle is three lines:

lr = clr.OneCycle(max_lr=0.15, total_steps=STEPS)
optimizer = keras.optimizers.SGD(learning_rate=lr, momentum=0.9)
optimizer = clr.schedule_hyperparameters(optimizer, momentum=lr.momentum())

# %%
# It is compared with two constant rates: one that suits this network, and the peak of the cycle.


def constant(rate):
    """SGD at a constant rate."""
    return keras.optimizers.SGD(rate, momentum=0.9)


def one_cycle():
    """SGD with one cycle of the rate alone."""
    return keras.optimizers.SGD(lr, momentum=0.9)


def one_cycle_with_momentum():
    """SGD with one cycle of the rate and of the momentum."""
    return clr.schedule_hyperparameters(one_cycle(), momentum=lr.momentum())


arms = {
    "constant 0.05": lambda: constant(0.05),
    "constant 0.15": lambda: constant(0.15),
    "one cycle to 0.15": one_cycle,
    "one cycle to 0.15,\nand of momentum": one_cycle_with_momentum,
}

# %%
# The trainings
# -------------
# Here, compiling a network takes about as long as training it, so each optimizer has one network
# for all seeds. For each seed, the network gets new weights and the optimizer its first state. A
# seed gives the same weights and the same order of batches to all four optimizers.


def network():
    """A network, untrained."""
    return keras.Sequential(
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


def train(optimizer, callbacks=()):
    """Trains once for each seed; returns the accuracies on the validation images in percent."""
    model = network()
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS // EPOCHS,
    )
    optimizer.build(model.trainable_variables)
    untrained = [variable.numpy() for variable in optimizer.variables]
    found = []
    for seed in range(SEEDS):
        keras.utils.set_random_seed(seed)
        model.set_weights(network().get_weights())
        for variable, value in zip(optimizer.variables, untrained, strict=True):
            variable.assign(value)
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, callbacks=list(callbacks), verbose=0)
        found.append(100 * model.evaluate(x_val, y_val, verbose=0)[1])
    return found


logger = clr.LearningRateLogger()
accuracy = {
    name: train(make(), [logger] if make is one_cycle_with_momentum else [])
    for name, make in arms.items()
}
for name, found in accuracy.items():
    print(f"{name.replace(chr(10), ' '):40} {np.mean(found):6.2f} ± {np.std(found):.2f} %")

# %%
# A training that stays at 0.15 ends far below one that passes through it. The other three end
# within one percentage point, which is about the difference between seeds; which of them is best
# can change from run to run. A small network and a short training show no more than that.

means = {name: np.mean(found) for name, found in accuracy.items()}
plain, high, cycle, both = means.values()
others = plain, cycle, both
assert min(others) > high + 1
assert max(others) < min(others) + 1

# %%
# The picture
# -----------
# ``LearningRateLogger`` also logs the hyperparameters that follow schedules.

last = {name: values[-STEPS:] for name, values in logger.history.items()}  # of the last seed
assert np.array_equal(np.float32(last["momentum"]), np.float32(lr.momentum().values(range(STEPS))))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
blue, green = "#0072b2", "#009e73"
left.plot(last["iteration"], last["learning_rate"], color=green)
left.set_ylabel("learning rate", color=green)
left.set_xlabel("iteration")
left.set_title("One cycle")
twin = left.twinx()
twin.plot(last["iteration"], last["momentum"], color=blue, linestyle="--")
twin.set_ylabel("momentum (dashed)", color=blue)
for i, found in enumerate(accuracy.values()):
    right.plot(found, np.full(SEEDS, i), "o", color=blue, alpha=0.5)
    right.plot(np.mean(found), i, "|", color="black", markersize=22)
right.set_yticks(range(len(arms)), list(arms))
right.set_ylim(len(arms) - 0.5, -0.5)
right.set_xlabel("validation accuracy in %: seeds, and mean")
right.set_title(f"After {STEPS} iterations")

# %%
# ``make images`` runs this page where the README is, and saves the picture for it.

if Path("docs", "images").is_dir():
    picture = Path("docs", "images", "one_cycle.png")
    figure.savefig(picture, dpi=130, facecolor="white")
    print(picture)
