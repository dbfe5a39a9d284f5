"""How the cost of a call grows: with the length of a vector, with the parts of a `Piecewise`."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report, step_time, structure

LENGTHS = tuple(10**n for n in range(8))
QUICK_LENGTHS = (1, 10**4)
PARTS, QUICK_PARTS = (1, 2, 5, 10, 20, 50, 100), (1, 10)
VALUES, QUICK_VALUES = 10**7, 10**5
SECONDS = 0.1


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The nanoseconds of a step by length, instructions and seconds by parts, those of `values`.

    Args:
        quick: whether to measure fewer lengths and parts.
    """
    lengths, parts = (QUICK_LENGTHS, QUICK_PARTS) if quick else (LENGTHS, PARTS)
    count = QUICK_VALUES if quick else VALUES
    rates = step_time.rates()
    return {
        "lengths": {
            name: {str(length): _per_step(rates[name], length) for length in lengths}
            for name in ("Triangular", "ExpRange", "CosineRestarts by 1.5")
        },
        "parts": {str(number): _piecewise(number) for number in parts},
        "values": {"steps": count}
        | {name: _seconds(lambda s=one: s.values(np.arange(count))) for name, one in rates.items()},
    }


def _per_step(schedule: Any, length: int) -> dict[str, float]:
    """The nanoseconds of a step: in a compiled call, and in NumPy."""
    steps = np.arange(length, dtype=np.int64)
    tensor = tf.constant(steps)
    compiled = tf.function(schedule, jit_compile=True)
    return {
        "compiled": 1e9 * _seconds(lambda: compiled(tensor).numpy()) / length,
        "values": 1e9 * _seconds(lambda: schedule.values(steps)) / length,
    }


def _seconds(call: Callable[[], Any]) -> float:
    """The median of runs after the first, which may compile."""
    call()
    taken: list[float] = []
    begun = time.perf_counter()
    while not taken or (time.perf_counter() - begun < SECONDS and len(taken) < 1000):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _piecewise(number: int) -> dict[str, float]:
    """The instructions of a compiled `Piecewise` of so many parts; the seconds to compile it."""
    parts = [clr.Triangular(1e-3 / (i + 1), 6e-3, 100 + i) for i in range(number)]
    schedule = clr.Piecewise(parts, [1000 * (i + 1) for i in range(number - 1)])
    compiled = tf.function(schedule, jit_compile=True)
    step = tf.constant(0, tf.int64)
    start = time.perf_counter()
    compiled(step).numpy()
    seconds = time.perf_counter() - start
    program = compiled.experimental_get_compiler_ir(step)(stage="optimized_hlo")
    return {
        "instructions": structure.count_instructions(program),
        "kernels": len(re.findall(r" fusion\(| call\(", program.partition("ENTRY")[2])),
        "seconds": seconds,
        "microseconds": 1e6 * _seconds(lambda: compiled(step).numpy()),
    }


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    lengths = result["lengths"]
    header = ["steps in one call"]
    header += [f"{name}, {way}" for name in lengths for way in ("compiled", "`values`")]
    rows = [
        [
            f"{int(length):,}",
            *(_short(of[length][way]) for of in lengths.values() for way in ("compiled", "values")),
        ]
        for length in next(iter(lengths.values()))
    ]
    parts = [
        [
            *(number, str(of["instructions"]), str(of["kernels"])),
            *(f"{of['seconds']:.2f}", f"{of['microseconds']:.0f}"),
        ]
        for number, of in result["parts"].items()
    ]
    values = result["values"]
    seconds = [[name, f"{s:.2f}"] for name, s in values.items() if name != "steps"]
    return f"""## Scaling

Absolute times, for what they are worth on a shared machine. Nanoseconds for each step of a vector,
as plots and logs ask for it; of a single step, nearly all is the call.

{report.table(header, rows)}

A `Piecewise` of so many `Triangular`, a step of which XLA compiles: all parts are computed in every
step, in one kernel.

{report.table(["parts", "instructions", "kernels", "seconds to compile", "µs of a call"], parts)}

Seconds for `values` of {values["steps"]:,} steps:

{report.table(["", "seconds"], seconds)}
"""


def _short(nanoseconds: float) -> str:
    return f"{nanoseconds:,.0f}" if nanoseconds >= 100 else f"{nanoseconds:.1f}"


if __name__ == "__main__":
    print(markdown(measure()), end="")
