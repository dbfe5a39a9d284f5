"""
An amplitude of one's own
=========================

``Triangular2`` halves its peaks with every cycle. For another constant factor, ``Cyclical`` has
``peak_mult``. What if one over the square root of the cycle's number suits a training better?
``Cyclical`` takes any function for that. This page writes one, draws it beside ``Triangular2``, and
trains with it, saves the model in mid-cycle and goes on with what it loads. It takes some ten
seconds.
"""

import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np

import clr_schedules as clr
from clr_schedules import plotting

# %%
# The function
# ------------
# It takes the number of the cycle, which counts from 1, and returns the factor of the amplitude. In
# a training that number is a tensor, in ``values`` and in plots a NumPy array; the operators of
# Python work on both. Registered with Keras, under a name of your project, it can be saved by that
# name.


@keras.saving.register_keras_serializable(package="my_project")
def inverse_root(cycle):
    """1, 0.71, 0.58, 0.5, ..."""
    return cycle**-0.5


STEP_SIZE, CYCLES = 40, 4
STEPS = 2 * STEP_SIZE * CYCLES
lr = clr.Cyclical(0.001, 0.01, STEP_SIZE, scale_fn=inverse_root, name="inverse root")
print(lr)

peaks = lr.values(STEP_SIZE + 2 * STEP_SIZE * np.arange(CYCLES))
assert np.allclose(peaks, 0.001 + 0.009 / np.sqrt(np.arange(1, CYCLES + 1)))

# %%
# Two more
# --------
# With ``scale_mode="iterations"`` the function gets the iteration instead, from 0: here the
# amplitude falls linearly, to nothing where the training ends. What a function returns is
# multiplied with the wave, and the rate is kept between the bounds. ``wave="cosine"`` has the rate
# turn smoothly.


@keras.saving.register_keras_serializable(package="my_project")
def down_to_the_end(iteration):
    """From 1 at the first step to 0 at the last."""
    return 1 - iteration / STEPS


falling = clr.Cyclical(
    0.001,
    0.01,
    STEP_SIZE,
    wave="cosine",
    scale_fn=down_to_the_end,
    scale_mode="iterations",
    name="cosine, down to the end",
)
triangular2 = clr.Triangular2(0.001, 0.01, STEP_SIZE)

figure, axes = plt.subplots(figsize=(8.3, 3.6), layout="constrained")
plotting.plot_schedules([lr, triangular2, falling], STEPS + 1, ax=axes)
axes.set_xticks(range(0, STEPS + 1, STEP_SIZE))

# %%
# Saved and loaded
# ----------------
# A small network learns to add, for a cycle and a half, and is saved. The file has the name of the
# function, ``my_project>inverse_root``, and none of its code: a process that loads it must have run
# the registration before, by importing the module that it is in.

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(640, 4))
y = x.sum(axis=1)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(lr), loss="mse")
model.fit(x, y, batch_size=16, epochs=3, verbose=0)

with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder, "model.keras"))
    loaded = keras.models.load_model(Path(folder, "model.keras"))

print("steps taken:", int(loaded.optimizer.iterations))
print("the next rate:", float(loaded.optimizer.learning_rate))
assert float(loaded.optimizer.learning_rate) == np.float32(lr.values(120))

# %%
# Both go on alike, to the last bit.

for each in (model, loaded):
    each.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
assert all(map(np.array_equal, model.get_weights(), loaded.get_weights()))

# %%
# A function that is not registered trains as well. But a model with it is not saved: nobody could
# load the file. A warning says so when the schedule is made, and what to take instead.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    unknown = clr.Cyclical(0.001, 0.01, STEP_SIZE, scale_fn=lambda cycle: 0.9**cycle)
print(f"{caught[0].category.__name__}: {caught[0].message}")
try:
    unknown.get_config()
except ValueError as error:
    print(f"ValueError: {error}")
