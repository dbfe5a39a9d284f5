"""What the README shows is run."""

import json
import re
from pathlib import Path

import cifar10_report
import numpy as np
import pytest
from keras_under_test import keras

import clr_schedules as clr

OURS = "**all of this package**"
README = Path(__file__).parent.with_name("README.md").read_text()


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
    block = re.search(r"```python\n(from clr_schedules import plotting.*?)```", README, re.DOTALL)
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
    citation = Path(__file__).parent.with_name("CITATION.cff").read_text()
    assert f"version: {clr.__version__}\n" in citation


def test_the_table_of_errors_is_the_benchmark_s():
    results = Path(__file__).parent.with_name("benchmarks") / "results" / "latest.md"
    rows = re.findall(r"^\| 10\^.*|^\| 2\^.*|^\| steps below.*", README, re.MULTILINE)
    assert len(rows) == 7
    assert set(rows) <= set(results.read_text().splitlines())


def test_what_it_says_of_speed_is_the_benchmark_s():
    results = Path(__file__).parent.with_name("benchmarks") / "results" / "latest.json"
    measured = json.loads(results.read_text())["step_time"]
    compiled, graph = measured["alone"]
    others = ("Keras `CosineDecay`", "float32 formula")
    alone = sorted(ns for name, ns in compiled["schedules"].items() if name not in others)
    started = sorted(ns / 1000 for name, ns in graph["schedules"].items() if name not in others)
    small, large = (
        "{ratio:.3f} # {low:.3f} to {high:.3f})".format(**update["ratios"][OURS])
        for update in measured["update"]
    )
    callbacks = ("the post's callback", "a scheduler per batch")
    slower = [
        min(measured["right"][network]["ratios"][name]["ratio"] for name in callbacks)
        for network in ("MLP", "CNN")
    ]
    single = [measured["right"][name]["ratios"]["Triangular"]["ratio"] for name in ("MLP", "CNN")]
    without_xla = [case["ratios"][OURS] for case in measured["fit"] if not case["jit_compile"]]
    assert all(found["low"] < 1 for found in without_xla)  # "did not show"
    on_gpu = json.loads((results.parent / "gpu.json").read_text())["parameters"]
    tiny, *others_on_gpu = (
        {name: r["ratio"] for name, r in found["ratios"].items() if name != "constant again"}
        for found in on_gpu.values()
    )
    growing = tiny.pop("CosineRestarts by 1.5")
    ratios = [ratio for found in others_on_gpu for ratio in found.values()]
    said = " ".join(README.split())
    for quote in (
        f"take {min(ratios):.3f} to {max(ratios):.3f} of the time with a constant rate; of "
        f"100,000, which are done in {on_gpu['100000']['microseconds']:.0f} µs, "
        f"{min(tiny.values()):.3f} to {max(tiny.values()):.3f}, "
        f"and {growing:.3f} with restarts that grow by a fraction",
        f"takes {alone[0]:.0f} to {alone[-1]:.0f} ns.",
        large.replace("#", "of the time that it takes with a constant rate (95 % interval"),
        small.replace("# ", "("),
        f"which takes {started[0]:.0f} to {started[-1]:.0f} µs a step on the CPU "
        f"(Keras's `CosineDecay`: {graph['schedules'][others[0]] / 1000:.0f})",
        f"then takes {slower[0]:.0f} times as long as with a schedule and 500 steps a call, "
        f"one with convolutions {slower[1]:.0f} times",
        f"which with a schedule take {single[0]:.1f} and {single[1]:.1f} times as long",
        "in `fit`, that did not show in the noise.",
    ):
        assert quote in said


def test_the_comparison_is_the_page_s():
    page = Path(__file__).parent.with_name("docs") / "comparison.md"
    section = re.search(r"^\| \| this package .*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = section.group().splitlines()
    assert len(rows) > 10
    assert set(rows) <= set(page.read_text(encoding="utf-8").splitlines())


def test_what_it_says_of_cifar10_is_the_report_s():
    large, _ = cifar10_report.scales()
    early = "`constant`, first 50 epochs"
    said = " ".join(README.split())
    better, low, high, _ = large.difference("`triangular`", "`constant`").unsigned()
    assert f"by {better} points (95 % interval {low} to {high}), as the post" in said
    _, low, high, _ = large.difference("`triangular`", early)
    assert float(low) < 0 < float(high)
    one = [large.difference("`one_cycle`", b).unsigned().points for b in ("`constant`", early)]
    assert f"better than either, by {one[0]} and by {one[1]} points" in said
