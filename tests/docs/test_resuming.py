"""What `docs/resuming.md` says about what Keras restores, on every Keras.

If a test fails here because a new Keras restores more, the page must say so.
"""

import re

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, LEGACY, keras
from helpers.small_training import STEPS, arrays, state
from helpers.weight_model import fit, weight, weight_model

import clr_schedules as clr

if LEGACY:
    pytest.skip("the page is about the files of Keras 3", allow_module_level=True)

LR = clr.Triangular(1e-3, 1e-2, 7)


@keras.saving.register_keras_serializable(package="tests.resuming")
class OwnCompile(keras.Model):
    """Compiles itself with a rate of its own, as the tasks of keras-hub do."""

    def compile(self, optimizer="adam", **arguments):
        super().compile(optimizer, loss="binary_crossentropy", **arguments)


def make(optimizer, layers=(), kind=keras.Model):
    keras.utils.set_random_seed(0)
    inputs = outputs = keras.layers.Input((4,))
    for layer in (keras.layers.Dense(8, "relu"), *layers, keras.layers.Dense(1, "sigmoid")):
        outputs = layer(outputs)
    model = kind(inputs, outputs)
    own = {} if kind is OwnCompile else {"loss": "binary_crossentropy"}
    model.compile(optimizer, **own)
    return model


def train(model, epochs=1, **arguments):
    model.fit(*arrays(), batch_size=16, shuffle=False, verbose=0, epochs=epochs, **arguments)


def adamw():
    optimizer = keras.optimizers.AdamW(LR, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def test_exclusions_from_weight_decay_are_lost_and_can_be_made_again(tmp_path):
    model = make(adamw())
    train(model)
    model.save(tmp_path / "m.keras")
    as_loaded = keras.models.load_model(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    again.optimizer.exclude_from_weight_decay(var_names=["bias"])
    for trained in (model, as_loaded, again):
        train(trained)
    assert state(again) == state(model)
    assert state(as_loaded) != state(model)


def test_dropout_draws_other_numbers_after_a_resume(tmp_path):
    def random_state(model):
        (layer,) = (layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
        return np.asarray(layer.seed_generator.state).tolist()

    model = make(keras.optimizers.Adam(LR), [keras.layers.Dropout(0.5, seed=1)])
    begin = random_state(model)
    train(model)
    model.save(tmp_path / "m.keras")
    assert random_state(model) != begin
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert random_state(loaded) == begin
    if BACKEND == "tensorflow":
        import tensorflow as tf

        saved = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = saved.save(str(tmp_path / "checkpoint"))
        other = make(keras.optimizers.Adam(LR), [keras.layers.Dropout(0.5, seed=1)])
        other.optimizer.build(other.trainable_variables)
        tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
        assert int(np.asarray(other.optimizer.iterations)) == STEPS
        assert random_state(other) == begin


def test_a_model_with_its_own_compile_goes_on_from_the_same_file(tmp_path):
    model = make(keras.optimizers.Adam(LR), kind=OwnCompile)
    train(model)
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="was not called as part of model loading"):
        loaded = keras.models.load_model(tmp_path / "m.keras")
    loaded.compile(keras.optimizers.Adam(LR))
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(tmp_path / "m.keras")
    for trained in (model, loaded):
        train(trained)
    assert state(loaded) == state(model)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras 3.15 and later")
def test_several_optimizers_are_restored_if_the_patterns_match_again(tmp_path):
    def layered(pattern):
        keras.utils.set_random_seed(0)
        names = {"trunk": (8, "relu"), "head": (1, "sigmoid")}
        layers = [keras.layers.Dense(*sizes, name=name) for name, sizes in names.items()]
        model = keras.Sequential([keras.layers.Input((4,)), *layers], name="net")
        optimizers = keras.optimizers.OptimizerMap(
            keras.optimizers.Adam(LR), {pattern: keras.optimizers.SGD(LR, momentum=0.9)}
        )
        multi = keras.optimizers.MultiOptimizer(optimizers)
        model.compile(multi, loss="binary_crossentropy")
        return model

    def counts(model):
        return [int(np.asarray(o.iterations)) for o in model.optimizer.optimizers]

    model = layered(".*head/.*")
    train(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts(loaded) == [STEPS, STEPS]
    assert [v.path for v in model.trainable_variables][2:] == ["net/head/kernel", "net/head/bias"]
    assert [v.path for v in loaded.trainable_variables][2:] == ["head/kernel", "head/bias"]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        saved = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = saved.save(str(tmp_path / "checkpoint"))
        other = layered(".*head/.*")
        other.optimizer.build(other.trainable_variables)
        tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
        assert int(np.asarray(other.optimizer.iterations)) == STEPS
        assert counts(other) == [0, 0]
    for trained in (model, loaded):
        train(trained)
    both = [[np.asarray(v) for v in m.weights] for m in (model, loaded)]
    assert all(np.array_equal(*pair) for pair in zip(*both, strict=True))

    # The pattern of the loaded paths alone: SGD trains nothing at first, and all state is lost.
    model = layered("head/.*")
    train(model)
    assert sorted(counts(model)) == [0, STEPS]
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts(loaded) == [0, 0]


def first_rate(model, **arguments):
    logger = clr.LearningRateLogger()
    train(model, callbacks=[logger], **arguments)
    return logger.history["iteration"][0], logger.history["learning_rate"][0]


def test_starting_over():
    lr = clr.OneCycle(0.01, total_steps=STEPS)
    first, last = (float(rate) for rate in lr.values([0, STEPS]).astype(np.float32))
    model = make(keras.optimizers.Adam(lr))
    assert first_rate(model, initial_epoch=0) == (0, first)
    assert first_rate(model) == (STEPS, last)
    moments = [np.asarray(v) for v in model.optimizer.variables if v.ndim == 2]
    assert len(moments) >= 4
    model.optimizer.iterations.assign(0)
    kept = [np.asarray(v) for v in model.optimizer.variables if v.ndim == 2]
    assert all(np.array_equal(*pair) for pair in zip(moments, kept, strict=True))
    assert first_rate(model) == (0, first)
    model.compile(keras.optimizers.Adam(lr), loss="binary_crossentropy")
    assert first_rate(model, epochs=3, initial_epoch=2) == (0, first)  # the epoch moves nothing


def test_an_assigned_schedule_is_taken_after_the_next_compile():
    model = weight_model(keras.optimizers.SGD(clr.Triangular(0.25, 1.0, 3)))
    fit(model, 5)
    before, optimizer = weight(model), model.optimizer
    lr = clr.Triangular(2.0, 4.0, 4)
    optimizer.learning_rate = clr.Shifted(lr, 5)
    model.compile(optimizer, model.loss)
    fit(model, 3)
    assert weight(model) == before - lr.values(range(3)).sum()
    assert int(np.asarray(optimizer.iterations)) == 8


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch does not compile the step")
def test_without_the_compile_the_old_schedule_stays():
    model = weight_model(keras.optimizers.SGD(clr.Triangular(0.25, 0.25, 4)))
    fit(model, 2)
    model.optimizer.learning_rate = clr.Triangular(4.0, 4.0, 4)
    fit(model, 2)
    assert weight(model) == -4 * 0.25


def test_early_stopping_restores_weights_and_not_the_count():
    stop = keras.callbacks.EarlyStopping(
        monitor="loss", mode="max", patience=1, restore_best_weights=True
    )
    model, once = make(keras.optimizers.Adam(LR)), make(keras.optimizers.Adam(LR))
    train(model, epochs=9, callbacks=[stop])
    train(once)
    assert stop.best_epoch == 0
    assert int(np.asarray(model.optimizer.iterations)) == 2 * STEPS
    pairs = zip(model.get_weights(), once.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_under_accumulation_the_count_cannot_be_set_and_counts_updates():
    optimizer = keras.optimizers.Adam(LR, gradient_accumulation_steps=2)
    model, logger = make(optimizer), clr.LearningRateLogger()
    train(model, callbacks=[logger])
    assert not hasattr(optimizer.iterations, "assign")
    assert int(np.asarray(optimizer.iterations)) == STEPS // 2
    assert logger.history["iteration"] == list(range(STEPS))
    rates = LR.values(range(STEPS)).astype(np.float32)
    np.testing.assert_array_equal(np.float32(logger.history["learning_rate"]), rates)


def test_the_count_of_a_scaled_optimizer():
    """As under `mixed_float16`; the page names the first Keras with one count for both."""
    inner = keras.optimizers.Adam(LR)
    model = make(keras.optimizers.LossScaleOptimizer(inner))
    train(model)
    assert int(np.asarray(inner.iterations)) == STEPS
    version = tuple(int(number) for number in re.findall(r"\d+", keras.__version__)[:2])
    outer = int(np.asarray(model.optimizer.iterations))
    assert outer == (STEPS if version >= (3, 9) else 0)
