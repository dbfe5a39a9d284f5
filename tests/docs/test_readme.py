"""What the README shows is run."""

import re

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import keras

import clr_schedules as clr

README = (ROOT / "README.md").read_text()


def test_the_first_lines_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(import.*?)```", README, re.DOTALL).group(1)
    if keras.__name__ == "tf_keras":
        block = block.replace("import keras", "import tf_keras as keras")
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, "softmax")])
    x_train, y_train = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    exec(block, {"model": model, "x_train": x_train, "y_train": y_train})
    loaded = keras.models.load_model("m.keras")
    assert loaded.optimizer._learning_rate == clr.Triangular2(1e-3, 6e-3, step_size=2000)
    assert int(np.asarray(loaded.optimizer.iterations)) == 2 * 24


def test_the_lines_about_the_logger_work(figures):
    block = re.search(r"```python\n(logger = clr.LearningRateLogger.*?)```", README, re.DOTALL)
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    lr = clr.Triangular(1e-3, 6e-3, step_size=10)
    model.compile(keras.optimizers.SGD(lr), loss="mse")
    names = {"model": model, "x_train": rng.normal(size=(200, 4)), "y_train": rng.normal(size=200)}
    exec(block.group(1).replace("epochs=24", "epochs=24, verbose=0"), names | {"clr": clr})
    rates = lr.values(range(2 * 24)).astype(np.float32)
    (line,) = [
        line for axes in figures.gcf().axes for line in axes.lines if len(line.get_xdata()) > 24
    ]
    np.testing.assert_array_equal(line.get_ydata(), rates)


@pytest.mark.skipif(keras.__name__ == "tf_keras", reason="the hyperparameters of Keras 3")
def test_the_lines_about_momentum_work():
    block = re.search(r"```python\n(lr = clr.OneCycle.*?)```", README, re.DOTALL).group(1)
    names = {"clr": clr, "keras": keras}
    exec(block, names)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(names["optimizer"], loss="mse")
    logger = clr.LearningRateLogger()
    x = np.ones((50, 4))
    model.fit(x, x[:, :1], batch_size=10, verbose=0, callbacks=[logger])
    expected = names["lr"].momentum(0.95, 0.85).values(range(5)).astype(np.float32)
    assert logger.history["momentum"] == expected.tolist()


def test_the_version_is_said_once_and_cited():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {clr.__version__}\n" in citation


def test_every_page_says_the_promise_in_the_same_words():
    promise = (
        "for every step below 2^53 that the optimizer's counter can hold, a rate in float32 is the "
        "formula correctly rounded, within 0.502 units of the last place (ulp); with `floatx` "
        "float64 it is within 16 ulp."
    )
    docs = ROOT / "docs"
    pages = [docs / f"{name}.md" for name in ("how_it_works", "testing", "policies")]
    for said in (README, *(page.read_text(encoding="utf-8") for page in pages)):
        assert promise in " ".join(said.split())


def test_the_comparison_is_the_page_s():
    page = ROOT / "docs" / "comparison.md"
    section = re.search(r"^\| \| this package .*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = section.group().splitlines()
    assert len(rows) > 10
    assert set(rows) <= set(page.read_text(encoding="utf-8").splitlines())
