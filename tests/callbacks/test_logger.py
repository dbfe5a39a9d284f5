"""The logger, in real trainings."""

import copy
import csv
import functools
import pickle
import sys
import warnings

import numpy as np
import pytest
from helpers import keras_under_test
from helpers.broken_training import EPOCH, fit_until_error, steps_taken
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.strategies import harmonic
from helpers.trace_counter import trace_counter
from helpers.weight_model import descend, fit, weight, weight_model
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules._backend import ScalarWriter, backend

Callback = keras.callbacks.Callback
schedules = keras.optimizers.schedules
SGD = keras.optimizers.SGD

# Keras on PyTorch takes one step per execution.
SEVERAL = 1 if BACKEND == "torch" else 7
TRIANGULAR = clr.Triangular(1e-3, 6e-3, 7)
TRIANGULAR2 = clr.Triangular2(1e-3, 6e-3, 3, 5)
CYCLICAL = clr.Cyclical(1e-3, 6e-3, 4, wave="cosine", scale_fn=harmonic)


class Even(schedules.LearningRateSchedule):
    """A schedule that knows scalars only."""

    def __call__(self, step):
        assert len(step.shape) == 0
        if LEGACY:
            import tensorflow as tf

            return tf.cond(step % 2 == 0, lambda: tf.constant(0.5), lambda: tf.constant(0.25))
        return keras.ops.cond(step % 2 == 0, lambda: 0.5, lambda: 0.25)

    def get_config(self):
        return {}


class Eager(Even):
    """A schedule that looks at its step in Python."""

    def __call__(self, step):
        return 0.5 if int(step) % 2 == 0 else 0.25


OTHERS = [
    Even(),
    schedules.CosineDecay(0.0, 20, warmup_target=0.25, warmup_steps=5),
    schedules.PiecewiseConstantDecay([5, 20], [1.0, 0.5, 0.25]),
]
both_callbacks = pytest.mark.parametrize(
    "make", [clr.LearningRateLogger, lambda: clr.CyclicalLR(0.1, 0.9, 3)], ids=["log", "cyclical"]
)


def named(rate):
    return repr(rate) if isinstance(rate, float | int) else type(rate).__name__


def float32(rates):
    """The rates, rounded to float32, as a list of Python's floats."""
    return np.asarray(rates).astype(np.float32).tolist()


def events(folder):
    """The scalars that TensorBoard reads from a folder: {tag: [(step, value), ...]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    found = {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }
    for tag in reader.Tags()["tensors"]:
        content = reader.Tensors(tag)
        if content[0].tensor_proto.float_val or content[0].tensor_proto.tensor_content:
            from tensorboard.util.tensor_util import make_ndarray

            found[tag] = [(e.step, float(make_ndarray(e.tensor_proto))) for e in content]
    return found


reads_events = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


# --- The rate of every step ---


@reads_events
@pytest.mark.parametrize(
    ("rate", "steps_per_execution"), [(0.25, 1), (CYCLICAL, SEVERAL)], ids=named
)
def test_the_rates_logged_are_those_taken_wherever_they_are_seen(
    rate, steps_per_execution, tmp_path
):
    model = weight_model(SGD(rate), steps_per_execution=steps_per_execution)
    logger = clr.LearningRateLogger(log_dir=tmp_path / "logs")
    fit(model, 49, epochs=2, callbacks=[logger, keras.callbacks.CSVLogger(tmp_path / "log.csv")])

    # In the epochs' logs, and in what Keras and its callbacks make of them.
    last = [logger.history["learning_rate"][step] for step in (48, 97)]
    history = model.history.history
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [log["learning_rate"] for log in logger.epochs] == last
    assert history["learning_rate"] == last
    assert [float(row["learning_rate"]) for row in rows] == last
    assert [log["loss"] for log in logger.epochs] == history["loss"]
    # For TensorBoard, at the end of each training.
    assert len(events(tmp_path / "logs")["learning_rate"]) == 98

    # Over several trainings, and up to date between batches.
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(len(logger.history["iteration"]))

    fit(model, 21, callbacks=[logger, Look()])
    assert seen == list(range(98 + steps_per_execution, 120, steps_per_execution))
    assert logger.history["iteration"] == list(range(119))
    assert weight(model) == descend(logger.history["learning_rate"])
    found = events(tmp_path / "logs")
    assert list(found) == ["learning_rate"]
    assert found["learning_rate"] == list(enumerate(logger.history["learning_rate"]))


@pytest.mark.parametrize("schedule", OTHERS, ids=named)
def test_any_schedule_of_keras_is_logged(schedule):
    model = weight_model(SGD(schedule), steps_per_execution=SEVERAL)
    logger = clr.LearningRateLogger()
    fit(model, 14, epochs=2, callbacks=[logger])
    one_by_one = [np.asarray(schedule(keras_under_test.as_tensor(np.array(i)))) for i in range(28)]
    # A vector's cosine rounds differently: by 1 ulp of 1, which is in all of CosineDecay's rates.
    np.testing.assert_allclose(
        logger.history["learning_rate"], one_by_one, rtol=5e-7, atol=1e-7 * max(one_by_one)
    )
    np.testing.assert_allclose(weight(model), -sum(one_by_one), rtol=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX traces the optimizer always")
def test_a_schedule_that_works_eagerly_only_is_logged():
    logger = clr.LearningRateLogger()
    fit(weight_model(SGD(Eager()), run_eagerly=True), 5, callbacks=[logger])
    assert logger.history["learning_rate"] == [0.5, 0.25, 0.5, 0.25, 0.5]


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_a_callable_rate_is_logged_and_a_metric_keeps_its_name():
    class Metric(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["steps_logged"] = 0.5

    logger = clr.LearningRateLogger()
    fit(weight_model(SGD(lambda: 0.25)), 5, callbacks=[Metric(), logger])
    assert logger.history["learning_rate"] == [0.25] * 5
    assert logger.epochs[0]["steps_logged"] == 0.5


@reads_events
@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_multipliers_that_follow_a_schedule_are_columns_with_the_factors_taken(tmp_path):
    """Two weights, whose gradients are 1."""
    unfreezing = clr.Piecewise([0.0, 0.25], boundaries=[3])
    rate = clr.Triangular(0.5, 1.0, 4)
    inputs = keras.layers.Input((1,))
    layers = [keras.layers.Dense(1, use_bias=False, name=name) for name in ("trunk", "head")]
    model = keras.Model(inputs, keras.layers.add([layer(inputs) for layer in layers]))
    trunk, head = (layer.kernel for layer in layers)
    multipliers = {trunk.path: unfreezing, ".*/kernel": 0.5}
    model.compile(clr.scale_learning_rates(SGD(rate), multipliers), loss=lambda y, out: out)
    logger, taken = clr.LearningRateLogger(tmp_path), []

    class Weights(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model  # noqa: B018 - on JAX, it brings the variables up to date
            taken.append([np.asarray(v.numpy()).item() for v in (trunk, head)])

    Weights().set_model(model)
    start = [np.asarray(v.numpy()).item() for v in (trunk, head)]
    fit(model, 6, callbacks=[Weights(), logger])
    column = f"multiplier_{trunk.path}"
    assert list(logger.history) == ["iteration", "learning_rate", column]
    assert logger.history[column] == [0, 0, 0, 0.25, 0.25, 0.25]
    moved = -np.diff([start, *taken], axis=0)
    rates = np.array(logger.history["learning_rate"])
    np.testing.assert_allclose(moved[:, 0], rates * logger.history[column], atol=1e-6)
    np.testing.assert_allclose(moved[:, 1], rates * 0.5, atol=1e-6)
    assert logger.epochs[0][column] == 0.25
    assert [value for _, value in events(tmp_path)[column]] == logger.history[column]


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_patterns_with_the_same_schedule_share_a_column():
    unfreezing = clr.Piecewise([0.0, 0.25], boundaries=[3])
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    kernel, bias = (variable.path for variable in model.trainable_variables)
    multipliers = {kernel: unfreezing, bias: clr.Piecewise([0.0, 0.25], boundaries=[3])}
    model.compile(clr.scale_learning_rates(SGD(0.1), multipliers), loss="mse")
    logger = clr.LearningRateLogger()
    fit(model, 2, callbacks=[logger])
    assert list(logger.history) == ["iteration", "learning_rate", f"multiplier_{kernel}"]


@pytest.mark.skipif(not LEGACY, reason="about tf_keras.optimizers.legacy")
@pytest.mark.parametrize(
    ("rate", "decay"), [(0.25, 0.1), (TRIANGULAR2, 0.0), (OTHERS[2], 0.1)], ids=named
)
def test_optimizers_of_before_are_logged(rate, decay):
    model = weight_model(keras.optimizers.legacy.SGD(rate, decay=decay))
    logger = clr.LearningRateLogger()
    fit(model, 15, epochs=2, callbacks=[logger])
    assert len(logger.history["learning_rate"]) == 30
    np.testing.assert_allclose(weight(model), descend(logger.history["learning_rate"]), rtol=1e-6)


@functools.cache
def model_of_triangular2(steps_per_execution):
    """One compiled model for all examples of a test."""
    return weight_model(SGD(TRIANGULAR2), steps_per_execution=steps_per_execution)


@settings(max_examples=8)
@given(
    trainings=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    steps_per_execution=st.sampled_from([1, 3]),
)
def test_any_sequence_of_trainings_is_logged(trainings, steps_per_execution):
    chunk = 1 if BACKEND == "torch" else steps_per_execution
    model = model_of_triangular2(chunk)
    model.set_weights([np.zeros((1, 1), np.float32)])
    model.optimizer.iterations.assign(0)
    logger = clr.LearningRateLogger()
    taken, expected, epochs = 0, [], []
    for executions, count, initial_epoch, logged in trainings:
        steps = executions * chunk  # Keras 3.6 warns of epochs that it cannot divide
        fit(
            model,
            steps,
            epochs=initial_epoch + count,
            initial_epoch=initial_epoch,
            callbacks=[logger] if logged else [],
        )
        if logged:
            expected += range(taken, taken + steps * count)
            epochs += [
                (initial_epoch + epoch, taken + (epoch + 1) * steps) for epoch in range(count)
            ]
        taken += steps * count
    assert weight(model) == descend(TRIANGULAR2.values(range(taken)))
    assert logger.history["iteration"] == expected
    rates = float32(TRIANGULAR2.values(np.array(expected, np.int64)))
    assert logger.history["learning_rate"] == rates
    assert [(log["epoch"], log["iteration"]) for log in logger.epochs] == epochs
    logged_steps = [log["steps_logged"] for log in logger.epochs]
    assert [expected[:steps][-1] + 1 for steps in logged_steps] == [last for _, last in epochs]
    assert all(
        log["learning_rate"] == rates[expected.index(log["iteration"] - 1)] for log in logger.epochs
    )


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_accumulated_gradients_count_as_batches():
    # The public counter of such an optimizer moves at every third batch only.
    model = weight_model(SGD(TRIANGULAR, gradient_accumulation_steps=3))
    logger = clr.LearningRateLogger()
    fit(model, 12, epochs=2, callbacks=[logger])
    assert logger.history["iteration"] == list(range(24))
    # Of every three batches, the last takes the step.
    assert weight(model) == descend(logger.history["learning_rate"][2::3])


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch does not scale losses")
def test_an_optimizer_that_scales_losses_is_looked_into():
    model = weight_model(keras.mixed_precision.LossScaleOptimizer(SGD(TRIANGULAR)))
    logger = clr.LearningRateLogger()
    fit(model, 12, epochs=2, callbacks=[logger])
    taken = steps_taken(model)
    assert 0 < taken <= 24
    assert logger.history["iteration"] == list(range(taken))
    np.testing.assert_allclose(weight(model), descend(logger.history["learning_rate"]), rtol=1e-6)


@reads_events
@pytest.mark.parametrize(("rate", "looked_at"), [(0.25, True), (TRIANGULAR2, False)], ids=named)
def test_what_was_done_before_an_exception_is_there(rate, looked_at, tmp_path):
    """Whether or not somebody looks at it before the next training."""
    model = weight_model(SGD(rate))
    logger = clr.LearningRateLogger(log_dir=str(tmp_path))
    fit_until_error(model, 47, [logger])
    done = steps_taken(model)
    # Keras gives the batch that it looked at first once more.
    assert 47 <= done < 3 * EPOCH
    after = weight(model)
    assert [log["iteration"] for log in logger.epochs] == [EPOCH, 2 * EPOCH]
    if looked_at:
        assert len(events(tmp_path)["learning_rate"]) == 2 * EPOCH
        assert logger.history["iteration"] == list(range(done))
        assert [step for step, _ in events(tmp_path)["learning_rate"]] == list(range(done))
    fit(model, 10, callbacks=[logger])
    assert logger.history["iteration"] == list(range(done + 10))
    assert [step for step, _ in events(tmp_path)["learning_rate"]] == list(range(done + 10))
    rates = list(logger.history["learning_rate"])
    if after != descend(rates[:done]):
        # TensorFlow has counted the step whose batch failed to come.
        assert BACKEND == "tensorflow"
        del rates[done - 1]
        assert after == descend(rates[: done - 1])
    assert weight(model) == descend(rates)


@pytest.mark.parametrize("first", [True, False])
def test_a_training_that_was_backed_up_goes_on(first, tmp_path):
    def train(logger, count):
        model = weight_model(SGD(TRIANGULAR2))
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        callbacks = [logger, backup] if first else [backup, logger]
        if count is None:
            fit(model, EPOCH, epochs=5, callbacks=callbacks)
        else:
            fit_until_error(model, count, callbacks)
        return model

    train(clr.LearningRateLogger(), 45)
    logger = clr.LearningRateLogger()
    assert steps_taken(train(logger, None)) == 100
    assert logger.history["iteration"] == list(range(40, 100))
    assert logger.history["learning_rate"] == float32(TRIANGULAR2.values(range(40, 100)))


class _Halves(Callback):
    """Halves the rate at the end of each epoch, as ReduceLROnPlateau does."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = np.asarray(self.model.optimizer.learning_rate) / 2


@pytest.mark.parametrize("logger_is_first", [True, False])
@pytest.mark.parametrize("setter", ["at the end of an epoch", "at its beginning"])
def test_rates_that_change_between_epochs_are_logged(setter, logger_is_first):
    ones = np.ones((3, 1), np.float32)
    logger = clr.LearningRateLogger()
    by_epoch = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 2.0**-epoch)
    callbacks = [_Halves() if setter == "at the end of an epoch" else by_epoch, logger]
    if logger_is_first:
        callbacks.reverse()
    model = weight_model(SGD(1.0))
    # With validation, in any order; without, where the logger comes first.
    validation_data = None if logger_is_first else (ones, ones)
    fit(model, 3, epochs=4, callbacks=callbacks, validation_data=validation_data)
    assert logger.history["learning_rate"] == np.repeat([1.0, 0.5, 0.25, 0.125], 3).tolist()
    assert weight(model) == descend(logger.history["learning_rate"])


# --- What it costs ---


def test_the_counter_is_read_once_an_epoch_and_nothing_is_traced(monkeypatch):
    counted, traces = trace_counter()
    reads, values = [], []
    model = keras.Sequential([keras.layers.Input((1,)), counted, keras.layers.Dense(1)])
    model.compile(SGD(TRIANGULAR), loss="mse")
    ones = np.ones((10, 1), np.float32)
    fit(model, 10, validation_data=(ones, ones))
    traces.clear()
    framework = type(backend)
    iteration, to_numpy = framework.iteration, framework.to_numpy
    monkeypatch.setattr(framework, "iteration", lambda *args: reads.append(1) or iteration(*args))
    monkeypatch.setattr(framework, "to_numpy", lambda *args: values.append(1) or to_numpy(*args))
    logger = clr.LearningRateLogger()
    fit(model, 10, epochs=4, callbacks=[logger], validation_data=(ones, ones))
    assert len(logger.history["iteration"]) == 40
    assert len(reads) == len(values) == 1 + 4
    if BACKEND == "tensorflow":  # the others call the layer in every training
        assert not traces


@both_callbacks
def test_nothing_is_done_between_batches(make):
    for name in dir(Callback):
        if "batch" in name:
            assert getattr(type(make()), name) is getattr(Callback, name)


@both_callbacks
def test_a_test_without_a_training_is_none_of_their_business(make):
    ones = np.ones((5, 1), np.float32)
    callback = make()
    weight_model(SGD(0.25)).evaluate(ones, ones, verbose=0, callbacks=[callback])
    assert not any(callback.history.values())


def test_a_test_between_batches_is_no_end_of_the_epoch():
    logger = clr.LearningRateLogger()
    model = weight_model(SGD(TRIANGULAR))
    ones = np.ones((5, 1), np.float32)

    def evaluate(batch, logs):
        if batch == 3:
            model.evaluate(ones, ones, verbose=0, callbacks=[logger])

    between = keras.callbacks.LambdaCallback(on_train_batch_end=evaluate)
    fit(model, 10, epochs=2, callbacks=[logger, between], validation_data=(ones, ones))
    assert logger.history["iteration"] == list(range(20))
    assert [log["learning_rate"] for log in logger.epochs] == float32(TRIANGULAR.values([9, 19]))


# --- TensorBoard ---


@reads_events
@needs_tensorflow
def test_keras_tensorboard_has_the_rate_of_the_step_to_come(tmp_path):
    callbacks = [
        clr.LearningRateLogger(),
        keras.callbacks.TensorBoard(tmp_path, write_graph=False),
    ]
    fit(weight_model(SGD(TRIANGULAR)), 5, epochs=2, callbacks=callbacks)
    # Keras replaces the rate of the step before by that of the step after.
    found = events(tmp_path / "train")["epoch_learning_rate"]
    assert found == list(enumerate(float32(TRIANGULAR.values([5, 10]))))


@reads_events
def test_the_writer_for_other_backends_writes_the_same(tmp_path):
    writer = ScalarWriter(str(tmp_path))
    rates = TRIANGULAR.values(range(300))
    writer.write("learning_rate", np.arange(300), rates)
    found = events(tmp_path)["learning_rate"]
    writer.close()
    assert found == list(enumerate(float32(rates)))


def test_a_missing_writer_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ImportError, match=r"clr-schedules\[tensorboard\]"):
        ScalarWriter(str(tmp_path))


# --- A loop of one's own ---


@both_callbacks
def test_callbacks_work_in_a_loop_without_parameters(make):
    model, ones = weight_model(SGD(0.25)), np.ones((1, 1), np.float32)
    callback = make()
    callbacks = keras.callbacks.CallbackList([callback], model=model)
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        for _ in range(3):
            model.train_on_batch(ones, ones)
        callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    rates = next(rates for name, rates in callback.history.items() if name[0] == "l")
    assert [epoch["steps_logged"] for epoch in callback.epochs] == [3, 6]
    assert weight(model) == descend(rates)
    assert model.optimizer.learning_rate == 0.25


# --- Bad input, and copies ---


@pytest.mark.parametrize("log_dir", [3, True, ("logs",), b"logs"])
def test_a_log_dir_is_a_path(log_dir):
    with pytest.raises(TypeError, match="Argument `log_dir` must be a path, or None"):
        clr.LearningRateLogger(log_dir)


@both_callbacks
def test_a_model_without_an_optimizer_is_refused(make):
    model = weight_model(SGD(0.1))
    model.optimizer = None
    with pytest.raises(ValueError, match="must have a model that was compiled with an optimizer"):
        fit(model, 1, callbacks=[make()])


@both_callbacks
def test_copies_have_what_was_logged(make):
    """After a training, and after one that an exception has ended."""
    original = make()
    is_logger = isinstance(original, clr.LearningRateLogger)
    model = weight_model(SGD(OTHERS[1] if is_logger else 0.25))

    def broken_off():
        fit_until_error(model, 5, [original])

    for train in (lambda: fit(model, 4, callbacks=[original]), broken_off):
        train()
        # Keras's models are not always to be copied.
        original.set_model(None)
        for twin in (copy.copy(original), pickle.loads(pickle.dumps(original))):
            assert twin.history == original.history
            assert len(next(iter(twin.history.values()))) == steps_taken(model)
    assert steps_taken(model) >= 4 + 5


def warnings_of_fit(model, steps, **arguments):
    """Trains with a logger; returns what it warned of rates that may not have been taken."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, steps, callbacks=[clr.LearningRateLogger()], **arguments)
    texts = [str(warning.message) for warning in caught]
    return [text for text in texts if "may not be those" in text]


def test_a_schedule_that_the_compiled_step_does_not_take_is_a_warning():
    old, new = clr.Triangular(0.25, 0.25, 4), clr.Triangular(4.0, 4.0, 4)
    model, logger = weight_model(keras.optimizers.SGD(old)), clr.LearningRateLogger()
    fit(model, 2, callbacks=[logger])
    model.optimizer.learning_rate = clr.Triangular(0.25, 0.25, 4)  # an equal one
    fit(model, 2, callbacks=[logger])
    model.optimizer.learning_rate = new
    told = warnings_of_fit(model, 2, epochs=2)
    assert len(told) == (BACKEND != "torch")
    assert all(
        "`model.compile" in text and "with: Triangular(base_lr=0.25" in text for text in told
    )
    model.compile(keras.optimizers.SGD(new), loss=model.loss)
    model.set_weights([np.zeros((1, 1))])
    fit(model, 2, callbacks=[logger])
    assert weight(model) == descend(logger.history["learning_rate"][-2:]) == -8.0
    # A constant rate may change as it likes.
    model.compile(keras.optimizers.SGD(0.25), loss=model.loss)
    fit(model, 2, callbacks=[logger])
    model.optimizer.learning_rate = 0.5
    fit(model, 2, callbacks=[logger])
    assert weight(model) == descend([4.0, 4.0, *logger.history["learning_rate"][-4:]]) == -9.5
    # The variable of the constant rate is a part of what JAX compiles for.
    model.optimizer.learning_rate = new
    told = warnings_of_fit(model, 1)
    kept = BACKEND == "tensorflow"
    assert (len(told), weight(model)) == ((1, -10.0) if kept else (0, -13.5))
