"""What XLA makes of an update on the CPU: the instructions that cost, counted, not timed.

Each fusion is a loop over memory that is started by itself. A schedule should add none, except
where an optimizer has no other scalar to compute: one then, and that one is not among the loops
over the weights.
"""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import policies, report, step_time

# The variables of a network, as XLA sees them in an update.
SHAPES = ((784, 512), (512,), (512, 512), (512,), (512, 10), (10,))
INSTRUCTIONS = ("fusion", "while", "conditional", "custom-call")
PHASE = (
    "remainder"  # what a cyclical schedule takes of the step, and nothing else in an update does
)
QUICK_RATES = (step_time.CONSTANT, "Triangular", "OneCycle", "CosineRestarts by 1.5")


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The counts of every optimizer and rate.

    Args:
        quick: whether to count for a few rates and Adam alone.
    """
    rates = {step_time.CONSTANT: 1e-9} | policies.all_rates(1e-9, 6e-9) | step_time.peer_rates()
    if quick:
        rates = {name: rates[name] for name in QUICK_RATES}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for kind, (make, hyperparameter) in policies.optimizers().items():
        if quick and kind != "Adam":
            continue
        counts[kind] = {name: _instructions(make(rate)) for name, rate in rates.items()}
        both = clr.schedule_hyperparameters(
            make(rates["OneCycle"]), **{hyperparameter: rates["OneCycle"].momentum()}
        )
        counts[kind][f"OneCycle, and of `{hyperparameter}`"] = _instructions(both)
    return {"counts": counts}


def _instructions(optimizer: Any) -> dict[str, int]:
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
    return found | {"all": count_instructions(program)}


def count_instructions(program: str) -> int:
    """How many instructions an optimized program has, those within fusions included."""
    return len(re.findall(r"^ *(?:ROOT )?%\S+ = ", program, re.MULTILINE))


def markdown(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    counts = result["counts"]
    more = [
        f"{kind} with {name} ({count['fusion'] - of[step_time.CONSTANT]['fusion']:+d})"
        for kind, of in counts.items()
        for name, count in of.items()
        if count["fusion"] != of[step_time.CONSTANT]["fusion"]
    ]
    control = [
        f"{kind} with {name}"
        for kind, of in counts.items()
        for name, count in of.items()
        if any(count[i] > of[step_time.CONSTANT][i] for i in INSTRUCTIONS[1:])
    ]
    names = dict.fromkeys(name for of in counts.values() for name in of)
    rows = [
        [name, *(_cell(of[name]) if name in of else "" for of in counts.values())] for name in names
    ]
    return f"""## The program of an update

Fusions in the program that XLA makes for the CPU of an update of {len(SHAPES)} variables (those of
a network 784-512-512-10); in brackets the `{PHASE}` instructions, which are the phases of cycles:
as many as there are in one schedule, so the phase is computed once, not in the update of every
variable; then all instructions, most of which are within fusions.

{report.table(["learning rate", *counts], rows)}

Another number of fusions than with a constant rate: {", ".join(more) or "none"}.

Those are fusions of a single number. Adam has one anyway, for its corrected rate, of which the
whole schedule becomes a part. For the others XLA repeats what it deems cheap, which may be all of
the schedule, in front of the update of every variable (hence the instructions), and gives fusions
of their own to a phase and to a power, which it does not repeat.

Loops, branches or calls that a constant rate has not: {", ".join(control) or "none"}.
"""


def _cell(count: dict[str, int]) -> str:
    return f"{count['fusion']} ({count[PHASE]}), {count['all']}"


if __name__ == "__main__":
    print(markdown(measure()), end="")
