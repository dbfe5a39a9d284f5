"""Snapshots at the ends of cycles, their ensembles and averages, in real trainings."""

import json
import math

import numpy as np
import pytest
from helpers import other_process
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.weight_model import descend, fit, weight, weight_model
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr

SGD = keras.optimizers.SGD
RESTARTS = clr.CosineRestarts(0.25, first_cycle_steps=6)
X = np.random.default_rng(0).normal(size=(52, 4)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


def descended(schedule, iteration):
    """The weight of the weight model after this number of steps, in float32."""
    return descend(schedule.values(range(iteration)))


def weights_at(snapshots):
    """The iterations of the snapshots, and the weights of the weight model at them."""
    model, found = weight_model(SGD()), {}
    for snapshot in snapshots.snapshots:
        snapshot.load_into(model)
        found[snapshot.iteration] = weight(model)
    return found


# --- When a snapshot is taken ---

SCHEDULES = [
    clr.Triangular(0.01, 0.25, 3, 2),
    clr.CosineRestarts(0.25, first_cycle_steps=3, cycle_mult=2),
    clr.OneCycle(0.25, total_steps=17),
    clr.Warmup(clr.Triangular2(0.01, 0.25, 2), warmup_steps=5),
    clr.Piecewise([0.25, clr.CosineRestarts(0.25, 4)], boundaries=[7]),
    clr.Shifted(clr.Triangular(0.01, 0.25, 3), 4),
]


@settings(max_examples=6)
@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, 12),
    trainings=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    last=st.none() | st.integers(1, 3),
)
def test_the_weights_are_those_at_the_ends_of_cycles(schedule, steps, trainings, last):
    """Wherever the epochs and the trainings end, and with the newest snapshots alone."""
    model, snapshots = weight_model(SGD(schedule)), clr.CycleSnapshots(last=last)
    for epochs in trainings:
        fit(model, steps, epochs=epochs, callbacks=[snapshots])
    ends = schedule.cycle_ends(steps * sum(trainings)).tolist()
    kept = ends if last is None else ends[-last:]
    found = weights_at(snapshots)
    assert list(found) == kept
    np.testing.assert_allclose(
        list(found.values()), [descended(schedule, end) for end in kept], rtol=1e-6
    )


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch takes one step per execution")
def test_executions_of_several_steps():
    """Also where the last execution of an epoch has fewer steps."""
    model = weight_model(SGD(RESTARTS), steps_per_execution=3)
    snapshots = clr.CycleSnapshots()
    fit(model, 12, epochs=2, callbacks=[snapshots])
    assert list(weights_at(snapshots)) == [6, 12, 18, 24]
    if keras.__version__.startswith("3.6."):
        return  # it takes an execution of fewer steps for the end of all data
    other = weight_model(SGD(clr.CosineRestarts(0.25, first_cycle_steps=5)), steps_per_execution=3)
    snapshots = clr.CycleSnapshots()
    fit(other, 5, epochs=2, callbacks=[snapshots])
    assert list(weights_at(snapshots)) == [5, 10]
    assert weight(other) == pytest.approx(weights_at(snapshots)[10], rel=1e-6)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch takes one step per execution")
@pytest.mark.parametrize(("length", "steps", "better"), [(12, 4, 3), (24, 5, 3), (7, 6, 1)])
def test_a_cycle_that_ends_within_an_execution_is_an_error_before_the_first_step(
    length, steps, better
):
    model = weight_model(SGD(RESTARTS), steps_per_execution=steps)
    with pytest.raises(
        ValueError,
        match=rf"divides the cycles.* steps_per_execution={better}\. Received: .*={steps},",
    ):
        fit(model, length, epochs=3, callbacks=[clr.CycleSnapshots()])
    assert weight(model) == 0
    again = weight_model(SGD(RESTARTS), steps_per_execution=better)
    snapshots = clr.CycleSnapshots()
    fit(again, length, epochs=3, callbacks=[snapshots])
    assert list(weights_at(snapshots)) == RESTARTS.cycle_ends(3 * length).tolist()


@needs_tensorflow
@pytest.mark.skipif(
    LEGACY or keras.__version__.startswith("3.6."),
    reason="refuses executions of several steps of such data, or ends after the first epoch",
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_cycle_that_ends_within_an_execution_of_data_of_unknown_length_is_a_warning():
    import tensorflow as tf

    model = weight_model(SGD(RESTARTS), steps_per_execution=3)
    data = tf.data.Dataset.from_tensor_slices((np.ones((8, 1)), np.ones((8, 1)))).batch(1)
    snapshots = clr.CycleSnapshots()
    with pytest.warns(UserWarning, match=r"cycle that ended at iteration 1[28]"):
        model.fit(
            data.filter(lambda x, y: True),
            epochs=3,
            verbose=0,
            shuffle=False,
            callbacks=[snapshots],
        )
    # An epoch has executions of three, three and two steps.
    assert list(weights_at(snapshots)) == [6, 24]


@pytest.mark.parametrize("rate", [0.25, keras.optimizers.schedules.CosineDecay(0.25, 20)])
def test_other_rates_have_the_cycles_that_are_given(rate):
    model, snapshots = weight_model(SGD(rate)), clr.CycleSnapshots(every=4)
    fit(model, 6, epochs=2, callbacks=[snapshots])
    assert list(weights_at(snapshots)) == [4, 8, 12]
    with pytest.raises(ValueError, match=r"pass `every`.*Received: learning_rate="):
        fit(model, 6, callbacks=[clr.CycleSnapshots()])


@pytest.mark.parametrize("first", [True, False])
def test_cycles_of_cyclical_lr(first):
    callbacks = [clr.CyclicalLR(0.01, 0.25, 3), clr.CycleSnapshots()]
    fit(weight_model(SGD(0.5)), 13, callbacks=callbacks if first else callbacks[::-1])
    assert [snapshot.iteration for snapshot in callbacks[1].snapshots] == [6, 12]


@pytest.mark.skipif(LEGACY or BACKEND == "torch", reason="about Keras's own loss scaling")
def test_skipped_steps_do_not_count():
    """The gradients are 4, so that the first steps overflow."""
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(RESTARTS), initial_scale=2.0**127)
    model, snapshots = weight_model(optimizer), clr.CycleSnapshots()
    fours = np.full((14, 1), 4.0, np.float32)
    model.fit(fours, fours, batch_size=1, epochs=2, verbose=0, callbacks=[snapshots])
    assert int(np.asarray(optimizer.inner_optimizer.iterations)) == 26
    assert list(weights_at(snapshots)) == [6, 12, 18, 24]


def test_the_logs_of_the_epoch_are_kept():
    model, snapshots = weight_model(SGD(RESTARTS)), clr.CycleSnapshots()
    ones = np.ones((4, 1), "float32")
    history = model.fit(
        *(ones, ones), batch_size=1, epochs=3, verbose=0, shuffle=False,
        validation_data=(ones, ones), callbacks=[snapshots],
    )  # fmt: skip
    assert [(each.iteration, each.epoch) for each in snapshots.snapshots] == [(6, 1), (12, 2)]
    for snapshot in snapshots.snapshots:
        expected = {name: values[snapshot.epoch] for name, values in history.history.items()}
        assert snapshot.logs == pytest.approx(expected)
    # A snapshot at the end of an epoch has the validation loss of its own weights.
    found = weights_at(snapshots)
    assert snapshots.snapshots[1].logs["val_loss"] == pytest.approx(found[12], rel=1e-6)


# --- Models ---


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.hidden = keras.layers.Dense(8, "relu")
        self.normalization = keras.layers.BatchNormalization()
        self.out = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        return self.out(self.normalization(self.hidden(inputs), training=training))

    def get_config(self):
        return {}


def sequential(*first):
    layers = keras.layers
    noisy = [layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dropout(0.25)]
    return keras.Sequential([*first, *noisy, layers.Dense(1)])


def two_outputs():
    inputs = {"left": keras.Input((4,), name="left")}
    hidden = keras.layers.Dense(8, "relu")(inputs["left"])
    outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("up", "down")}
    return keras.Model(inputs, outputs)


def recurrent():
    inputs = keras.Input((4,))
    steps = keras.layers.Reshape((4, 1))(inputs)
    states = keras.layers.LSTM(3, dropout=0.25)(steps)
    return keras.Model(inputs, keras.layers.Dense(1)(states))


def mixed():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, "relu", dtype="mixed_bfloat16")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="mixed_bfloat16")(hidden))


MODELS = {
    "sequential": lambda: sequential(keras.layers.Input((4,))),
    "built by the training": sequential,
    "subclassed": Subclassed,
    "two outputs": two_outputs,
    "recurrent": recurrent,
    "mixed": mixed,
}
kinds = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in ("sequential", "subclassed") else pytest.mark.slow)
        for kind in MODELS
    ],
)


def arrays(kind):
    if kind == "two outputs":
        return {"left": X}, {"up": Y, "down": -Y}
    return X, Y


def trained(kind, *callbacks, epochs=4):
    """A model of this kind after some cycles of six steps, and the history of its training."""
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    loss = {"up": "mse", "down": "mse"} if kind == "two outputs" else "mse"
    model.compile(keras.optimizers.Adam(RESTARTS), loss)
    x, y = arrays(kind)
    history = model.fit(
        x, y, batch_size=9, epochs=epochs, verbose=0, validation_data=(x, y),
        callbacks=list(callbacks),
    )  # fmt: skip
    return model, history.history


def predictions(model, kind):
    outputs = model.predict(arrays(kind)[0], verbose=0)
    if isinstance(outputs, dict):
        outputs = np.concatenate([outputs["up"], outputs["down"]], axis=1)
    return np.asarray(outputs, np.float64)


LOADS = """
import importlib, sys

sys.modules["clr_schedules"] = None  # so that it cannot be imported
import numpy as np

keras = importlib.import_module(keras_name)
loaded = keras.models.load_model(path)
x = np.load(data)
outputs = loaded.predict({"left": x} if kind == "two outputs" else x, verbose=0)
if isinstance(outputs, dict):
    outputs = np.concatenate([outputs["up"], outputs["down"]], axis=1)
print(json.dumps(np.asarray(outputs, np.float64).tolist()))
"""


@kinds
def test_an_ensemble_predicts_the_mean_and_the_training_is_as_without(kind, tmp_path):
    directory = tmp_path / "snapshots" if kind in ("sequential", "two outputs") else None
    snapshots = clr.CycleSnapshots(directory, last=3)
    model, history = trained(kind, snapshots)
    other, expected_history = trained(kind)
    assert history == expected_history
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [snapshot.iteration for snapshot in snapshots.snapshots] == [12, 18, 24]

    members = []
    for snapshot in snapshots.snapshots:
        snapshot.load_into(other)
        members.append(predictions(other, kind))
    # The newest snapshot is of the last step, so it is the model itself.
    np.testing.assert_array_equal(members[-1], predictions(model, kind))
    ensemble = snapshots.ensemble(model)
    found = predictions(ensemble, kind)
    # JAX compiles the members of an ensemble together, and rounds bfloat16 elsewhere.
    tolerance = 0.02 if kind == "mixed" else 2e-6
    np.testing.assert_allclose(found, np.mean(members, axis=0), atol=tolerance)
    assert np.abs(found - members[-1]).max() > 10 * tolerance
    newest = snapshots.ensemble(model, snapshots.snapshots[-1:])
    np.testing.assert_allclose(predictions(newest, kind), members[-1], atol=tolerance)

    if kind != "subclassed":  # the other process does not have its class
        ensemble.save(tmp_path / "ensemble.keras")
        np.save(tmp_path / "x.npy", X)
        loaded = other_process.run(
            LOADS, path=str(tmp_path / "ensemble.keras"), data=str(tmp_path / "x.npy"), kind=kind,
            keras_name=keras.__name__,
        )  # fmt: skip
        np.testing.assert_allclose(loaded, found, atol=1e-7)


@pytest.mark.skipif(BACKEND == "torch", reason="a state that goes on cannot be trained")
def test_an_ensemble_of_networks_whose_states_go_on_from_batch_to_batch():
    inputs = keras.Input((4,), batch_size=13)
    states = keras.layers.GRU(3, stateful=True)(keras.layers.Reshape((4, 1))(inputs))
    model, snapshots = keras.Model(inputs, keras.layers.Dense(1)(states)), clr.CycleSnapshots()
    model.compile(keras.optimizers.Adam(RESTARTS), "mse")
    model.fit(X, Y, batch_size=13, epochs=3, verbose=0, shuffle=False, callbacks=[snapshots])
    members = []
    for snapshot in snapshots.snapshots:
        member = keras.models.clone_model(model)
        snapshot.load_into(member)
        members.append(member.predict(X, batch_size=13, verbose=0))
    assert len(members) == 2
    found = snapshots.ensemble(model).predict(X, batch_size=13, verbose=0)
    np.testing.assert_allclose(found, np.mean(members, axis=0), atol=1e-6)


@needs_tensorflow
@pytest.mark.slow
def test_an_ensemble_is_exported(tmp_path):
    import tensorflow as tf

    snapshots = clr.CycleSnapshots()
    model, _ = trained("sequential", snapshots)
    ensemble = snapshots.ensemble(model)
    ensemble.export(str(tmp_path / "exported"))
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    found = loaded.serve(X).numpy()
    np.testing.assert_allclose(found, predictions(ensemble, "sequential"), atol=1e-6)


# --- Averages ---


@kinds
def test_an_average_has_the_mean_of_the_weights_and_exact_statistics(kind):
    snapshots = clr.CycleSnapshots()
    model, _ = trained(kind, snapshots)
    before = [weight.copy() for weight in model.get_weights()]
    averaged = snapshots.average(model, arrays(kind)[0], batch_size=9)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    arrays_of = []
    for snapshot in snapshots.snapshots:
        snapshot.load_into(model)
        arrays_of.append([weight.astype(np.float64) for weight in model.get_weights()])
    names = [getattr(variable, "path", variable.name) for variable in model.weights]
    moving = [index for index, name in enumerate(names) if "moving_" in name]
    found = averaged.get_weights()
    for index, all_of_weight in enumerate(zip(*arrays_of, strict=True)):
        if index not in moving:
            mean = np.mean(all_of_weight, axis=0)
            np.testing.assert_allclose(found[index], mean, rtol=1e-6, atol=1e-9)
    if moving:
        kernel, bias = found[:2]
        hidden = np.maximum(X.astype(np.float64) @ kernel + bias, 0)
        batches = [hidden[start : start + 9] for start in range(0, len(X), 9)]
        sizes = [len(batch) for batch in batches]
        assert sizes[-1] != sizes[0]
        means = np.average([batch.mean(axis=0) for batch in batches], axis=0, weights=sizes)
        variances = np.average([batch.var(axis=0) for batch in batches], axis=0, weights=sizes)
        np.testing.assert_allclose(found[moving[0]], means, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found[moving[1]], variances, rtol=1e-5, atol=1e-7)
        with pytest.raises(ValueError, match=r"`x` must be given.*batch normalization.*x=None"):
            snapshots.average(model)


def test_frozen_batch_normalization_needs_no_data():
    model, snapshots = sequential(keras.layers.Input((4,))), clr.CycleSnapshots()
    model.layers[1].trainable = False
    model.compile(SGD(RESTARTS), "mse")
    model.fit(X, Y, batch_size=9, epochs=2, verbose=0, callbacks=[snapshots])
    averaged = snapshots.average(model)
    for ours, theirs in zip(
        model.layers[1].get_weights(), averaged.layers[1].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def data_of_batches():
    """The data in batches of nine, in the ways that Keras takes them."""

    class Batches(keras.utils.Sequence if LEGACY else keras.utils.PyDataset):
        def __len__(self):
            return math.ceil(len(X) / 9)

        def __getitem__(self, index):
            return X[index * 9 : index * 9 + 9], Y[index * 9 : index * 9 + 9]

    found = {"batches": Batches()}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        found["dataset"] = tf.data.Dataset.from_tensor_slices((X, Y)).batch(9)
        found["dataset of inputs"] = tf.data.Dataset.from_tensor_slices(X).batch(9)
    if BACKEND == "torch":
        import torch

        tensors = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
        found["loader"] = torch.utils.data.DataLoader(tensors, batch_size=9)
    return found


def test_statistics_of_data_that_come_in_batches():
    snapshots = clr.CycleSnapshots()
    model, _ = trained("sequential", snapshots, epochs=1)
    expected = snapshots.average(model, X, batch_size=9).get_weights()
    for name, data in data_of_batches().items():
        found = snapshots.average(model, data).get_weights()
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    if BACKEND == "tensorflow":
        with pytest.raises(ValueError, match=r"`x` must be data with an end.*take"):
            snapshots.average(model, data.repeat())


# --- Directories ---


def test_a_directory_holds_the_newest_snapshots_and_their_list(tmp_path):
    directory = tmp_path / "new" / "snapshots"
    snapshots = clr.CycleSnapshots(directory, last=2)
    model = weight_model(keras.optimizers.Adam(RESTARTS))
    fit(model, 12, epochs=2, callbacks=[snapshots])
    names = [f"snapshot_{iteration}.weights.h5" for iteration in (18, 24)]
    assert sorted(each.name for each in directory.iterdir()) == [*names, "snapshots.json"]
    listed = json.loads((directory / "snapshots.json").read_text())
    assert [entry["file"] for entry in listed] == names
    # The files have the weights, and no state of the optimizer, which would be twice as large.
    h5py = pytest.importorskip("h5py")
    with h5py.File(directory / names[0]) as file:
        assert "optimizer" not in file
    # Another process, or a callback made later, finds them.
    again = clr.CycleSnapshots(directory)
    assert [(each.iteration, each.epoch, each.logs) for each in again.snapshots] == [
        (each.iteration, each.epoch, each.logs) for each in snapshots.snapshots
    ]
    assert weights_at(again) == weights_at(snapshots)


TRAINING = """
import os, signal
import numpy as np
from helpers.keras_under_test import keras
from helpers.weight_model import fit, weight_model
import clr_schedules as clr

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if kill and self.epoch == 2 and batch == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

model = weight_model(keras.optimizers.SGD(clr.CosineRestarts(0.25, first_cycle_steps=3)))
snapshots = clr.CycleSnapshots(folder + "/snapshots")
backup = keras.callbacks.BackupAndRestore(folder + "/backup")
callbacks = [snapshots, backup] if first else [backup, snapshots]
fit(model, 5, epochs=4, callbacks=[*callbacks, Kill()])
print(json.dumps([[each.iteration, each.epoch, each.logs] for each in snapshots.snapshots]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_killed_training_goes_on_and_keeps_its_snapshots(first, tmp_path):
    """Killed within an epoch: the snapshots after the last backup are taken again."""
    killed = other_process.start(TRAINING, folder=str(tmp_path / "a"), first=first, kill=True)
    killed.communicate(timeout=600)
    assert killed.returncode == -9
    assert (tmp_path / "a" / "snapshots" / "snapshot_12.weights.h5").exists()
    arguments = {"first": first, "kill": False}
    resumed = other_process.run(TRAINING, folder=str(tmp_path / "a"), **arguments)
    whole = other_process.run(TRAINING, folder=str(tmp_path / "b"), **arguments)
    assert [entry[:2] for entry in resumed] == [entry[:2] for entry in whole]
    both = [weights_at(clr.CycleSnapshots(tmp_path / name / "snapshots")) for name in "ab"]
    assert both[0] == both[1]
    assert list(both[0]) == [3, 6, 9, 12, 15, 18]


def test_snapshots_of_another_training_are_dropped_with_a_warning():
    snapshots = clr.CycleSnapshots()
    fit(weight_model(SGD(RESTARTS)), 12, callbacks=[snapshots])
    with pytest.warns(UserWarning, match=r"drops the snapshots .* iterations \[6, 12\]"):
        fit(weight_model(SGD(RESTARTS)), 7, callbacks=[snapshots])
    assert list(weights_at(snapshots)) == [6]


# --- Early stopping ---


class Scores(keras.callbacks.Callback):
    """Gives each epoch a score of its own."""

    def __init__(self, scores):
        super().__init__()
        self.scores, self.weights = scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.scores[epoch]
        self.weights.append(weight(self.model))


def test_early_stopping_sees_the_ends_of_cycles_alone():
    """A cycle has two epochs. Epoch 3 has the best end, and epoch 7 is the last one."""
    schedule = clr.CosineRestarts(0.25, first_cycle_steps=6)
    scores = Scores([9, 5, 1, 3, 0, 4, 0, 3, 0, 0])
    stopping = clr.CycleEarlyStopping(
        monitor="score", mode="min", patience=2, restore_best_weights=True
    )
    model = weight_model(SGD(schedule))
    ones = np.ones((3, 1), "float32")
    history = model.fit(
        ones, ones, batch_size=1, epochs=10, verbose=0, callbacks=[scores, stopping]
    )
    assert history.epoch == list(range(8))
    assert weight(model) == scores.weights[3]


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"directory": 3}, TypeError, "`directory` must be a path"),
        ({"last": 0}, ValueError, "`last` must be a whole number of at least 1"),
        ({"last": 1.5}, ValueError, "`last` must be a whole number"),
        ({"every": 0}, ValueError, "`every` must be a whole number of at least 1"),
        ({"every": "4"}, TypeError, "`every` must be a whole number"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"{message}.*Received: "):
        clr.CycleSnapshots(**arguments)


def test_there_must_be_snapshots_and_a_built_model():
    snapshots = clr.CycleSnapshots()
    model = weight_model(SGD(RESTARTS))
    for make in (snapshots.ensemble, snapshots.average):
        with pytest.raises(ValueError, match=r"at least one snapshot.*Received: no snapshots"):
            make(model)
    fit(model, 6, callbacks=[snapshots])
    for make in (snapshots.ensemble, snapshots.average):
        with pytest.raises(ValueError, match=r"`model` must be built.*Received: the model"):
            make(keras.Sequential([keras.layers.Dense(1)]))


def test_several_optimizers_are_refused():
    model = weight_model(SGD(RESTARTS))
    model.other = SGD(RESTARTS)
    with pytest.raises(ValueError, match=r"`CycleSnapshots` must have a model .* one optimizer"):
        fit(model, 6, callbacks=[clr.CycleSnapshots()])
