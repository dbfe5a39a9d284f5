"""What a rate for every layer costs without XLA: the time of a step of AdamW with many variables.

Keras's AdamW computes its rate anew for the weight decay of every variable. An optimizer of
``scale_learning_rates`` computes the rate once a step, and each schedule of multipliers once. The
variables are small, so that what is timed are the operations, and not the memory that they go
through. The times are those of the processor, since the threads of a machine that does other things
too have to wait.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report, timing

VARIABLES = 60
SHAPE = (32,)
LEVELS = 12
# Steps with a constant rate and of each other kind; ratios to take of each; calls in a run.
CONSTANTS, OTHERS, BLOCKS = 6, 3, 5
QUICK_CONSTANTS, QUICK_OTHERS, QUICK_BLOCKS = 4, 1, 2
CALLS = 10
RATE = 1e-9  # so small that no weights move
CONSTANT = "AdamW, constant"
KERAS = "AdamW, `OneCycle`"
SCALED = "`scale_learning_rates`"
LIMIT = 1.1


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The time of a step with a constant rate, and the ratios of the others to it.

    Args:
        quick: whether to make few steps, and to take few ratios.
    """
    # TensorFlow takes the steps of several optimizers for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    constants, others = (QUICK_CONSTANTS, QUICK_OTHERS) if quick else (CONSTANTS, OTHERS)
    kinds = optimizers()
    # In a random order, since an earlier one may lie better in memory.
    order = [name for name in kinds for _ in range(constants if name == CONSTANT else others)]
    random.Random(timing.SEED).shuffle(order)
    clock = _step(kinds[CONSTANT]())
    arms = {i: _step(kinds[name]()) for i, name in enumerate(order)}
    taken, ratios = timing.interleaved(clock, arms, QUICK_BLOCKS if quick else BLOCKS)
    steps: dict[str, list[float]] = {name: [] for name in kinds}
    for i, name in enumerate(order):
        steps[name].append(round(statistics.median(ratios[i]), 5))
    timing.tidy()
    return {
        "base_milliseconds": 1e3 * statistics.median(taken) / CALLS,
        "steps": steps,
        "ratios": timing.contrasts(
            steps, CONSTANT, {name: [name] for name in kinds if name != CONSTANT}
        ),
    }


def optimizers() -> dict[str, Callable[[], Any]]:
    """What makes the optimizers that are compared with AdamW at a constant rate, which is first."""
    adamw, scaled = keras.optimizers.AdamW, clr.scale_learning_rates
    one_cycle = clr.OneCycle(RATE, 10**6)
    half = f"level_[0-{LEVELS // 2 - 1}]"
    decay = {f"level_{i}": 0.75 ** (LEVELS - 1 - i) for i in range(LEVELS)}
    unfrozen = {half: clr.Piecewise([0.0, 0.1], [1000])}
    return {
        CONSTANT: lambda: adamw(RATE),
        KERAS: lambda: adamw(one_cycle),
        f"{SCALED}, constant, 2 groups": lambda: scaled(adamw(RATE), {half: 0.1}),
        f"{SCALED}, `OneCycle`, 2 groups": lambda: scaled(adamw(one_cycle), {half: 0.1}),
        f"{SCALED}, `OneCycle`, {LEVELS} levels": lambda: scaled(adamw(one_cycle), decay),
        f"{SCALED}, `OneCycle`, half unfrozen": lambda: scaled(adamw(one_cycle), unfrozen),
    }


def _step(optimizer: Any) -> Callable[[], float]:
    """Makes a run of a few steps without XLA, which returns the seconds of the processor."""
    variables = [
        keras.Variable(np.zeros(SHAPE, np.float32), name=f"level_{i * LEVELS // VARIABLES}")
        for i in range(VARIABLES)
    ]
    optimizer.build(variables)
    gradients = [tf.fill(SHAPE, 1e-3) for _ in variables]
    graph = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)
    step = graph.get_concrete_function()

    def steps() -> None:
        for _ in range(CALLS):
            step()
        optimizer.iterations.numpy()

    steps()
    return lambda: timing.seconds(steps, time.process_time)


def markdown(result: dict[str, Any]) -> str:
    """The result as a sentence and a table."""
    ratios = result["ratios"]
    noise = timing.percent(timing.noise(ratios[timing.CONTROL]))
    ours = {name: ratio for name, ratio in ratios.items() if name.startswith(SCALED)}
    worst = max(ratio["ratio"] for ratio in ours.values())
    within = f"where {LIMIT} is promised" if worst <= LIMIT else f"**above the {LIMIT} promised**"
    counts = {name: len(steps) for name, steps in result["steps"].items()}
    rows = [[CONSTANT, "1"], *([name, timing.cell(ratio)] for name, ratio in ratios.items())]
    text = f"""Without XLA, a step of AdamW with a rate for every layer takes at most
{worst:.2f} of the time of a step of Keras's AdamW with a constant rate, {within}. A step of Keras's
AdamW with `OneCycle` takes {ratios[KERAS]["ratio"]:.2f}, since it computes the rate for every
variable.

The time of the processor for a step with {VARIABLES} variables of {SHAPE[0]} numbers, by
that with a constant rate ({result["base_milliseconds"]:.1f} ms here), of {counts[CONSTANT]} steps
that are made alike with a constant rate and {counts[KERAS]} of each other kind; noise ±{noise}.

{report.table(["optimizer and rate", "time"], rows)}"""
    return f"## Rates of layers without XLA\n\n{report.part('rates of layers', text)}\n"


if __name__ == "__main__":
    print(markdown(measure()), end="")
