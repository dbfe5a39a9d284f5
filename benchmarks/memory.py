"""Whether a long training with a schedule and a logger keeps memory: it should keep none."""

from __future__ import annotations

import gc
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report, step_time, timing

STEPS, QUICK_STEPS = 100_000, 10_000
EXECUTIONS = 500
EPOCHS = 10


def measure(*, quick: bool = False) -> dict[str, Any]:
    """What is kept after a training of so many steps, above what was kept after a tenth of it.

    Args:
        quick: whether to take a tenth of the steps.
    """
    tf.get_logger().setLevel("ERROR")
    steps = QUICK_STEPS if quick else STEPS
    triangular = clr.Triangular2(*step_time.BOUNDS)
    logger = clr.LearningRateLogger()
    arms = {
        "constant rate": (1e-9, []),
        "Triangular2": (triangular, []),
        "Triangular2, LearningRateLogger": (triangular, [logger]),
    }
    return {
        "steps": steps,
        "kept": {name: _kept(rate, callbacks, steps) for name, (rate, callbacks) in arms.items()},
    }


def _kept(rate: Any, callbacks: list[Any], steps: int) -> dict[str, float]:
    """The bytes by which Python's memory and the process have grown, for each step."""
    keras.utils.set_random_seed(timing.SEED)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
        steps_per_execution=EXECUTIONS,
    )
    data = timing.endless(8)

    def train(epochs: int) -> None:
        model.fit(
            data,
            steps_per_epoch=steps // EPOCHS,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )

    train(1)
    tracemalloc.start()
    gc.collect()
    python, process = tracemalloc.get_traced_memory()[0], _resident()
    train(EPOCHS)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - python, _resident() - process
    tracemalloc.stop()
    return {"python": grown[0] / steps, "process": grown[1] / steps}


def _resident() -> int:
    """The bytes of memory that the process has."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux: the most that it had, which is no less
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


def markdown(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    rows = [
        [name, f"{kept['python']:.2f}", f"{kept['process']:.1f}"]
        for name, kept in result["kept"].items()
    ]
    return f"""## Memory

Bytes per step by which a process has grown after {result["steps"]:,} steps of `fit` in {EPOCHS}
epochs, {EXECUTIONS} steps per execution, the first epoch before that not counted: what Python has
allocated (tracemalloc), and the memory of the process, which others decide on too. The logger
keeps the iteration and the rate of every step, which is its purpose.

{report.table(["", "Python", "process"], rows)}
"""


if __name__ == "__main__":
    print(markdown(measure()), end="")
