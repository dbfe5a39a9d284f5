"""What the callbacks add to the time of ``fit``.

The same trainings of a small network run in turn, in one process: without a callback, and with
``LearningRateLogger``, for a rate of this package, one of Keras's and a constant, and with an event
file too. Each ratio is that of one pair, in alternating order. The control is a second run without
a callback.
"""

from __future__ import annotations

import tempfile
from typing import Any

import keras
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report, timing

ROUNDS = 40
STEPS, EPOCHS = 500, 2  # an epoch of the paper's CIFAR-10 has as many
TARGET = 1.01
_BOUNDS = (1e-9, 6e-9, 100)
CONTROL = "none (control)"


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """The ratios of each callback.

    Args:
        rounds: the ratios to take of each.
    """
    tf.get_logger().setLevel("ERROR")
    policy = clr.Triangular2(*_BOUNDS)
    cosine = keras.optimizers.schedules.CosineDecay(1e-9, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            CONTROL: (policy, None),
            "LearningRateLogger, Triangular2": (policy, clr.LearningRateLogger()),
            "LearningRateLogger, constant rate": (1e-9, clr.LearningRateLogger()),
            "LearningRateLogger, CosineDecay": (cosine, clr.LearningRateLogger()),
            "LearningRateLogger with log_dir, Triangular2": (
                policy,
                clr.LearningRateLogger(log_dir=folder),
            ),
        }
        return {
            "rounds": rounds,
            "steps": STEPS * EPOCHS,
            "ratios": {
                name: timing.summary(_ratios(rate, callback, rounds))
                for name, (rate, callback) in arms.items()
            },
        }


def _ratios(rate: Any, callback: Any, rounds: int) -> list[float]:
    """The time with the callback by that without, of one model."""
    keras.utils.set_random_seed(timing.SEED)
    model = keras.Sequential(
        [
            keras.layers.Input((784,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
        steps_per_execution=50,
    )
    data = timing.endless(784)

    def seconds(callbacks: list[Any]) -> float:
        return timing.seconds(
            lambda: model.fit(
                data,
                steps_per_epoch=STEPS,
                epochs=EPOCHS,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
        )

    without: list[Any] = []
    with_it = [] if callback is None else [callback]
    for callbacks in (without, with_it, with_it):  # compiles, and traces a schedule of Keras
        seconds(callbacks)
    ratios = []
    for round_ in range(rounds):
        if round_ % 2:
            after, before = seconds(with_it), seconds(without)
        else:
            before, after = seconds(without), seconds(with_it)
        ratios.append(after / before)
    return ratios


def markdown(result: dict[str, Any]) -> str:
    """The section of the report."""
    ratios = result["ratios"]
    noise = timing.noise(ratios[CONTROL])
    rows = [
        [
            name,
            *timing.cells(
                ratio,
                timing.of_noise(noise) if name == CONTROL else timing.verdict(ratio, noise, TARGET),
            ),
        ]
        for name, ratio in ratios.items()
    ]
    return f"""
## Callbacks

The time of `fit` with a callback by that without, of {result["steps"]:,} steps in {EPOCHS} epochs
of a small network (784-64-10, batches of 32, compiled by XLA, 50 steps per execution): the shorter
a step, the more a callback would show. The median of {result["rounds"]} pairs of runs in one
process, in alternating order, with its 95 % interval.

{report.table(["callback", "time ratio", "95 % interval", "that is"], rows)}
"""
