"""What the bounds that a range test suggests are worth.

They are held against what is known: on quadratics the edge of stability, above which gradient
descent diverges; on digits the accuracy of trainings between the bounds, at them and beyond. It
takes some minutes, so it is measured when it is asked for: ``--only suggestions``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import clr_schedules as clr
from benchmarks import range_test, report

CURVATURES = (1e-2, 1.0, 1e3)
NO_NOISE, FACTORS = "none", "factors"
IN_PROPORTION, ALIKE = "added, in proportion", "added, to all alike"
# The number of weights, and the noise of their gradients.
QUADRATICS = (
    *((1, noise) for noise in (NO_NOISE, FACTORS, IN_PROPORTION)),
    *((10, noise) for noise in (NO_NOISE, FACTORS, IN_PROPORTION, ALIKE)),
)
NOISE = 0.3
LOWEST, HIGHEST, STEPS = 1e-7, 1e5, 200
QUADRATIC_SEEDS, QUICK_QUADRATIC_SEEDS = 20, 2
OUTCOMES = ("0.1 to 1", "None", "below", "above")

DIGIT_SEEDS, QUICK_DIGIT_SEEDS = 10, 1
BATCH_SIZE, EPOCHS, STEP_SIZE = 64, 5, 50
CYCLE = "`Triangular`"

Floats = npt.NDArray[np.float32]
Data = tuple[Any, Any, Any, Any]


def measure(*, quick: bool = False) -> dict[str, Any]:
    """What the suggestions come to.

    Args:
        quick: whether to take few seeds.
    """
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    digits = _digits()  # here, since what they come from may not be installed
    quadratic_seeds, digit_seeds = (
        (QUICK_QUADRATIC_SEEDS, QUICK_DIGIT_SEEDS) if quick else (QUADRATIC_SEEDS, DIGIT_SEEDS)
    )
    return {
        "quadratic_seeds": quadratic_seeds,
        "quadratics": [
            {"weights": weights, "noise": noise, "curvature": curvature}
            | {"parts": _parts_of_the_edge(weights, noise, curvature, quadratic_seeds)}
            for weights, noise in QUADRATICS
            for curvature in CURVATURES
        ],
        "digit_seeds": digit_seeds,
        "digits": {
            "accuracy": _trainings(digits, digit_seeds, metrics=["accuracy"]),
            "loss": _trainings(digits, digit_seeds, metrics=[]),
        },
    }


# Quadratics ---------------------------------------------------------------------------------------


class _Quadratic(keras.Model):  # type: ignore[misc]
    """Half the sum of ``curvatures * weights ** 2``, from weights of 1.

    The data are the noise: what to multiply the gradient with, and what to add to it.
    """

    def __init__(self, curvatures: Floats) -> None:
        super().__init__()
        self.curvatures = tf.constant(curvatures)
        self.kernel = self.add_weight(shape=curvatures.shape, initializer="ones")
        self.built = True

    def train_step(self, data: Any) -> dict[str, Any]:
        """A step of the optimizer; the loss is the one before it, without noise."""
        (factors, added), _, _ = keras.utils.unpack_x_y_sample_weight(data)
        gradient = self.curvatures * self.kernel.value
        loss = tf.reduce_sum(gradient * self.kernel.value) / 2
        self.optimizer.apply([factors[0] * gradient + added[0]], [self.kernel])
        return {"loss": loss}


def _parts_of_the_edge(
    weights: int, noise: str, curvature: float, seeds: int
) -> list[float | None]:
    """For each seed, ``max_lr`` as a part of the rate above which gradient descent is unstable."""
    lowest = curvature if weights == 1 else curvature / 100
    curvatures = np.geomspace(lowest, curvature, weights).astype(np.float32)
    model = _Quadratic(curvatures)  # one for all seeds: a range test leaves it as it was
    model.compile(keras.optimizers.SGD(), jit_compile=False)
    parts: list[float | None] = []
    for seed in range(1 if noise == NO_NOISE else seeds):
        data = _noise(noise, curvatures, seed)
        result = clr.lr_range_test(
            model, data, min_lr=LOWEST, max_lr=HIGHEST, num_steps=STEPS, batch_size=1, verbose=0
        )
        max_lr = result.suggest().max_lr
        parts.append(None if max_lr is None else max_lr * curvature / 2)
    return parts


def _noise(kind: str, curvatures: Floats, seed: int) -> list[Floats]:
    """For each step the factors of the gradient, and what is added to it.

    The weights begin at 1, so that the curvatures are the first gradient.
    """
    keras.utils.set_random_seed(seed)  # of the order in which `fit` goes through them
    random = np.random.default_rng(seed)
    normal = random.standard_normal((STEPS, len(curvatures)), np.float32)
    factors, added = np.ones_like(normal), np.zeros_like(normal)
    if kind == FACTORS:
        factors += np.float32(NOISE) * normal
    elif kind == IN_PROPORTION:
        added += np.float32(NOISE) * curvatures * normal
    elif kind == ALIKE:
        added += np.float32(NOISE * np.linalg.norm(curvatures)) * normal
    return [factors, added]


def _outcome(part: float | None) -> str:
    if part is None:
        return "None"
    return "below" if part < 0.1 else "above" if part > 1 else "0.1 to 1"


def _as_wanted(counts: dict[str, int]) -> bool:
    """Without noise in range; with noise in range or None for 9 of 10, above for 1 of 20."""
    seeds = sum(counts.values())
    if seeds == 1:
        return counts["0.1 to 1"] == 1
    return 10 * (counts["0.1 to 1"] + counts["None"]) >= 9 * seeds and 20 * counts["above"] <= seeds


# Digits -------------------------------------------------------------------------------------------


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


def _trainings(digits: Data, seeds: int, metrics: Sequence[str]) -> dict[str, Any]:
    """For each seed the bounds, and the final validation accuracies of trainings at such rates.

    Args:
        digits: the data.
        seeds: how many.
        metrics: what the model of the range test is compiled with.
    """
    x, y, *_ = digits
    bounds: list[list[float | None]] = []
    accuracies: dict[str, list[float]] = {}
    for seed in range(seeds):
        model = range_test.classifier(
            "convolutions", 1e-3, seed, metrics=metrics, jit_compile=False
        )
        suggestion = clr.lr_range_test(
            model, x, y, batch_size=BATCH_SIZE, num_steps=200, verbose=0
        ).suggest()
        base_lr, max_lr = suggestion.base_lr, suggestion.max_lr
        bounds.append([base_lr, max_lr])
        if base_lr is None or max_lr is None:
            continue
        rates = {
            CYCLE: suggestion.schedule(clr.Triangular, step_size=STEP_SIZE),
            "constant `base_lr`": base_lr,
            "constant `max_lr`": max_lr,
            "constant `10 * max_lr`": 10 * max_lr,
        }
        for name, rate in rates.items():
            accuracies.setdefault(name, []).append(_accuracy(digits, rate, seed))
    return {"bounds": bounds, "accuracies": accuracies}


def _accuracy(digits: Data, rate: Any, seed: int) -> float:
    """The validation accuracy in % after a training at the rate."""
    x, y, x_val, y_val = digits
    model = range_test.classifier("convolutions", rate, seed, jit_compile=False)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return 100 * float(np.mean(np.argmax(model(x_val), axis=-1) == y_val))


# Tables -------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    return f"""## What a range test suggests

### Quadratics

`suggest().max_lr` by the edge of stability, 2 / L, of SGD on half the sum of the weights' squares
times their curvatures: one weight of curvature L, or ten with curvatures from L / 100 to L. The
test has {STEPS} steps from {LOWEST} to {HIGHEST:,.0f}, whatever L. The gradients have normal noise
of {100 * NOISE:.0f} %: factors on each of them; or added to each, in proportion to its first
value, or to all alike, by the norm of the first gradient. {result["quadratic_seeds"]} seeds with
noise, one without. Wanted: 0.1 to 1 without noise; with noise that or None in 18 of 20, and above 1
in at most one.

{_quadratics(result["quadratics"])}

### Digits

The handwritten digits and the network of `docs/examples/digits.py` with Adam,
{result["digit_seeds"]} seeds: a range test with the default range and 200
steps, which reads the bounds from the accuracy, or, with a model that has no metrics, from the
loss alone; then {EPOCHS} epochs (100 steps) with
`Triangular` between the bounds, one cycle of 2 * {STEP_SIZE} steps, and at constant rates. The
accuracy on the validation images after the last step; mean ± standard deviation over the seeds that
have both bounds.

{_digits_table(result["digits"])}

{_bounds(result["digits"])}
"""


def _quadratics(results: Iterable[dict[str, Any]]) -> str:
    """The counts of each outcome."""
    rows = []
    for result in results:
        parts = result["parts"]
        found = [part for part in parts if part is not None]
        outcomes = [_outcome(part) for part in parts]
        counts = {outcome: outcomes.count(outcome) for outcome in OUTCOMES}
        row = [result["noise"], str(result["weights"]), f"{result['curvature']:g}"]
        row += [str(count) for count in counts.values()]
        row.append(f"{statistics.median(found):.2f}" if found else "")
        row.append(f"{min(found):.2f} to {max(found):.2f}" if len(found) > 1 else "")
        rows.append([*row, "yes" if _as_wanted(counts) else "**no**"])
    header = ["noise", "weights", "L", *OUTCOMES, "median", "from … to", "as wanted"]
    return report.table(header, rows)


def _digits_table(results: dict[str, Any]) -> str:
    """The accuracies, and how they compare to the cycle's, seed by seed."""
    rows = []
    for reading, result in results.items():
        cycle = result["accuracies"].get(CYCLE, [])
        for name, accuracies in result["accuracies"].items():
            mean = statistics.mean(accuracies)
            spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
            better = sum(a > b for a, b in zip(cycle, accuracies, strict=True))
            worse = sum(a < b for a, b in zip(cycle, accuracies, strict=True))
            compared = "" if name == CYCLE else f"{better} / {worse}"
            rows.append([reading, name, f"{mean:.2f} ± {spread:.2f} %", compared])
    header = ["bounds from", "learning rate", "validation accuracy", "cycle better / worse, seeds"]
    return report.table(header, rows)


def _bounds(results: dict[str, Any]) -> str:
    """Where the bounds are, and how often there are none."""
    lines = []
    for reading, result in results.items():
        columns = dict(zip(("base_lr", "max_lr"), zip(*result["bounds"], strict=True), strict=True))
        missing = sum(None in pair for pair in result["bounds"])
        spans = []
        for name, rates in columns.items():
            found = [rate for rate in rates if rate is not None]
            none = f", None in {len(rates) - len(found)}"
            span = f"{min(found):.1e} to {max(found):.1e}" if found else "never found"
            spans.append(f"`{name}` {span}{none}")
        lines.append(
            f"- From the {reading}: {'; '.join(spans)}; a bound was missing in {missing} of "
            f"{len(result['bounds'])} seeds."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(measure()), end="")
