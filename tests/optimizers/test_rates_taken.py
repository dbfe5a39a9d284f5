"""Which optimizers take which rates: read off weights that every step lowers by its rate."""

import re

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, LEGACY, keras
from helpers.weight_model import descend, fit, weight, weight_model

import clr_schedules as clr
from clr_schedules._backend import backend
from clr_schedules.optimizers.rates_taken import inner_optimizers, optimizers_of, rates_taken
from clr_schedules.plotting import plot_history

optimizers = keras.optimizers
SGD = optimizers.SGD
TRIANGULAR = clr.Triangular(1e-3, 6e-3, 7)
needs_multi = pytest.mark.skipif(
    not hasattr(optimizers, "MultiOptimizer"), reason="Keras has it from version 3.15"
)
# Keras on JAX hands the variables of `model.optimizer` alone through its train step.
needs_state = pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX has no state in steps")


class TwoOptimizers(keras.Model):
    """Trains two weights with the gradient 1, by optimizers of its own, as a GAN does.

    The first weight takes two steps for each step of the second one.
    """

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        self.other = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        self.second_steps = True

    def call(self, inputs):
        return self.layer(inputs) + self.other(inputs)

    def compile(self, first, second):
        super().compile(loss="mse")  # Keras makes an RMSprop of its own, which takes no step
        self.first = first
        self.more = {"second": [second]}

    def train_step(self, data):
        steps = [(self.first, self.layer)] * 2
        if self.second_steps:
            steps.append((self.more["second"][0], self.other))
        for optimizer, layer in steps:
            variable = layer.trainable_variables[0]
            optimizer.apply_gradients([(backend.tensor(variable) * 0 + 1, variable)])
        return {"loss": backend.tensor(0.0)}


def two_optimizers(first, second):
    model = TwoOptimizers()
    ones = np.ones((1, 1), np.float32)
    model(ones)
    model.compile(first, second)
    for optimizer, layer in ((first, model.layer), (second, model.other)):
        optimizer.build(layer.trainable_variables)
    return model


@needs_state
def test_optimizers_that_are_attributes_have_a_column_each(tmp_path):
    model = two_optimizers(SGD(TRIANGULAR, name="critic"), SGD(0.25, name="generator"))
    logger = clr.LearningRateLogger(log_dir=tmp_path)
    fit(model, 5, epochs=2, callbacks=[logger])
    history = logger.history
    assert {name: len(values) for name, values in history.items()} == {
        "iteration_critic": 20,
        "learning_rate_critic": 20,
        "iteration_generator": 10,
        "learning_rate_generator": 10,
    }
    assert history["iteration_critic"] == list(range(20))
    for layer, name in ((model.layer, "critic"), (model.other, "generator")):
        taken = np.asarray(layer.get_weights()[0]).item()
        assert taken == descend(history[f"learning_rate_{name}"])
    logs = model.history.history
    assert set(logs) == {"loss", "learning_rate_critic", "learning_rate_generator"}
    assert logs["learning_rate_critic"] == [history["learning_rate_critic"][i] for i in (9, 19)]
    assert [(log["iteration"], log["steps_logged"]) for log in logger.epochs] == [
        (10, 10),
        (20, 20),
    ]
    lines = plot_history(history).lines
    labels = ["learning rate of critic", "learning rate of generator"]
    assert [line.get_label() for line in lines] == labels
    assert [len(line.get_xdata()) for line in lines] == [20, 10]

    names = r"several optimizers: RMSprop.*critic.*generator"
    with pytest.raises(ValueError, match=names):
        fit(model, 5, callbacks=[clr.CyclicalLR(0.1, 0.2, 5)])
    with pytest.raises(ValueError, match=names):
        clr.lr_range_test(model, np.ones((5, 1)), np.ones((5, 1)), verbose=0)


@needs_state
def test_a_single_optimizer_that_steps_is_logged_without_its_name():
    """With their names, where another one begins later. Equal names get numbers."""
    model = two_optimizers(SGD(0.5, name="same"), SGD(0.25, name="same"))
    model.second_steps = False
    logger = clr.LearningRateLogger()

    class Begin(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert set(logger.history) == {"iteration", "learning_rate"}
            assert logger.history["learning_rate"] == [0.5] * 6
            self.model.second_steps = True
            self.model.stop_training = True

    fit(model, 3, callbacks=[logger, Begin()])
    assert set(model.history.history) == {"loss", "learning_rate"}
    model.make_train_function(force=True)
    fit(model, 3, callbacks=[later := clr.LearningRateLogger()])
    assert later.history == {
        "iteration_same": list(range(6, 12)),
        "learning_rate_same": [0.5] * 6,
        "iteration_same_1": list(range(3)),
        "learning_rate_same_1": [0.25] * 3,
    }


@needs_multi
@pytest.mark.parametrize("lazy", [False, True])
def test_the_optimizers_of_a_multi_optimizer_have_a_column_each(lazy):
    sgd, other = SGD(TRIANGULAR, momentum=0.9, name="one"), SGD(0.25, name="two")
    sgd = clr.schedule_hyperparameters(sgd, momentum=clr.Triangular(0.8, 0.9, 3))
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(1, name="body"), keras.layers.Dense(1)]
    )

    def find(variable):
        return sgd if "body" in variable.path else other

    chosen = find if lazy else optimizers.OptimizerMap(other, {".*body.*": sgd})
    model.compile(optimizers.MultiOptimizer(chosen), loss="mse")
    clr_callback = clr.CyclicalLR(0.1, 0.2, 5)
    with pytest.raises(ValueError, match="several optimizers"):
        fit(model, 5, callbacks=[clr_callback])
    with pytest.raises(ValueError, match="several optimizers"):
        clr.lr_range_test(model, np.ones((5, 1)), np.ones((5, 1)), verbose=0)
    fit(model, 4)  # the counters do not begin at 0
    if lazy:  # the optimizers are asked for again, in the first step
        model.compile(optimizers.MultiOptimizer(chosen), loss="mse")
    logger = clr.LearningRateLogger()
    fit(model, 5, epochs=2, callbacks=[logger])
    rates = TRIANGULAR.values(range(4, 14)).astype(np.float32)
    history = logger.history
    assert history["learning_rate_one"] == rates.tolist()
    assert history["learning_rate_two"] == [0.25] * 10
    assert np.allclose(history["momentum_one"], clr.Triangular(0.8, 0.9, 3).values(range(4, 14)))
    assert history["iteration"] == list(range(4, 14))
    assert "learning_rate" not in history
    assert model.history.history["learning_rate_one"] == rates[[4, 9]].tolist()


@needs_multi
def test_a_multi_optimizer_with_one_optimizer_is_swept():
    model = weight_model(optimizers.MultiOptimizer(optimizers.OptimizerMap(SGD(0.25, name="one"))))
    before = [id(value) for value in vars(model.optimizer).values()]
    x = np.ones((8, 1), np.float32)
    result = clr.lr_range_test(model, x, x, num_steps=8, batch_size=1, verbose=0)
    assert len(result.losses) == 8
    np.testing.assert_allclose(-np.diff(result.losses), result.learning_rates[:-1], rtol=1e-5)
    assert [id(value) for value in vars(model.optimizer).values()] == before
    fit(model, 3, callbacks=[cyclical := clr.CyclicalLR(0.5, 1.0, 2)])
    assert weight(model) == descend(cyclical.history["lr"]) == descend([0.5, 0.75, 1.0])


def test_nothing_is_logged_with_a_word():
    model = weight_model(SGD(0.25))
    model.trainable = False
    model.compile(SGD(0.25), loss=model.loss)
    model.train_step = lambda *arguments: None
    logger = clr.LearningRateLogger()
    logger.set_model(model)
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    logger.on_epoch_end(0, {})
    with pytest.warns(UserWarning, match="logged nothing.*none of the optimizers.*SGD"):
        logger.on_train_end()
    assert logger.history == {"iteration": [], "learning_rate": []}


# --- Whether the rate that is given is the rate that is taken ---


def lowered_by(optimizer, count=1, shape=(1, 1)):
    """By how much each step with the gradient 1 lowers a weight."""
    make = __import__("tensorflow").Variable if LEGACY else keras.Variable
    variable, weights = make(np.zeros(shape, np.float32)), [0.0]
    for _ in range(count):
        optimizer.apply_gradients([(backend.tensor(np.ones(shape, np.float32)), variable)])
        weights.append(backend.to_numpy(variable).item())
    return -np.diff(weights)


@pytest.mark.parametrize("relative_step", [True, False])
@pytest.mark.parametrize("rate", [2.0, clr.Triangular(0.25, 1.0, 1)], ids=["constant", "cycle"])
def test_adafactor_caps_its_rate(rate, relative_step):
    """By 1 / sqrt(step + 1), whatever `relative_step` is."""
    optimizer = optimizers.Adafactor(rate, relative_step=relative_step)
    taken = rates_taken(optimizer, np.arange(3))
    given = [2.0] * 3 if rate == 2.0 else [0.25, 1.0, 0.25]
    np.testing.assert_allclose(taken, np.minimum(given, 1 / np.sqrt([1, 2, 3])), rtol=1e-6)
    # A step is the rate times the size of the weight, or times 0.001 if the weight is smaller.
    steps = lowered_by(optimizer, 3)
    sizes = np.maximum(1e-3, np.abs(np.cumsum([0.0, *-steps[:2]])))
    np.testing.assert_allclose(steps, taken * sizes, rtol=1e-4)
    logger = clr.LearningRateLogger()
    fit(
        weight_model(optimizers.Adafactor(rate, relative_step=relative_step)), 3, callbacks=[logger]
    )
    assert logger.history["learning_rate"] == taken.tolist()


def test_a_sweep_of_adafactor_is_refused_unless_it_takes_the_rates():
    x = np.ones((8, 1), np.float32)
    model = weight_model(optimizers.Adafactor(1e-3))
    with pytest.raises(
        ValueError, match=r"also with `relative_step=False`.*`max_lr` of at most"
    ) as e:
        clr.lr_range_test(model, x, x, num_steps=50, batch_size=1, verbose=0)
    highest = float(re.search("at most ([0-9.]+)", str(e.value)).group(1))
    arguments = {"num_steps": 50, "batch_size": 1, "verbose": 0, "stop_factor": float("inf")}
    result = clr.lr_range_test(model, x, x, max_lr=highest, **arguments)
    assert len(result.losses) == 50
    with pytest.raises(ValueError, match="never taken"):
        clr.lr_range_test(model, x, x, max_lr=highest * 1.1, **arguments)


OLD_FTRL = [optimizers.legacy.Ftrl] if LEGACY else []


@pytest.mark.parametrize("kind", [optimizers.Ftrl, *OLD_FTRL], ids=lambda kind: kind.__module__)
def test_ftrl_rescales_its_weights_with_the_rate_so_a_sweep_is_refused(kind):
    model = weight_model(optimizer := kind(0.5))
    model.compile(optimizer, loss=lambda y_true, y_pred: y_true * y_pred)
    x = np.ones((1, 1), np.float32)
    model.train_on_batch(x, x)
    before = weight(model)
    optimizer.learning_rate = 1.0
    model.train_on_batch(x, 0 * x)  # the gradient is 0
    np.testing.assert_allclose(weight(model), 2 * before, rtol=1e-6)
    assert before != 0
    with pytest.raises(ValueError, match=r"Ftrl multiplies its weights.*another optimizer"):
        clr.lr_range_test(model, x, x, num_steps=5, verbose=0)
    optimizer.learning_rate = 0.0
    model.train_on_batch(x, 0 * x)
    assert weight(model) != 2 * before  # lost: NaN or 0


@pytest.mark.skipif(not hasattr(optimizers, "ScheduleFreeAdamW"), reason="Keras has it from 3.14")
def test_a_warm_up_scales_the_rate():
    optimizer = optimizers.ScheduleFreeAdamW(0.5, warmup_steps=4)
    taken = rates_taken(optimizer, np.arange(6))
    assert taken.tolist() == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(lowered_by(optimizer), taken[0], rtol=1e-3)
    x = np.ones((8, 1), np.float32)
    with pytest.raises(ValueError, match=r"ScheduleFreeAdamW.*`warmup_steps=0`"):
        clr.lr_range_test(weight_model(optimizer), x, x, num_steps=5, verbose=0)


@pytest.mark.skipif(not LEGACY, reason="about tf_keras.optimizers.legacy")
def test_a_decay_divides_the_rate():
    optimizer = optimizers.legacy.SGD(0.5, decay=0.5)
    taken = rates_taken(optimizer, np.arange(3))
    np.testing.assert_allclose(taken, [0.5, 0.5 / 1.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(lowered_by(optimizer, 3), taken, rtol=1e-5)
    x = np.ones((8, 1), np.float32)
    with pytest.raises(ValueError, match="`decay=0`"):
        clr.lr_range_test(weight_model(optimizer), x, x, num_steps=5, verbose=0)


@pytest.mark.skipif(LEGACY, reason="for the optimizers of Keras 3")
def test_a_cap_counts_updates_not_batches():
    optimizer = optimizers.Adafactor(1.0, gradient_accumulation_steps=2)
    expected = 1 / np.sqrt([1, 1, 2, 2])
    np.testing.assert_allclose(rates_taken(optimizer, np.arange(4)), expected, rtol=1e-6)


# Optimizers whose first step with the gradient 1, from the weight 0, is a multiple of the rate.
FIRST_STEPS = {
    "Adafactor": 1e-3,
    "Nadam": 1 + 0.1 * 0.9 * (1 - 0.96**2 / 2) / (1 - 0.9**2 * 0.52 * (1 - 0.96**2 / 2)),
    "Adadelta": 1 / np.sqrt((1e-7 + 0.05) / 1e-7),
    "Adagrad": 1 / np.sqrt(1.1),
    "RMSprop": 1 / np.sqrt(0.1),
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kind in vars(optimizers).items()
        if isinstance(kind, type)
        and issubclass(kind, backend.optimizer_classes)
        and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Ftrl", "Muon")
    ],
)
def test_every_optimizer_takes_the_rate_that_is_logged(name):
    """A new optimizer of Keras comes here by itself, and must be looked at if it fails."""
    for rate in (1e-3, 2e-3):
        optimizer = getattr(optimizers, name)(rate)
        assert rates_taken(optimizer, np.arange(1)) == np.float32(rate)
        expected = rate * FIRST_STEPS.get(name, 1)
        np.testing.assert_allclose(lowered_by(optimizer), expected, rtol=1e-3)


@pytest.mark.skipif(not hasattr(optimizers, "Muon"), reason="Keras has it from version 3.10")
@pytest.mark.parametrize("shape", [(1, 1), (1,)], ids=["a matrix", "a vector"])
def test_muon_multiplies_its_rate_by_a_constant(shape):
    small, large = (
        lowered_by(optimizers.Muon(rate, adam_lr_ratio=0.1), 3, shape) for rate in (1e-3, 2e-3)
    )
    np.testing.assert_allclose(2 * small, large, rtol=1e-4)
    if shape == (1,):  # it takes a step of Adam
        np.testing.assert_allclose(small, 1e-4, rtol=1e-3)


def test_a_rate_that_is_set_later_is_read():
    model = weight_model(SGD(0.25))
    fit(model, 1)
    logger = clr.LearningRateLogger()
    rates = [0.5] if LEGACY else [0.5, lambda: 0.125, TRIANGULAR]
    for rate in rates:
        model.optimizer.learning_rate = rate
        model.make_train_function(force=True)
        fit(model, 1, callbacks=[logger])
    expected = [0.5, 0.125, float(np.float32(TRIANGULAR.values(3)))][: len(rates)]
    assert logger.history["learning_rate"] == expected


def test_optimizers_are_found_in_inner_models_and_wrappers():
    inner = weight_model(SGD(0.1, name="inner"))
    model = keras.Sequential([keras.layers.Input((1,)), inner, keras.layers.Dense(1)])
    model.compile(SGD(0.2, name="outer"), loss="mse")
    assert [each.name for each in optimizers_of(model)] == ["outer", "inner"]
    # The optimizer of an inner model takes no step, so it is neither logged nor in the way.
    fit(model, 2, callbacks=[logger := clr.LearningRateLogger()])
    assert logger.history["learning_rate"] == [float(np.float32(0.2))] * 2
    ones = np.ones((4, 1), np.float32)
    assert len(clr.lr_range_test(model, ones, ones, num_steps=3, verbose=0).losses) >= 2
    if BACKEND != "torch":
        scaled = keras.mixed_precision.LossScaleOptimizer(model.optimizer)
        assert inner_optimizers(scaled) == [model.optimizer]


@needs_state
def test_a_sweep_of_an_optimizer_that_takes_no_step_is_refused():
    """Where the one that does is not found."""
    hidden = SGD(0.5)

    class Hidden(keras.Sequential):
        def train_step(self, data):
            variable = self.trainable_variables[0]
            hidden.apply_gradients([(backend.tensor(variable) * 0 + 1, variable)])
            return {"loss": backend.tensor(0.5)}

    model = Hidden([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    hidden.build(model.trainable_variables)
    model.compile(SGD(0.1), loss="mse")
    ones, before = np.ones((8, 1), np.float32), weight(model)
    with pytest.raises(ValueError, match=r"taken no step in the range test.*SGD"):
        clr.lr_range_test(model, ones, ones, num_steps=5, verbose=0)
    with pytest.warns(UserWarning, match="logged nothing"):
        fit(model, 3, callbacks=[clr.LearningRateLogger()])
    assert weight(model) < before
