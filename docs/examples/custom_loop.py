"""
A training loop of one's own, and a SavedModel of it
====================================================

A schedule needs no ``fit``: the optimizer asks it for the rate of each step, in any loop. This page
writes one, compiles it with ``tf.function``, exports it as a SavedModel in mid-training, and has
another process train on with it: one that has no clr-schedules, since the schedule is in the
file as operations. It takes some twenty seconds.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import clr_schedules as clr

# %%
# The data
# --------
# A function of four numbers, to be learned from 640 examples of it.

rng = np.random.default_rng(0)
x = rng.normal(size=(640, 4)).astype("float32")
y = np.sin(x @ np.array([1.0, -0.5, 0.5, 0.25], "float32"))[:, None]
BATCH_SIZE = 32
STEPS_PER_EPOCH = clr.steps_per_epoch(len(x), BATCH_SIZE)

# %%
# The loop
# --------
# One call of ``train_epoch`` is an epoch, compiled by XLA with everything in it: network, optimizer
# and schedule. It returns the loss and the rate of every step. Nothing sets a rate, and nothing
# counts but ``optimizer.iterations``.


class Training(tf.Module):
    """A network, its optimizer, and the loop."""

    def __init__(self, learning_rate):
        super().__init__()
        self.network = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)]
        )
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build(self.network.trainable_variables)
        # Keras's variables, for TensorFlow to find and to save.
        variables = self.network.variables + self.optimizer.variables
        self.saved = [variable.value for variable in variables]

    @tf.function(
        input_signature=[
            tf.TensorSpec((STEPS_PER_EPOCH * BATCH_SIZE, 4), tf.float32),
            tf.TensorSpec((STEPS_PER_EPOCH * BATCH_SIZE, 1), tf.float32),
        ],
        jit_compile=True,
    )
    def train_epoch(self, x, y):
        """A step for each batch; the loss and the rate of each."""
        losses = tf.TensorArray(tf.float32, STEPS_PER_EPOCH)
        rates = tf.TensorArray(tf.float32, STEPS_PER_EPOCH)
        for i in tf.range(STEPS_PER_EPOCH):
            batch_x = tf.slice(x, [i * BATCH_SIZE, 0], [BATCH_SIZE, 4])
            batch_y = tf.slice(y, [i * BATCH_SIZE, 0], [BATCH_SIZE, 1])
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self.network(batch_x, training=True) - batch_y) ** 2)
            gradients = tape.gradient(loss, self.network.trainable_variables)
            rates = rates.write(i, self.optimizer.learning_rate)
            self.optimizer.apply(gradients)
            losses = losses.write(i, loss)
        return losses.stack(), rates.stack()


keras.utils.set_random_seed(0)
lr = clr.Triangular2(1e-3, 3e-2, step_size=clr.step_size(len(x), BATCH_SIZE, epochs=3))
training = Training(lr)

# %%
# Saved on the way down
# ---------------------
# A cycle takes six epochs. After four of them the rate is on its way down, and the training is
# saved.

here = [training.train_epoch(x, y) for _ in range(4)]
steps = int(training.optimizer.iterations)
print(f"{steps} steps, the next rate is {float(training.optimizer.learning_rate):.6f}")

folder = tempfile.TemporaryDirectory()
tf.saved_model.save(training, folder.name)

# %%
# Another process
# ---------------
# It has TensorFlow and the file, and cannot import the package: we see to that. It calls
# ``train_epoch`` eight times, and saves what was returned.

CODE = """
import logging, sys
import numpy as np
sys.modules["clr_schedules"] = None  # to import it is an error from here on
logging.disable(logging.WARNING)  # that the gradients of gradients were not saved
import tensorflow as tf

folder, results = sys.argv[1:]
training = tf.saved_model.load(folder)
data = np.load(f"{results}/data.npz")
epochs = [training.train_epoch(data["x"], data["y"]) for _ in range(8)]
losses, rates = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*epochs))
np.savez(f"{results}/trained.npz", losses=losses, rates=rates)
"""
with tempfile.TemporaryDirectory() as results:
    np.savez(Path(results, "data.npz"), x=x, y=y)
    subprocess.run([sys.executable, "-c", CODE, folder.name, results], check=True)
    with np.load(Path(results, "trained.npz")) as trained:
        losses, rates = trained["losses"], trained["rates"]
folder.cleanup()

# %%
# Its rates are those of the schedule from step 80 on, each the float32 next to the formula; and its
# losses are those that this process comes to if it goes on itself.

then = range(steps, steps + len(rates))
assert np.array_equal(rates, np.float32(lr.values(then)))
expected = np.concatenate([training.train_epoch(x, y)[0] for _ in range(8)])
assert np.allclose(losses, expected, rtol=1e-4)
print(f"loss of the first step {here[0][0][0]:.4f}, of the last {losses[-1]:.4f}")

# %%
# The picture
# -----------
# Before the line, this process; behind it, the other one.

all_losses = np.concatenate([*(np.asarray(part) for part, _ in here), losses])
all_rates = np.concatenate([*(np.asarray(part) for _, part in here), rates])
figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8.3, 4.6), layout="constrained")
top.plot(all_rates, color="#009E73")
top.set(ylabel="learning rate", ylim=(0, None), title="One training, two processes")
bottom.plot(all_losses, color="#0072B2")
bottom.set(ylabel="loss of each batch", xlabel="step", yscale="log")
for axes in (top, bottom):
    axes.axvline(steps, color="black", linestyle=":")
    axes.grid(alpha=0.3)
