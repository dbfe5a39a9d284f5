"""What a schedule adds to the time of a train step.

Three things are timed, with each schedule of this package and its peers against a constant rate:

- ``model.fit`` of two networks, so small that a schedule could show;
- the update alone, as a loop that XLA compiles whole;
- what a rate that is right in every step costs, by a schedule or by a callback.

Each arm has its own model and is warmed up; the order of runs is that of ``timing.interleaved``.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, timing

CONSTANT, CONTROL, ITSELF = "constant", "constant again", "constant by itself"
TEXTBOOK, COSINE_DECAY = "float32 formula", "Keras `CosineDecay`"
POST, PER_BATCH = "the post's callback", "a scheduler per batch"
TARGET = 1.01
CALLBACK_TARGET = 5.0

NETWORKS = {
    "MLP": "64-32-10, batches of 32",
    "CNN": "convolutions on 32 by 32 images, batches of 8",
}
EXECUTIONS = (1, 50, 500)
SETTINGS = tuple(itertools.product(NETWORKS, (True, False), EXECUTIONS))
# To compile them all would take longest. Each of these is much like one that stays.
LEFT_OUT = ("Triangular2", "Cyclical, cosine", "CosineRestarts")
QUICK_NETWORKS = ("MLP",)
QUICK_ARMS = (CONTROL, "Triangular", "CosineRestarts by 1.5", TEXTBOOK)
QUICK_SETTINGS = (("MLP", True, 50),)
# Ratios to take of each arm, and the seconds of a run.
BLOCKS, QUICK_BLOCKS = 4, 3
SECONDS = 0.1
UPDATE_BLOCKS, QUICK_UPDATE_BLOCKS = 15, 5
UPDATE_SECONDS = 0.05
RIGHT_BLOCKS, QUICK_RIGHT_BLOCKS = 5, 3
RIGHT_STEPS = 500

# The variables of two networks: the MLP's, and those of a small network for MNIST.
UPDATES = {
    "64-32-10": ((64, 32), (32,), (32, 10), (10,)),
    "784-128-10": ((784, 128), (128,), (128, 10), (10,)),
}
# So small that no arm's weights move and all compute alike.
BOUNDS = (1e-9, 6e-9, policies.STEP_SIZE)


def rates() -> dict[str, Any]:
    """The schedules of this package."""
    return policies.all_kinds(*BOUNDS[:2])


def arms(*, quick: bool = False) -> dict[str, Any]:
    """The rates to compare with a constant one, by name; when it is to be quick, a few."""
    all_of_them = {CONTROL: BOUNDS[0]} | rates() | peer_rates()
    return {n: rate for n, rate in all_of_them.items() if not quick or n in QUICK_ARMS}


def peer_rates() -> dict[str, Any]:
    """Schedules of others."""
    return {
        COSINE_DECAY: keras.optimizers.schedules.CosineDecay(6e-9, 10**6, alpha=0.1),
        TEXTBOOK: peers.Textbook(*BOUNDS),
    }


def callbacks() -> dict[str, Callable[[], Any]]:
    """Callbacks that set the rate."""
    triangular = clr.Triangular(*BOUNDS)
    return {
        POST: lambda: peers.PostCallback(*BOUNDS),
        PER_BATCH: lambda: peers.BatchScheduler(lambda step: float(triangular.values(step))),
    }


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The ratios of every setting and arm.

    Args:
        quick: whether to take few ratios, of two settings.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    settings, blocks, update_blocks, right_blocks = (
        (QUICK_SETTINGS, QUICK_BLOCKS, QUICK_UPDATE_BLOCKS, QUICK_RIGHT_BLOCKS)
        if quick
        else (SETTINGS, BLOCKS, UPDATE_BLOCKS, RIGHT_BLOCKS)
    )
    rates = arms(quick=quick)
    some = {name: rate for name, rate in rates.items() if name not in LEFT_OUT}
    return {
        "n": blocks,
        "fit": [
            {"network": network, "jit_compile": jit, "steps_per_execution": executions}
            | _fits(
                rates if network == "MLP" or executions == 50 else some,
                network,
                jit,
                executions,
                blocks,
            )
            for network, jit, executions in settings
        ],
        "update": [
            {"n": update_blocks, "network": network} | _updates(rates, shapes, update_blocks)
            for network, shapes in UPDATES.items()
        ],
        "right": {"n": right_blocks}
        | {
            network: _right(network, right_blocks)
            for network in (QUICK_NETWORKS if quick else NETWORKS)
        },
    }


# `fit` --------------------------------------------------------------------------------------------


def _fits(
    rates: dict[str, Any], network: str, jit_compile: bool, executions: int, blocks: int
) -> dict[str, Any]:
    """The microseconds of a step with a constant rate, and every other arm's ratio to it."""
    # Where an execution has several steps, a callback does not set the rate of all.
    called = dict.fromkeys(callbacks(), BOUNDS[0]) if executions == 1 else {}
    models = {
        name: _model(network, rate, jit_compile, executions)
        for name, rate in ({CONSTANT: BOUNDS[0]} | rates | called).items()
    }
    data = _data(network)

    def run(name: str) -> Callable[[], float]:
        return lambda: _fit(models[name], data, steps, name)

    steps = executions
    for name in models:
        run(name)()
    steps = timing.steps_for(lambda n: _fit(models[CONSTANT], data, n), executions, SECONDS)
    traced = {name: model.traced[0] for name, model in models.items()}
    arms = {name: run(name) for name in models if name != CONSTANT}
    taken, ratios = timing.interleaved(run(CONSTANT), arms, blocks)
    again = {name: model.traced[0] - traced[name] for name, model in models.items()}
    return _summary(steps, taken, ratios) | {"traced_again": again}


def _summary(steps: int, taken: list[float], ratios: dict[str, list[float]]) -> dict[str, Any]:
    """What came of runs of so many steps."""
    return {
        "steps": steps,
        "constant_microseconds": 1e6 * statistics.median(taken) / steps,
        "ratios": {name: timing.summary(found) for name, found in ratios.items()},
        "ours": timing.pooled([found for name, found in ratios.items() if name in rates()]),
        "itself": timing.itself(taken),
    }


def _data(network: str) -> Any:
    return timing.endless(64) if network == "MLP" else timing.endless(32, 32, 3, batch_size=8)


def _model(network: str, rate: Any, jit_compile: bool, steps_per_execution: int) -> Any:
    """A small classifier, compiled with Adam, that counts how often its step is traced."""
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
    model.traced = [0]

    def loss(y: Any, logits: Any) -> Any:
        model.traced[0] += 1
        return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    model.compile(
        keras.optimizers.Adam(rate),
        loss,
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


# The update alone ---------------------------------------------------------------------------------


def _updates(
    rates: dict[str, Any], shapes: Sequence[tuple[int, ...]], blocks: int
) -> dict[str, Any]:
    """The microseconds of an update with a constant rate, and the ratios to it."""
    loops = {name: _update(rate, shapes) for name, rate in ({CONSTANT: BOUNDS[0]} | rates).items()}
    for loop in loops.values():
        loop(1)
    steps = timing.steps_for(loops[CONSTANT], 100, UPDATE_SECONDS)

    def run(name: str) -> Callable[[], float]:
        return lambda: loops[name](steps)

    arms = {name: run(name) for name in loops if name != CONSTANT}
    return _summary(steps, *timing.interleaved(run(CONSTANT), arms, blocks))


def _update(rate: Any, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float]:
    """A loop of updates by Adam, compiled whole: runs so many, and returns the seconds."""
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

    return run


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
        "steps": RIGHT_STEPS,
        "schedule_microseconds": 1e6 * statistics.median(taken) / RIGHT_STEPS,
        "ratios": {name: timing.summary(found) for name, found in ratios.items()},
    }


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    right = result["right"]
    return f"""## Step time

The time with a schedule divided by the time with a constant rate. Each ratio is of two runs to the
two runs with a constant rate around them; the median, with the 95 % interval of a bootstrap. Two
controls should be 1, and how far their intervals reach from it is the noise: "{CONTROL}" is a
second model with the same constant rate, "{ITSELF}" are the runs of the first by those around them.
The second model differs by more: two models of one kind are not equally fast. "≤ {TARGET}" stands
only where both an interval and the noise allow it. Of twenty such intervals one misses by chance.
"All of this package" is the median over its schedules together.

### The update alone

A loop of updates by Adam, which XLA compiles whole; n = {result["update"][0]["n"]} ratios each.

{_tables(result["update"], _of_update)}
### `model.fit`

{" and ".join(f"{k} ({v})" for k, v in NETWORKS.items())}, with Adam;
n = {result["n"]} ratios each, three schedules of the CNN in one of the settings alone. The
callbacks set the rate before or after each step. Steps traced again after the first run:
{_traced_again(result)}.

{_fit_tables(result["fit"])}
### A rate that is right in every step

The time of a step by that with `Triangular` and `steps_per_execution={RIGHT_STEPS}`, compiled by
XLA; {right["n"]} ratios of runs of {RIGHT_STEPS} steps. A callback can set the rate of every step
only where an execution is a single step. The target is that a callback takes
{CALLBACK_TARGET:.0f} times as long.

{_right_table(right)}
"""


def _of_update(column: dict[str, Any]) -> str:
    return f"{column['network']}, {column['constant_microseconds']:.1f} µs"


def _fit_tables(settings: list[dict[str, Any]]) -> str:
    """A table for each network and way of compilation."""
    return "\n".join(
        f"{network}, `jit_compile={jit}`:\n\n{_tables(list(group), _of_fit)}"
        for (network, jit), group in itertools.groupby(
            settings, lambda s: (s["network"], s["jit_compile"])
        )
    )


def _of_fit(column: dict[str, Any]) -> str:
    return f"{column['steps_per_execution']} a call, {column['constant_microseconds']:.0f} µs"


def _tables(columns: list[dict[str, Any]], title: Callable[[dict[str, Any]], str]) -> str:
    """A column for each setting: what the schedules together come to, the controls, the arms."""
    names = list(dict.fromkeys(name for column in columns for name in column["ratios"]))
    rows = [
        ["**all of this package**", *(_cell(column["ours"]) for column in columns)],
        ["in words", *(words(column) for column in columns)],
        [ITSELF, *(_cell(column["itself"]) for column in columns)],
        *([name, *(_cell(column["ratios"].get(name)) for column in columns)] for name in names),
    ]
    header = ["by a constant rate, a step of which takes", *map(title, columns)]
    return report.table(header, rows) + "\n"


def words(setting: dict[str, Any]) -> str:
    """What the schedules of this package together come to."""
    return timing.verdict(setting["ours"], noise(setting), TARGET)


def noise(setting: dict[str, Any]) -> float:
    """How far both controls reach from 1."""
    return timing.noise(setting["itself"], setting["ratios"][CONTROL])


def _cell(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"


def _traced_again(result: dict[str, Any]) -> str:
    """Of which arms the step was traced again, in words."""
    again = {
        name: found
        for setting in result["fit"]
        for name, found in setting["traced_again"].items()
        if found
    }
    return ", ".join(f"{name} {found} times" for name, found in again.items()) or "none"


def _right_table(right: dict[str, Any]) -> str:
    rows = []
    for network in NETWORKS:
        if network not in right:
            continue
        found = right[network]
        rows.append(
            [
                f"{network}: Triangular, {RIGHT_STEPS} a call",
                "1",
                "",
                f"{found['schedule_microseconds']:.0f} µs",
            ]
        )
        for name, ratio in found["ratios"].items():
            words = ""
            if name in callbacks():
                words = "within" if ratio["low"] >= CALLBACK_TARGET else "**short of**"
                words += f" the target of {CALLBACK_TARGET:.0f}"
            rows.append([f"{network}: {name}, 1 a call", *timing.cells(ratio, words)])
    return report.table(["", "ratio", "95 % interval", ""], rows)


if __name__ == "__main__":
    print(markdown(measure()), end="")
