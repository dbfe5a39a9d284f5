"""What trainings on handwritten digits come to between the bounds of a range test, and at them."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import range_test, report

SEEDS, QUICK_SEEDS = 6, 1
BATCH_SIZE, EPOCHS, STEP_SIZE = 64, 5, 50
CYCLE = "`Triangular`"

Data = tuple[Any, Any, Any, Any]


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The final validation accuracies of each rate, by seed, and how many seeds had no bounds.

    Args:
        quick: whether to take one seed.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    digits = _digits()
    seeds = QUICK_SEEDS if quick else SEEDS
    accuracies: dict[str, list[float]] = {}
    without = 0
    for seed in range(seeds):
        model = range_test.classifier(
            "convolutions", 1e-3, seed, metrics=["accuracy"], jit_compile=False
        )
        suggestion = clr.lr_range_test(
            model, *digits[:2], batch_size=BATCH_SIZE, num_steps=200, verbose=0
        ).suggest()
        if suggestion.base_lr is None or suggestion.max_lr is None:
            without += 1
            continue
        rates = {
            CYCLE: suggestion.schedule(clr.Triangular, step_size=STEP_SIZE),
            "constant `base_lr`": suggestion.base_lr,
            "constant `max_lr`": suggestion.max_lr,
            "constant `10 * max_lr`": 10 * suggestion.max_lr,
        }
        for name, rate in rates.items():
            accuracies.setdefault(name, []).append(_accuracy(digits, rate, seed))
    return {"seeds": seeds, "without bounds": without, "accuracies": accuracies}


def _digits() -> Data:
    """The images of the example, split like there."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    x, x_val, y, y_val = train_test_split(
        images, labels, train_size=1280, stratify=labels, random_state=0
    )
    return x, y, x_val, y_val


def _accuracy(digits: Data, rate: Any, seed: int) -> float:
    """The validation accuracy in % after a training at the rate."""
    x, y, x_val, y_val = digits
    model = range_test.classifier("convolutions", rate, seed, jit_compile=False)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return 100 * float(np.mean(np.argmax(model(x_val), axis=-1) == y_val))


def markdown(result: dict[str, Any]) -> str:
    """The result as a sentence and a table."""
    accuracies = result["accuracies"]
    cycle = accuracies.get(CYCLE, [])
    rows = []
    for name, of_rate in accuracies.items():
        spread = statistics.stdev(of_rate) if len(of_rate) > 1 else 0.0
        better = sum(a > b for a, b in zip(cycle, of_rate, strict=True))
        worse = sum(a < b for a, b in zip(cycle, of_rate, strict=True))
        compared = "" if name == CYCLE else f"{better} / {worse}"
        rows.append([name, f"{statistics.mean(of_rate):.2f} ± {spread:.2f} %", compared])
    header = ["learning rate", "validation accuracy", "cycle better / worse, seeds"]
    text = f"""Bounds that a range test suggests are good for a cycle between them: compare it
with a constant rate at the upper bound, which comes close, at the lower one, which is too slow, and
at ten times the upper one, where nothing is learnt.

The digits and the network of `docs/examples/digits.py` with Adam, {result["seeds"]} seeds, of which
{result["without bounds"]} found no bounds: a range test of 200 steps, then {EPOCHS} epochs (100
steps) with
`Triangular` between the bounds, one cycle of 2 * {STEP_SIZE} steps, and at constant rates; the
accuracy on the validation images after the last step, mean ± standard deviation.

{report.table(header, rows)}"""
    return f"## Digits\n\n{report.part('digits', text)}\n"


if __name__ == "__main__":
    print(markdown(measure()), end="")
