"""How far a float32 learning rate, computed under XLA, is from the formula in real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import clr_schedules as clr
from benchmarks import peers, policies, report, truth

BASE_LR, MAX_LR = 1e-3, 6e-3
STEP_SIZE, GAMMA = policies.STEP_SIZE, policies.GAMMA
LIMITS = {f"10^{decade}": 10**decade for decade in range(1, 16)} | {"2^53": truth.FAR}
QUICK_LIMITS = ("10^3", "10^15")
OTHERS = (
    "OneCycle",
    "OneCycle, three phases",
    "momentum of OneCycle",
    "CosineRestarts",
    "CosineRestarts by 2",
    "CosineRestarts by 1.5",
    "CosineRestarts by 0.99",
    "Warmup, Piecewise",
)
POWER_LIMITS = {"10^3": 10**3, "10^4": 10**4, "10^5": 10**5, "10^6": 10**6}
SAMPLES = 200_000
SEED = 20_150_603

Steps = npt.NDArray[np.int64]
Rates = npt.NDArray[Any]
Error = dict[str, float | None]


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The worst errors of every schedule and limit, and those of the power alone.

    Args:
        quick: whether to take a few of the limits.
    """
    ours = policies.cyclical(BASE_LR, MAX_LR)
    formulas = policies.all_rates(BASE_LR, MAX_LR) | policies.all_momenta(BASE_LR, MAX_LR)
    others = {name: formulas[name] for name in OTHERS}
    samples = {label: sample(LIMITS[label]) for label in (QUICK_LIMITS if quick else LIMITS)}
    cosine = (BASE_LR, MAX_LR, STEP_SIZE // 2)
    rates = {
        "float32 formula": errors(
            lambda steps: peers.textbook(steps, BASE_LR, MAX_LR, STEP_SIZE),
            true_rates(ours["Triangular"]),
            samples,
        ),
        "Keras cosine": errors(
            peers.keras_cosine(*cosine),
            lambda steps: peers.keras_cosine_values(steps, *cosine),
            samples,
        ),
    } | {name: errors(schedule, true_rates(schedule), samples) for name, schedule in ours.items()}

    restarts = {
        label: np.concatenate([steps, around_restarts(others, LIMITS[label])])
        for label, steps in samples.items()
    }
    more = {name: errors(one, true_rates(one), restarts) for name, one in others.items()}

    # With half-cycles of one step every odd step is a peak, where the rate is the power itself.
    peaks = clr.ExpRange(0.0, 1.0, step_size=1, gamma=GAMMA)
    odd = {label: np.arange(1, limit, 2) for label, limit in POWER_LIMITS.items()}
    powers = {
        "float32 power": errors(lambda steps: peers.power(steps, GAMMA), true_rates(peaks), odd),
        "ExpRange": errors(peaks, true_rates(peaks), odd),
    }
    return {"n": SAMPLES, "seed": SEED, "rates": rates, "powers": powers, "more": more}


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
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = {
            "ulp": float(np.max(off / np.spacing(np.float32(true)))),
            # A rate of 0 that should be 0 is not off.
            "relative": float(np.max(np.where(off == 0, 0, off / np.minimum(rate, true)))),
        }
    return {name: value if np.isfinite(value) else None for name, value in worst.items()}


def markdown(result: dict[str, Any]) -> str:
    """The result as two Markdown tables."""
    return f"""## Accuracy

Worst error of a learning rate in float32, compiled by XLA, in units of the last place (ulp); in
brackets the worst relative error. Over {result["n"]:,} random steps below each limit and the
turning points of the last cycles before it; rates from {BASE_LR} to {MAX_LR}, half-cycles of
{STEP_SIZE:,} steps. The best that a float32 can be is 0.5 ulp. Meaningless: off by a factor above
2, where the whole range has a factor of {MAX_LR / BASE_LR:.0f}.

{_table("steps below", result["rates"], _both)}

- float32 formula: the paper's, from the raw step, as TensorFlow Addons had it.
- Keras cosine: `CosineDecayRestarts` of Keras, cycles of {STEP_SIZE // 2:,} steps that do not grow.
- The others are this package's; in the last rows Triangular2 and ExpRange have long decayed to the
  base rate.

Each column is held against its own formula, in float64 or more, from an exact integer phase
(`benchmarks/truth.py`).

The other schedules of this package, on the same steps and on those around the restarts (one cycle
of a million steps, restarts after 1,000 at first, or after a million where they shrink by 0.99):

{_table("steps below", result["more"], _both)}

The scale of `exp_range` alone, `{GAMMA} ** iteration`: worst relative error over all odd
iterations.

{_table("iterations below", result["powers"], _relative)}
"""


def _table(corner: str, columns: dict[str, dict[str, Error]], cell: Callable[[Error], str]) -> str:
    labels = next(iter(columns.values()))
    rows = ([label, *(cell(column[label]) for column in columns.values())] for label in labels)
    return report.table([corner, *columns], rows)


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


if __name__ == "__main__":
    print(markdown(measure()), end="")
