"""The running range test: it trains as `fit` does, knows when to stop, and shows how far it is.

Whatever the data, the losses are the true loss of every batch.
"""

import contextlib
import io
import math
import re

import numpy as np
import pytest
from helpers import model_zoo, other_process, whole_state
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.model_zoo import BATCH, BATCHES, Batches, X, Y
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules.range_test.sweep import Sweep

STEPS = 50
RATES = np.geomspace(1e-4, 0.5, STEPS)


def line(**arguments):
    """A linear model of one weight and a bias, whose training NumPy can follow."""
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(1, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(1.0), **{"loss": "mse", "metrics": ["mae"]} | arguments)
    return model


def by_hand(batches, rates=RATES, bias_factors=(1.0,) * STEPS):
    """The losses and the mean absolute errors, batch by batch, of SGD in NumPy, in float64."""
    weights, bias, losses, errors = np.zeros((4, 1)), 0.0, [], []
    for step, (rate, (x, y, *weighting)) in enumerate(zip(rates, batches, strict=True)):
        weighting = weighting[0][:, None] if weighting else np.ones((len(x), 1))
        error = x.astype(np.float64) @ weights + bias - y
        losses.append(np.mean(weighting * error**2))
        errors.append(np.mean(np.abs(error)))
        slope = 2 * weighting * error / len(x)
        weights -= rate * x.T.astype(np.float64) @ slope
        bias -= rate * bias_factors[step] * slope.sum()
    return losses, errors


def batches(*more):
    """The batches of model_zoo, again and again."""
    rows = [slice(i * BATCH, (i + 1) * BATCH) for i in range(BATCHES)]
    epoch = [(X[part], Y[part], *(array[part] for array in more)) for part in rows]
    return (epoch * (STEPS // BATCHES + 1))[:STEPS]


def dataset(repeat=None):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
    if repeat == "unknown length":
        return data.filter(lambda x, y: True)
    return data.repeat() if repeat else data


def loader():
    import torch

    tensors = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
    return torch.utils.data.DataLoader(tensors, batch_size=BATCH)


class Unshuffled(Batches):
    """Batches of which `fit` does not know how many there are, so that it keeps their order."""

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return super().__getitem__(index % BATCHES)


ORDERED = {"generator": model_zoo.generate}
if BACKEND == "tensorflow":
    ORDERED |= {
        "dataset": dataset,
        "endless dataset": lambda: dataset(repeat=True),
        "dataset of unknown length": lambda: dataset(repeat="unknown length"),
    }
if BACKEND == "torch":
    ORDERED["data loader"] = loader


def sweep(model, x, y=None, **arguments):
    """A range test, after which the variables that were there are bit for bit what they were."""
    options = {"min_lr": 1e-4, "max_lr": 0.5, "num_steps": STEPS, "stop_factor": math.inf}
    before = variables(model)
    try:
        return clr.lr_range_test(model, x, y, **options | {"verbose": 0} | arguments)
    finally:
        after = variables(model)
        assert before == {name: after[name] for name in before}


def variables(model):
    if getattr(model, "optimizer", None) is None:
        return {}
    state = whole_state.capture(model)
    return {name: state[name] for name in whole_state.variables(state)}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, {}) for name in ORDERED),
        ("generator", {"jit_compile": False}),
        ("generator", {"jit_compile": True}),
        ("generator", {"run_eagerly": True}),
    ],
)
def test_losses_are_those_of_each_batch_alone(name, mode):
    if BACKEND == "torch" and mode.get("jit_compile"):
        pytest.skip("compiles with a C++ compiler, for minutes")
    result = sweep(line(**mode), ORDERED[name]())
    losses, errors = by_hand(batches())
    assert result.stop_reason == "completed: reached the last learning rate, 0.5"
    np.testing.assert_array_equal(result.learning_rates, RATES)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(result.metrics["mae"], errors, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 64])
def test_any_number_of_steps_a_call(steps):
    result = sweep(line(), model_zoo.generate(), steps_per_execution=steps)
    np.testing.assert_allclose(result.losses, by_hand(batches())[0], rtol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("compiled", [3, 40])
def test_models_compiled_with_steps_per_execution(compiled):
    model = line(steps_per_execution=compiled)
    result = sweep(model, dataset())
    np.testing.assert_allclose(result.losses, by_hand(batches())[0], rtol=1e-5)
    kept = model._steps_per_execution if LEGACY else model.steps_per_execution
    assert int(kept) == compiled


def test_sample_weights():
    weights = np.linspace(0, 2, len(X)).astype("float32")
    result = sweep(line(), model_zoo.generate_weighted(weights))
    np.testing.assert_allclose(result.losses, by_hand(batches(weights))[0], rtol=1e-5)


def test_arrays_with_weights():
    """In one batch, so that the shuffling makes no difference."""
    weights = np.linspace(0, 2, len(X)).astype("float32")
    result = sweep(line(), X, Y, sample_weight=weights, batch_size=len(X), num_steps=5)
    rates = result.learning_rates
    expected = by_hand([(X, Y, weights)] * 5, rates)[0]
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5)
    assert not np.allclose(result.losses, by_hand([(X, Y)] * 5, rates)[0], rtol=1e-3)


def test_arrays_go_on_into_the_next_epochs():
    result = sweep(line(), X, Y, batch_size=BATCH)
    assert len(result.losses) == STEPS  # 2.5 epochs
    assert len(set(result.losses.tolist())) == STEPS
    short = sweep(line(), X[:50], Y[:50], batch_size=BATCH)  # the last batch has 2 samples
    assert len(short.losses) == STEPS


@pytest.mark.parametrize("nested", [lambda x: x, lambda x: {"numbers": x}])
def test_each_pass_over_arrays_has_an_order_of_its_own(nested):
    """Also with a seed, with which Keras's own `fit` on TensorFlow repeats the order."""

    def orders():
        keras.utils.set_random_seed(3)
        inputs = keras.layers.Input((1,), name="numbers")
        model = keras.Model(nested(inputs), keras.layers.Dense(1, use_bias=False)(inputs))
        model.compile("sgd", loss="mse")
        model.set_weights([np.ones((1, 1))])
        numbers = np.arange(24, dtype=np.float32)[:, None]
        options = {"min_lr": 1e-30, "max_lr": 1e-29, "num_steps": 72, "batch_size": 1}
        result = sweep(model, nested(numbers), 0 * numbers, **options)
        return np.sqrt(result.losses).round().reshape(3, 24)

    passes = orders()
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(24), (3, 1)))
    assert len(set(map(tuple, passes))) == 3
    np.testing.assert_array_equal(orders(), passes)


@pytest.mark.skipif(LEGACY, reason="its optimizers do not accumulate gradients")
def test_an_update_is_a_step_under_accumulation():
    """Even if the training before has ended between two updates."""
    model = line()
    model.compile(
        keras.optimizers.SGD(1.0, gradient_accumulation_steps=4), loss="mse", metrics=["mae"]
    )
    model.fit(X[:12], Y[:12], batch_size=4, verbose=0)  # three of the four batches of an update
    quarters = ((x[i : i + 4], y[i : i + 4]) for x, y in batches() for i in range(0, BATCH, 4))
    result = sweep(model, quarters, validation_data=(X, Y))
    losses, errors = by_hand(batches())
    np.testing.assert_array_equal(result.learning_rates, RATES)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(result.metrics["mae"], errors, rtol=1e-5)
    assert len(set(result.validation_losses)) == len(result.validation_learning_rates) == 30
    # Of 11 batches, two updates take 8. Those of the third update are not enough.
    result = sweep(model, (batch for batch in batches()[:11]))
    assert result.stop_reason == "stopped: the data ended after 2 of 50 steps"
    np.testing.assert_array_equal(result.learning_rates, RATES[:2])
    epochs = sweep(model, X, Y, batch_size=BATCH, num_steps=None, epochs=3)
    assert len(epochs.losses) == 3 * BATCHES // 4
    assert len(sweep(model, X, Y, batch_size=1, num_steps=None).losses) == 200
    with pytest.raises(
        ValueError, match=r"`epochs` must be at least 2, .* takes 4 of the batches, .*has 5"
    ):
        sweep(model, X[:5], Y[:5], batch_size=1, num_steps=None, epochs=1)


@pytest.mark.skipif(LEGACY, reason="the optimizers of Keras 3")
def test_each_layer_has_its_multiple_of_the_rate():
    unfreezing = clr.Piecewise([0.0, 0.5], boundaries=[20])
    model = line()
    optimizer = clr.scale_learning_rates(keras.optimizers.SGD(1.0), {".*bias": unfreezing})
    model.compile(optimizer, loss="mse")
    result = sweep(model, model_zoo.generate())
    expected = by_hand(batches(), bias_factors=unfreezing.values(range(STEPS)))[0]
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5)


def test_class_weights():
    per_class = {0: 0.5, 1: 2.0}
    weights = np.where(Y[:, 0] == 1, 2.0, 0.5).astype("float32")
    expected = by_hand(batches(weights))[0]
    data = [dataset()] if BACKEND == "tensorflow" else []
    if not LEGACY and hasattr(keras.config, "max_epochs"):  # `fit` of Keras 3.6 cannot do it
        data.append(Unshuffled())
    for x in data:
        result = sweep(line(), x, class_weight=per_class)
        np.testing.assert_allclose(result.losses, expected, rtol=1e-5)
    # Arrays, in one batch, so that the shuffling makes no difference.
    result = sweep(line(), X, Y, class_weight=per_class, batch_size=len(X), num_steps=5)
    expected = by_hand([(X, Y, weights)] * 5, result.learning_rates)[0]
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5)


def test_data_of_unknown_length_take_200_steps():
    result = sweep(line(), model_zoo.generate(), num_steps=None, max_lr=1e-3)
    assert result.stop_reason.startswith("completed")
    assert len(result.losses) == 200


@needs_tensorflow
def test_epochs_of_a_changing_length():
    import tensorflow as tf

    lengths = iter([3, 7, 1, 2, *[4] * 20])

    def epoch():
        yield from batches()[: next(lengths)]

    spec = tf.TensorSpec((BATCH, 4)), tf.TensorSpec((BATCH, 1))
    result = sweep(line(), tf.data.Dataset.from_generator(epoch, output_signature=spec))
    assert result.stop_reason.startswith("completed")
    assert len(result.losses) == STEPS


@pytest.mark.skipif(LEGACY, reason="it has no such limits")
def test_limits_for_quick_runs_do_not_shorten_it():
    config = keras.config
    if not hasattr(config, "set_max_epochs"):
        pytest.skip("this Keras has no such limits")
    config.set_max_epochs(1)
    config.set_max_steps_per_epoch(3)
    try:
        assert len(sweep(line(), X, Y, batch_size=BATCH).losses) == STEPS
        with pytest.raises(ValueError, match="ambiguous"):
            sweep(line(), X, Y[:30])
        assert (config.max_epochs(), config.max_steps_per_epoch()) == (1, 3)
    finally:
        config.set_max_epochs(None)
        config.set_max_steps_per_epoch(None)


def test_a_model_whose_fit_converts_its_data_gets_them_as_they_are():
    class Lengths(keras.Sequential):
        def fit(self, x, y, **arguments):
            assert isinstance(x, list)
            return super().fit(np.array([[len(text)] for text in x]) / 10, y, **arguments)

    model = Lengths([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    texts = ["a" * (i % 7) for i in range(320)]
    result = sweep(model, texts, Y, num_steps=None, epochs=2)
    assert len(result.losses) == 2 * 320 // 32


def test_weights_that_are_not_finite_end_it():
    """The slope of a square root at 0 is infinite; the loss itself is 0."""
    if LEGACY:
        from tensorflow import reduce_mean, sqrt
    else:
        reduce_mean, sqrt = keras.ops.mean, keras.ops.sqrt
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", loss=lambda y, predicted: sqrt(reduce_mean((y - predicted) ** 2)))
    data = [(x, y) if i != 2 else (0 * x, 0 * y) for i, (x, y) in enumerate(batches())]
    result = sweep(model, iter_of(data), min_lr=1e-7)
    rate = f"{result.learning_rates[2]:.3g}"
    assert result.stop_reason == (
        f"diverged: the weights were not finite after step 3, at a learning rate of {rate}"
    )
    assert len(result.losses) == 3
    assert result.losses[2] == 0


def iter_of(data):
    """A generator of these batches."""
    yield from data


@pytest.mark.parametrize("epochs", [1, 3])
def test_epochs_instead_of_steps(epochs):
    result = sweep(line(), Batches(), num_steps=None, epochs=epochs)
    assert len(result.losses) == epochs * BATCHES


def test_a_number_of_steps_that_suits_the_data():
    def steps(samples, **arguments):
        x = np.zeros((samples, 4), np.float32)
        result = sweep(line(), x, x[:, :1], num_steps=None, max_lr=2e-4, **arguments)
        return len(result.losses)

    assert steps(32 * 150) == 200
    assert steps(32 * 201) == 201
    assert steps(1001, batch_size=1) == 1000


# Older Keras says so of a list of inputs, in `fit` as well.
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
def test_several_inputs_and_outputs():
    a, b = keras.layers.Input((2,), name="a"), keras.layers.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    model = keras.Model(
        [a, b],
        [
            keras.layers.Dense(1, "sigmoid", name="first")(joined),
            keras.layers.Dense(1, name="second")(joined),
        ],
    )
    model.compile("sgd", loss=["binary_crossentropy", "mse"], metrics=[["accuracy"], ["mae"]])
    for x, y in (
        ([X[:, :2], X[:, 2:]], [Y, Y]),
        ({"a": X[:, :2], "b": X[:, 2:]}, [Y, Y]),
    ):
        result = sweep(model, x, y, batch_size=BATCH)
        assert len(result.losses) == STEPS
        assert {"first_accuracy", "second_mae"} <= result.metrics.keys()
        assert all(len(values) == STEPS for values in result.metrics.values())
    parts = result.metrics["first_loss"] + result.metrics["second_loss"]
    np.testing.assert_allclose(result.losses, parts, rtol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("jit", [pytest.param(False, marks=pytest.mark.slow), True])
def test_losses_of_a_deep_model_with_adam(jit):
    """Batch normalization, an adaptive optimizer: against a hand-written eager loop."""
    import tensorflow as tf

    def make():
        keras.utils.set_random_seed(0)
        stack = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization()]
        stack += [keras.layers.Dense(1, "sigmoid")]
        model = keras.Sequential([keras.layers.Input((4,)), *stack])
        return model_zoo.compiled(model, jit_compile=jit)

    result = sweep(make(), dataset(), max_lr=1e-2)
    model, losses, accuracies = make(), [], []
    for rate, (x, y) in zip(np.geomspace(1e-4, 1e-2, STEPS), batches(), strict=True):
        model.optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(y, predicted))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
        accuracies.append(np.mean((np.asarray(predicted) > 0.5) == y))
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(result.metrics["accuracy"], accuracies, rtol=1e-6)


def test_a_custom_train_step_is_honoured():
    model = model_zoo.make(model_zoo.custom_step)
    result = sweep(model, X, Y, batch_size=BATCH)
    np.testing.assert_allclose(result.metrics["root"], result.losses**0.5, rtol=1e-5)


def test_a_loss_scale_that_skips_steps_does_not_shift_the_rates():
    """An optimizer that skips a step does not count it; the test's own count goes on."""
    model = model_zoo.mixed(initial_scale=1e12)  # overflows float16 at the first steps
    result = sweep(model, X, Y, batch_size=BATCH)
    np.testing.assert_array_equal(result.learning_rates, RATES)
    assert np.isfinite(result.losses).all()
    if LEGACY:  # it counts the steps that it skips
        return
    with pytest.raises(ValueError, match="a lower `initial_scale`"):  # overflows at all steps
        sweep(model_zoo.mixed(initial_scale=1e30), X, Y, batch_size=BATCH)


def test_a_schedule_as_the_present_rate_is_lent_and_given_back():
    schedule = clr.Triangular2(1e-4, 1e-2, 30)
    model = line()
    model.compile(keras.optimizers.SGD(schedule), loss="mse")
    result = sweep(model, model_zoo.generate())
    np.testing.assert_allclose(result.losses, by_hand(batches())[0], rtol=1e-5)
    assert model.optimizer._learning_rate is schedule


def test_validation_at_30_rates_sees_the_model_after_the_step():
    data = ((X, Y) for _ in range(60))
    result = sweep(line(), data, num_steps=60, validation_data=(X, Y))
    np.testing.assert_array_equal(result.validation_learning_rates, result.learning_rates[1::2])
    # The loss after a step is the loss of the next step, since that is on the same data.
    np.testing.assert_allclose(result.validation_losses[:-1], result.losses[2::2], rtol=1e-5)
    assert len(result.validation_losses) == 30
    (errors,) = result.validation_metrics.values()
    np.testing.assert_allclose(errors[:-1], result.metrics["mae"][2::2], rtol=1e-5)


def test_data_that_end_early():
    def few():
        for index in range(30):
            yield Batches()[index % BATCHES]

    result = sweep(line(), few())
    assert result.stop_reason == "stopped: the data ended after 30 of 50 steps"
    np.testing.assert_array_equal(result.learning_rates, RATES[:30])


@pytest.mark.slow
@needs_tensorflow
def test_mirrored_variables():
    """Two replicas, in another process since this one has its devices already."""
    code = """
from helpers.distributed_training import two_replicas
strategy = two_replicas()
import clr_schedules as clr
from helpers import model_zoo

def make():
    with strategy.scope():
        return model_zoo.make(model_zoo.no_jit)

def history(model):
    x, y = model_zoo.X, model_zoo.Y
    return model.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False).history

expected = history(make())
model = make()
result = clr.lr_range_test(model, model_zoo.X, model_zoo.Y, batch_size=16, num_steps=50, verbose=0)
print(json.dumps([len(result.losses), history(model) == expected]))
"""
    assert other_process.run(code) == [50, True]


def test_what_cannot_work_is_refused_before_anything_is_touched():
    class NoLoss(keras.Model):
        def train_step(self, *arguments):
            result = super().train_step(*arguments)
            if isinstance(result, tuple):
                return {"cost": result[0]["loss"]}, result[1]
            return {"cost": result["loss"]}

    inputs = keras.layers.Input((4,))
    model = NoLoss(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"the key 'loss'. Received: \['cost'\]"):
        sweep(model, X, Y)
    assert int(np.asarray(model.optimizer.iterations)) == 0


def test_models_that_cannot_be_swept():
    model = line()
    with pytest.raises(TypeError, match=r"`model` must be a Keras model. Received: model=3"):
        sweep(3, X, Y)
    uncompiled = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="compiled with one optimizer"):
        sweep(uncompiled, X, Y)
    model.compile(keras.optimizers.SGD(0.1), loss="mse")  # the one before is not held any more
    sweep(model, X, Y)
    model.more = {"second": [keras.optimizers.Adam(name="other")]}
    with pytest.raises(
        ValueError, match=r"with one optimizer.*several optimizers: SGD.*Adam \(other\)"
    ):
        sweep(model, X, Y)
    del model.more
    model.optimizer.inner = keras.optimizers.Adam(name="inner")
    with pytest.raises(ValueError, match=r"several optimizers: SGD.*Adam \(inner\)"):
        sweep(model, X, Y)


@pytest.mark.skipif(LEGACY, reason="the legacy Keras hands its data to `fit` another way")
def test_a_model_that_trains_in_its_own_way():
    class Own(keras.Sequential):
        def make_train_function(self, force=False):
            return super().make_train_function(force=True)

    model = Own([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="No train step was taken"):
        sweep(model, X, Y)


def test_a_loss_that_is_no_scalar():
    if LEGACY:
        from tensorflow import stack
    else:
        stack = keras.ops.stack

    class Vector(keras.Model):
        def train_step(self, *arguments):
            result = super().train_step(*arguments)
            logs = result[0] if isinstance(result, tuple) else result
            logs = logs | {"loss": stack([logs["loss"], logs["loss"]])}
            return (logs, result[1]) if isinstance(result, tuple) else logs

    inputs = keras.layers.Input((4,))
    model = Vector(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"with a scalar at the key 'loss'. Received: loss="):
        sweep(model, X, Y)


@pytest.mark.skipif(LEGACY, reason="the legacy Keras has no such metric in its core")
def test_metrics_that_are_no_scalars_are_left_out():
    vector = keras.metrics.F1Score(average=None, threshold=0.5)
    inputs = keras.layers.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(inputs))
    model.compile("sgd", loss="binary_crossentropy", metrics=[vector, "mae"])
    targets = np.repeat(Y, 3, axis=1)
    result = sweep(model, X, targets, num_steps=4, validation_data=(X, targets))
    assert result.metrics.keys() == result.validation_metrics.keys() == {"mae"}


def test_an_optimizer_that_was_not_built_is_not():
    """So that it can go on to train what was frozen, or another model."""
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(1e-3)
    model.layers[0].trainable = False
    model.compile(optimizer, loss="mse")
    before = [id(variable) for variable in whole_state.listed(optimizer)]
    sweep(model, X, Y)
    assert [id(variable) for variable in whole_state.listed(optimizer)] == before
    model.layers[0].trainable = True
    model.compile(optimizer, loss="mse")
    model.fit(X, Y, verbose=0)
    assert len(whole_state.listed(optimizer)) == len(before) + 2 * 4


@pytest.mark.skipif(not LEGACY, reason="Keras 3 converts no control flow")
def test_control_flow_that_the_legacy_keras_converts():
    import tensorflow as tf

    class Switch(keras.layers.Layer):
        def call(self, inputs):
            if tf.reduce_sum(inputs) > 0:
                inputs = inputs * 2
            return inputs

    model = keras.Sequential([keras.layers.Input((4,)), Switch(), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    assert len(sweep(model, X, Y).losses) == STEPS


# --- When it stops


def swept(losses, steps=1, **arguments):
    """A sweep over these losses, one after the other."""
    options = {"stop_factor": 4.0, "smoothing": 0.98} | arguments
    sweep = Sweep(np.geomspace(1e-7, 10, len(losses)), "float32", steps_per_call=steps, **options)
    for start in range(0, len(losses), steps):
        if sweep.remaining:
            sweep.add({"loss": losses[start : start + steps]})
    return sweep


def plain_rule(losses, factor, smoothing):
    """The step that ends the test by the definition, over the whole curve at once, or None."""
    for steps in range(1, len(losses) + 1):
        seen = np.array(losses[:steps])
        if not math.isfinite(seen[-1]):
            return steps
        if steps < 10:
            continue

        def weights(n):
            past = smoothing ** np.arange(n)[::-1]
            return past / past.sum()

        averages = [weights(n) @ seen[:n] for n in range(10, steps + 1)]
        best = 10 + int(np.argmin(averages))
        lowest, rise = averages[best - 10], averages[-1] - averages[best - 10]
        noise = np.mean(np.diff(seen[:-5]) ** 2) / 2  # the variance of a single loss
        error = np.sqrt(noise * sum(np.sum(weights(n) ** 2) for n in (steps, best)))
        high = (seen[-5:] > factor * lowest).all()
        if high and rise > (factor - 1) * lowest and rise > 5 * error:
            return steps
    return None


losses = st.lists(st.floats(1.0, 1.5), min_size=10, max_size=30).flatmap(
    lambda calm: st.lists(
        st.floats(1.0, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=20
    ).map(lambda wild: calm + wild)
)


@given(losses, st.floats(1.01, 10), st.floats(0, 0.95), st.integers(1, 7))
def test_it_stops_at_the_first_step_that_says_so(losses, factor, smoothing, steps):
    """However many steps a call takes."""
    stop = plain_rule(losses, factor, smoothing)
    sweep = swept(losses, steps, stop_factor=factor, smoothing=smoothing)
    assert sweep.steps == (stop or len(losses))
    np.testing.assert_array_equal(sweep.columns()["loss"], losses[: sweep.steps])
    assert sweep.stop_reason.startswith("diverged" if stop else "completed")
    assert sweep.remaining == 0


def trained(seed, steps, wrong=0.1):
    """The losses of a trained model: most near 0.001, those of batches with a mistake near 0.3."""
    random = np.random.default_rng(seed)
    mistake = random.random(steps) < wrong
    return np.where(mistake, 0.3, 0.001) * random.lognormal(0, 0.8, steps)


@pytest.mark.parametrize(("steps", "smoothing"), [(20, 0.0), (50, 0.6), (200, 0.9), (1000, 0.98)])
def test_noise_does_not_end_it_and_a_divergence_does(steps, smoothing):
    """A loss that grows by half in each step ends it within ten steps."""
    false, late = [], []
    for seed in range(100):
        calm = trained(seed, steps)
        false.append(swept(calm, steps=200, smoothing=smoothing).stop_reason[:8] == "diverged")
        start = int(steps * 0.6)
        blown = calm + 0.3 * 1.5 ** np.clip(np.arange(steps) - start, -99, 99)
        sweep = swept(blown, steps=200, smoothing=smoothing)
        late.append(sweep.steps - start)
    assert sum(false) <= 2
    assert max(late) <= 10


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_the_last(bad):
    sweep = swept([1.0, 1.0, bad, 1.0], steps=4, stop_factor=math.inf)
    assert sweep.taken == 3
    at = f"step 3, at a learning rate of {sweep.rates[2]:.3g}"
    assert sweep.stop_reason == f"diverged: the loss was {bad:g} at {at}"


def test_losses_below_zero_do_not_stop_a_descent():
    """A likelihood may fall from 3 to -5; four times -5 is no rise."""
    falling = np.linspace(3, -5, 200)
    assert swept(falling, smoothing=0.5).stop_reason.startswith("completed")
    rising = np.concatenate([falling, np.linspace(-5, 100, 50)])
    assert swept(rising, smoothing=0.5).stop_reason.startswith("diverged: the smoothed loss was 4")


# --- What it shows


@pytest.fixture(scope="module")
def model():
    return model_zoo.make(model_zoo.plain)


def shown(model, **arguments):
    out = io.StringIO()
    options = {"batch_size": BATCH, "num_steps": 40, "max_lr": 1.0}
    with contextlib.redirect_stdout(out):
        clr.lr_range_test(model, X, Y, **options | arguments)
    return out.getvalue()


def last_of(text):
    """What a terminal shows in the end, without colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", re.split(r"[\r\b]", text.rstrip())[-1])


def test_progress(model):
    assert shown(model, verbose=0) == ""
    text = shown(model)
    assert text.endswith("\n")
    assert re.search(r"40/40 .* loss: \d.* accuracy: \d.* learning_rate: 1", last_of(text))
    line = shown(model, verbose=2)
    assert line.count("\n") == 1
    assert line.startswith("40/40 - ")


@pytest.mark.parametrize("verbose", [True, 2])
def test_a_test_that_stops_early_says_where(model, verbose):
    text = shown(model, verbose=verbose, min_lr=1e-2, max_lr=1e30, num_steps=400)
    taken, planned = map(int, re.match(r"\s*(\d+)/(\d+)", last_of(text)).groups())
    assert 1 < taken < 400
    assert planned == (taken if verbose == 2 else 400)
    assert text.endswith("\n")


def test_an_error_leaves_the_terminal_at_the_beginning_of_a_line(model):
    def fail(index):
        if index == 100:
            raise KeyError(index)

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(Exception, match="100"):
        clr.lr_range_test(model, model_zoo.generate(fail), num_steps=400, max_lr=1e-3)
    assert out.getvalue().endswith("\n")
    assert "/400" in out.getvalue()
