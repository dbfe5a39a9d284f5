"""A training that is saved and then continued in another process has lost no bit."""

import numpy as np
import pytest
from helpers import keras_under_test, other_process, strategies
from helpers.keras_under_test import LEGACY, keras, needs_tensorflow
from helpers.policies import EXAMPLES
from helpers.small_training import BATCH, STEPS, batches, make, state, train

import clr_schedules as clr

IMPORTS = f"""
import {keras.__name__} as keras
from helpers.small_training import make, state, train
"""


def trained_once(schedule):
    return train(make(keras, schedule))


def trained_twice(schedule):
    """The state after an uninterrupted training of two epochs."""
    return state(train(trained_once(schedule)))


def assert_went_on(there, schedule):
    here = trained_twice(schedule)
    assert here["iterations"] == 2 * STEPS
    if not LEGACY:  # whose attribute shows the rate that the last step was taken with
        assert here["rate"] == np.float32(schedule.values(2 * STEPS))
    assert there == here


def test_saved_models_go_on_in_another_process(tmp_path):
    """One process loads all of them, since starting it takes most of the time."""
    paths = []
    for i, schedule in enumerate(EXAMPLES):
        path = tmp_path / f"{i}.keras"
        trained_once(schedule).save(path)
        # The schedule with the user's own scale function comes last: it needs one more import.
        paths.append((getattr(schedule, "scale_fn", None) is not None, i, str(path)))
    found = other_process.run(
        IMPORTS
        + """
import clr_schedules
there = {}
for needs_scale_fn, i, path in sorted(paths):
    if needs_scale_fn:
        from helpers import strategies
    model = keras.models.load_model(path)
    there[i] = [repr(model.optimizer._learning_rate), state(train(model))]
print(json.dumps(there))
""",
        paths=paths,
    )
    assert len(found) == len(EXAMPLES)
    for i, schedule in enumerate(EXAMPLES):
        loaded, there = found[str(i)]
        assert loaded == repr(schedule)
        assert_went_on(there, schedule)


def test_saved_weights_and_optimizer_state_go_on_in_another_process(tmp_path):
    schedule = EXAMPLES[1]
    path = tmp_path / "model.weights.h5"
    trained_once(schedule).save_weights(path)
    there = other_process.run(
        IMPORTS
        + """
import clr_schedules as clr
model = make(keras, eval(schedule, vars(clr)))
model.optimizer.build(model.trainable_variables)
model.load_weights(path)
print(json.dumps(state(train(model))))
""",
        path=str(path),
        schedule=repr(schedule),
    )
    assert_went_on(there, schedule)


def test_a_schedule_that_is_loaded_equals_the_saved_one(tmp_path):
    (schedule,) = (s for s in EXAMPLES if getattr(s, "scale_fn", None) is strategies.harmonic)
    path = tmp_path / "model.keras"
    trained_once(schedule).save(path)
    assert keras.models.load_model(path).optimizer._learning_rate == schedule


def test_saving_a_lambda_is_an_error_after_which_training_goes_on(tmp_path):
    with pytest.warns(UserWarning, match="`scale_fn` is not registered"):
        schedule = clr.Cyclical(1e-3, 6e-2, 4, scale_fn=lambda cycle: 1 / cycle)
    model = trained_once(schedule)
    with pytest.raises(ValueError, match="`scale_fn` must be a function registered"):
        model.save(tmp_path / "model.keras")
    assert state(train(model)) == trained_twice(schedule)


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
