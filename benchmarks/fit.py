"""What a schedule adds to the time of a step, and what a rate that is right in every step costs.

Three things are timed, of networks so small that a schedule could show:

- the update alone, as a loop that XLA compiles whole, by that with a constant rate;
- ``model.fit``, by that with a constant rate;
- a schedule with many steps a call, by callbacks that set the rate of every step.

Each model is warmed up; the order of runs is that of ``timing.interleaved``.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, timing

CONSTANT, OURS = "constant", "all schedules"
POST, PER_BATCH = "the post's callback", "a scheduler per batch"
NETWORKS = {
    "MLP": "64-32-10, batches of 32",
    "CNN": "convolutions on 32 by 32 images, batches of 8",
}
# Whether XLA compiles, and the steps of a call: as `fit` does with a GPU, and without one.
SETTINGS = ((True, 50), (False, 50), (False, 1))
QUICK_SETTINGS = ((True, 50),)
# To compile all would take longest; each that is left out is much like one of these.
KINDS = ("Triangular", "OneCycle", "CosineRestarts by 1.5")
QUICK_KINDS = ("Triangular",)
# Models with a constant rate, and with each schedule; ratios to take of each; seconds of a run.
CONSTANTS, QUICK_CONSTANTS = 6, 4
UPDATE_CONSTANTS, UPDATE_OTHERS = 10, 2
BLOCKS, QUICK_BLOCKS = 3, 2
SECONDS, UPDATE_SECONDS = 0.08, 0.04
RIGHT_BLOCKS, QUICK_RIGHT_BLOCKS = 5, 2
RIGHT_STEPS = 500
# The variables of two networks: the MLP's, and those of a small network for MNIST.
UPDATES = {
    "64-32-10": ((64, 32), (32,), (32, 10), (10,)),
    "784-128-10": ((784, 128), (128,), (128, 10), (10,)),
}
# So small that no arm's weights move and all compute alike.
BOUNDS = (1e-9, 6e-9, policies.STEP_SIZE)

_Run = Callable[[int], float]  # takes so many steps, and returns the seconds


def callbacks() -> dict[str, Callable[[], Any]]:
    """Callbacks that set the rate."""
    triangular = clr.Triangular(*BOUNDS)
    return {
        POST: lambda: peers.PostCallback(*BOUNDS),
        PER_BATCH: lambda: peers.BatchScheduler(lambda step: float(triangular.values(step))),
    }


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The ratios of every setting.

    Args:
        quick: whether to take few ratios, of one schedule and one setting.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    kinds = policies.all_kinds(*BOUNDS[:2])
    rates = {name: kinds[name] for name in (QUICK_KINDS if quick else KINDS)}
    settings = QUICK_SETTINGS if quick else SETTINGS
    blocks, right_blocks = (QUICK_BLOCKS, QUICK_RIGHT_BLOCKS) if quick else (BLOCKS, RIGHT_BLOCKS)
    sizes = (QUICK_CONSTANTS, 1) if quick else (UPDATE_CONSTANTS, UPDATE_OTHERS)
    networks = list(UPDATES)[: 1 if quick else None]
    return {
        "schedules": list(rates),
        "update": [
            {"network": network} | _updates(rates, UPDATES[network], *sizes, blocks)
            for network in networks
        ],
        "fit": [
            {"jit_compile": jit, "steps_per_execution": executions}
            | _fits(rates, jit, executions, QUICK_CONSTANTS if quick else CONSTANTS, blocks)
            for jit, executions in settings
        ],
        "right": {
            network: _right(network, right_blocks)
            for network in list(NETWORKS)[: 1 if quick else None]
        },
    }


def _compared(
    make: Callable[[str], _Run], counts: Mapping[str, int], unit: int, seconds: float, blocks: int
) -> dict[str, Any]:
    """The ratio of the schedules, of each of which there are so many models, to a constant rate.

    The models are made and run in a random order, since an earlier one may lie better in memory.
    One more with a constant rate is the clock that all are held against.
    """
    clock = make(CONSTANT)
    order = [name for name, count in counts.items() for _ in range(count)]
    random.Random(timing.SEED).shuffle(order)
    models = [make(name) for name in order]
    steps = timing.steps_for(clock, unit, seconds)

    def run(model: _Run) -> Callable[[], float]:
        return lambda: model(steps)

    arms = {i: run(model) for i, model in enumerate(models)}
    taken, ratios = timing.interleaved(run(clock), arms, blocks)
    found: dict[str, list[float]] = {name: [] for name in counts}
    for i, name in enumerate(order):
        found[name].append(round(statistics.median(ratios[i]), 5))
    groups = {OURS: [name for name in counts if name != CONSTANT]}
    timing.tidy()
    return {
        "microseconds": 1e6 * statistics.median(taken) / steps,
        "models": found,
        "ratios": timing.contrasts(found, CONSTANT, groups),
    }


# The update alone ---------------------------------------------------------------------------------


def _updates(
    rates: Mapping[str, Any],
    shapes: Sequence[tuple[int, ...]],
    constants: int,
    others: int,
    blocks: int,
) -> dict[str, Any]:
    """The microseconds of an update with a constant rate, and the ratios to it."""
    rates = {CONSTANT: BOUNDS[0], **rates}
    counts = dict.fromkeys(rates, others) | {CONSTANT: constants}
    return _compared(lambda name: _update(rates[name], shapes), counts, 100, UPDATE_SECONDS, blocks)


def _update(rate: Any, shapes: Sequence[tuple[int, ...]]) -> _Run:
    """A loop of updates by Adam, warmed up."""
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in shapes]
    gradients = [tf.fill(shape, 1e-3) for shape in shapes]
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def loop(steps: Any) -> None:
        for _ in tf.range(steps):
            optimizer.apply(gradients, variables)

    def run(steps: int) -> float:
        count = tf.constant(steps)
        return timing.seconds(lambda: (loop(count), variables[0].numpy()))

    run(1)
    return run


# `fit` --------------------------------------------------------------------------------------------


def _fits(
    rates: Mapping[str, Any], jit_compile: bool, executions: int, constants: int, blocks: int
) -> dict[str, Any]:
    """The microseconds of a step of the MLP with a constant rate, and the ratios to it."""
    data = _data("MLP")
    rates = {CONSTANT: BOUNDS[0], **rates}

    def make(name: str) -> _Run:
        model = _model("MLP", rates[name], jit_compile, executions)
        _fit(model, data, executions)
        return lambda steps: _fit(model, data, steps)

    counts = dict.fromkeys(rates, 1) | {CONSTANT: constants}
    return _compared(make, counts, executions, SECONDS, blocks)


def _data(network: str) -> Any:
    return timing.endless(64) if network == "MLP" else timing.endless(32, 32, 3, batch_size=8)


def _model(network: str, rate: Any, jit_compile: bool, steps_per_execution: int) -> Any:
    """A small classifier, compiled with Adam."""
    keras.utils.set_random_seed(timing.SEED)
    layers = keras.layers
    inner = (
        [keras.Input((64,)), layers.Dense(32, "relu")]
        if network == "MLP"
        else [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Flatten(),
        ]
    )
    model = keras.Sequential([*inner, layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def _fit(model: Any, data: Any, steps: int, name: str = "") -> float:
    """The seconds that ``fit`` takes for so many steps, with the callback of this name if any."""
    make = callbacks().get(name)
    with_it = [make()] if make else []
    return timing.seconds(
        lambda: model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=with_it)
    )


# A rate that is right in every step ---------------------------------------------------------------


def _right(network: str, blocks: int) -> dict[str, Any]:
    """The time of a step by that of a schedule that XLA compiles into executions of 500 steps.

    A callback is called between executions; so that it sets the rate of every step, an execution
    must be a single one.
    """
    triangular = clr.Triangular(*BOUNDS)
    data = _data(network)
    made = {
        "": _model(network, triangular, True, RIGHT_STEPS),
        "Triangular": _model(network, triangular, True, 1),
        POST: _model(network, 1e-9, True, 1),
        PER_BATCH: _model(network, 1e-9, True, 1),
    }

    def run(name: str) -> Callable[[], float]:
        return lambda: _fit(made[name], data, RIGHT_STEPS, name)

    arms = {name: run(name) for name in made}
    for warm_up in arms.values():
        warm_up()
    base = arms.pop("")
    taken, ratios = timing.interleaved(base, arms, blocks)
    return {
        "n": blocks,
        "microseconds": 1e6 * statistics.median(taken) / RIGHT_STEPS,
        "ratios": {name: timing.mean(found) for name, found in ratios.items()},
    }


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as sentences and a table."""
    found = {
        f"an update of {one['network']} ({one['microseconds']:.0f} µs)": one
        for one in result["update"]
    } | {
        f"`fit`, {'XLA' if one['jit_compile'] else 'no XLA'}, {one['steps_per_execution']} a call "
        f"({one['microseconds']:.0f} µs)": one
        for one in result["fit"]
    }
    lines = [f"- {name}: {_told(one['ratios'])}" for name, one in found.items()]
    right = result["right"]
    ratios = [one["ratios"][name]["ratio"] for one in right.values() for name in callbacks()]
    names = list(next(iter(right.values()))["ratios"])
    rows = [
        [network, f"{one['microseconds']:.0f} µs", *(timing.cell(one["ratios"][n]) for n in names)]
        for network, one in right.items()
    ]
    header = [f"{RIGHT_STEPS} steps a call", "a step", *(f"{name}, 1 a call" for name in names)]
    callback = report.part(
        "callbacks",
        f"""A callback that sets the rate of every step takes {min(ratios):.1f} to
{max(ratios):.1f} times as long as a schedule, for networks as small as these. Most of that is not
the callback itself: it is called between executions, so each must be a single step, where a
schedule is right however many steps are compiled into one call. The longer a step's own work, the
less of the ratio is left.

The time of a step by that with `Triangular` and `steps_per_execution={RIGHT_STEPS}`, with Adam,
compiled by XLA; {" and ".join(f"{k} is {v}" for k, v in NETWORKS.items())}. There is one model of
each kind: how far two differ, some percent, is not in the intervals.

{report.table(header, rows)}""",
    )
    return f"""## The time of a step

The clock sees no schedule, or hardly, even in networks so small that it might; what decides are the
[counts](#the-compiled-step). The time of a step with Adam and a schedule, by that with a constant
rate (of {", ".join(result["schedules"])} together):

{chr(10).join(lines)}

Two models that are made alike are not equally fast, so there are several with each rate, and the
intervals are Student's, from how far the models of an arm differ.

{callback}
"""


def _told(ratios: dict[str, dict[str, Any]]) -> str:
    """What the ratio of the schedules says; its interval has the models' noise in it."""
    ratio, control = ratios[OURS], ratios[timing.CONTROL]
    told = timing.cell(ratio)
    if not control["low"] <= 1 <= control["high"]:
        return f"{told}; not to be told, since the control is not 1 but {timing.cell(control)}"
    if timing.hidden(ratio, 0):
        return f"{told}, not distinguishable from noise of ±{timing.percent(timing.noise(ratio))}"
    return told


if __name__ == "__main__":
    print(markdown(measure()), end="")
