"""The logger and the blog post's callback, in real trainings."""

import copy
import csv
import math
import pickle
from functools import partial

import numpy as np
import pytest
from helpers import keras_under_test
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.other_process import run
from helpers.weight_model import descend, fit, weight, weight_model
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules._backend import ScalarWriter, backend

Callback = keras.callbacks.Callback
schedules = keras.optimizers.schedules
SGD = keras.optimizers.SGD

# Keras on PyTorch takes one step per execution.
several_steps = pytest.mark.parametrize(
    "steps_per_execution", [1] if BACKEND == "torch" else [1, 7]
)


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


@keras.saving.register_keras_serializable(package="tests")
def one_over(cycle):
    return 1 / cycle


OWN = [
    clr.Triangular(1e-3, 6e-3, 7),
    clr.Triangular2(1e-3, 6e-3, 3, 5),
    clr.ExpRange(1e-3, 6e-3, 7, gamma=0.99),
    clr.Cyclical(1e-3, 6e-3, 4, wave="cosine", scale_fn=one_over),
]
OTHERS = [
    Even(),
    schedules.CosineDecay(0.0, 20, warmup_target=0.25, warmup_steps=5),
    schedules.PiecewiseConstantDecay([5, 20], [1.0, 0.5, 0.25]),
    schedules.ExponentialDecay(0.1, 7, 0.5, staircase=True),
]


def named(rate):
    return repr(rate) if isinstance(rate, float) else type(rate).__name__


def iterations(model):
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return int(np.asarray(optimizer.iterations))


def batches(count):
    """A generator of ones that comes to grief after ``count`` batches."""
    for _ in range(count):
        yield np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
    raise OSError("no more")


def fit_until_error(model, count, callbacks):
    with pytest.raises(Exception, match="no more"):
        model.fit(
            batches(count),
            steps_per_epoch=20,
            epochs=5,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )


# --- The rate of every step ---


@several_steps
@pytest.mark.parametrize("rate", [0.25, *OWN], ids=named)
def test_the_rates_logged_are_those_taken(rate, steps_per_execution):
    model = weight_model(SGD(rate), steps_per_execution=steps_per_execution)
    logger = clr.LearningRateLogger()
    fit(model, 49, epochs=2, callbacks=[logger])
    fit(model, 21, callbacks=[logger])
    assert logger.history["iteration"] == list(range(119))
    assert weight(model) == descend(logger.history["learning_rate"])


@several_steps
@pytest.mark.parametrize("schedule", OTHERS, ids=named)
def test_any_schedule_of_keras_is_logged(schedule, steps_per_execution):
    model = weight_model(SGD(schedule), steps_per_execution=steps_per_execution)
    logger = clr.LearningRateLogger()
    fit(model, 14, epochs=2, callbacks=[logger])
    one_by_one = [np.asarray(schedule(keras_under_test.as_tensor(np.array(i)))) for i in range(28)]
    # A vector's cosine rounds differently: by 1 ulp of 1, which is in all of CosineDecay's rates.
    np.testing.assert_allclose(
        logger.history["learning_rate"], one_by_one, rtol=5e-7, atol=1e-7 * max(one_by_one)
    )
    np.testing.assert_allclose(weight(model), -sum(one_by_one), rtol=1e-6)


def test_a_schedule_that_works_eagerly_only_is_logged():
    model = weight_model(SGD(Eager()), run_eagerly=True)
    logger = clr.LearningRateLogger()
    if BACKEND == "jax":
        pytest.skip("Keras on JAX traces the optimizer always")
    fit(model, 5, callbacks=[logger])
    assert logger.history["learning_rate"] == [0.5, 0.25, 0.5, 0.25, 0.5]


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_a_callable_rate_is_logged():
    model = weight_model(SGD(lambda: 0.25))
    logger = clr.LearningRateLogger()
    fit(model, 5, callbacks=[logger])
    assert logger.history["learning_rate"] == [0.25] * 5


@pytest.mark.skipif(not LEGACY, reason="about tf_keras.optimizers.legacy")
@pytest.mark.parametrize("rate", [0.25, *OWN[:2], OTHERS[3]], ids=named)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optimizers_of_before_are_logged(rate, decay):
    model = weight_model(keras.optimizers.legacy.SGD(rate, decay=decay))
    logger = clr.LearningRateLogger()
    fit(model, 15, epochs=2, callbacks=[logger])
    assert len(logger.history["learning_rate"]) == 30
    np.testing.assert_allclose(weight(model), descend(logger.history["learning_rate"]), rtol=1e-6)


@settings(max_examples=8)
@given(
    trainings=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    steps_per_execution=st.integers(1, 5),
)
def test_any_sequence_of_trainings_is_logged(trainings, steps_per_execution):
    schedule = clr.Triangular2(1e-3, 6e-3, 5)
    chunk = 1 if BACKEND == "torch" else steps_per_execution
    model = weight_model(SGD(schedule), steps_per_execution=chunk)
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
    assert logger.history["iteration"] == expected
    rates = schedule.values(np.array(expected, np.int64)).astype(np.float32)
    assert logger.history["learning_rate"] == rates.tolist()
    assert [(log["epoch"], log["iteration"]) for log in logger.epochs] == epochs
    logged_steps = [log["steps_logged"] for log in logger.epochs]
    assert [expected[:steps][-1] + 1 for steps in logged_steps] == [last for _, last in epochs]
    assert all(
        log["learning_rate"] == rates[expected.index(log["iteration"] - 1)] for log in logger.epochs
    )


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_accumulated_gradients_count_as_batches():
    # The public counter of such an optimizer moves at every third batch only.
    schedule = clr.Triangular(1e-3, 6e-3, 7)
    model = weight_model(SGD(schedule, gradient_accumulation_steps=3))
    logger = clr.LearningRateLogger()
    fit(model, 12, epochs=2, callbacks=[logger])
    assert logger.history["iteration"] == list(range(24))
    # Of every three batches, the last takes the step.
    assert weight(model) == descend(logger.history["learning_rate"][2::3])


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch does not scale losses")
def test_an_optimizer_that_scales_losses_is_looked_into():
    scaled = keras.mixed_precision.LossScaleOptimizer(SGD(OWN[0]))
    model = weight_model(scaled)
    logger = clr.LearningRateLogger()
    fit(model, 12, epochs=2, callbacks=[logger])
    taken = iterations(model)
    assert 0 < taken <= 24
    assert logger.history["iteration"] == list(range(taken))
    np.testing.assert_allclose(weight(model), descend(logger.history["learning_rate"]), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.25, OWN[1]], ids=named)
def test_what_was_done_before_an_exception_is_there(rate):
    model = weight_model(SGD(rate))
    logger = clr.LearningRateLogger()
    fit_until_error(model, 47, [logger])
    done = iterations(model)
    # Keras gives the batch that it looked at first once more.
    assert 47 <= done < 60
    assert logger.history["iteration"] == list(range(done))
    rates = list(logger.history["learning_rate"])
    if weight(model) != descend(rates):
        # TensorFlow has counted the step whose batch failed to come.
        assert BACKEND == "tensorflow"
        rates.pop()
    assert weight(model) == descend(rates)
    assert [log["iteration"] for log in logger.epochs] == [20, 40]
    fit(model, 10, callbacks=[logger])
    assert logger.history["iteration"] == list(range(done + 10))
    assert weight(model) == descend(rates + logger.history["learning_rate"][done:])


def test_steps_before_an_exception_are_there_though_nobody_looked_before_the_next_training():
    model = weight_model(SGD(OWN[1]))
    logger = clr.LearningRateLogger()
    fit_until_error(model, 30, [logger])
    done = iterations(model)
    fit(model, 10, callbacks=[logger])
    assert logger.history["iteration"] == list(range(done + 10))


def test_a_training_that_is_resumed_in_another_process_goes_on(tmp_path):
    model = weight_model(SGD(OWN[1]))
    fit(model, 30)
    model.compile(model.optimizer, loss="mse")  # a loss that a file can name
    path = str(tmp_path / "model.keras")
    model.save(path)
    history = run(
        """
import numpy as np, json
from helpers.keras_under_test import keras
import clr_schedules as clr
model = keras.models.load_model(path)
logger = clr.LearningRateLogger()
ones = np.ones((12, 1), np.float32)
model.fit(ones, ones, batch_size=1, verbose=0, callbacks=[logger])
print(json.dumps(logger.history))
""",
        path=path,
    )
    assert history["iteration"] == list(range(30, 42))
    assert history["learning_rate"] == OWN[1].values(range(30, 42)).astype(np.float32).tolist()


@pytest.mark.parametrize("first", [True, False])
def test_a_training_that_was_backed_up_goes_on(first, tmp_path):
    def train(count, logger):
        model = weight_model(SGD(OWN[1]))
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        callbacks = [logger, backup] if first else [backup, logger]
        if count:
            fit_until_error(model, count, callbacks)
        else:
            fit(model, 20, epochs=5, callbacks=callbacks)
        return model

    train(45, clr.LearningRateLogger())
    logger = clr.LearningRateLogger()
    model = train(0, logger)
    assert iterations(model) == 100
    assert logger.history["iteration"] == list(range(40, 100))


def test_a_look_in_mid_epoch_is_up_to_date():
    class Look(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(len(logger.history["iteration"]))

    seen = []
    logger = clr.LearningRateLogger()
    fit(weight_model(SGD(OWN[0])), 5, epochs=2, callbacks=[logger, Look()])
    assert seen == list(range(1, 11))


class _Halves(Callback):
    """Halves the rate at the end of each epoch, as ReduceLROnPlateau does."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = np.asarray(self.model.optimizer.learning_rate) / 2


def _by_epoch(epoch, rate):
    return 2.0**-epoch


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize(
    "setter", [_Halves, lambda: keras.callbacks.LearningRateScheduler(_by_epoch)]
)
def test_rates_that_change_between_epochs_are_logged(setter, place):
    # With validation, in any order; without, where the logger comes first.
    validated = place == "last"
    model = weight_model(SGD(1.0))
    logger = clr.LearningRateLogger()
    ones = np.ones((3, 1), np.float32)
    fit(
        model,
        3,
        epochs=4,
        callbacks=[setter(), logger] if place == "last" else [logger, setter()],
        validation_data=(ones, ones) if validated else None,
    )
    assert logger.history["learning_rate"] == np.repeat([1.0, 0.5, 0.25, 0.125], 3).tolist()
    assert weight(model) == descend(logger.history["learning_rate"])


# --- What it costs ---


def test_the_counter_is_read_once_an_epoch(monkeypatch):
    reads, values = [], []
    framework = type(backend)
    iteration, to_numpy = framework.iteration, framework.to_numpy
    monkeypatch.setattr(framework, "iteration", lambda *args: reads.append(1) or iteration(*args))
    monkeypatch.setattr(framework, "to_numpy", lambda *args: values.append(1) or to_numpy(*args))
    logger = clr.LearningRateLogger()
    ones = np.ones((50, 1), np.float32)
    fit(weight_model(SGD(OWN[0])), 50, epochs=4, callbacks=[logger], validation_data=(ones, ones))
    assert len(logger.history["iteration"]) == 200
    assert len(reads) == len(values) == 1 + 4


@pytest.mark.parametrize("callback", [clr.LearningRateLogger, clr.CyclicalLR])
def test_nothing_is_done_between_batches(callback):
    for name in dir(Callback):
        if "batch" in name:
            assert getattr(callback, name) is getattr(Callback, name)


@needs_tensorflow
@pytest.mark.parametrize("rate", [0.25, OWN[0], OTHERS[1]], ids=named)
def test_a_logger_causes_no_trace(rate):
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential([keras.layers.Input((1,)), Counted(), keras.layers.Dense(1)])
    model.compile(SGD(rate), loss="mse")
    fit(model, 10)
    traces.clear()
    fit(model, 10, epochs=3, callbacks=[clr.LearningRateLogger()])
    assert not traces


@pytest.mark.parametrize("callback", [clr.LearningRateLogger(), clr.CyclicalLR(0.1, 0.9, 3)])
def test_a_test_without_a_training_is_none_of_their_business(callback):
    ones = np.ones((5, 1), np.float32)
    model = weight_model(SGD(0.25))
    model.evaluate(ones, ones, verbose=0, callbacks=[callback])
    assert not any(callback.history.values())


def test_a_test_between_batches_is_no_end_of_the_epoch():
    logger = clr.LearningRateLogger()
    model = weight_model(SGD(OWN[0]))
    ones = np.ones((5, 1), np.float32)

    def evaluate(batch, logs):
        if batch == 3:
            model.evaluate(ones, ones, verbose=0, callbacks=[logger])

    between = keras.callbacks.LambdaCallback(on_train_batch_end=evaluate)
    fit(model, 10, epochs=2, callbacks=[logger, between], validation_data=(ones, ones))
    assert logger.history["iteration"] == list(range(20))
    last = [float(np.float32(rate)) for rate in OWN[0].values([9, 19])]
    assert [log["learning_rate"] for log in logger.epochs] == last


# --- Where it is seen ---


def test_history_and_csv_have_the_rate(tmp_path):
    path = tmp_path / "log.csv"
    logger = clr.LearningRateLogger()
    model = weight_model(SGD(OWN[0]))
    fit(model, 5, epochs=3, callbacks=[logger, keras.callbacks.CSVLogger(path)])
    last = [float(np.float32(rate)) for rate in OWN[0].values([4, 9, 14])]
    assert model.history.history["learning_rate"] == last
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == last
    assert [log["learning_rate"] for log in logger.epochs] == last
    assert [log["loss"] for log in logger.epochs] == model.history.history["loss"]


def test_a_metric_keeps_its_name():
    class Metric(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["steps_logged"] = 0.5

    logger = clr.LearningRateLogger()
    fit(weight_model(SGD(0.25)), 5, callbacks=[Metric(), logger])
    assert logger.epochs[0]["steps_logged"] == 0.5


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


@reads_events
@several_steps
def test_tensorboard_reads_the_rate_of_every_step(tmp_path, steps_per_execution):
    logger = clr.LearningRateLogger(log_dir=tmp_path / "logs")
    model = weight_model(SGD(OWN[1]), steps_per_execution=steps_per_execution)
    fit(model, 14, epochs=2, callbacks=[logger])
    assert len(events(tmp_path / "logs")["learning_rate"]) == 28
    fit(model, 7, callbacks=[logger])
    found = events(tmp_path / "logs")
    assert list(found) == ["learning_rate"]
    rates = OWN[1].values(range(35)).astype(np.float32).tolist()
    assert found["learning_rate"] == list(enumerate(rates))


@reads_events
def test_steps_before_an_exception_reach_tensorboard(tmp_path):
    logger = clr.LearningRateLogger(log_dir=str(tmp_path))
    fit_until_error(weight_model(SGD(OWN[1])), 30, [logger])
    assert len(events(tmp_path)["learning_rate"]) == 20
    done = len(logger.history["iteration"])
    assert [step for step, _ in events(tmp_path)["learning_rate"]] == list(range(done))


@reads_events
@needs_tensorflow
def test_keras_tensorboard_has_the_rate_of_the_step_to_come(tmp_path):
    logger = clr.LearningRateLogger()
    fit(
        weight_model(SGD(OWN[0])),
        5,
        epochs=2,
        callbacks=[logger, keras.callbacks.TensorBoard(tmp_path, write_graph=False)],
    )
    # Keras replaces the rate of the step before by that of the step after.
    found = events(tmp_path / "train")["epoch_learning_rate"]
    assert found == [(0, np.float32(OWN[0].values(5))), (1, np.float32(OWN[0].values(10)))]


@reads_events
def test_the_writer_for_other_backends_writes_the_same(tmp_path):
    writer = ScalarWriter(str(tmp_path))
    rates = OWN[0].values(range(300))
    writer.write("learning_rate", np.arange(300), rates)
    found = events(tmp_path)["learning_rate"]
    writer.close()
    assert found == list(enumerate(rates.astype(np.float32).tolist()))


def test_a_missing_writer_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    with pytest.raises(ImportError, match=r"clr-schedules\[tensorboard\]"):
        ScalarWriter(str(tmp_path))


# --- Bad input ---


@pytest.mark.parametrize("log_dir", [3, True, ("logs",), b"logs"])
def test_a_log_dir_is_a_path(log_dir):
    with pytest.raises(TypeError, match="Argument `log_dir` must be a path, or None"):
        clr.LearningRateLogger(log_dir)


@pytest.mark.parametrize("callback", [clr.LearningRateLogger, lambda: clr.CyclicalLR(0.1, 0.2, 5)])
def test_a_model_without_an_optimizer_is_refused(callback):
    model = weight_model(SGD(0.1))
    model.optimizer = None
    with pytest.raises(ValueError, match="must have a model that was compiled with an optimizer"):
        fit(model, 1, callbacks=[callback()])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base_lr": -1.0}, ValueError, "base_lr.*finite number of at least 0.*-1"),
        ({"base_lr": math.nan}, ValueError, "base_lr.*nan"),
        ({"base_lr": 0.3}, ValueError, "base_lr.*must not be above `max_lr`"),
        ({"max_lr": math.inf}, ValueError, "max_lr.*inf"),
        ({"max_lr": True}, TypeError, "max_lr.*True"),
        ({"stepsize": 0}, ValueError, "Argument `stepsize`.*Received: stepsize=0"),
        ({"stepsize": 2.5}, ValueError, "Argument `stepsize`.*Received: stepsize=2.5"),
        ({"stepsize": "8"}, TypeError, "Argument `stepsize`.*Received: stepsize='8'"),
        ({"mode": "cosine"}, ValueError, "mode.*'triangular', 'triangular2', 'exp_range'"),
        ({"mode": None}, TypeError, "mode.*None"),
        ({"gamma": 0.0}, ValueError, "gamma.*above 0 and at most 1"),
        ({"gamma": 1.5, "mode": "exp_range"}, ValueError, "gamma.*1.5"),
    ],
)
def test_bad_arguments_of_the_callback_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        clr.CyclicalLR(**{"base_lr": 0.1, "max_lr": 0.2, "stepsize": 8} | arguments)


@pytest.mark.parametrize("rate", [OWN[0], OTHERS[3]], ids=named)
def test_the_callback_refuses_an_optimizer_with_a_schedule(rate):
    model = weight_model(SGD(rate))
    with pytest.raises(ValueError, match=r"constant learning rate.*Received: learning_rate="):
        fit(model, 3, callbacks=[clr.CyclicalLR(0.1, 0.2, 5)])
    fit(model, 3)
    assert model.optimizer._learning_rate is rate


# --- The blog post's callback ---


def optimizer_variables(model):
    variables = model.optimizer.variables
    return [id(v) for v in (variables() if callable(variables) else variables)]


def post(mode, gamma, iteration, base_lr=0.1, max_lr=0.9, stepsize=3):
    """The formulas of the post and the paper, in Python."""
    cycle = math.floor(1 + iteration / (2 * stepsize))
    x = abs(iteration / stepsize - 2 * cycle + 1)
    scale = {"triangular": 1, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": gamma**iteration}
    return base_lr + (max_lr - base_lr) * max(0, 1 - x) * scale[mode]


@several_steps
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_the_modes_cycle_over_several_trainings(mode, steps_per_execution):
    model = weight_model(SGD(0.25), steps_per_execution=steps_per_execution)
    callback = clr.CyclicalLR(0.1, 0.9, 3, mode, 0.95)
    fit(model, 14, epochs=2, callbacks=[callback])
    fit(model, 7, callbacks=[callback])
    history = callback.history
    assert list(history) == ["lr", "iter"]
    assert history["iter"] == list(range(35))
    np.testing.assert_allclose(history["lr"], [post(mode, 0.95, i) for i in range(35)], rtol=1e-7)
    assert weight(model) == descend(history["lr"])
    assert [log["iteration"] for log in callback.epochs] == [14, 28, 35]
    assert model.history.history["learning_rate"] == history["lr"][-1:]


def quarter():
    return 0.25


OPTIMIZERS = {
    "sgd": lambda: SGD(0.25),
    "momentum": lambda: SGD(0.25, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.25),
}
if LEGACY:
    OPTIMIZERS |= {
        "older sgd": lambda: keras.optimizers.legacy.SGD(0.25, momentum=0.9),
        "older adam": lambda: keras.optimizers.legacy.Adam(0.25),
    }
else:
    OPTIMIZERS |= {"callable": lambda: SGD(quarter)}
if BACKEND != "torch":
    OPTIMIZERS["scaled"] = lambda: keras.mixed_precision.LossScaleOptimizer(SGD(0.25))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("built", [False, True])
def test_the_former_rate_is_put_back(optimizer, built):
    model = weight_model(OPTIMIZERS[optimizer]())
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if built:
        fit(model, 2)
    before = optimizer_variables(model), inner.get_config()
    attributes = set(vars(inner))
    fit(model, 5, epochs=2, callbacks=[clr.CyclicalLR(0.5, 0.75, 3)])
    after = optimizer_variables(model), inner.get_config()
    assert [v for v in after[0] if v in before[0]] == before[0]
    if built:
        assert after[0] == before[0]
        assert set(vars(inner)) == attributes
    if optimizer != "callable":
        assert after[1] == before[1]
        assert float(np.asarray(inner.learning_rate)) == 0.25
    # It can be set and used as before, and what is saved can be loaded.
    if optimizer == "sgd":
        old = weight(model)
        fit(model, 4)
        assert weight(model) == pytest.approx(old - 1, abs=1e-6)
        inner.learning_rate = 0.5
        fit(model, 2)
        assert weight(model) == pytest.approx(old - 2, abs=1e-6)


def test_a_model_saves_and_loads_after_the_callback(tmp_path):
    model = weight_model(SGD(0.25, momentum=0.5))
    fit(model, 5, callbacks=[clr.CyclicalLR(0.5, 0.75, 3)])
    model.compile(model.optimizer, loss="mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    values = [np.asarray(v) for v in _variables(model.optimizer)]
    assert len(values) >= 2
    for ours, theirs in zip(values, _variables(loaded.optimizer), strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs))
    assert float(np.asarray(loaded.optimizer.learning_rate)) == 0.25


def _variables(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def test_a_model_saved_while_it_cycles_loads_elsewhere_with_its_schedule(tmp_path):
    class Save(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / f"{epoch}.keras")

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(SGD(0.25, momentum=0.5), loss="mse")
    fit(model, 4)  # so that the cycles do not begin at the optimizer's step 0
    fit(model, 5, epochs=2, callbacks=[clr.CyclicalLR(0.001, 0.006, 3), Save()])
    found = run(
        """
import numpy as np, json, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "__array__ implementation")
from helpers.keras_under_test import keras
import clr_schedules as clr
model = keras.models.load_model(path)
logger = clr.LearningRateLogger()
ones = np.ones((5, 1), np.float32)
model.fit(ones, ones, batch_size=1, verbose=0, shuffle=False, callbacks=[logger])
print(json.dumps([logger.history, [np.asarray(w).tolist() for w in model.get_weights()]]))
""",
        path=str(tmp_path / "0.keras"),
    )
    schedule = clr.Triangular(0.001, 0.006, 3)
    assert found[0]["iteration"] == list(range(9, 14))
    expected = schedule.values(range(5, 10)).astype(np.float32).tolist()
    assert found[0]["learning_rate"] == expected
    for ours, theirs in zip(model.get_weights(), found[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_cycles_are_the_callbacks_own():
    model = weight_model(SGD(0.25))
    callback = clr.CyclicalLR(0.1, 0.9, 3, "triangular2")
    expected = [np.float32(post("triangular2", 1, i)) for i in range(30)]
    fit(model, 4)
    fit(model, 10, callbacks=[callback])
    fit(model, 5)
    fit(model, 10, callbacks=[callback])
    total = [0.25] * 4 + expected[:10] + [0.25] * 5 + expected[10:20]
    assert weight(model) == descend(total)
    model.compile(SGD(0.5), loss=model.loss)
    before = weight(model)
    fit(model, 10, callbacks=[callback])
    np.testing.assert_allclose(callback.history["lr"], expected, rtol=1e-7)
    assert weight(model) == pytest.approx(before - sum(expected[20:]), rel=1e-6)
    assert float(np.asarray(model.optimizer.learning_rate)) == 0.5


@needs_tensorflow
def test_several_trainings_with_the_callback_are_compiled_once():
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential([keras.layers.Input((1,)), Counted(), keras.layers.Dense(1)])
    model.compile(SGD(0.01), loss="mse")
    callback = clr.CyclicalLR(0.001, 0.009, 3)
    fit(model, 10, callbacks=[callback])
    traces.clear()
    for _ in range(3):
        fit(model, 10, callbacks=[callback])
    assert not traces
    fit(model, 10)
    traces.clear()
    fit(model, 10)
    assert not traces


@pytest.mark.parametrize("same", [True, False])
def test_a_training_that_was_broken_off_is_cleared_up_by_the_next(same):
    model = weight_model(SGD(0.25))
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    fit_until_error(model, 30, [callback])
    done = iterations(model)
    assert len(callback.history["lr"]) == done
    following = callback if same else clr.CyclicalLR(0.1, 0.9, 3)
    fit(model, 10, callbacks=[following])
    count = done + 10 if same else 10
    np.testing.assert_allclose(
        following.history["lr"], [post("triangular", 1, i) for i in range(count)], rtol=1e-7
    )
    assert float(np.asarray(model.optimizer.learning_rate)) == 0.25
    before = weight(model)
    fit(model, 4)
    assert weight(model) == pytest.approx(before - 1, rel=1e-6)


def test_the_logger_sees_the_callbacks_rates():
    model = weight_model(SGD(0.25))
    callback, logger = clr.CyclicalLR(0.1, 0.9, 3), clr.LearningRateLogger()
    fit(model, 10, callbacks=[logger, callback])
    assert logger.history["learning_rate"] == callback.history["lr"]


def test_two_of_the_callback_are_refused():
    model = weight_model(SGD(0.25))
    callbacks = [clr.CyclicalLR(0.1, 0.9, 3), clr.CyclicalLR(0.2, 0.8, 3)]
    with pytest.raises(ValueError, match=r"Only one `CyclicalLR`.*0\.1.*and.*0\.2"):
        fit(model, 4, callbacks=callbacks)
    assert (weight(model), float(np.asarray(model.optimizer.learning_rate))) == (0, 0.25)
    for callback in callbacks:  # one after the other, they are fine
        fit(model, 4, callbacks=[callback])
        assert len(callback.history["lr"]) == 4


def test_the_callback_stops_cycling_when_told_to():
    model = weight_model(SGD(0.25))
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    fit_until_error(model, 5, [callback])
    callback.on_train_end()
    assert float(np.asarray(model.optimizer.learning_rate)) == 0.25
    assert len(callback.history["lr"]) == iterations(model) >= 5


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("duplicate", [copy.copy, lambda c: pickle.loads(pickle.dumps(c))])
@pytest.mark.parametrize(
    ("make", "rate"),
    [(clr.LearningRateLogger, OTHERS[1]), (partial(clr.CyclicalLR, 0.1, 0.9, 3), 0.25)],
)
def test_copies_have_what_was_logged(make, rate, duplicate, broken):
    original = make()
    model = weight_model(SGD(rate))
    fit(model, 4, callbacks=[original])
    if broken:
        fit_until_error(model, 5, [original])
    # Keras's models are not always to be copied.
    original.set_model(None)
    twin = duplicate(original)
    assert twin.history == original.history
    assert len(next(iter(original.history.values()))) == iterations(model) >= 4 + 5 * broken


@needs_tensorflow
def test_both_know_the_rate_of_all_replicas():
    """Two replicas, in another process since this one has its devices already."""
    code = """
import numpy as np
from helpers.distributed_training import two_replicas
strategy = two_replicas()
import clr_schedules as clr
from helpers.keras_under_test import keras
from helpers.weight_model import weight, weight_model

def make(rate):
    with strategy.scope():
        return weight_model(keras.optimizers.SGD(rate))

def fit(model, steps, **arguments):
    ones = np.ones((2 * steps, 1), np.float32)
    model.fit(ones, ones, batch_size=2, verbose=0, **arguments)

found = []
# Keras 3.6 adds the gradients of the replicas up, where later ones take their mean.
unit = make(1.0)
fit(unit, 1)
for rate, callback in ((clr.Triangular(0.1, 0.9, 3), clr.LearningRateLogger()),
                       (0.25, clr.CyclicalLR(0.1, 0.9, 3))):
    model = make(rate)
    for epochs in (1, 2):
        fit(model, 10, epochs=epochs, callbacks=[callback])
    logged = callback.history["lr" if "lr" in callback.history else "learning_rate"]
    rate = float(np.asarray(model.optimizer.learning_rate))
    found.append([logged, -weight(model) / weight(unit), rate])
print(json.dumps(found))
"""
    (logger, taken, _), (cyclical, also_taken, former) = run(code)
    expected = np.float32([post("triangular", 1, i) for i in range(30)])
    assert (
        logger
        == cyclical
        == [
            float(rate) for rate in clr.Triangular(0.1, 0.9, 3).values(range(30)).astype(np.float32)
        ]
    )
    np.testing.assert_allclose(logger, expected, rtol=1e-6)
    assert taken == also_taken == pytest.approx(-expected.sum(), rel=1e-5)
    assert former == 0.25
