"""What a schedule adds to the time of a train step.

Four things are timed, with each schedule of this package and its peers:

- the update alone, as a loop that XLA compiles whole, by that with a constant rate;
- a schedule alone, compiled by XLA and as a graph of TensorFlow, by an update;
- ``model.fit`` of two networks, so small that a schedule could show, by a constant rate;
- what a rate that is right in every step costs, by a schedule or by a callback.

Each model is warmed up; the order of runs is that of ``timing.interleaved``.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, timing

CONSTANT, OURS = "constant", "**all of this package**"
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
# All are measured at 50 steps a call. To compile them all would take longest, and each of these is
# much like one that stays.
LEFT_OUT = ("Triangular2", "ExpRange", "Cyclical, cosine", "CosineRestarts")
QUICK_NETWORKS = ("MLP",)
QUICK_ARMS = ("Triangular", "CosineRestarts by 1.5", TEXTBOOK)
QUICK_SETTINGS = (("MLP", True, 50),)
QUICK_UPDATES = ("64-32-10",)
# Models with a constant rate, and with each other; ratios to take of each; seconds of a run.
CONSTANTS, QUICK_CONSTANTS = 6, 4
BLOCKS, QUICK_BLOCKS = 2, 2
SECONDS = 0.08
UPDATE_CONSTANTS, UPDATE_OTHERS = 14, 2
UPDATE_BLOCKS, QUICK_UPDATE_BLOCKS = 5, 3
UPDATE_SECONDS = 0.04
ALONE_UPDATES = 5
ALONE_BLOCKS, QUICK_ALONE_BLOCKS = 7, 2
RIGHT_BLOCKS, QUICK_RIGHT_BLOCKS = 5, 2
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
        quick: whether to take few ratios, of few arms and one setting.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    settings, constants, blocks, alone_blocks, right_blocks = (
        (QUICK_SETTINGS, QUICK_CONSTANTS, QUICK_BLOCKS, QUICK_ALONE_BLOCKS, QUICK_RIGHT_BLOCKS)
        if quick
        else (SETTINGS, CONSTANTS, BLOCKS, ALONE_BLOCKS, RIGHT_BLOCKS)
    )
    updates, sizes, update_blocks = (
        (QUICK_UPDATES, (QUICK_CONSTANTS, 1), QUICK_UPDATE_BLOCKS)
        if quick
        else (UPDATES, (UPDATE_CONSTANTS, UPDATE_OTHERS), UPDATE_BLOCKS)
    )
    arms = {n: rate for n, rate in (rates() | peer_rates()).items() if not quick or n in QUICK_ARMS}
    some = {name: rate for name, rate in arms.items() if name not in LEFT_OUT}
    return {
        "update": [
            {"network": network, "n": update_blocks}
            | _updates(arms, UPDATES[network], *sizes, update_blocks)
            for network in updates
        ],
        "alone": [_alone(arms, jit_compile, alone_blocks) for jit_compile in (True, False)],
        "fit": [
            {"network": network, "jit_compile": jit, "steps_per_execution": executions, "n": blocks}
            | _fits(arms if executions == 50 else some, network, jit, executions, constants, blocks)
            for network, jit, executions in settings
        ],
        "right": {"n": right_blocks}
        | {
            network: _right(network, right_blocks)
            for network in (QUICK_NETWORKS if quick else NETWORKS)
        },
    }


_Run = Callable[[int], float]  # takes so many steps, and returns the seconds


def _compared(
    make: Callable[[str], _Run], counts: Mapping[str, int], unit: int, seconds: float, blocks: int
) -> dict[str, Any]:
    """The ratios of arms, each of so many models, to the constant one.

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
    groups = {OURS: [name for name in counts if name in rates()]}
    groups |= {name: [name] for name in counts if name != CONSTANT}
    timing.tidy()
    return {
        "steps": steps,
        "constant_microseconds": 1e6 * statistics.median(taken) / steps,
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

    def make(name: str) -> _Run:
        return _update(rates[name], shapes)

    return _compared(make, counts, 100, UPDATE_SECONDS, blocks)


def _update(rate: Any, shapes: Sequence[tuple[int, ...]], *, jit_compile: bool = True) -> _Run:
    """A loop of updates by Adam, warmed up."""
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in shapes]
    gradients = [tf.fill(shape, 1e-3) for shape in shapes]
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)  # type: ignore[untyped-decorator]
    def loop(steps: Any) -> None:
        for _ in tf.range(steps):
            optimizer.apply(gradients, variables)

    def run(steps: int) -> float:
        count = tf.constant(steps)
        return timing.seconds(lambda: (loop(count), variables[0].numpy()))

    run(1)
    return run


# A schedule alone ---------------------------------------------------------------------------------


def _alone(rates: Mapping[str, Any], jit_compile: bool, blocks: int) -> dict[str, Any]:
    """The nanoseconds of a step of an empty loop, of one with each rate, and of an update."""
    shapes = UPDATES["64-32-10"]
    runs = [("", _rate_loop(None, jit_compile))]
    runs += [(name, _rate_loop(rate, jit_compile)) for name, rate in rates.items()]
    updates = [_update(BOUNDS[0], shapes, jit_compile=jit_compile) for _ in range(ALONE_UPDATES)]
    runs += [(CONSTANT, update) for update in updates]
    steps = [timing.steps_for(run, 100, UPDATE_SECONDS) for _, run in runs]
    taken: dict[str, list[float]] = {name: [] for name, _ in runs}
    for _ in range(blocks):
        for (name, run), count in zip(runs, steps, strict=True):
            taken[name].append(1e9 * run(count) / count)
    medians = {name: statistics.median(of_run) for name, of_run in taken.items()}
    empty, update = medians.pop(""), medians.pop(CONSTANT)
    return {
        "jit_compile": jit_compile,
        "n": blocks,
        "update": update,
        "schedules": {name: median - empty for name, median in medians.items()},
        "operations": {name: _operations(rate) for name, rate in rates.items()},
    }


def _operations(schedule: Any) -> int:
    """How many operations TensorFlow has to start for a rate."""
    step = tf.TensorSpec((), tf.int64)
    graph = tf.function(schedule).get_concrete_function(step).graph
    not_started = ("Const", "Identity", "Placeholder")
    return sum(operation.type not in not_started for operation in graph.get_operations())


def _rate_loop(rate: Any, jit_compile: bool) -> _Run:
    """A loop that sums up the rates of its steps, or the steps themselves, warmed up.

    Each step waits for the rate before it, as an update waits for its rate.
    """

    @tf.function(jit_compile=jit_compile)  # type: ignore[untyped-decorator]
    def loop(steps: Any) -> Any:
        total = tf.constant(0.0)
        for step in tf.range(steps):
            step += tf.cast(total, tf.int64)
            total += 1e-18 * tf.cast(step, tf.float32) if rate is None else rate(step)
        return total

    def run(steps: int) -> float:
        count = tf.constant(steps, tf.int64)
        return timing.seconds(lambda: loop(count).numpy())

    run(1)
    return run


# `fit` --------------------------------------------------------------------------------------------


def _fits(
    rates: Mapping[str, Any],
    network: str,
    jit_compile: bool,
    executions: int,
    constants: int,
    blocks: int,
) -> dict[str, Any]:
    """The microseconds of a step with a constant rate, and the ratios to it."""
    # Where an execution has several steps, a callback does not set the rate of all.
    called = dict.fromkeys(callbacks(), BOUNDS[0]) if executions == 1 else {}
    data = _data(network)
    traced: dict[str, list[int]] = {}

    rates = {CONSTANT: BOUNDS[0], **rates, **called}

    def make(name: str) -> _Run:
        model = _model(network, rates[name], jit_compile, executions)
        traced.setdefault(name, model.traced)
        _fit(model, data, executions, name)
        model.traced[0] = 0
        return lambda steps: _fit(model, data, steps, name)

    counts = dict.fromkeys(rates, 1) | {CONSTANT: constants}
    found = _compared(make, counts, executions, SECONDS, blocks)
    return found | {"traced_again": {name: counter[0] for name, counter in traced.items()}}


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
        "ratios": {name: timing.mean(found) for name, found in ratios.items()},
    }


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    update, right = result["update"][0], result["right"]
    constants = len(update["models"][CONSTANT])
    others = max(len(of) for name, of in update["models"].items() if name != CONSTANT)
    return f"""## Step time

The time with a schedule divided by the time with a constant rate. Two models that are made alike
are not equally fast, so there are several with a constant rate, and how far these differ is how far
a schedule's ratio may be from its true value by chance: the 95 % intervals are Student's, of the
logarithms, from how the models of an arm differ among themselves. The control, which should be 1,
is "{timing.CONTROL}". "≤ {TARGET}" stands only where an interval ends
there; where it has 1 in it and reaches further, it is noise. Of twenty such intervals one misses by
chance.

### The update alone

A loop of updates by Adam, which XLA compiles whole: {constants} models with a constant rate,
{others} with each other, {update["n"]} runs of two of each in turn.

{_tables(result["update"], _of_update)}
### A schedule alone

A loop of nothing but rates, each of which waits for the one before, less one in which the step
takes the place of the rate, by an update of the network 64-32-10 compiled in the same way (by
{ALONE_UPDATES} models); medians of {result["alone"][0]["n"]} runs in turn. XLA makes a few
instructions of a schedule. Without it, TensorFlow starts each operation by itself.

{_alone_table(result["alone"])}

### `model.fit`

{" and ".join(f"{k} ({v})" for k, v in NETWORKS.items())}, with Adam:
{len(result["fit"][0]["models"][CONSTANT])} models with a constant rate, one with each other,
{result["fit"][0]["n"]} runs of two of each in turn; {len(LEFT_OUT)} schedules at 50 steps a call
alone. The callbacks set the rate before or after each step. Steps traced again after the first run:
{_traced_again(result)}.

{_fit_tables(result["fit"])}
### A rate that is right in every step

The time of a step by that with `Triangular` and `steps_per_execution={RIGHT_STEPS}`, compiled by
XLA; the geometric mean of {right["n"]} ratios of runs of {RIGHT_STEPS} steps, with Student's
95 % interval. A callback can set the rate of every step
only where an execution is a single step: most of the ratio is that. The target is that a callback
takes {CALLBACK_TARGET:.0f} times as long; the longer a step's own work, the less of it that can be.
There is one model of each kind: how far two differ, some percent, is not in these intervals.

{_right_table(right)}
"""


def _of_update(column: dict[str, Any]) -> str:
    return f"{column['network']}, {column['constant_microseconds']:.1f} µs"


def _alone_table(ways: list[dict[str, Any]]) -> str:
    """A column for each way of compilation."""
    rows = [
        [
            name,
            str(ways[0]["operations"][name]),
            *(
                f"{100 * way['schedules'][name] / way['update']:.1f} % ({_short(way, name)})"
                for way in ways
            ),
        ]
        for name in ways[0]["schedules"]
    ]
    header = [
        f"{'compiled by XLA' if way['jit_compile'] else 'not compiled'}, "
        f"an update {way['update'] / 1000:.1f} µs"
        for way in ways
    ]
    return report.table(["", "operations", *header], rows)


def _short(way: dict[str, Any], name: str) -> str:
    nanoseconds = way["schedules"][name]
    return f"{nanoseconds:.0f} ns" if way["jit_compile"] else f"{nanoseconds / 1000:.1f} µs"


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
    """A column for each setting: what the schedules together come to, the control, the arms."""
    names = dict.fromkeys(name for column in columns for name in column["ratios"])
    first = [OURS, timing.CONTROL]
    rows = [
        [name, *(_cell(column["ratios"].get(name)) for column in columns)]
        for name in [*first, *(name for name in names if name not in first)]
    ]
    rows.insert(1, ["in words", *(words(column) for column in columns)])
    header = ["by a constant rate, a step of which takes", *map(title, columns)]
    return report.table(header, rows) + "\n"


def words(setting: dict[str, Any]) -> str:
    """What the schedules of this package together come to."""
    return timing.verdict_of_models(setting["ratios"], OURS, TARGET)


def _cell(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['ratio']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"


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
