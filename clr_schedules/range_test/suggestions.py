"""What can be read from the curve of a learning-rate range test, with NumPy alone.

All functions are pure, and take arrays with an entry for each training step. Where the curve does
not show a rate, they return a string that says why.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.float64]

# To tell a level from a slope takes two levels of five steps each, and as many steps between them.
_FEWEST_STEPS = 20
# The part of the whole fall that counts as a change. On the quadratics of the tests, 0.03 to 0.15
# work; with less, the noise around what has been learned looks like a rise.
_VISIBLE = 0.1
# The number of standard errors that counts as a change. With 6, normal noise passes for a fall in
# about 1 of 100 curves; with 8 in 1 of 1,000, and noise of other distributions in 1 of 100 at most.
_SIGNIFICANT = 8.0
# A few units in the last place of float32: what rounding alone does to a loss.
_ROUNDING = 1e-6


def smooth(losses: _Array, smoothing: float) -> _Array:
    """The exponential moving average of the losses, without the bias of its start.

    As in fastai, the average starts at zero and is divided by the sum of its weights, which is
    ``1 - smoothing ** (i + 1)`` at entry ``i``.

    Args:
        losses: The loss of each step; NaN and infinity go through.
        smoothing: The weight of the past, from 0 to below 1.

    Returns:
        The smoothed loss of each step, in float64.
    """
    smoothed, average, weights = [], 0.0, 0.0
    # Python's floats do not warn of numbers that are not finite. The weights are summed up by the
    # same operations as the losses, so that the rounding errors of the two cancel.
    for loss in np.asarray(losses, np.float64).tolist():
        average = smoothing * average + (1 - smoothing) * loss
        weights = smoothing * weights + (1 - smoothing)
        smoothed.append(average / weights)
    return np.array(smoothed, np.float64)


def suggest(
    learning_rates: _Array,
    losses: _Array,
    smoothed_losses: _Array,
    accuracies: _Array | None,
) -> dict[str, float | str]:
    """For each rate of a `Suggestion`, the rate, or the reason why the curve does not show it.

    ``base_lr`` and ``max_lr`` follow Smith's rule (arXiv:1506.01186, section 3.3). The accuracy
    begins to rise at ``base_lr``. At ``max_lr`` it slows, becomes ragged or falls: this is the
    first step whose average is within a standard error of the highest. Without accuracies, or if
    they do not rise, the loss takes their place: it begins to fall at ``base_lr``, and ``max_lr``
    is half of the edge of stability. With accuracies, ``max_lr`` is no higher than that either.

    ``steepest``, ``valley`` and ``minimum`` are those of fastai's ``lr_find``: from the smoothed
    losses, without the first tenth of the steps (in fastai, of the planned steps) and the last
    five. If the loss does not fall, there are none.

    All five scale with the rates, and do not depend on the unit of the losses. The curve ends
    before the first loss that is not finite.

    Args:
        learning_rates: The rate of each step.
        losses: The loss of each step's batch.
        smoothed_losses: What `smooth` made of the losses.
        accuracies: The accuracy of each step's batch, or None.

    Returns:
        For ``base_lr``, ``max_lr``, ``steepest``, ``valley`` and ``minimum``, a float or a string.
    """
    rates, losses, smoothed = (
        np.asarray(values, np.float64) for values in (learning_rates, losses, smoothed_losses)
    )
    steps = _finite_steps(losses)
    diverged = steps < len(losses)
    if steps < _FEWEST_STEPS:
        names = ("base_lr", "max_lr", "steepest", "valley", "minimum")
        return dict.fromkeys(names, _too_few(steps, diverged=diverged))
    loss = _FallingCurve(losses[:steps], _midmean)
    accuracy = _rise(accuracies, steps)
    top = _max(rates[:steps], loss, accuracy, diverged=diverged)
    answers = {"base_lr": _base(rates, loss, accuracy, top), "max_lr": top}
    # fastai leaves out the first tenth and the last five steps, and what is not finite.
    first = len(rates) // 10
    kept = slice(first, first + _finite_steps(smoothed[first:-5]))
    for name, rule in (("steepest", _steepest), ("valley", _valley), ("minimum", _minimum)):
        if not loss.seen:
            answers[name] = loss.why_unseen()
        elif kept.stop - kept.start < 2:
            answers[name] = "the smoothed loss is not finite after the first tenth of the steps"
        else:
            answers[name] = rule(rates, smoothed, kept)
    return answers


class _FallingCurve:
    """A noisy curve; whether it falls, and where the fall begins and ends.

    The level before the fall and the floor after it are averages over windows, so that no single
    batch decides on either. A difference counts as seen if it exceeds both its standard errors and
    a tenth of the whole fall.
    """

    def __init__(self, values: _Array, average: Callable[[_Array], _Array]) -> None:
        # Divided by a power of two, which is exact, to be at most 1: no difference overflows then.
        self.values = _normalized(values)
        # A twentieth of the steps resolves eight decades to a factor of 2.5. An odd number, large
        # enough to have a middle half; above 201, it only costs time.
        self.window = min(max(5, len(values) // 20), 200) | 1
        self.averages = _moving(self.values, self.window, average)
        lowest = int(np.argmin(self.averages))
        around = slice(max(0, lowest - self.window // 2), lowest + self.window // 2 + 1)
        self.bottom = around.start + int(np.argmin(self.values[around]))
        self.floor = float(self.averages[lowest])
        self.level = float(self.averages[0])
        self.depth = self.level - self.floor
        # The noise is measured before and during the fall, since it may change afterwards.
        before = self.values[: max(self.bottom + 1, 4 * self.window)]
        noise = max(_noise(before), _ROUNDING * float(np.max(np.abs(before))))
        self.error = noise / self.window**0.5  # the standard error of an average
        # The smallest differences that are seen, between averages and between single values.
        self.step = max(_VISIBLE * self.depth, _SIGNIFICANT * self.error)
        self.jump = max(_VISIBLE * self.depth, _SIGNIFICANT * noise)
        self.seen = self.depth > self.step

    def why_unseen(self) -> str:
        """The reason why no fall is seen."""
        if self.values[-1] > self.level + self.jump:
            return "the loss rose without having fallen by more than its noise"
        return "the loss did not fall by more than its noise"

    def begins(self) -> int | None:
        """The last step on the first level; None if that level is no longer than a window."""
        step = int(np.argmax(self.averages < self.level - self.step)) - 1
        return step if step >= self.window else None

    def slows(self) -> int | None:
        """The first step within a standard error of the floor; None if it falls up to the end."""
        step = int(np.argmax(self.averages <= self.floor + self.error))
        return step if step < len(self.values) - self.window else None

    def rises(self) -> int:
        """The last step on the floor; the very last step if the curve never rises for good."""
        averages, values = self.averages[self.bottom :], self.values[self.bottom :]
        # The averages ignore the dip of a single batch. The single values show a loss that blows
        # up within the last few steps.
        low = (averages <= self.floor + self.step) & (values <= self.floor + self.jump)
        low[0] = True
        return self.bottom + int(np.flatnonzero(low)[-1])


def _rise(accuracies: _Array | None, steps: int) -> _FallingCurve | None:
    """The fall of the negative accuracies, or None if there is none to be seen."""
    if accuracies is None:
        return None
    accuracies = np.asarray(accuracies, np.float64)[:steps]
    if not np.all(np.isfinite(accuracies)):
        return None
    # The plain mean: accuracies have no outliers, and of a batch of one are 0 or 1.
    accuracy = _FallingCurve(-accuracies, _mean)
    return accuracy if accuracy.seen else None


def _base(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, top: float | str
) -> float | str:
    """The rate at which the accuracy begins to rise or the loss to fall, if it is below `top`."""
    fall = accuracy or loss
    if not fall.seen:
        return fall.why_unseen()
    step = fall.begins()
    if step is None:
        already = "accuracy was already rising" if accuracy else "loss was already falling"
        return f"the {already} at the lowest rate, {rates[0]:.3g}"
    rate = float(rates[step])
    if not isinstance(top, str) and rate >= top:
        return f"learning began only at {rate:.3g}, which is not below max_lr={top:.3g}"
    return rate


def _max(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, *, diverged: bool
) -> float | str:
    """The rate at which the accuracy slows, but at most half of the edge of stability."""
    answer = _half_edge(rates, loss, diverged=diverged) if loss.seen else loss.why_unseen()
    if accuracy:
        step = accuracy.slows()
        if step is not None:
            rate = float(rates[step])
            answer = rate if isinstance(answer, str) else min(rate, answer)
        elif isinstance(answer, str):
            answer = f"the accuracy was still rising at the highest rate, {rates[-1]:.3g}"
    if not isinstance(answer, str) and answer < rates[0]:
        return f"it would be below the lowest rate, {rates[0]:.3g}"
    return answer


def _half_edge(rates: _Array, loss: _FallingCurve, *, diverged: bool) -> float | str:
    """Half of the rate above which gradient descent is unstable.

    On a quadratic of curvature ``L``, a step at rate ``r`` multiplies the loss by
    ``(r * L - 1) ** 2``. So if a step makes the loss grow by the factor ``g``, the edge ``2 / L``
    is at ``2 * r / (1 + sqrt(g))``, however late the growth comes to light. This estimate is made
    at those steps of the final rise at which the loss is higher than at any step since the floor.
    Half of the edge leaves a factor of two for the noise of the gradients.

    The edge is the lower quartile of the estimates. If there are several curvatures, each estimate
    is too high rather than too low, but the lowest ones come from noise. In a network, where the
    loss grows slowly or in jumps, an estimate is about the rate itself, and the lower quartile is
    early in the rise.
    """
    start = loss.rises()
    above = loss.values[start:] - loss.floor
    if len(above) == 1 and not diverged:
        falling = loss.bottom >= len(rates) - loss.window
        what = "was still falling at" if falling else "did not rise again up to"
        return f"the loss {what} the highest rate, {rates[-1]:.3g}"
    records = np.flatnonzero(above[1:] > np.maximum.accumulate(above)[:-1])
    records = records[above[records] > 0]
    if not len(records):
        # The loss went from the floor to the end in one step, and its growth is unknown.
        return float(rates[start]) / 2
    growth = np.exp((np.log(above[records + 1]) - np.log(above[records])) / 2)
    return float(np.quantile(rates[start + records] / (1 + growth), 0.25))


def _steepest(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """The rate at which the smoothed loss falls fastest, against the logarithm of the rate.

    As ``steep`` of fastai (``fastai/callback/schedule.py``), by the difference to the next step.
    """
    rates = rates[kept]
    # The logarithm of their ratio, also of rates that are close to each other.
    slopes = np.diff(_normalized(smoothed[kept])) / np.log1p(np.diff(rates) / rates[:-1])
    step = int(np.argmin(slopes))
    return float(rates[step]) if slopes[step] < 0 else "the smoothed loss did not fall"


def _valley(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """The rate half-way down the longest valley of the smoothed loss, as fastai's ``valley``.

    The valley is the longest decreasing subsequence; of several, the one that ends first. Its
    entries need not be neighbours, but fastai takes the valley to be as many steps long as it has
    entries. The rate is in the middle of the second of three sections, rounded down twice.
    """
    # Patience sorting: for each length, the highest loss in which such a subsequence ends.
    ends: list[float] = []
    longest, end = 0, 0
    for step, loss in enumerate(smoothed[kept].tolist()):
        length = bisect.bisect_left(ends, -loss) + 1
        ends[length - 1 : length] = [-loss]
        if length > longest:
            longest, end = length, step
    # With one or two entries, the rule would give the first rate or the last.
    if longest < 3:
        return "the smoothed loss did not fall for three steps"
    section = longest / 3
    return float(rates[kept][end - longest + int(section) + int(section / 2)])


def _minimum(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """A tenth of the rate at which the smoothed loss is lowest, as fastai's ``minimum``.

    There is none if the loss is lowest because the test ended, or if the tenth was not tested.
    """
    lowest = kept.start + int(np.argmin(smoothed[kept]))
    if np.all(smoothed[lowest:] <= smoothed[lowest]):
        return f"the smoothed loss was still falling at the highest rate, {rates[-1]:.3g}"
    rate = float(rates[lowest]) / 10
    return rate if rate >= rates[0] else f"it would be below the lowest rate, {rates[0]:.3g}"


def _too_few(steps: int, *, diverged: bool) -> str:
    """The reason why a curve of so few steps shows nothing."""
    if diverged and not steps:
        return "the loss was not finite from the first step on"
    counted = "steps with a finite loss" if diverged else "steps"
    return f"the test took only {steps} {counted}; at least {_FEWEST_STEPS} are needed"


def _finite_steps(values: _Array) -> int:
    """The number of values before the first that is not finite."""
    return int(np.argmin(np.append(np.isfinite(values), False)))


def _normalized(values: _Array) -> _Array:
    """The values divided by the power of two that makes the largest from 0.5 to 1."""
    largest = np.max(np.abs(values), initial=0.0)
    return np.asarray(np.ldexp(values, -np.frexp(largest)[1]))


def _moving(values: _Array, window: int, average: Callable[[_Array], _Array]) -> _Array:
    """The average of the window around each value; at the ends, of the first or last window."""
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    rows = 4096  # a few megabytes at a time
    averages = [average(windows[i : i + rows]) for i in range(0, len(windows), rows)]
    middles = np.arange(len(values)) - window // 2
    return np.concatenate(averages)[np.clip(middles, 0, len(windows) - 1)]


def _midmean(windows: _Array) -> _Array:
    """The mean of the middle half of each window, which outliers do not move.

    Unlike a median, it also averages noise that takes only a few values.
    """
    quarter = windows.shape[1] // 4
    return _mean(np.sort(windows, axis=1)[:, quarter : windows.shape[1] - quarter])


def _mean(windows: _Array) -> _Array:
    """The mean of each window."""
    return np.asarray(np.mean(windows, axis=1))


def _noise(values: _Array) -> float:
    """The standard deviation of the noise, taken for normal, from the differences of neighbours.

    Their upper tenth decides and not their middle: it is the long tails of noise that mislead an
    average.
    """
    differences = np.diff(values)
    sizes = np.abs(differences - np.median(differences))
    normal_tenth = 1.645  # a tenth of all normal numbers are farther from 0 than this
    return float(np.quantile(sizes, 0.9)) / normal_tenth / 2**0.5
