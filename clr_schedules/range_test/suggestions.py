"""What can be read from the curve of a learning-rate range test.

Pure functions of NumPy arrays with an entry per training step. What the curve does not show gets a
reason, a string, in the place of a number.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.float64]

# Two levels of five steps, and as many between them, to tell a level from a slope.
_FEWEST_STEPS = 20
# The part of a fall that an eye sees. 0.03 to 0.15 serve on the quadratics of the tests; below, the
# stationary noise of what has been learned looks like a rise.
_VISIBLE = 0.1
# Standard errors. At 6, normal noise passes for a fall in about 1 of 100 curves; at 8 in 1 of 1000,
# and noise of other distributions in 1 of 100 at most.
_SIGNIFICANT = 8.0
# A few last places of float32: what rounding alone does to a loss.
_ROUNDING = 1e-6


def smooth(losses: _Array, smoothing: float) -> _Array:
    """The exponential moving average of the losses, without the bias of its start.

    As fastai smooths its losses: the average starts at zero, and is divided by the sum of its
    weights, ``1 - smoothing ** (i + 1)`` at entry ``i``.
    """
    smoothed, average, weights = [], 0.0, 0.0
    # Python's floats: what is not finite goes through them without a warning. The weights are
    # summed up like the losses, so that the rounding of the two cancels.
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
    """For each attribute of a `Suggestion`, the rate or the reason why there is none.

    ``base_lr`` and ``max_lr`` follow Smith's rule (arXiv:1506.01186, section 3.3): the accuracy
    begins to rise at the one, and slows, becomes ragged or falls at the other, which is read as the
    first average within a standard error of the highest. Without accuracies, or where they do not
    rise, the loss takes their place: it begins to fall at the base, and the maximum is half of the
    edge of stability. With accuracies, too, the maximum is no higher than that.

    ``steepest``, ``valley`` and ``minimum`` are those of fastai's ``lr_find``, from the smoothed
    losses without the first tenth of the steps (there, of those that were planned) and the last
    five. Where the loss does not fall there are none.

    All five scale with the rates, and do not depend on the unit of the losses. The curve ends
    before the first loss that is not finite.
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
    # What fastai looks at: not the first tenth, not the last five, nothing that is not finite.
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
    """A noisy curve, and whether, from where and to where it falls.

    Level and floor are averages over windows, so that no batch alone makes either. A difference is
    seen if it exceeds both its standard errors and a tenth of the whole fall.
    """

    def __init__(self, values: _Array, average: Callable[[_Array], _Array]) -> None:
        # No larger than 1, so that no difference overflows; by a power of two, which is exact.
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
        # The noise before it falls and on the way: what comes later may be of another size.
        before = self.values[: max(self.bottom + 1, 4 * self.window)]
        noise = max(_noise(before), _ROUNDING * float(np.max(np.abs(before))))
        self.error = noise / self.window**0.5  # the standard error of an average
        # The differences of averages, and of single values, that are seen.
        self.step = max(_VISIBLE * self.depth, _SIGNIFICANT * self.error)
        self.jump = max(_VISIBLE * self.depth, _SIGNIFICANT * noise)
        self.seen = self.depth > self.step

    def why_unseen(self) -> str:
        if self.values[-1] > self.level + self.jump:
            return "the loss rose without having fallen by more than its noise"
        return "the loss did not fall by more than its noise"

    def begins(self) -> int | None:
        """The last step at the first level, or None if that lasts for no longer than a window."""
        step = int(np.argmax(self.averages < self.level - self.step)) - 1
        return step if step >= self.window else None

    def slows(self) -> int | None:
        """The first step as good as on the floor, or None if it falls up to the end."""
        step = int(np.argmax(self.averages <= self.floor + self.error))
        return step if step < len(self.values) - self.window else None

    def rises(self) -> int:
        """The last step on the floor; the last of all if it never rises again for good."""
        averages, values = self.averages[self.bottom :], self.values[self.bottom :]
        # Averages leave out a dip of a single batch; the values see a loss that blows up within the
        # last few steps.
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
    """Where the accuracy begins to rise, or the loss to fall; below the maximum, if that is one."""
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
    """Where the accuracy slows, but no higher than half of the edge of stability."""
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
    ``(r * L - 1) ** 2``; so a step on which it grows by the factor ``g`` says that the edge,
    ``2 / L``, is at ``2 * r / (1 + sqrt(g))``, however late the growth comes to light. That is
    taken of the steps of the final rise on which the loss is higher than ever since the floor. Half
    of the edge leaves a factor of two for the noise of the gradients.

    The edge is the lower quartile: of several curvatures the formula bounds it from above,
    whichever it is whose loss grows; but in the least, noise had a hand. In a network, where the
    loss grows slowly or in jumps, the formula gives about the rate itself, and the quartile is
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
        # From the floor to the end in one step. How much it grew by is anyone's guess.
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
    """Half-way down the longest valley of the smoothed loss.

    As ``valley`` of fastai. The valley is the longest decreasing subsequence; of several, the one
    that ends first. It is taken to start as many steps before its end as it has entries, though
    these need not be neighbours; of three sections, the rate is in the middle of the second,
    rounded down twice.
    """
    # Patience sorting: for each length, the highest loss in which such a subsequence ends.
    ends: list[float] = []
    longest, end = 0, 0
    for step, loss in enumerate(smoothed[kept].tolist()):
        length = bisect.bisect_left(ends, -loss) + 1
        ends[length - 1 : length] = [-loss]
        if length > longest:
            longest, end = length, step
    # Of one or two entries, the rule gives the first rate or the last.
    if longest < 3:
        return "the smoothed loss did not fall for three steps"
    section = longest / 3
    return float(rates[kept][end - longest + int(section) + int(section / 2)])


def _minimum(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """A tenth of the rate at which the smoothed loss is lowest.

    As ``minimum`` of fastai, unless the loss is lowest because the test ended, or the tenth was not
    tested.
    """
    lowest = kept.start + int(np.argmin(smoothed[kept]))
    if np.all(smoothed[lowest:] <= smoothed[lowest]):
        return f"the smoothed loss was still falling at the highest rate, {rates[-1]:.3g}"
    rate = float(rates[lowest]) / 10
    return rate if rate >= rates[0] else f"it would be below the lowest rate, {rates[0]:.3g}"


def _too_few(steps: int, *, diverged: bool) -> str:
    if diverged and not steps:
        return "the loss was not finite from the first step on"
    counted = "steps with a finite loss" if diverged else "steps"
    return f"the number of {counted} is {steps}, and it takes {_FEWEST_STEPS} to see it"


def _finite_steps(values: _Array) -> int:
    """How many there are before the first that is not finite."""
    return int(np.argmin(np.append(np.isfinite(values), False)))


def _normalized(values: _Array) -> _Array:
    """The values over a power of two, so that the largest is about 1."""
    largest = np.max(np.abs(values), initial=0.0)
    return np.asarray(np.ldexp(values, -np.frexp(largest)[1]))


def _moving(values: _Array, window: int, average: Callable[[_Array], _Array]) -> _Array:
    """The average of the window around each value; of the first and the last window at the ends."""
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    rows = 4096  # a few megabytes at a time
    averages = [average(windows[i : i + rows]) for i in range(0, len(windows), rows)]
    middles = np.arange(len(values)) - window // 2
    return np.concatenate(averages)[np.clip(middles, 0, len(windows) - 1)]


def _midmean(windows: _Array) -> _Array:
    """The mean of the middle half of each window, which outliers do not move.

    Unlike a median, it averages noise that has few values, too.
    """
    quarter = windows.shape[1] // 4
    return _mean(np.sort(windows, axis=1)[:, quarter : windows.shape[1] - quarter])


def _mean(windows: _Array) -> _Array:
    return np.asarray(np.mean(windows, axis=1))


def _noise(values: _Array) -> float:
    """The standard deviation of the noise, were it normal, from the differences of neighbours.

    From the upper tenth of them, not the middle, since noise with long tails misleads an average
    by those.
    """
    differences = np.diff(values)
    sizes = np.abs(differences - np.median(differences))
    normal_tenth = 1.645  # beyond which, on either side, is a tenth of all
    return float(np.quantile(sizes, 0.9)) / normal_tenth / 2**0.5
