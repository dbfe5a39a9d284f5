"""How far a float32 learning rate, computed under XLA, is from the formula in real numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, truth

BASE_LR, MAX_LR = 1e-3, 6e-3
STEP_SIZE = policies.STEP_SIZE
LIMITS = {f"10^{decade}": 10**decade for decade in (*range(3, 10), 12)} | {"2^53": truth.FAR}
QUICK_LIMITS = ("10^3", "2^53")
FORMULA, COSINE = "float32 formula", "Keras cosine"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "accuracy.png"
SAMPLES = 200_000
SEED = 20_150_603

Steps = npt.NDArray[np.int64]
Rates = npt.NDArray[Any]
Error = dict[str, float | None]


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The worst errors of every schedule and limit.

    Args:
        quick: whether to take a few of the limits.
    """
    ours = policies.all_rates(BASE_LR, MAX_LR) | policies.all_momenta(BASE_LR, MAX_LR)
    samples = {label: sample(LIMITS[label]) for label in (QUICK_LIMITS if quick else LIMITS)}
    restarts = {
        label: np.concatenate([steps, around_restarts(ours, LIMITS[label])])
        for label, steps in samples.items()
    }
    cosine = (BASE_LR, MAX_LR, STEP_SIZE // 2)
    peer_rates = {
        FORMULA: errors(
            lambda steps: peers.textbook(steps, BASE_LR, MAX_LR, STEP_SIZE),
            true_rates(ours["Triangular"]),
            samples,
        ),
        COSINE: errors(
            peers.keras_cosine(*cosine),
            lambda steps: peers.keras_cosine_values(steps, *cosine),
            samples,
        ),
    }
    rates = {name: errors(one, true_rates(one), restarts) for name, one in ours.items()}
    return {"n": SAMPLES, "seed": SEED, "peers": peer_rates, "rates": rates}


def sample(limit: int) -> Steps:
    """Random steps below the limit, and the turning points of the last cycles before it."""
    steps = np.random.default_rng(SEED).integers(0, limit, SAMPLES, dtype=np.int64)
    # Of the cosine's cycles of 1000 steps too, and the steps next to each.
    turns = (limit - 1) // 1000 * 1000 - 1000 * np.arange(1000, dtype=np.int64)
    turns = (turns[:, None] + np.array([-1, 0, 1])).ravel()
    return np.concatenate([steps, turns[(turns >= 0) & (turns < limit)]])


def around_restarts(schedules: dict[str, Any], limit: int) -> Steps:
    """The starts of the cycles of all `CosineRestarts` among these, and the steps around."""
    starts = [
        truth.restarts(one, limit)
        for one in schedules.values()
        if isinstance(one, clr.CosineRestarts)
    ]
    steps = np.concatenate([start + off for start in starts for off in (-1, 0, 1)])
    return steps[(steps >= 0) & (steps < limit)]


def true_rates(schedule: Any) -> Callable[[Steps], Rates]:
    """The formula of a schedule, which shares no line with the package."""
    return lambda steps: truth.rates(schedule, steps)


def errors(
    schedule: Callable[[Any], Any],
    formula: Callable[[Steps], Rates],
    samples: dict[str, Steps],
) -> dict[str, Error]:
    """The worst errors of a schedule, compiled by XLA, over each of the samples.

    Args:
        schedule: what makes a float32 tensor of rates from an int64 tensor of steps.
        formula: what makes the same from an array, in float64 or more.
        samples: the steps.

    Returns:
        For each sample ``ulp``, the error in units of the last place, and ``relative``, that by
        the smaller of rate and truth; None where it is no finite number.
    """
    signature = [tf.TensorSpec([None], tf.int64)]
    compiled = tf.function(schedule, input_signature=signature, jit_compile=True)
    return {
        label: _error(np.asarray(compiled(steps)), formula(steps))
        for label, steps in samples.items()
    }


def _error(rate: npt.NDArray[Any], true: Rates) -> Error:
    if rate.dtype != np.float32:
        raise TypeError(f"A float32 rate was to be measured. Received: {rate.dtype}")
    off = np.abs(rate - true)
    # Below the smallest normal number all frameworks flush to zero; nor is a right 0 off.
    counts = (off > 0) & (true >= np.finfo(np.float32).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = {
            "ulp": float(np.max(truth.ulps(rate, true))),
            "relative": float(np.max(np.where(counts, off / np.minimum(rate, true), 0))),
        }
    return {name: value if np.isfinite(value) else None for name, value in worst.items()}


def worst(result: dict[str, Any], label: str) -> Error:
    """The worst of all schedules of this package, by both measures."""
    of_all = [of[label] for of in result["rates"].values()]
    return {name: max(error[name] for error in of_all) for name in ("ulp", "relative")}


def markdown(result: dict[str, Any]) -> str:
    """The result as a sentence and a table."""
    labels = list(next(iter(result["rates"].values())))
    of_all = {label: worst(result, label) for label in labels}
    highest = max(of_all.values(), key=lambda error: error["ulp"] or 0)
    columns = {**result["peers"], "this package, the worst": of_all}
    rows = ([label, *(_both(column[label]) for column in columns.values())] for label in labels)
    table = report.part("accuracy", report.table(["steps below", *columns], rows))
    return f"""## Accuracy

A rate of this package is as near to the formula as a float32 can be, at every step: off by at most
{_ulp(highest["ulp"] or 0)} units in the last place (ulp), where half a unit is the best. The
formula in
float32, and Keras's restarts, lose a digit with every factor of ten in the step.

{table}

The worst error of a rate in float32, compiled by XLA, in ulp; in brackets the worst relative error.
Meaningless: off by a factor above 2, where the whole range, from {BASE_LR} to {MAX_LR}, has a
factor
of {MAX_LR / BASE_LR:.0f}. Over {result["n"]:,} random steps below each limit, the turning points
of the last
cycles before it, and the steps around all restarts; half-cycles of {STEP_SIZE:,} steps.

- {FORMULA}: the paper's, from the raw step, as TensorFlow Addons had it.
- {COSINE}: `CosineDecayRestarts` of Keras, cycles of {STEP_SIZE // 2:,} steps that do not grow.
- This package: the worst of {len(result["rates"])} schedules and momenta, each kind with all of
  its branches.

Each is held against its own formula, in more digits than float64 has, from an exact integer phase
(`benchmarks/truth.py`).
"""


def _both(error: Error) -> str:
    ulp, relative = error["ulp"], _relative(error)
    return relative if ulp is None or relative == "meaningless" else f"{_ulp(ulp)} ({relative})"


def _relative(error: Error) -> str:
    relative = error["relative"]
    return "meaningless" if relative is None or relative > 1 else _scientific(relative)


def _ulp(x: float) -> str:
    """Four digits of what is held against a bound of half a unit, two of all else."""
    if x < 1:
        return f"{x:.4f}"
    return f"{x:.{1 if x < 10 else 0}f}" if x < 1000 else _scientific(x)


def _scientific(x: float) -> str:
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def draw(result: dict[str, Any]) -> None:
    """Draws ``docs/images/accuracy.png``: the worst error against the number of steps."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    labels = list(next(iter(result["rates"].values())))
    lines = result["peers"] | {"this package": {label: worst(result, label) for label in labels}}
    looks = (("#D55E00", "s"), ("#808080", "D"), ("#0072B2", "o"))
    for (name, of), (color, marker) in zip(lines.items(), looks, strict=True):
        points = [
            (LIMITS[label], error["relative"])
            for label, error in of.items()
            if error["relative"] is not None
        ]
        ax.loglog(*zip(*points, strict=True), marker=marker, color=color, label=name, markersize=4)
    ax.axhline(2.0**-24, color="black", linewidth=0.8, linestyle=":")
    ax.annotate(
        "half a unit in the last place",
        (1, 2.0**-24),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -11),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize="small",
    )
    ax.set_ylim(bottom=1e-8)
    ax.axhline(1, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlabel("steps below")
    ax.set_ylabel("worst relative error of the rate")
    ax.set_title("Learning rates in float32, compiled by XLA")
    ax.legend(frameon=False, loc="center right")
    with report.beside(PICTURE) as new:
        figure.savefig(new, dpi=130, facecolor="white", format="png")
    plt.close(figure)


if __name__ == "__main__":
    print(markdown(measure()), end="")
