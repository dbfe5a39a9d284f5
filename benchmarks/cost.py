"""What a schedule costs, counted: what XLA makes of an update, and what TensorFlow starts without.

Each fusion is a loop over memory that is started by itself. A schedule should add none that touches
weights. Without XLA (on a machine without a GPU, or under ``MirroredStrategy``) TensorFlow starts
each operation of a schedule by itself, so there a schedule is timed too, beside Keras's
``CosineDecay``: a graph of many evaluations at many steps, which are summed up.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, timing

CONSTANT, TEXTBOOK = "constant", "float32 formula"
BASE, EMPTY = "Keras `CosineDecay`", "the step itself"
CONTROL = "Keras `CosineDecay` again"
BASE_LR, MAX_LR = 1e-9, 6e-9  # so small that no weights move
# The variables of a network 784-512-512-10, as XLA sees them in an update.
SHAPES = ((784, 512), (512,), (512, 512), (512,), (512, 10), (10,))
INSTRUCTIONS = ("fusion", "while", "conditional", "custom-call")
PHASE = "remainder"  # what a cycle takes of the step, and nothing else in an update does
QUICK_RATES = (CONSTANT, "Triangular", "OneCycle", "CosineRestarts by 1.5")
VARIABLES = 20
EVALUATIONS = 100
SECONDS, QUICK_SECONDS = 0.02, 0.005
BLOCKS, QUICK_BLOCKS = 15, 3
_NOT_STARTED = ("Const", "Identity", "NoOp", "Placeholder")


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The counts of every optimizer and rate, and the time of an evaluation without XLA.

    Args:
        quick: whether to count for a few rates and Adam alone, and to take few ratios.
    """
    return {
        "counts": _counts(quick),
        "evaluations": {kind: _asked(kind) for kind in policies.optimizers()},
        "without_xla": _without_xla(quick),
    }


# The compiled step --------------------------------------------------------------------------------


def _counts(quick: bool) -> dict[str, dict[str, dict[str, int]]]:
    rates = {CONSTANT: BASE_LR} | policies.all_rates(BASE_LR, MAX_LR)
    rates |= {BASE: cosine_decay(), TEXTBOOK: peers.Textbook(BASE_LR, MAX_LR, policies.STEP_SIZE)}
    if quick:
        rates = {name: rates[name] for name in QUICK_RATES}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for kind, (make, hyperparameter) in policies.optimizers().items():
        if quick and kind != "Adam":
            continue
        counts[kind] = {name: instructions(make(rate)) for name, rate in rates.items()}
        both = clr.schedule_hyperparameters(
            make(rates["OneCycle"]), **{hyperparameter: rates["OneCycle"].momentum()}
        )
        counts[kind]["OneCycle, and of a hyperparameter"] = instructions(both)
    return counts


def instructions(optimizer: Any) -> dict[str, int]:
    """How often an update, compiled by XLA, has each of the instructions that cost."""
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in SHAPES]
    optimizer.build(variables)

    def update(*gradients: tf.Tensor) -> None:
        optimizer.apply(gradients, variables)

    gradients = [tf.zeros(shape) for shape in SHAPES]
    compiled = tf.function(update, jit_compile=True)
    program = compiled.experimental_get_compiler_ir(*gradients)(stage="optimized_hlo")
    # An instruction reads `%name = f32[512]{0} fusion(%argument, ...)`.
    found = {name: len(re.findall(rf" {name}\(", program)) for name in (*INSTRUCTIONS, PHASE)}
    every = re.findall(r"^ *(?:ROOT )?%\S+ = ", program, re.MULTILINE)  # those within fusions too
    return found | {"all": len(every)}


# Without XLA --------------------------------------------------------------------------------------


def _asked(kind: str) -> list[int]:
    """How often a step computes the rate: of Keras's optimizer, and with its momentum scheduled."""
    make, hyperparameter = policies.optimizers()[kind]
    triangular = policies.cyclical(BASE_LR, MAX_LR)["Triangular"]
    # The rate alone shall have a phase to count, so the hyperparameter has a wave without one.
    momentum = clr.OneCycle(MAX_LR, 10**6).momentum()
    return [
        _phases(make(triangular)),
        _phases(clr.schedule_hyperparameters(make(triangular), **{hyperparameter: momentum})),
    ]


def _phases(optimizer: Any) -> int:
    """How often the graph of an update takes the phase of a cycle."""
    variables = [keras.Variable(np.zeros(1, np.float32)) for _ in range(VARIABLES)]
    optimizer.build(variables)
    gradients = [tf.zeros(1) for _ in variables]
    step = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)
    found = step.get_concrete_function().graph.get_operations()
    return sum(operation.type == "FloorMod" for operation in found)


def schedules() -> dict[str, Any]:
    """The schedules that are timed without XLA."""
    cyclical = (BASE_LR, MAX_LR, policies.STEP_SIZE)
    return {
        "Triangular": clr.Triangular(*cyclical),
        "Triangular, asymmetric": clr.Triangular(*cyclical, 500),
        "Triangular2": clr.Triangular2(*cyclical),
        "ExpRange": clr.ExpRange(*cyclical, gamma=policies.GAMMA),
        "Cyclical, cosine": clr.Cyclical(*cyclical, wave="cosine"),
        "CosineRestarts": clr.CosineRestarts(MAX_LR, 1000),
        "CosineRestarts, peaks by 0.5": clr.CosineRestarts(MAX_LR, 1000, 1.0, 0.5),
        "OneCycle": clr.OneCycle(MAX_LR, 10**6),
        "OneCycle, linear": clr.OneCycle(MAX_LR, 10**6, anneal="linear"),
        "OneCycle, three phases": clr.OneCycle(MAX_LR, 10**6, three_phase=True),
        "CosineRestarts by 2": clr.CosineRestarts(MAX_LR, 1000, 2.0),
        "CosineRestarts by 1.5": clr.CosineRestarts(MAX_LR, 1000, 1.5),
        "CosineRestarts by 1.01": clr.CosineRestarts(MAX_LR, 1000, 1.01),
        "CosineRestarts by 1.5, peaks by 0.9": clr.CosineRestarts(MAX_LR, 1000, 1.5, 0.9),
        "Warmup of Triangular": clr.Warmup(clr.Triangular(*cyclical), 1000),
    }


def cosine_decay() -> Any:
    """Keras's schedule that all are compared with."""
    return keras.optimizers.schedules.CosineDecay(MAX_LR, 10**6)


def operations(rate: Any) -> int:
    """How many operations TensorFlow starts for one evaluation."""
    step = tf.TensorSpec((), tf.int64)
    graph = tf.function(lambda i: rate(i), autograph=False).get_concrete_function(step).graph
    return sum(operation.type not in _NOT_STARTED for operation in graph.get_operations())


def _without_xla(quick: bool) -> dict[str, Any]:
    """The microseconds of an evaluation by the base, and the ratios of the others to it."""
    blocks, seconds = (QUICK_BLOCKS, QUICK_SECONDS) if quick else (BLOCKS, SECONDS)
    rates = {CONTROL: cosine_decay(), EMPTY: lambda step: tf.cast(step, tf.float32)} | schedules()
    base = _graph(cosine_decay())
    calls = timing.steps_for(base, 1, seconds)

    def run(repeat: Callable[[int], float]) -> Callable[[], float]:
        return lambda: repeat(calls)

    arms = {name: run(_graph(rate)) for name, rate in rates.items()}
    taken, ratios = timing.interleaved(run(base), arms, blocks)
    return {
        "n": blocks,
        "evaluations": EVALUATIONS,
        "base_microseconds": 1e6 * statistics.median(taken) / calls / EVALUATIONS,
        "operations": {BASE: operations(cosine_decay())}
        | {name: operations(rate) for name, rate in rates.items()},
        "ratios": {name: timing.summary(found) for name, found in ratios.items()},
    }


def _graph(rate: Any) -> Callable[[int], float]:
    """A graph of evaluations, warmed up; it is run so many times, and the seconds returned."""

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


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    compiled = report.part("fusions", _compiled(result["counts"]))
    time = report.part("without XLA", _of_evaluations(result["without_xla"]))
    asked = report.part("evaluations", _of_optimizers(result["evaluations"]))
    return f"## The compiled step\n\n{compiled}\n\n## Without XLA\n\n{time}\n\n{asked}\n"


def _compiled(counts: dict[str, dict[str, dict[str, int]]]) -> str:
    adam = {name: n for name, of in counts["Adam"].items() if (n := _more(counts["Adam"], of))}
    by_a_factor = all(name.startswith("CosineRestarts by") for name in adam)
    which = "restarts that grow or shrink" if by_a_factor else "; ".join(adam)
    but = f"but {max(adam.values())} with {which}" if adam else "none with any"
    others = [
        _more(of, count) for kind, of in counts.items() if kind != "Adam" for count in of.values()
    ]
    control = [
        f"{kind} with {name}"
        for kind, of in counts.items()
        for name, count in of.items()
        if any(count[i] > of[CONSTANT][i] for i in INSTRUCTIONS[1:])
    ]
    phases = max(count[PHASE] for of in counts.values() for count in of.values())
    rows = [
        [name, *(_cell(of, of[name]) if name in of else "" for of in counts.values())]
        for name in next(iter(counts.values()))
    ]
    return f"""With Adam a schedule adds no fusion to the program that XLA makes of an update
({but}), since it becomes a part of one that Adam has anyway. The other optimizers gain
at most {max([0, *others])}, each of a single number. Loops, branches or calls that a constant rate
has not: {", ".join(control) or "none"}. The phase of a cycle is in the program
{"once" if phases == 1 else f"{phases} times"}, however many variables there are.

Fusions of an update of {len(SHAPES)} variables (a network 784-512-512-10) on the CPU, in
brackets those
that a constant rate has not, then all instructions, most of which are within fusions. XLA repeats
what it deems cheap, which may be all of a schedule, in front of the update of every variable.

{report.table(["learning rate", *counts], report.grouped(rows))}"""


def _more(of: dict[str, dict[str, int]], count: dict[str, int]) -> int:
    return count["fusion"] - of[CONSTANT]["fusion"]


def _cell(of: dict[str, dict[str, int]], count: dict[str, int]) -> str:
    more = _more(of, count)
    return f"{count['fusion']}{f' ({more:+d})' if more else ''}, {count['all']}"


def _of_evaluations(result: dict[str, Any]) -> str:
    ratios, counts = result["ratios"], result["operations"]
    empty = ratios[EMPTY]["ratio"]
    ours = {name: ratio["ratio"] for name, ratio in ratios.items() if name in schedules()}
    restarts = {name: ratio for name, ratio in ours.items() if "CosineRestarts by" in name}
    others = [ratio for name, ratio in ours.items() if name not in restarts]
    noise = timing.percent(timing.noise(ratios[CONTROL]))
    rows = [[BASE, str(counts[BASE]), "1", "1"]]
    rows += [
        [
            name,
            str(counts[name]),
            timing.cell(ratio),
            f"{(ratio['ratio'] - empty) / (1 - empty):.2f}",
        ]
        for name, ratio in ratios.items()
        if name != CONTROL
    ]
    header = ["rate", "operations", f"time by {BASE}", "less the sum"]
    return f"""Without XLA, as `fit` is on a machine without a GPU and under `MirroredStrategy`,
a schedule costs more than Keras's `CosineDecay`, and how much more follows from the operations that
TensorFlow starts: {min(others):.1f} to {max(others):.1f} times its time, and up to
{max(restarts.values()):.1f} times with restarts that grow. That is microseconds: an evaluation of
`CosineDecay` takes {result["base_microseconds"]:.2f} µs here.

The time of a graph of {result["evaluations"]} evaluations, which are summed up, by that with
`CosineDecay`; n = {result["n"]} ratios, noise ±{noise}. "{EMPTY}" has the steps in the
place of the rates; "less the sum" is the ratio of what is left when its time is subtracted from
both.

{report.table(header, rows)}"""


def _of_optimizers(asked: dict[str, list[int]]) -> str:
    often = [kind for kind, (keras_s, _) in asked.items() if keras_s > 1]
    rows = [[kind, *map(str, counts)] for kind, counts in asked.items()]
    header = ["optimizer", "of Keras", "of `schedule_hyperparameters`"]
    return f"""Most optimizers compute the rate once a step. On TensorFlow,
{" and ".join(often) or "none"} of
Keras computes it once, and once more for every variable, to decay the weights; an
optimizer of `schedule_hyperparameters` does so once.

How often the graph of a step computes the rate, with {VARIABLES} variables:

{report.table(header, rows)}"""


if __name__ == "__main__":
    print(markdown(measure()), end="")
