"""
Keras on JAX
============

The same schedules, with JAX below Keras. This page trains with ``fit``, then in a jitted loop of
its own by ``stateless_apply``, which comes to the same losses, and tells what counts in 64 bits
where JAX itself has 32. It takes some ten seconds.
"""

# %%
# Keras is told its backend before it is imported.

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import matplotlib.pyplot as plt
import numpy as np

import clr_schedules as clr

print(keras.config.backend())

# %%
# The data
# --------
# A function of four numbers, to be learned from 640 examples of it.

rng = np.random.default_rng(0)
x = rng.normal(size=(640, 4)).astype("float32")
y = np.sin(x @ np.array([1.0, -0.5, 0.5, 0.25], "float32"))[:, None]
BATCH_SIZE, EPOCHS = 32, 12
STEPS_PER_EPOCH = clr.steps_per_epoch(len(x), BATCH_SIZE)
STEPS = EPOCHS * STEPS_PER_EPOCH

lr = clr.OneCycle(max_lr=0.03, total_steps=STEPS)


def network():
    """The network, with the same first weights each time."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)]
    )


# %%
# ``fit``
# -------
# As on TensorFlow: the schedule goes where a rate would, and becomes part of the compiled step.

model = network()
model.compile(keras.optimizers.Adam(lr), loss="mse")
logger = clr.LearningRateLogger()
history = model.fit(
    x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[logger]
)
assert np.array_equal(
    np.float32(logger.history["learning_rate"]), np.float32(lr.values(range(STEPS)))
)
first, *_, last = history.history["loss"]
print(f"loss of the first epoch {first:.4f}, of the last {last:.4f}")

# %%
# A loop of one's own
# -------------------
# JAX wants functions without state. Keras's ``stateless_call`` and ``stateless_apply`` take the
# variables as arguments and return them. The number of the step is one of the optimizer's
# variables, and the schedule is called within the jitted function: nothing is handed to it.

model = network()
optimizer = keras.optimizers.Adam(lr)
optimizer.build(model.trainable_variables)
iterations = optimizer.variables.index(optimizer.iterations)


def loss_of(trainable, non_trainable, x, y):
    """The loss of a batch, and the variables that are not trained."""
    predicted, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
    return jnp.mean((predicted - y) ** 2), non_trainable


@jax.jit
def train_step(state, batch):
    """The variables after a step; the loss and the rate of the step."""
    trainable, non_trainable, optimizer_variables = state
    rate = lr(optimizer_variables[iterations])
    gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, non_trainable), gradients = gradient(trainable, non_trainable, *batch)
    trainable, optimizer_variables = optimizer.stateless_apply(
        optimizer_variables, gradients, trainable
    )
    return (trainable, non_trainable, optimizer_variables), (loss, rate)


@jax.jit
def train_epoch(state, x, y):
    """An epoch of steps in one call."""
    return jax.lax.scan(train_step, state, (x, y))


state = tuple(
    [variable.value for variable in variables]
    for variables in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
)
batches = (x.reshape(-1, BATCH_SIZE, 4), y.reshape(-1, BATCH_SIZE, 1))
losses, rates = [], []
for _ in range(EPOCHS):
    state, (loss, rate) = train_epoch(state, *batches)
    losses.append(loss)
    rates.append(rate)
losses, rates = np.concatenate(losses), np.concatenate(rates)

# %%
# The rates are those of the schedule, each the float32 next to the formula. The losses are those of
# ``fit``, to the rounding of a loop that is compiled in another way.

assert np.array_equal(rates, np.float32(lr.values(range(STEPS))))
by_epoch = losses.reshape(EPOCHS, -1).mean(axis=1)
assert np.allclose(by_epoch, history.history["loss"], rtol=1e-3)

figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8.3, 4.6), layout="constrained")
top.plot(rates, color="#009E73")
top.set(ylabel="learning rate", ylim=(0, None), title="One cycle on JAX")
bottom.plot(losses, color="#0072B2", alpha=0.5, linewidth=1, label="own loop, each batch")
ends = np.arange(1, EPOCHS + 1) * STEPS_PER_EPOCH
bottom.plot(ends, history.history["loss"], "o", color="#D55E00", label="fit, each epoch")
bottom.set(ylabel="loss", xlabel="step", yscale="log")
bottom.legend()
for axes in (top, bottom):
    axes.grid(alpha=0.3)

# %%
# 64 bits
# -------
# JAX turns 64-bit numbers into 32-bit ones unless it is told not to. A float32 counts no further
# than 2^24, and a rate that is computed in it loses digits long before. So a schedule opens the
# 64-bit types for its own few scalars, and for nothing else: what is around it stays as it was, and
# the rate comes out as float32.

far = clr.Triangular(0.001, 0.006, step_size=2000)
step = jnp.int32(2**31 - 1)
rate = jax.jit(far)(step)
print("rate:", rate, rate.dtype, "- other numbers:", jnp.asarray(0.1).dtype)
assert rate == np.float32(far.values(2**31 - 1))

textbook = 1.0 - jnp.abs(step.astype("float32") / 2000 % 2 - 1)
print(f"in float32: {0.001 + 0.005 * textbook:.6f}, and right is {far.values(2**31 - 1):.6f}")

# %%
# Keras counts the steps of an optimizer in 32 bits on JAX, so steps are below 2^31 here. Where the
# counter has 64 bits, as on TensorFlow, rates are exact up to 2^53.

print(optimizer.iterations.dtype)
