"""Models of many kinds, and data for them: what a user may hand to a range test."""

import numpy as np

import clr_schedules as clr
from helpers.keras_under_test import BACKEND, LEGACY, keras

BATCH, BATCHES = 16, 20
X = np.random.default_rng(0).normal(size=(BATCH * BATCHES, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2] > 0).astype("float32")


def layers(**arguments):
    return [
        keras.layers.Dense(8, "relu", **arguments),
        keras.layers.Dropout(0.25, **arguments),
        keras.layers.BatchNormalization(**arguments),
        keras.layers.Dense(1, "sigmoid", **arguments),
    ]


def compiled(model, optimizer=None, **arguments):
    model.compile(
        optimizer or keras.optimizers.Adam(1e-3),
        **{"loss": "binary_crossentropy", "metrics": ["accuracy"]} | arguments,
    )
    return model


def plain(optimizer=None, **arguments):
    """Dense layers with dropout and batch normalization."""
    return compiled(keras.Sequential([keras.layers.Input((4,)), *layers()]), optimizer, **arguments)


def unbuilt():
    return compiled(keras.Sequential([OwnDense(), *layers()]))


def scheduled():
    return plain(keras.optimizers.Adam(clr.Triangular2(1e-4, 1e-2, 30)))


def older():
    """With an optimizer of before the legacy Keras's present ones."""
    return plain(keras.optimizers.legacy.Adam(1e-3))


def averaged():
    return plain(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_overwrite_frequency=7))


def layered():
    """Each layer has its own rate, and one of them is frozen for some steps."""
    multipliers = {".*dense.*/kernel": clr.Piecewise([0.0, 0.1], [5]), ".*gamma": 2.0}
    return plain(clr.scale_learning_rates(keras.optimizers.AdamW(1e-3), multipliers))


def accumulated():
    return plain(keras.optimizers.Adam(1e-3, gradient_accumulation_steps=3))


def mixed(**scaling):
    model = keras.Sequential([keras.layers.Input((4,)), *layers(dtype="mixed_float16")])
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(1e-3), **scaling)
    return compiled(model, scaled)


def frozen(*more, kind=keras.Sequential, **arguments):
    """A frozen layer, one with state, a kernel under LoRA, and a frozen kernel that changes."""
    adapted = keras.layers.Dense(32, "relu")
    stack = [
        keras.layers.Input((4,)),
        keras.layers.Dense(64, trainable=False),
        keras.layers.BatchNormalization(),
        adapted,
        keras.layers.SpectralNormalization(keras.layers.Dense(8), trainable=False),
        keras.layers.Dense(1, "sigmoid"),
    ]
    model = kind([*stack, *more])
    if not LEGACY:
        adapted.enable_lora(2)
    return compiled(model, **arguments)


def two_outputs():
    inputs = keras.layers.Input((4,))
    hidden = keras.layers.Dense(8, "relu")(inputs)
    first = keras.layers.Dense(1, "sigmoid", name="first")(hidden)
    second = keras.layers.Dense(1, name="second")(hidden)
    return compiled(
        keras.Model(inputs, [first, second]),
        loss=["binary_crossentropy", "mse"],
        metrics=[["accuracy"], ["mae"]],
    )


def recurrent():
    """A layer whose state goes on from batch to batch, which no list of variables has."""
    inputs = keras.layers.Input(batch_shape=(BATCH, 4))
    steps = keras.layers.Reshape((4, 1))(inputs)
    state = keras.layers.LSTM(4, stateful=True)(steps)
    return compiled(keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(state)))


def custom_step():
    inputs = keras.layers.Input((4,))
    outputs = inputs
    for layer in [*([Counter()] if BACKEND == "tensorflow" else []), *layers()]:
        outputs = layer(outputs)
    return compiled(OwnStep(inputs, outputs))


class OwnDense(keras.layers.Layer):
    """A layer whose initializer draws its seed when it is built."""

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(shape[-1], 4), initializer="glorot_uniform", name="kernel"
        )

    def call(self, inputs):
        return inputs @ self.kernel


if BACKEND == "tensorflow":
    import tensorflow as tf

    class Counter(keras.layers.Layer):
        """TensorFlow's own variable and random numbers, where Keras does not see them."""

        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(0)
            self.generator = tf.random.Generator.from_seed(1)

        def call(self, inputs):
            self.calls.assign_add(1)
            return inputs + 0.1 * self.generator.normal((4,))

    class OwnStep(keras.Model):
        """A model with its own train step."""

        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.mean_loss = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.mean_loss]

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(y - self(x, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.mean_loss.update_state(loss)
            return {"loss": self.mean_loss.result(), "root": tf.sqrt(loss)}
elif BACKEND == "jax":

    class OwnStep(keras.Model):
        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            return logs | {"root": logs["loss"] ** 0.5}, state
else:

    class OwnStep(keras.Model):
        def train_step(self, data):
            logs = super().train_step(data)
            return logs | {"root": logs["loss"] ** 0.5}


def no_jit():
    return plain(jit_compile=False)


def jit():
    model = plain(jit_compile=True)
    if LEGACY:  # where no two trainings with dropout and XLA are the same
        model.layers[1].rate = 0
    return model


def eager():
    return plain(run_eagerly=True)


def fitted():
    """A model that was trained before, and has compiled functions and a history."""
    model = plain()
    model.fit(X, Y, batch_size=BATCH, epochs=1, verbose=0)
    model.evaluate(X, Y, verbose=0)
    return model


ALL = [no_jit, jit, eager, unbuilt, fitted, scheduled, mixed, custom_step, frozen]
if BACKEND != "torch":  # where a state that goes on cannot be trained
    ALL.append(recurrent)
ALL += [older] if LEGACY else [averaged, accumulated, layered]
if BACKEND == "torch":
    ALL.remove(jit)  # compiles with a C++ compiler, for minutes


def make(kind):
    """A model of this kind, the same one every time."""
    keras.utils.set_random_seed(0)
    return kind()


class Batches(keras.utils.Sequence if LEGACY else keras.utils.PyDataset):
    """The data, batch by batch; ``before(i)`` is called before each is handed out."""

    def __init__(self, before=lambda index: None):
        super().__init__()
        self.before = before

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        self.before(index)
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows]


def generate(before=lambda index: None):
    """The batches without end."""
    batches, index = Batches(), 0
    while True:
        before(index)
        yield batches[index % BATCHES]
        index += 1


def generate_weighted(weights):
    """The batches without end, with weights of their samples."""
    for index, (x, y) in enumerate(generate()):
        rows = slice(index % BATCHES * BATCH, (index % BATCHES + 1) * BATCH)
        yield x, y, weights[rows]
