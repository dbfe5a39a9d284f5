"""A training that is saved and then continued in another process has lost no bit."""

import json
import pickle

import numpy as np
import pytest
from helpers import keras_under_test, other_process
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.own_optimizer import OwnSGD
from helpers.policies import EXAMPLES
from helpers.small_training import BATCH, STEPS, batches, make, state, train

import clr_schedules as clr

# Every policy has its turn, in the epoch before the saving or in the one after it.
TURN = 2 * STEPS // len(EXAMPLES)
ALL_POLICIES = clr.Piecewise(EXAMPLES, list(range(TURN, TURN * len(EXAMPLES), TURN)))
CYCLE = clr.OneCycle(6e-2, 2 * STEPS)


def optimizers(model):
    """An optimizer for each of the trainings, of which some depend on the paths in the model."""
    adam, sgd = keras.optimizers.Adam, keras.optimizers.SGD
    made = {"one cycle": adam(CYCLE), "all policies": adam(ALL_POLICIES)}
    if not LEGACY:
        follow, momentum = clr.schedule_hyperparameters, CYCLE.momentum()
        made["beta"] = follow(adam(CYCLE), beta_1=momentum)
        scaled = keras.optimizers.LossScaleOptimizer(sgd(CYCLE))
        made["scaled loss"] = follow(scaled, momentum=momentum)
        made["one's own"] = follow(OwnSGD(CYCLE), momentum=momentum)
        made["layers"] = clr.scale_learning_rates(
            follow(adam(CYCLE), beta_1=momentum), by_layer(model)
        )
    return made


def by_layer(model):
    """Multipliers by exact paths, which a loaded model may not have; one begins at 0."""
    thawing = clr.Piecewise([0.0, 0.5, 2.0], [STEPS // 2, STEPS + STEPS // 2])
    return clr.layer_decay(model.layers, 0.5) | {model.layers[0].kernel.path: thawing}


# What continues in the other process. It prints the loaded schedules, the states after another
# epoch, and the rates of that epoch.
GO_ON = f"""
import {keras.__name__} as keras
import clr_schedules as clr
from helpers.small_training import make, state, train

def load(names):
    return {{name: keras.models.load_model(paths[name]) for name in names if name in paths}}

def rate_of(model):
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)._learning_rate

def go_on(model):
    schedule, logger = repr(rate_of(model)), clr.LearningRateLogger()
    train(model, callbacks=[logger])
    return schedule, state(model), logger.history["iteration"], logger.history["learning_rate"]

models = load(["one cycle", "beta", "scaled loss", "layers"])
# The others need what the user has registered, a scale function and an optimizer.
from helpers import own_optimizer, strategies
models |= load(["all policies", "one's own"])

all_policies = rate_of(models["all policies"])
models["from weights"] = model = make(keras, all_policies)
model.optimizer.build(model.trainable_variables)
model.load_weights(weights)

import numpy as np
from helpers.keras_under_test import compute
rates = compute("eager", all_policies, np.arange(steps))
print(json.dumps([{{name: go_on(models[name]) for name in models}}, rates.tolist()]))
"""


def test_saved_trainings_go_on_in_another_process(tmp_path):
    """One process loads all of them, since starting it takes most of the time."""
    models, paths = {}, {}
    for name in optimizers(make(keras, 0.1)):
        models[name] = make(keras, 0.1)
        models[name].compile(optimizers(models[name])[name], loss="binary_crossentropy")
        paths[name] = str(tmp_path / f"{name}.keras")
        train(models[name]).save(paths[name])
    weights = str(tmp_path / "all policies.weights.h5")
    models["all policies"].save_weights(weights)

    found, rates = other_process.run(GO_ON, paths=paths, weights=weights, steps=2 * STEPS)
    assert found.keys() == models.keys() | {"from weights"}
    assert rates == keras_under_test.compute("eager", ALL_POLICIES, range(2 * STEPS)).tolist()
    loaded = keras.models.load_model(paths["all policies"])
    assert loaded.optimizer._learning_rate == ALL_POLICIES

    models = {name: state(train(model)) for name, model in models.items()}
    for name, (schedule, there, iterations, logged) in found.items():
        rate = CYCLE if name not in ("all policies", "from weights") else ALL_POLICIES
        assert schedule == repr(rate)
        here = models["all policies" if name == "from weights" else name]
        assert there == here, name
        assert there["iterations"] == 2 * STEPS
        if not LEGACY:  # whose attribute shows the rate that the last step was taken with
            assert there["rate"] == np.float32(rate.values(2 * STEPS))
        assert iterations == list(range(STEPS, 2 * STEPS))
        assert logged == rate.values(iterations).astype(np.float32).tolist()


# What loads a training with multipliers in every other way, and trains on.
GO_ON_BY_LAYER = f"""
import pickle
import {keras.__name__} as keras
import clr_schedules as clr
from helpers.small_training import make, state, train

def compiled():
    model = make(keras, 0.1)
    model.compile(optimizer(), loss="binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model

def optimizer():
    return keras.optimizers.deserialize(json.loads(config))  # which takes the dictionary apart

models = {{}}
models["weights"] = compiled()
models["weights"].load_weights(weights)
with open(pickled, "rb") as file:
    models["pickle"] = pickle.load(file)
with open(pickled_optimizer, "rb") as file:
    unpickled = pickle.load(file)
assert unpickled.get_config() == optimizer().get_config()
if keras.config.backend() == "tensorflow":
    import tensorflow as tf
    models["checkpoint"] = model = compiled()
    restored = tf.train.Checkpoint(model=model, optimizer=model.optimizer).restore(checkpoint)
    restored.assert_existing_objects_matched()
print(json.dumps({{name: state(train(model)) for name, model in models.items()}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(LEGACY, reason="multipliers of Keras 3")
@pytest.mark.parametrize(
    "name", ["LossScaleOptimizer", pytest.param("SGD", marks=pytest.mark.long)]
)
def test_trainings_with_multipliers_go_on_from_files_of_all_kinds(name, tmp_path):
    thawing = clr.Piecewise([0.0, 0.5, 2.0], [STEPS // 2, STEPS + STEPS // 2])
    multipliers = {".*kernel": thawing, ".*bias": 0.3}

    def optimizer():
        made = keras.optimizers.SGD(CYCLE, nesterov=True, name="inner")
        if name == "LossScaleOptimizer":
            made = keras.optimizers.LossScaleOptimizer(made, name="outer")
        made = clr.scale_learning_rates(made, multipliers)
        return clr.schedule_hyperparameters(made, momentum=CYCLE.momentum())

    model = make(keras, 0.1)
    model.compile(optimizer(), loss="binary_crossentropy")
    train(model)
    config = json.dumps(keras.optimizers.serialize(optimizer()))
    weights, pickled = tmp_path / "a.weights.h5", tmp_path / "model.pickle"
    model.save_weights(weights)
    pickled.write_bytes(pickle.dumps(model))
    pickled_optimizer = tmp_path / "optimizer.pickle"
    pickled_optimizer.write_bytes(pickle.dumps(optimizer()))
    checkpoint = ""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        saved = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        checkpoint = saved.save(str(tmp_path / "checkpoint"))
    found = other_process.run(
        GO_ON_BY_LAYER,
        config=config,
        weights=str(weights),
        pickled=str(pickled),
        pickled_optimizer=str(pickled_optimizer),
        checkpoint=checkpoint,
    )
    expected = state(train(model))
    assert len(found) == (3 if BACKEND == "tensorflow" else 2)
    for way, there in found.items():
        assert there["iterations"] == 2 * STEPS
        assert there == expected, way


def test_saving_a_lambda_is_an_error_after_which_training_goes_on(tmp_path):
    with pytest.warns(UserWarning, match="`scale_fn` is not registered"):
        schedule = clr.Cyclical(1e-3, 6e-2, 4, scale_fn=lambda cycle: 1 / cycle)
    model = train(make(keras, schedule))
    before = state(model)
    with pytest.raises(ValueError, match="`scale_fn` must be a function registered"):
        model.save(tmp_path / "model.keras")
    assert state(model) == before
    assert state(train(model))["iterations"] == 2 * STEPS


@needs_tensorflow
def test_a_saved_train_step_goes_on_without_the_package(tmp_path):
    """A SavedModel holds the schedule as operations: no Python of ours is needed to train on."""
    import tensorflow as tf

    schedule = clr.ExpRange(1e-3, 6e-2, 3, 5, gamma=0.97)

    class Trainer(tf.Module):
        def __init__(self):
            super().__init__()
            self.network = make(keras, schedule)
            self.optimizer = self.network.optimizer
            self.optimizer.build(self.network.trainable_variables)

        @tf.function(input_signature=[tf.TensorSpec((BATCH, 4)), tf.TensorSpec((BATCH, 1))])
        def step(self, x, y):
            rate = schedule(self.optimizer.iterations)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(keras.losses.binary_crossentropy(y, self.network(x)))
            variables = self.network.trainable_variables
            gradients = tape.gradient(loss, variables)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return rate, loss

    trainer = Trainer()
    first_half, second_half = batches()[: STEPS // 2], batches()[STEPS // 2 :]
    for batch in first_half:
        trainer.step(*batch)
    tf.saved_model.save(trainer, tmp_path / "trainer")
    expected = [[float(value) for value in trainer.step(*batch)] for batch in second_half]
    there = other_process.run(
        """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "clr_schedules":
            raise ModuleNotFoundError("No module named " + name)

sys.meta_path.insert(0, Blocker())
try:
    import clr_schedules
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package is there after all")

import tensorflow as tf
from helpers.small_training import STEPS, batches
trainer = tf.saved_model.load(path)
print(json.dumps(
    [[float(value) for value in trainer.step(*batch)] for batch in batches()[STEPS // 2 :]]
))
""",
        path=str(tmp_path / "trainer"),
    )
    assert there == expected
    rates = [rate for rate, _ in there]
    assert rates == schedule.values(range(STEPS // 2, STEPS)).astype(np.float32).tolist()


def test_the_suite_runs_on_the_keras_that_it_says():
    assert clr.Triangular.__mro__[-2].__module__.startswith("tf_keras" if LEGACY else "keras")
    assert keras_under_test.keras is keras
