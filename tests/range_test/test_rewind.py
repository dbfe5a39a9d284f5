"""After a range test, however it ends, everything is bit for bit what it was."""

import itertools
import random
import signal
import warnings
from collections import deque

import numpy as np
import pytest
from helpers import model_zoo, other_process, whole_state
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.model_zoo import BATCH, X, Y
from helpers.trace_counter import trace_counter

import clr_schedules as clr
from clr_schedules._backend import backend
from clr_schedules.range_test.rewind import Snapshot

FUNCTIONS = "train_function", "test_function", "predict_function", "history"


class BadBatchError(Exception):
    """What the data raise."""


def sweep(model, x=X, y=Y, **arguments):
    options = {"batch_size": BATCH, "num_steps": 60, "verbose": 0} | arguments
    return clr.lr_range_test(model, x, y, **options)


def succeed(model):
    result = sweep(model, max_lr=1e-3, validation_data=(X[:48], Y[:48]))
    assert result.stop_reason.startswith("completed"), result
    assert len(result.validation_losses) == 30


def diverge(model):
    result = sweep(model, min_lr=1e-2, max_lr=1e15, stop_factor=1.01)
    assert result.stop_reason.startswith("diverged"), result


def data_fail(model):
    def fail(index):
        if index == 50:
            raise BadBatchError

    # TensorFlow wraps it in an error of its own.
    with pytest.raises(
        BadBatchError if BACKEND != "tensorflow" else Exception, match=r"BadBatchError|^$"
    ):
        sweep(model, model_zoo.generate(fail), None, batch_size=None)


def rated(model):
    """A model's rate is the same object and has the same value."""
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return id(getattr(inner, "_learning_rate", None)), float(np.asarray(inner.learning_rate))


def history(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of float16, of no matter here
        return model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0).history


ENDS = [succeed, diverge, data_fail]
EVERY_DAY = [model_zoo.no_jit, model_zoo.mixed, model_zoo.custom_step]


def cases():
    """Three kinds of models every day, all others once where it is slow, and then all ends."""
    others = [kind for kind in model_zoo.ALL if kind not in EVERY_DAY]
    for i, kind in enumerate([*EVERY_DAY, *others]):
        for j, end in enumerate(ENDS):
            marks = [] if kind in EVERY_DAY else [pytest.mark.slow]
            if i % len(ENDS) != j:
                marks = [pytest.mark.slow, pytest.mark.long]
            yield pytest.param(kind, end, id=f"{end.__name__}-{kind.__name__}", marks=marks)


@pytest.mark.parametrize(("kind", "end"), list(cases()))
def test_rewinds(kind, end):
    twin = model_zoo.make(kind)
    if end is data_fail and BACKEND != "tensorflow" and not twin.built:
        # Keras draws an order of the batches to build a model with, unless a generator builds it.
        twin.fit(model_zoo.generate(), epochs=0, verbose=0, shuffle=False)
    expected = history(twin)
    model = model_zoo.make(kind)
    optimizer = model.optimizer
    functions = {name: vars(model).get(name) for name in FUNCTIONS}
    rate = rated(model)
    before = whole_state.capture(model)
    end(model)
    after = whole_state.capture(model)
    # What was not built is: it has new variables and attributes, and may have drawn for them.
    for name in whole_state.variables(before):
        assert before[name] == after[name], name
    assert model.optimizer is optimizer
    assert {name: vars(model).get(name) for name in FUNCTIONS} == functions
    assert rated(model) == rate
    assert history(model) == expected

    if kind is model_zoo.averaged and BACKEND == "jax":
        return  # after a training with averages, Keras on JAX cannot train again
    # Once it was trained, nothing at all differs, the generators of random numbers included.
    trained = whole_state.capture(model)
    end(model)
    assert whole_state.differences(trained, whole_state.capture(model)) == []


class Holds(keras.layers.Layer):
    """A layer that changes, at each call in a training, everything that it refers to."""

    def __init__(self):
        super().__init__()
        hidden = random.Random(3)
        self.generators = {1: [np.random.default_rng(1)], 2: np.random.RandomState(2)}
        self.hidden = lambda: hidden.random()
        self.calls, self.calls_in_list, self.recent = 0, [0], deque([0.0], maxlen=3)
        self.calls_in_array = np.zeros(1)

    def call(self, inputs, training=None):
        if not training:
            return inputs
        self.calls += 1
        self.calls_in_list[0] += 1
        self.calls_in_array += 1
        self.recent.append(self.hidden())
        drawn = self.generators[1][0].normal() + self.generators[2].normal()
        counted = self.calls + self.calls_in_list[0] + float(self.calls_in_array[0])
        return inputs + 0.1 * (drawn + sum(self.recent)) + 0.01 * counted


def fits_alike(make_model, x=X, y=Y):
    """Whether a training goes on after a range test, bit for bit, as it does without."""
    histories = []
    for tested in (False, True):
        keras.utils.set_random_seed(0)
        model = make_model()
        model.fit(x, y, batch_size=80, verbose=0)
        if tested:
            sweep(model, x, y, num_steps=8, max_lr=1e-2)
        histories.append(model.fit(x, y, batch_size=80, epochs=2, verbose=0).history)
        weights = [np.asarray(backend.to_numpy(each)).tobytes() for each in numbers(model)]
        histories.append(weights)
    return histories[:2] == histories[2:]


def numbers(model):
    """The weights, without the vocabularies that tf_keras has among them."""
    return [each for each in model.weights if hasattr(each, "shape") and each.shape is not None]


def test_what_layers_hold_is_put_back():
    # The optimizer is in the middle of an accumulation when the test begins.
    accumulation = {} if LEGACY else {"gradient_accumulation_steps": 3}

    def make_model():
        stack = [keras.layers.Input((4,)), Holds(), keras.layers.Dense(1, "sigmoid")]
        optimizer = keras.optimizers.Adam(1e-3, **accumulation)
        return model_zoo.compiled(keras.Sequential(stack), optimizer, run_eagerly=True)

    assert fits_alike(make_model)


class Irregular(keras.Model):
    """A model whose layers TensorFlow's checkpoints cannot find."""

    def __init__(self):
        super().__init__()
        self.stack = [keras.layers.Dense(4), keras.layers.Dense(4)]
        self.stack[0] = keras.layers.Dense(5)
        self.heads = {1: keras.layers.Dropout(0.25, seed=3), 2: keras.layers.Dense(1, "sigmoid")}
        self.gone = keras.layers.Dense(7)
        del self.gone

    def call(self, inputs, training=None):
        for layer in self.stack:
            inputs = layer(inputs)
        return self.heads[2](self.heads[1](inputs, training=training))


# Keras warns of the layer that replaced another, because Keras does not find it.
@pytest.mark.filterwarnings("ignore:.*`build\\(\\)` was called on layer:UserWarning")
def test_what_cannot_be_saved_can_be_tested():
    """Lists with replaced entries, integer keys, and a schedule that was assigned later."""

    def make_model():
        model = model_zoo.compiled(Irregular())
        model.optimizer.learning_rate = clr.Triangular(1e-3, 1e-2, 5)
        return model

    assert fits_alike(make_model)


@needs_tensorflow
def test_tensorflows_own_objects_are_put_back():
    import tensorflow as tf

    class Own(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            counter = tf.Variable(0.0)
            self.hidden = lambda: counter
            self.held = {3: [tf.Variable(0.0), tf.random.Generator.from_seed(1)]}
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)

        def call(self, inputs):
            variable, generator = self.held[3]
            key = tf.constant(["calls"])
            self.table.insert(key, self.table.lookup(key) + 1.0)
            self.hidden().assign_add(1.0)
            variable.assign_add(1.0)
            counted = self.hidden() + variable + tf.reshape(self.table.lookup(key), ())
            return inputs + 0.01 * counted + 0.1 * generator.normal((4,))

        def compute_output_shape(self, shape):
            return shape

    def make_model():
        stack = [keras.layers.Input((4,)), Own(), keras.layers.Dense(1, "sigmoid")]
        return model_zoo.compiled(keras.Sequential(stack), jit_compile=False)

    assert fits_alike(make_model)


@needs_tensorflow
def test_layers_that_prepare_data_are_put_back():
    import tensorflow as tf

    words = tf.constant([["a b"], ["b c"], ["c d"], ["d a"]] * (len(X) // 4))

    def make_model():
        split = keras.layers.TextVectorization(output_sequence_length=4)
        split.adapt(words)
        text = keras.layers.Input((1,), dtype="string")
        picture = keras.layers.Reshape((4, 2, 1))(keras.layers.Embedding(10, 2)(split(text)))
        flipped = keras.layers.RandomFlip(seed=1)(picture)
        hidden = keras.layers.GaussianNoise(0.1, seed=2)(keras.layers.Flatten()(flipped))
        return model_zoo.compiled(keras.Model(text, keras.layers.Dense(1, "sigmoid")(hidden)))

    assert fits_alike(make_model, words, Y)


@pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
def test_pytorchs_own_tensors_and_generators_are_put_back():
    import torch

    class Own(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.register_buffer("buffer", torch.zeros(()))
            self.held = {"tensor": [torch.zeros(())]}
            self.generator = torch.Generator()
            self.module = torch.nn.BatchNorm1d(4)

        def call(self, inputs):
            self.buffer.add_(1)
            self.held["tensor"][0].add_(1)
            noise = torch.randn((4,), generator=self.generator)
            return self.module(inputs) + 0.01 * (self.buffer + self.held["tensor"][0]) + noise

    def make_model():
        stack = [keras.layers.Input((4,)), Own(), keras.layers.Dense(1, "sigmoid")]
        return model_zoo.compiled(keras.Sequential(stack))

    assert fits_alike(make_model)


def test_compiled_functions_are_not_traced_again():
    counted, traces = trace_counter()

    keras.utils.set_random_seed(0)
    model = model_zoo.compiled(
        keras.Sequential([keras.layers.Input((4,)), counted, *model_zoo.layers()])
    )
    model.fit(X, Y, batch_size=BATCH, verbose=0)
    sweep(model)
    traces.clear()
    model.fit(X, Y, batch_size=BATCH, verbose=0)
    if BACKEND != "torch":  # which calls the layer at every step
        assert traces == []


@pytest.mark.skipif(LEGACY or BACKEND == "jax", reason="JAX refuses unseeded numbers in a step")
def test_keras_own_generator_goes_on_where_it_was():
    class Noise(keras.layers.Layer):
        def call(self, inputs):
            return inputs + keras.random.normal((4,))

    stack = [keras.layers.Input((4,)), Noise(), *model_zoo.layers()]
    model = model_zoo.compiled(keras.Sequential(stack))
    history(model)
    before = whole_state.capture(model)
    assert "keras seed" in before
    sweep(model)
    assert whole_state.differences(before, whole_state.capture(model)) == []


@needs_tensorflow
def test_tensorflows_own_random_numbers_go_on_where_they_were():
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, inputs):
            noise = tf.random.normal((4,)) + tf.random.normal((4,), seed=5)
            return inputs + 0.0 * noise

    stack = [keras.layers.Input((4,)), Noise(), keras.layers.Dense(1, "sigmoid")]
    model = model_zoo.compiled(keras.Sequential(stack), run_eagerly=True)
    for seed in (None, 5):
        sequences = []
        for interrupted in (False, True):
            keras.utils.set_random_seed(1)
            drawn = [float(tf.random.normal((), seed=seed)) for _ in range(3)]
            generator = tf.random.Generator.from_seed(4)
            tf.random.set_global_generator(generator)
            drawn.append(float(tf.random.get_global_generator().normal(())))
            if interrupted:
                sweep(model)
            drawn += [float(tf.random.normal((), seed=seed)) for _ in range(3)]
            drawn.append(float(tf.random.get_global_generator().normal(())))
            sequences.append(drawn)
        assert sequences[0] == sequences[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@needs_tensorflow
def test_an_interrupt_that_comes_to_nothing_comes_again():
    """An exception in a destructor goes nowhere; the destructors of graphs are long."""

    class Swallows:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    steps = []

    class Model(keras.Sequential):
        def train_step(self, data):
            steps.append(data)
            if len(steps) == 30:
                Swallows()
            return super().train_step(data)

    model = Model([keras.layers.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    model_zoo.compiled(model, run_eagerly=True)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        sweep(model, num_steps=400)
    signal.signal(signal.SIGINT, handler)
    assert 30 <= len(steps) <= 60


INTERRUPTED = """
import gc, os, signal, threading
from helpers import model_zoo, whole_state
from helpers.keras_under_test import BACKEND
import clr_schedules as clr

def interrupt(index):
    if index == 50:
        os.kill(os.getpid(), signal.SIGINT)

kind = getattr(model_zoo, kind)
def history(model):
    return model.fit(
        model_zoo.X, model_zoo.Y, batch_size=model_zoo.BATCH, epochs=2, verbose=0
    ).history

twin = model_zoo.make(kind)
if after is None and BACKEND != "tensorflow" and not twin.built:  # built by a generator, as below
    twin.fit(model_zoo.generate(), epochs=0, verbose=0, shuffle=False)
expected = history(twin)
model = model_zoo.make(kind)
if trained:
    history(model)
    expected = None
before = whole_state.capture(model)
# Whoever runs the suite in the background may have it ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
handler = signal.getsignal(signal.SIGINT)
interrupted = False
try:
    if after is None:
        data = model_zoo.generate(interrupt)
        clr.lr_range_test(model, data, num_steps=100_000, max_lr=1e-3, verbose=verbose)
    else:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()
        clr.lr_range_test(
            model, model_zoo.X, model_zoo.Y, batch_size=model_zoo.BATCH, num_steps=10_000_000,
            min_lr=1e-9, max_lr=1e-8, verbose=verbose,
        )
except KeyboardInterrupt:
    interrupted = True
gc.collect()  # an iterator that is still at work when Python ends can keep it from ending
differences = whole_state.differences(before, whole_state.capture(model)) if trained else []
same = expected is None or history(model) == expected
print()
print(json.dumps({
    "interrupted": interrupted,
    "differences": differences,
    "same history": same,
    "same handler": signal.getsignal(signal.SIGINT) is handler,
}))
"""


# While the step is compiled, and within the training.
@pytest.mark.parametrize(
    ("trained", "after"),
    [
        (True, 0.5),
        pytest.param(True, 2.0, marks=pytest.mark.slow),
        pytest.param(False, 0.5, marks=pytest.mark.slow),
        pytest.param(False, 2.0, marks=pytest.mark.slow),
        pytest.param(False, None, marks=pytest.mark.slow),
    ],
)
def test_rewinds_after_a_real_interrupt(trained, after):
    found = other_process.run(INTERRUPTED, kind="plain", trained=trained, after=after, verbose=0)
    assert found == {
        "interrupted": True,
        "differences": [],
        "same history": True,
        "same handler": True,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind.__name__ for kind in model_zoo.ALL])
def test_rewinds_after_a_real_interrupt_whatever_the_model(kind):
    found = other_process.run(INTERRUPTED, kind=kind, trained=True, after=None, verbose=1)
    assert found["interrupted"]
    assert found["differences"] == []


def test_frozen_weights_are_not_copied():
    model = model_zoo.frozen()
    dense, _, adapted, _, _ = model.layers
    frozen = [*dense.weights, *adapted.non_trainable_weights]
    whole = bytes_kept(model_zoo.frozen(keras.layers.Lambda(lambda x: x)))
    assert whole - bytes_kept(model) == sum(4 * int(np.prod(each.shape)) for each in frozen)
    # A layer of KerasHub leaves them alone as well.
    assert bytes_kept(model_zoo.frozen(OfKerasHub())) == bytes_kept(model)


class OfKerasHub(keras.layers.Layer):
    """A layer as in KerasHub, which the tests do not install."""

    __module__ = "keras_hub.src.layers"

    def call(self, inputs):
        return inputs


def test_frozen_weights_stay_whatever_fails():
    """The data fail within a call of many steps, and then the validation data do."""
    model = model_zoo.make(model_zoo.frozen)
    history(model)
    before = whole_state.capture(model)
    arrays = {"x": X, "y": Y, "batch_size": BATCH}
    failing = model_zoo.Batches(fail_at(7))
    for data in (
        {"x": failing, "y": None, "batch_size": None},
        arrays | {"validation_data": model_zoo.Batches(fail_at(30)), "steps_per_execution": 20},
    ):
        with pytest.raises(Exception, match=r"BadBatchError|^$"):
            sweep(model, **data)
        assert whole_state.differences(before, whole_state.capture(model)) == []


def fail_at(reading):
    """A function that fails when it is called so many times."""
    counter = itertools.count()

    def fail(_):
        if next(counter) == reading:
            raise BadBatchError

    return fail


def bytes_kept(model):
    """The bytes of the values that a snapshot of the model keeps."""
    values = Snapshot(model, [model.optimizer])._values.values()
    return sum(np.asarray(backend.to_numpy(value)).nbytes for _, value in values)


class ChangesFrozenWeights(keras.Sequential):
    """A model whose own step changes a layer that is frozen."""

    def train_step(self, *arguments):
        kernel = self.layers[0].weights[0]
        kernel.assign(kernel * 1.5)
        return super().train_step(*arguments)


@pytest.mark.skipif(BACKEND == "jax", reason="a step on JAX returns what it changes")
def test_frozen_weights_that_a_step_of_ones_own_changes_are_put_back():
    def make_model():
        return model_zoo.frozen(kind=ChangesFrozenWeights, run_eagerly=True)

    assert fits_alike(make_model)


@needs_tensorflow
@pytest.mark.skipif(LEGACY, reason="Keras 3 alone has such a list")
def test_an_optimizer_whose_list_of_variables_was_edited_can_be_tested():
    """TensorFlow cannot save an optimizer afterwards, and `lr_range_test` must not try."""

    def make_model():
        model = model_zoo.plain(run_eagerly=True)
        variables = model.optimizer._variables
        variables.insert(0, variables.pop())
        return model

    assert fits_alike(make_model)
