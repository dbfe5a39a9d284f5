"""The files of every released version, and of the next one, load and have the same rates."""

import json
import shutil

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import LEGACY, keras, needs_tensorflow
from packaging.version import Version

import clr_schedules as clr

FOLDER = ROOT / "tests" / "golden"
FILES = sorted(FOLDER.glob("*/*.json"))
OPTIMIZERS = sorted(FOLDER.glob("*/hyperparameters/*.json"))


def test_there_are_files_of_this_version():
    assert clr.__version__ in {path.parent.name for path in FILES}
    assert clr.__version__ in {path.parts[-3] for path in OPTIMIZERS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_saved_config_makes_the_same_rates(path):
    golden = json.loads(path.read_text())
    schedule = keras.optimizers.schedules.deserialize(golden["config"])
    assert repr(schedule) == golden["repr"]
    rates = np.asarray(schedule(golden["steps"]))
    assert [float(rate).hex() for rate in rates] == golden["float32"]


def load(path):
    written_with = json.loads(path.read_text())["keras"]
    if Version(written_with) > Version(keras.__version__):
        pytest.skip(f"Keras {keras.__version__} does not load the files of Keras {written_with}")
    return keras.models.load_model(path.with_suffix(".keras"))


@pytest.mark.skipif(LEGACY, reason="the files are Keras 3's")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_saved_model_goes_on_at_its_step(path):
    model = load(path)
    schedule = model.optimizer._learning_rate
    assert repr(schedule) == json.loads(path.read_text())["repr"]
    assert int(np.asarray(model.optimizer.iterations)) == 3
    assert np.asarray(model.optimizer.learning_rate) == np.float32(schedule.values(3))
    if path == FILES[-1]:  # one of them trains on, as the optimizers below do
        x = np.ones((5, 2), "float32")
        model.fit(x, x[:, :1], batch_size=5, verbose=0)
        assert np.asarray(model.optimizer.learning_rate) == np.float32(schedule.values(4))


@pytest.mark.skipif(LEGACY, reason="the files are Keras 3's")
@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_an_optimizer_goes_on_with_its_hyperparameters(path):
    model = load(path)
    x = np.ones((15, 2), "float32")
    model.fit(x, x[:, :1], batch_size=5, verbose=0)
    for weights, expected in zip(
        model.trainable_variables, json.loads(path.read_text())["weights"], strict=True
    ):
        np.testing.assert_allclose(np.ravel(weights), expected, rtol=2e-6)


@needs_tensorflow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_saved_model_of_operations_has_the_same_rates(path, tmp_path):
    import tensorflow as tf

    golden = json.loads(path.read_text())
    shutil.unpack_archive(path.with_suffix(".saved_model.zip"), tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for step, rate in zip(golden["steps"], golden["float32"], strict=True):
        loaded.step.assign(step)
        assert float(loaded.next_rate()).hex() == rate
        assert int(loaded.step) == step + 1
