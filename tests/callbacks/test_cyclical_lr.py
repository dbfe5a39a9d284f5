"""The blog post's callback, in real trainings."""

import math

import numpy as np
import pytest
from helpers.broken_training import fit_until_error, steps_taken
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.trace_counter import trace_counter
from helpers.weight_model import descend, fit, weight, weight_model
from helpers.whole_state import listed

import clr_schedules as clr

SGD = keras.optimizers.SGD
# Keras on PyTorch takes one step per execution.
SEVERAL = 1 if BACKEND == "torch" else 7


def post(mode, gamma, iteration, base_lr=0.1, max_lr=0.9, stepsize=3):
    """The formulas of the post and the paper, in Python."""
    cycle = math.floor(1 + iteration / (2 * stepsize))
    x = abs(iteration / stepsize - 2 * cycle + 1)
    scale = {"triangular": 1, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": gamma**iteration}
    return base_lr + (max_lr - base_lr) * max(0, 1 - x) * scale[mode]


def rate_of(optimizer):
    return float(np.asarray(optimizer.learning_rate))


# --- The cycles ---


@pytest.mark.parametrize(
    ("mode", "steps_per_execution"),
    [("triangular", 1), ("triangular2", SEVERAL), ("exp_range", SEVERAL)],
)
def test_the_modes_cycle_over_several_trainings(mode, steps_per_execution):
    model = weight_model(SGD(0.25), steps_per_execution=steps_per_execution)
    callback, logger = clr.CyclicalLR(0.1, 0.9, 3, mode, 0.95), clr.LearningRateLogger()
    fit(model, 14, epochs=2, callbacks=[logger, callback])
    fit(model, 7, callbacks=[logger, callback])
    history = callback.history
    assert list(history) == ["lr", "iter"]
    assert history["iter"] == list(range(35))
    np.testing.assert_allclose(history["lr"], [post(mode, 0.95, i) for i in range(35)], rtol=1e-7)
    assert weight(model) == descend(history["lr"])
    assert [log["iteration"] for log in callback.epochs] == [14, 28, 35]
    assert model.history.history["learning_rate"] == history["lr"][-1:]
    # A logger sees the rates of the callback, not those of the optimizer that was handed in.
    assert logger.history["learning_rate"] == history["lr"]


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
    assert rate_of(model.optimizer) == 0.5


@needs_tensorflow
def test_several_trainings_with_the_callback_are_compiled_once():
    counted, traces = trace_counter()

    model = keras.Sequential([keras.layers.Input((1,)), counted, keras.layers.Dense(1)])
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


# --- The optimizer afterwards ---


def quarter():
    return 0.25


OPTIMIZERS = {"sgd": lambda: SGD(0.25), "adam": lambda: keras.optimizers.Adam(0.25)}
if LEGACY:
    OPTIMIZERS["older sgd"] = lambda: keras.optimizers.legacy.SGD(0.25, momentum=0.9)
else:
    OPTIMIZERS["callable"] = lambda: SGD(quarter)
    OPTIMIZERS["layers"] = lambda: clr.scale_learning_rates(SGD(0.25), {".*": 0.5})
if BACKEND != "torch":
    OPTIMIZERS["scaled"] = lambda: keras.mixed_precision.LossScaleOptimizer(SGD(0.25))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_former_rate_is_put_back(optimizer):
    """After a first training, which builds the optimizer, and after another."""
    model = weight_model(OPTIMIZERS[optimizer]())
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    config = inner.get_config()
    config.pop("built_for", None)  # the variables, which a training tells
    for is_built in (False, True):
        attributes, variables = set(vars(inner)), [id(v) for v in listed(model.optimizer)]
        fit(model, 5, epochs=2, callbacks=[clr.CyclicalLR(0.5, 0.75, 3)])
        after = [id(v) for v in listed(model.optimizer)]
        assert [v for v in after if v in variables] == variables
        if is_built:
            assert after == variables
            assert set(vars(inner)) == attributes
        if optimizer != "callable":
            assert config.items() <= inner.get_config().items()
            assert rate_of(inner) == 0.25
    if optimizer == "sgd":  # the rate can be used and set as before
        old = weight(model)
        fit(model, 4)
        assert weight(model) == pytest.approx(old - 1, abs=1e-6)
        inner.learning_rate = 0.5
        fit(model, 2)
        assert weight(model) == pytest.approx(old - 2, abs=1e-6)


def test_a_model_saved_while_it_cycles_goes_on_and_one_saved_afterwards_has_the_former_rate(
    tmp_path,
):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / f"{epoch}.keras")

    def weights(model):
        return [np.asarray(v) for v in [*model.variables, *listed(model.optimizer)]]

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    optimizer = SGD(0.25, momentum=0.5)
    if not LEGACY:
        optimizer = clr.scale_learning_rates(optimizer, {".*bias": clr.Piecewise([0.0, 0.5], [7])})
    model.compile(optimizer, loss="mse")
    fit(model, 4)  # so that the cycles do not begin at the optimizer's step 0
    fit(model, 5, epochs=2, callbacks=[clr.CyclicalLR(0.001, 0.006, 3), Save()])
    model.save(tmp_path / "after.keras")

    cycling = keras.models.load_model(tmp_path / "0.keras")
    logger = clr.LearningRateLogger()
    fit(cycling, 5, shuffle=False, callbacks=[logger])
    assert logger.history["iteration"] == list(range(9, 14))
    expected = clr.Triangular(0.001, 0.006, 3).values(range(5, 10)).astype(np.float32)
    assert logger.history["learning_rate"] == expected.tolist()
    after = keras.models.load_model(tmp_path / "after.keras")
    assert rate_of(after.optimizer) == 0.25
    assert len(listed(after.optimizer)) >= 2
    for ours, theirs in zip(weights(model), weights(after), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(model.get_weights(), cycling.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


class KilledError(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Ends the training at the beginning of its third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KilledError


def momentum_model():
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.ones((1, 1), np.float32), np.zeros(1, np.float32)])
    model.compile(SGD(0.25, momentum=0.5), loss="mse")
    return model


def train(model, callbacks, **arguments):
    fit(model, 5, epochs=4, shuffle=False, callbacks=callbacks, **arguments)
    return model


def test_a_killed_training_goes_on_with_the_callback(tmp_path):
    """From a backup, in each order of the callbacks; from a model that was saved; from weights."""
    whole = clr.CyclicalLR(0.001, 0.006, 7)
    expected = train(momentum_model(), [whole]).get_weights()

    def check(model, callback):
        np.testing.assert_array_equal(model.get_weights()[0], expected[0])
        assert callback.history["lr"] == whole.history["lr"][10:]
        assert type(model.optimizer) is type(momentum_model().optimizer)

    for first in (True, False):
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / f"backup {first}"))
        for kill in ([Kill()], []):
            callback = clr.CyclicalLR(0.001, 0.006, 7)
            callbacks = [callback, backup] if first else [backup, callback]
            if kill:
                with pytest.raises(KilledError):
                    train(momentum_model(), callbacks + kill)
            else:
                check(train(momentum_model(), callbacks), callback)

    save = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    with pytest.raises(KilledError):
        train(momentum_model(), [clr.CyclicalLR(0.001, 0.006, 7), save, Kill()])
    for path in ("model.keras", "again.keras"):
        model = keras.models.load_model(tmp_path / path)
        model.save(tmp_path / "again.keras")
    logger, callback = clr.LearningRateLogger(), clr.CyclicalLR(0.001, 0.006, 7)
    check(train(model, [callback, logger], initial_epoch=2), callback)
    assert logger.history["learning_rate"] == callback.history["lr"]
    if not LEGACY:  # there, the loaded optimizer has the schedule and no constant rate
        assert rate_of(model.optimizer) == 0.25
        before = len(callback.history["lr"])
        fit(model, 5, callbacks=[callback])
        expected_rates = clr.Triangular(0.001, 0.006, 7).values(range(20, 25))
        np.testing.assert_allclose(callback.history["lr"][before:], expected_rates, rtol=1e-6)


@pytest.mark.skipif(LEGACY, reason="files of weights have no optimizer there")
def test_weights_of_a_cycling_model_fit_one_with_a_constant_rate(tmp_path):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save_weights(tmp_path / "of.weights.h5")

    model = train(momentum_model(), [clr.CyclicalLR(0.001, 0.006, 7), Save()])
    other = momentum_model()
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "of.weights.h5")
    assert (int(np.asarray(other.optimizer.iterations)), rate_of(other.optimizer)) == (20, 0.25)
    for ours, theirs in zip(listed(model.optimizer), listed(other.optimizer), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@needs_tensorflow
def test_after_the_callback_the_model_is_saved_in_every_way(tmp_path):
    import tensorflow as tf

    model = momentum_model()
    fit(model, 5, callbacks=[clr.CyclicalLR(0.001, 0.006, 3)])
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "export", **({} if LEGACY else {"verbose": False}))
    tf.train.Checkpoint(model).save(tmp_path / "checkpoint")
    tf.saved_model.save(model, tmp_path / "saved")
    ones = np.ones((20, 1), np.float32)
    assert len(clr.lr_range_test(model, ones, ones, num_steps=5, verbose=0).losses) > 1


# --- Trainings that are broken off ---


@pytest.mark.parametrize("same", [True, False])
def test_a_training_that_was_broken_off_is_cleared_up_by_the_next(same):
    model = weight_model(SGD(0.25))
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    fit_until_error(model, 30, [callback])
    done = steps_taken(model)
    assert len(callback.history["lr"]) == done
    following = callback if same else clr.CyclicalLR(0.1, 0.9, 3)
    fit(model, 10, callbacks=[following])
    count = done + 10 if same else 10
    np.testing.assert_allclose(
        following.history["lr"], [post("triangular", 1, i) for i in range(count)], rtol=1e-7
    )
    assert rate_of(model.optimizer) == 0.25
    before = weight(model)
    fit(model, 4)
    assert weight(model) == pytest.approx(before - 1, rel=1e-6)


def test_the_callback_stops_cycling_when_told_to():
    model = weight_model(SGD(0.25))
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    fit_until_error(model, 5, [callback])
    callback.on_train_end()
    assert rate_of(model.optimizer) == 0.25
    assert len(callback.history["lr"]) == steps_taken(model) >= 5


# --- Bad input ---


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


@pytest.mark.parametrize(
    "rate",
    [
        clr.Triangular(1e-3, 6e-3, 7),
        keras.optimizers.schedules.ExponentialDecay(0.1, 7, 0.5, staircase=True),
    ],
    ids=lambda rate: type(rate).__name__,
)
def test_the_callback_refuses_an_optimizer_with_a_schedule(rate):
    model = weight_model(SGD(rate))
    with pytest.raises(ValueError, match=r"constant learning rate.*Received: learning_rate="):
        fit(model, 3, callbacks=[clr.CyclicalLR(0.1, 0.2, 5)])
    fit(model, 3)
    assert model.optimizer._learning_rate is rate


class OwnPlateau(keras.callbacks.ReduceLROnPlateau):
    pass


@pytest.mark.parametrize("first", [True, False])
def test_the_callback_refuses_others_that_set_the_rate(first):
    model = weight_model(SGD(0.25))
    for other in (
        OwnPlateau("loss"),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
    ):
        callbacks = [clr.CyclicalLR(0.1, 0.9, 3), other]
        name = type(other).__name__
        with pytest.raises(ValueError, match=f"`CyclicalLR` and `{name}` .* Remove one of them"):
            fit(model, 4, callbacks=callbacks if first else callbacks[::-1])
        assert (weight(model), rate_of(model.optimizer)) == (0, 0.25)
        # Lists of other trainings, with both callbacks in them, are none of its business.
        fit(model, 4, callbacks=callbacks[:1])
        assert len(callbacks[0].history["lr"]) == 4
        model.set_weights([np.zeros((1, 1), np.float32)])


def test_two_of_the_callback_are_refused():
    model = weight_model(SGD(0.25))
    callbacks = [clr.CyclicalLR(0.1, 0.9, 3), clr.CyclicalLR(0.2, 0.8, 3)]
    with pytest.raises(ValueError, match=r"Only one `CyclicalLR`.*0\.1.*and.*0\.2"):
        fit(model, 4, callbacks=callbacks)
    assert (weight(model), rate_of(model.optimizer)) == (0, 0.25)
    for callback in callbacks:  # one after the other, they are fine
        fit(model, 4, callbacks=[callback])
        assert len(callback.history["lr"]) == 4
