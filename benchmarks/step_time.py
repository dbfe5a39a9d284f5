"""What a schedule adds to a train step: to its time, and to the program that XLA makes of it.

The time is that of ``model.fit``, of a network so small that a schedule could show. Each arm has
its own model and is warmed up; then the arms run in turn, in one process, ``constant, policy,
policy, constant, policy, ...``, so that each policy stands between two constants and what drifts
slowly cancels. A block gives one ratio: the geometric mean of its two policy runs by that of its
two constant runs. A second model with a constant rate is an arm like any other: its ratio to the
first is the noise.
"""

from __future__ import annotations

import gc
import math
import re
import statistics
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import report, timing
from benchmarks.accuracy import policies

CONSTANT, CONTROL = "constant", "constant again"
# jit_compile, steps_per_execution
SETTINGS = ((True, 50), (True, 1), (False, 50))
BLOCKS = 15
SECONDS = 0.2  # of one run
TARGET = 1.01

# The variables of a small network, as XLA sees them in an update.
SHAPES = ((784, 512), (512,), (512, 512), (512,), (512, 10), (10,))
INSTRUCTIONS = ("fusion", "while", "conditional", "custom-call")
PHASE = "remainder"  # what a schedule takes of the step, and nothing else in an update does


def measure(blocks: int = BLOCKS) -> dict[str, Any]:
    """The ratios of every setting and policy, and the counts of instructions.

    Args:
        blocks: the ratios to take of each.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    return {
        "n": blocks,
        "times": [
            {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
            | _times(jit_compile, steps_per_execution, blocks)
            for jit_compile, steps_per_execution in SETTINGS
        ],
        "instructions": {name: _instructions(rate) for name, rate in _rates().items()},
    }


def _rates() -> dict[str, Any]:
    """The learning rates to compare; so small that no arm's weights move and all compute alike."""
    return {CONSTANT: 1e-9} | policies(1e-9, 6e-9)


def _times(jit_compile: bool, steps_per_execution: int, blocks: int) -> dict[str, Any]:
    """The microseconds of a step with a constant rate, and every other arm's ratio to it."""
    rates = _rates()
    models = {
        name: _model(rate, jit_compile, steps_per_execution)
        for name, rate in {CONTROL: rates[CONSTANT], **rates}.items()
    }
    data = timing.endless(784)
    # A run is a multiple of an execution, so that no other program is compiled for its end.
    steps = steps_per_execution
    for model in models.values():
        _fit(model, data, steps)
    while (seconds := _fit(models[CONSTANT], data, steps)) < SECONDS / 2:
        steps *= 2
    steps = math.ceil(steps * SECONDS / seconds / steps_per_execution) * steps_per_execution
    for model in models.values():
        _fit(model, data, steps)

    gc.freeze()  # what is there by now would take longer to go through than a run takes
    others = [name for name in models if name != CONSTANT]
    ratios: dict[str, list[float]] = {name: [] for name in others}
    constants = [_fit(models[CONSTANT], data, steps)]
    for block in range(blocks):
        for i in range(len(others)):
            name = others[(i + block) % len(others)]
            pair = [_fit(models[name], data, steps) for _ in range(2)]
            constants.append(_fit(models[CONSTANT], data, steps))
            ratios[name].append(math.sqrt(math.prod(pair) / math.prod(constants[-2:])))
    gc.unfreeze()
    return {
        "steps": steps,
        "constant_microseconds": 1e6 * statistics.median(constants) / steps,
        "ratios": {name: timing.summary(ratios[name]) for name in others},
    }


def _model(rate: Any, jit_compile: bool, steps_per_execution: int) -> Any:
    """A small classifier of images, compiled with Adam."""
    keras.utils.set_random_seed(timing.SEED)
    layers = [keras.Input((784,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def _fit(model: Any, data: tf.data.Dataset, steps: int) -> float:
    """The seconds that ``fit`` takes for so many steps."""
    return timing.seconds(lambda: model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0))


def _instructions(rate: Any) -> dict[str, int]:
    """How often an update by Adam, compiled by XLA, has each of the instructions that cost."""
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in SHAPES]
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    def update(*gradients: tf.Tensor) -> None:
        optimizer.apply(gradients, variables)

    gradients = [tf.zeros(shape) for shape in SHAPES]
    compiled = tf.function(update, jit_compile=True)
    program = compiled.experimental_get_compiler_ir(*gradients)(stage="optimized_hlo")
    # An instruction reads `%name = f32[512]{0} fusion(%argument, ...)`.
    return {name: len(re.findall(rf" {name}\(", program)) for name in (*INSTRUCTIONS, PHASE)}


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables: the times of each setting, and the instructions."""
    counts = result["instructions"]
    differ = [
        name
        for name, count in counts.items()
        if any(count[instruction] != counts[CONSTANT][instruction] for instruction in INSTRUCTIONS)
        or count[PHASE] != (name != CONSTANT)
    ]
    verdict = f"**Not so: {', '.join(differ)}.**" if differ else "So it is with all."
    rows = ([name, *(str(n) for n in count.values())] for name, count in counts.items())
    return f"""## Step time

`model.fit` of a small network (784-128-10, batches of 32, Adam): the time with a schedule divided
by the time with a constant rate. Each ratio is of two runs to the two constant runs around them;
the median of n = {result["n"]} ratios, with the 95 % interval of a bootstrap. "{CONTROL}" is a
second model with the same constant rate: how far its interval reaches from 1 is the noise.
"≤ {TARGET}" stands only where both the interval and the noise allow it. Of a dozen such intervals
one or so misses by chance.

{"".join(map(_section, result["times"]))}### The update alone

Instructions in the program that XLA makes of an update by Adam of {len(SHAPES)} variables (those
of a network 784-512-512-10). A schedule should have as many as a constant rate, and one `{PHASE}`
more: its phase, computed once and not in the update of every variable. {verdict}

{report.table(["learning rate", *INSTRUCTIONS, PHASE], rows)}
"""


def _section(setting: dict[str, Any]) -> str:
    """The table of one setting."""
    jit_compile, executions = setting["jit_compile"], setting["steps_per_execution"]
    microseconds, steps = setting["constant_microseconds"], setting["steps"]
    control = setting["ratios"][CONTROL]
    noise = timing.noise(control)
    words = {
        name: timing.verdict(ratio, noise, TARGET) for name, ratio in setting["ratios"].items()
    } | {CONTROL: timing.of_noise(noise)}
    rows = ([name, *timing.cells(setting["ratios"][name], words[name])] for name in words)
    return f"""### `jit_compile={jit_compile}, steps_per_execution={executions}`

{microseconds:.0f} µs per step with a constant rate, {steps:,} steps per run.

{report.table(["learning rate", "ratio", "95 % interval", "in words"], rows)}

"""


if __name__ == "__main__":
    print(markdown(measure()), end="")
