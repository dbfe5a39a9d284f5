"""What a range test costs beside ``fit``, and beside a finder that is a callback.

The time is that of ``lr_range_test`` by that of ``model.fit`` over the same steps, each on a fresh
model, so that both trace and compile. They run in turn, in one process, ``fit, test, other test,
fit, other test, test, fit, ...``, so that each test stands between two runs of ``fit`` and what
drifts slowly cancels: a ratio is the time of a test by the geometric mean of these two. Another
``fit`` in the place of a test is the control.
"""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import keras
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, report, timing

ROUNDS, QUICK_ROUNDS = 3, 2
# The steps of a run, and the shape of a sample.
NETWORKS = {"784-128-10": (1000, (784,)), "convolutions": (300, (8, 8, 1))}
# jit_compile, steps_per_execution; of the convolutions at several steps a call alone, where `fit`
# is at its best.
SETTINGS = tuple(itertools.product((True, False), (1, 20)))
FEWER = tuple(setting for setting in SETTINGS if setting[1] > 1)
CONTROL, DEFAULT, LIKE_FIT = "`fit` again", "by default", "as many steps a call as `fit`"
FINDER = "a callback"
STILL = (1e-9, 2e-9)  # rates so small that no weights move and all compute alike


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The ratios of every network and setting.

    Args:
        quick: whether to take few ratios, of one setting.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    rounds = QUICK_ROUNDS if quick else ROUNDS
    first, *others = NETWORKS
    cases = [(first, *setting) for setting in (SETTINGS[:1] if quick else SETTINGS)]
    cases += [] if quick else [(other, *setting) for other in others for setting in FEWER]
    return {
        "n": rounds,
        "times": [
            {"network": network, "jit_compile": jit_compile, "steps_per_execution": executions}
            | _times(network, jit_compile, executions, rounds)
            for network, jit_compile, executions in cases
        ],
    }


def _times(network: str, jit_compile: bool, executions: int, rounds: int) -> dict[str, Any]:
    """The seconds of ``fit``, and the ratios of the range tests to it."""
    steps, shape = NETWORKS[network]
    data = timing.endless(*shape)

    def model() -> Any:
        return classifier(
            network,
            STILL[0],
            metrics=["accuracy"],
            jit_compile=jit_compile,
            steps_per_execution=executions,
        )

    def fit() -> float:
        fresh = model()
        return timing.seconds(
            lambda: fresh.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
        )

    def test(chunk: int | None) -> float:
        fresh = model()
        results = []
        seconds = timing.seconds(
            lambda: results.append(
                clr.lr_range_test(
                    fresh,
                    data,
                    min_lr=STILL[0],
                    max_lr=STILL[1],
                    num_steps=steps,
                    steps_per_execution=chunk,
                    verbose=0,
                )
            )
        )
        if len(results[0].losses) != steps:
            raise RuntimeError(f"The range test was to take {steps} steps. Received: {results[0]}")
        return seconds

    def find() -> float:
        fresh = model()
        finder = peers.Finder(*STILL, num_steps=steps)
        return timing.seconds(
            lambda: fresh.fit(
                data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[finder]
            )
        )

    tests = {CONTROL: fit, DEFAULT: lambda: test(None), LIKE_FIT: lambda: test(executions)}
    if executions == 1:  # otherwise a callback does not see every step
        tests[FINDER] = find
    fit()  # what is loaded and compiled once only
    test(None)

    ratios: dict[str, list[float]] = {name: [] for name in tests}
    fits = [fit()]
    for i in range(rounds):
        order = list(tests)[:: -1 if i % 2 else 1]
        seconds = {name: tests[name]() for name in order}
        fits.append(fit())
        for name, took in seconds.items():
            ratios[name].append(took / math.sqrt(math.prod(fits[-2:])))
    return {
        "steps": steps,
        "fit_seconds": statistics.median(fits),
        "ratios": {name: timing.mean(of_test) for name, of_test in ratios.items()},
    }


def classifier(network: str, rate: Any, seed: int = timing.SEED, **compilation: Any) -> Any:
    """A small classifier, compiled with Adam; the convolutions are those of the example."""
    keras.utils.set_random_seed(seed)
    _, shape = NETWORKS[network]
    layers = keras.layers
    hidden = (
        [layers.Dense(128, "relu")]
        if network == "784-128-10"
        else [
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, "relu"),
        ]
    )
    model = keras.Sequential([keras.Input(shape), *hidden, layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compilation,
    )
    return model


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as a sentence and a table."""
    found: dict[str, dict[str, Any]] = {"slower": {}, "faster": {}}
    noises, count = [], 0
    for cell in result["times"]:
        noise = timing.noise(cell["ratios"][CONTROL])
        noises.append(noise)
        for name in (DEFAULT, LIKE_FIT):
            ratio, count = cell["ratios"][name], count + 1
            if not timing.hidden(ratio, noise):
                way = "slower" if ratio["ratio"] > 1 else "faster"
                found[way][f"{cell['network']}, {_setting(cell)}, {name}"] = ratio
    slower = ", ".join(f"{name} {timing.cell(r)}" for name, r in found["slower"].items())
    columns = (CONTROL, DEFAULT, LIKE_FIT, FINDER)
    rows = [
        [
            f"{cell['network']}, {_setting(cell)}",
            f"{cell['fit_seconds']:.2f} s",
            *(timing.cell(ratio) if (ratio := cell["ratios"].get(n)) else "" for n in columns),
        ]
        for cell in result["times"]
    ]
    longer = "**in places longer**" if slower else "no longer"
    text = f"""`lr_range_test` takes {longer} than `fit` over the same steps. Of {count} ratios
those beyond the
noise of their row are {len(found["faster"])} of a test that is faster than `fit`, and
{len(found["slower"])} of one that is slower{f": {slower}" if slower else ""}. The noise is
large, ±{timing.percent(min(noises))} to
±{timing.percent(max(noises))}, since each run builds, traces and compiles a model.

The time by that of the two runs of `fit` around it, batches of 32, with Adam and an accuracy, each
on a fresh model, tracing and compiling included; n = {result["n"]} ratios. "{CONTROL}" is the
control. The test runs "{DEFAULT}", and with the model's `steps_per_execution` given to it;
"{FINDER}" is a range test as the known Keras finders have it, which needs single steps. The network
784-128-10 takes {NETWORKS["784-128-10"][0]:,} steps, the convolutions of the digits' example
{NETWORKS["convolutions"][0]:,}.

{report.table(["network, compiled with", "`fit`", *columns], rows)}"""
    return f"## Range test\n\n{report.part('range test', text)}\n"


def _setting(cell: dict[str, Any]) -> str:
    return f"`jit_compile={cell['jit_compile']}, steps_per_execution={cell['steps_per_execution']}`"


if __name__ == "__main__":
    print(markdown(measure()), end="")
