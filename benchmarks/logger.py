"""What the callbacks add to the time of ``fit``.

The same trainings of a small network run in turn, in one process: without a callback, and with
``LearningRateLogger``, for a rate of this package, one of Keras's and a constant, and with an event
file too. Each ratio is that of one pair, in alternating order. The control is a second run without
a callback. The callback's own share of the time of ``fit`` is taken in the same runs: it tells what
the ratios of a busy machine cannot.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import Any

import keras
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report, timing

ROUNDS, QUICK_ROUNDS = 11, 3
STEPS, EPOCHS = 500, 2  # an epoch of the paper's CIFAR-10 has as many
_BOUNDS = (1e-9, 6e-9, 100)
CONTROL, TYPICAL = "none (control)", "LearningRateLogger, Triangular2"


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The ratios of each callback.

    Args:
        quick: whether to take few of them.
    """
    rounds = QUICK_ROUNDS if quick else ROUNDS
    tf.get_logger().setLevel("ERROR")
    policy = clr.Triangular2(*_BOUNDS)
    cosine = keras.optimizers.schedules.CosineDecay(1e-9, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            CONTROL: (policy, None),
            TYPICAL: (policy, clr.LearningRateLogger()),
            "LearningRateLogger, constant rate": (1e-9, clr.LearningRateLogger()),
            "LearningRateLogger, CosineDecay": (cosine, clr.LearningRateLogger()),
            "LearningRateLogger with log_dir, Triangular2": (
                policy,
                clr.LearningRateLogger(log_dir=folder),
            ),
        }
        if quick:
            arms = {name: arms[name] for name in (CONTROL, TYPICAL)}
        measured = {name: _ratios(*arm, rounds) for name, arm in arms.items()}
    return {
        "rounds": rounds,
        "steps": STEPS * EPOCHS,
        "ratios": {name: timing.summary(ratios) for name, (ratios, _) in measured.items()},
        "shares": {name: statistics.median(shares) for name, (_, shares) in measured.items()},
    }


def _ratios(rate: Any, callback: Any, rounds: int) -> tuple[list[float], list[float]]:
    """The time with the callback by that without, and the callback's share of it, of one model."""
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
    own = _own_time(callback)
    for callbacks in (without, with_it, with_it):  # compiles, and traces a schedule of Keras
        seconds(callbacks)
    ratios, shares = [], []
    for round_ in range(rounds):
        own.clear()
        if round_ % 2:
            after, before = seconds(with_it), seconds(without)
        else:
            before, after = seconds(without), seconds(with_it)
        ratios.append(after / before)
        shares.append(sum(own) / after)
    return ratios, shares


def _own_time(callback: Any) -> list[float]:
    """A list that gets the seconds that each call of the callback takes from now on."""
    taken: list[float] = []

    def timed(method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            start = time.perf_counter()
            method(*args, **kwargs)
            taken.append(time.perf_counter() - start)

        return call

    if callback is not None:
        for name in ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end"):
            setattr(callback, name, timed(getattr(callback, name)))
    return taken


def markdown(result: dict[str, Any]) -> str:
    """The result as a sentence and a table."""
    shares = {name: share for name, share in result["shares"].items() if name != CONTROL}
    ratios = {name: result["ratios"][name] for name in shares}
    seen = timing.in_words(ratios, timing.noise(result["ratios"][CONTROL]))
    rows = [[name, timing.percent(share)] for name, share in shares.items()]
    typical = timing.percent(shares[TYPICAL])
    text = f"""The logger costs {typical} of the time of `fit` in a training whose steps are as
short as
these; what writes every rate to TensorBoard is `log_dir`. By the clock, of the ratios to `fit`
without a callback: {seen}.

The share of the time of `fit` that the callback's own code takes, of {result["steps"]:,} steps in
{EPOCHS} epochs of a small network (784-64-10, batches of 32, compiled by XLA, 50 steps a call);
the median of {result["rounds"]} runs.

{report.table(["callback", "own time"], rows)}"""
    return f"## Callbacks\n\n{report.part('logger', text)}\n"


if __name__ == "__main__":
    print(markdown(measure()), end="")
