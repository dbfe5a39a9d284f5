"""What a schedule costs without XLA, beside Keras's ``CosineDecay``.

TensorFlow's ``fit`` compiles nothing on a machine without a GPU, nor under ``MirroredStrategy``.
TensorFlow then starts each operation of a schedule by itself. Two things are timed:

- a graph of 300 evaluations at 300 steps, which are summed up, for each schedule;
- a step of Keras's AdamW, which asks for the rate once for each of its 300 variables, and of the
  same optimizer made by ``schedule_hyperparameters``, which asks once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import clr_schedules as clr
from benchmarks import policies, report, timing

EVALUATIONS = 300
BASE, EMPTY, CONSTANT = "Keras `CosineDecay`", "the step itself", "constant"
CONTROL, CONSTANT_AGAIN = "Keras `CosineDecay` again", "constant again"
SECONDS, QUICK_SECONDS = 0.02, 0.01
BLOCKS, QUICK_BLOCKS = 15, 3
VARIABLES, SIZE = 300, 10
BASE_LR, MAX_LR = 1e-9, 6e-9  # so small that no weights move
_NOT_STARTED = ("Const", "Identity", "NoOp", "Placeholder")


def schedules() -> dict[str, tuple[Any, float | None]]:
    """The schedules, each with the ratio to the base that it is to keep below."""
    triangular = clr.Triangular(BASE_LR, MAX_LR, policies.STEP_SIZE)
    cyclical = (BASE_LR, MAX_LR, policies.STEP_SIZE)
    return {
        "Triangular": (triangular, 1.5),
        "Triangular, asymmetric": (clr.Triangular(*cyclical, 500), 1.5),
        "Triangular2": (clr.Triangular2(*cyclical), 1.7),
        "ExpRange": (clr.ExpRange(*cyclical, gamma=policies.GAMMA), 1.7),
        "Cyclical, cosine": (clr.Cyclical(*cyclical, wave="cosine"), 1.5),
        "CosineRestarts": (clr.CosineRestarts(MAX_LR, 1000), 1.5),
        "CosineRestarts, peaks by 0.5": (clr.CosineRestarts(MAX_LR, 1000, 1.0, 0.5), 1.7),
        "OneCycle": (clr.OneCycle(MAX_LR, 10**6), 2.0),
        "OneCycle, linear": (clr.OneCycle(MAX_LR, 10**6, anneal="linear"), 2.0),
        "OneCycle, three phases": (clr.OneCycle(MAX_LR, 10**6, three_phase=True), 2.0),
        "CosineRestarts by 2": (clr.CosineRestarts(MAX_LR, 1000, 2.0), 4.0),
        "CosineRestarts by 1.5": (clr.CosineRestarts(MAX_LR, 1000, 1.5), 4.0),
        "CosineRestarts by 1.01": (clr.CosineRestarts(MAX_LR, 1000, 1.01), 4.0),
        "CosineRestarts by 1.5, peaks by 0.9": (clr.CosineRestarts(MAX_LR, 1000, 1.5, 0.9), 4.0),
        "Warmup of Triangular": (clr.Warmup(triangular, 1000), None),
    }


def cosine_decay() -> Any:
    """Keras's schedule that all are compared with."""
    return keras.optimizers.schedules.CosineDecay(MAX_LR, 10**6)


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The ratios of every schedule, and of a step of AdamW.

    Args:
        quick: whether to take few ratios, in short runs.
    """
    blocks, seconds = (QUICK_BLOCKS, QUICK_SECONDS) if quick else (BLOCKS, SECONDS)
    return {
        "n": blocks,
        "evaluation": _evaluations(blocks, seconds),
        "adamw": _adamw(blocks, seconds),
    }


def operations(rate: Any) -> int:
    """How many operations TensorFlow starts for one evaluation."""
    step = tf.TensorSpec((), tf.int64)
    graph = tf.function(lambda i: rate(i), autograph=False).get_concrete_function(step).graph
    return sum(operation.type not in _NOT_STARTED for operation in graph.get_operations())


def _evaluations(blocks: int, seconds: float) -> dict[str, Any]:
    """The microseconds of an evaluation by the base, and the ratios of the others to it."""
    rates = {CONTROL: cosine_decay(), EMPTY: lambda step: tf.cast(step, tf.float32)}
    rates |= {name: schedule for name, (schedule, _) in schedules().items()}
    base = _graph(cosine_decay())
    calls = timing.steps_for(base, 1, seconds)
    arms = {name: _run(_graph(rate), calls) for name, rate in rates.items()}
    taken, ratios = timing.interleaved(_run(base, calls), arms, blocks)
    return {
        "base_microseconds": 1e6 * statistics.median(taken) / calls / EVALUATIONS,
        "operations": {BASE: operations(cosine_decay())}
        | {name: operations(rate) for name, rate in rates.items()},
        "ratios": {name: timing.summary(found) for name, found in ratios.items()},
    }


def _graph(rate: Any) -> Callable[[int], float]:
    """A graph of 300 evaluations, warmed up; it is run so many times, and the seconds returned."""

    def evaluations(iterations: Any) -> Any:
        # At different steps: TensorFlow would compute those of the same step once.
        return tf.add_n([rate(iterations + i) for i in range(EVALUATIONS)])

    step = tf.constant(12_345, tf.int64)
    graph = tf.function(evaluations, autograph=False).get_concrete_function(step)

    def run(calls: int) -> float:
        graph(step).numpy()  # the arm before it has filled the caches with its own data
        return timing.seconds(lambda: [graph(step) for _ in range(calls)][-1].numpy())

    run(3)
    return run


def _run(repeat: Callable[[int], float], calls: int) -> Callable[[], float]:
    return lambda: repeat(calls)


def _adamw(blocks: int, seconds: float) -> dict[str, Any]:
    """The milliseconds of a step with a constant rate, and the ratios of the others to it."""
    ours = schedules()
    rates = {CONSTANT: BASE_LR, CONSTANT_AGAIN: BASE_LR, BASE: cosine_decay()} | {
        name: ours[name][0] for name in ("Triangular", "OneCycle", "CosineRestarts by 1.5")
    }
    momentum = rates["Triangular"].momentum()
    steps = {(name, False): _step(keras.optimizers.AdamW(rate)) for name, rate in rates.items()}
    steps |= {
        (name, True): _step(
            clr.schedule_hyperparameters(keras.optimizers.AdamW(rate), beta_1=momentum)
        )
        for name, rate in rates.items()
        if name != CONSTANT_AGAIN
    }
    base = steps.pop((CONSTANT, False))
    calls = timing.steps_for(base, 1, seconds)
    arms = {key: _run(step, calls) for key, step in steps.items()}
    taken, ratios = timing.interleaved(_run(base, calls), arms, blocks)
    found = {key: timing.summary(of_arm) for key, of_arm in ratios.items()}
    return {
        "constant_milliseconds": 1e3 * statistics.median(taken) / calls,
        "keras": {name: found[name, False] for name in rates if name != CONSTANT},
        "beta_1": {name: found[name, True] for name in rates if name != CONSTANT_AGAIN},
    }


def _step(optimizer: Any) -> Callable[[int], float]:
    """The step of an optimizer, warmed up; it is taken so many times, and the seconds returned."""
    variables = [keras.Variable(keras.ops.zeros(SIZE)) for _ in range(VARIABLES)]
    gradients = [tf.fill([SIZE], 1e-3) for _ in range(VARIABLES)]
    optimizer.build(variables)
    step = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)

    def run(calls: int) -> float:
        step()  # the arm before it has filled the caches with its own data
        return timing.seconds(lambda: ([step() for _ in range(calls)], variables[-1].numpy()))

    run(3)
    return run


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    evaluation, adamw = result["evaluation"], result["adamw"]
    bounds = {name: bound for name, (_, bound) in schedules().items()}
    empty = evaluation["ratios"][EMPTY]["ratio"]
    rows = [[BASE, str(evaluation["operations"][BASE]), "1", "", "1", "", ""]]
    rows += [
        [
            name,
            str(evaluation["operations"][name]),
            *timing.cells(ratio, f"{(ratio['ratio'] - empty) / (1 - empty):.2f}"),
            str(bounds.get(name) or ""),
            within(ratio, bounds.get(name)),
        ]
        for name, ratio in evaluation["ratios"].items()
    ]
    header = ["rate", "operations", "ratio", "95 % interval", "less the sum", "at most", "met"]
    milliseconds = adamw["constant_milliseconds"]
    steps = [[CONSTANT, f"{milliseconds:.2f} ms", _step_cell(adamw["beta_1"][CONSTANT])]]
    steps += [
        [name, _step_cell(ratio), _step_cell(adamw["beta_1"].get(name))]
        for name, ratio in adamw["keras"].items()
    ]
    return f"""## Without XLA

What `fit` does on a machine without a GPU, and under `MirroredStrategy`. The median of n =
{result["n"]} ratios of runs in turn in one process, with its 95 % interval.

One graph of {EVALUATIONS} evaluations at {EVALUATIONS} steps, which are summed up, by the same
graph of Keras's `CosineDecay`, of which an evaluation takes
{evaluation["base_microseconds"]:.2f} µs; and the operations that TensorFlow starts for one
evaluation. "{EMPTY}" is a graph with the steps in the place of the rates. "Less the sum" is the
ratio of what is left when its time is subtracted from both.

{report.table(header, rows)}

A step of Keras's AdamW with {VARIABLES} variables of {SIZE} numbers, by one with a constant rate.
Keras asks for the rate once for every variable; an optimizer of `schedule_hyperparameters`, of
which `beta_1` follows a schedule too, asks once a step. How far "{CONSTANT_AGAIN}" is from 1 is the
noise.

{report.table(["rate", "AdamW", "with `beta_1` scheduled"], steps)}
"""


def _step_cell(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def within(ratio: dict[str, Any], bound: float | None) -> str:
    """Whether a ratio keeps below its bound, and no more than the interval says."""
    if bound is None:
        return ""
    if ratio["low"] <= bound < ratio["high"]:
        return "not to be told"
    return "yes" if ratio["high"] <= bound else "**no**"


if __name__ == "__main__":
    print(markdown(measure()), end="")
