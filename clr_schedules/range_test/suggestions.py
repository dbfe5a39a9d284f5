"""Reads learning rates off the curve of a range test, with NumPy alone.

All functions are pure, and take arrays with an entry for each training step. If the curve does not
show a rate, a function returns the reason as a string instead of the rate.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.float64]

# A fall can be seen only between two levels. Each level needs at least five steps, and the fall
# between them needs ten.
_FEWEST_STEPS = 20
# A difference must be at least this part of the whole fall to count as a change. On the quadratics
# of the tests, 0.03 to 0.15 work. With a smaller part, the noise on the floor looks like a rise.
_VISIBLE = 0.1
# A difference must be at least this many standard errors to count as a change. With 6, normal noise
# is mistaken for a fall in about 1 of 100 curves. With 8, this happens in 1 of 1,000 curves, and
# with noise of other distributions in at most 1 of 100.
_SIGNIFICANT = 8.0
# The parts of the edge of stability and of the rate of the lowest loss that ``max_lr`` is at most.
# In a network, an unstable loss blows up visibly only some steps later, at a rate that is several
# times higher. The parts were measured: `python -m benchmarks.suggestions` says what they are
# worth.
_OF_THE_EDGE = 1 / 8
_OF_THE_LOWEST = 1 / 2
# The part of ``max_lr`` that ``base_lr`` is at most. Smith recommends a third or a quarter.
_OF_THE_TOP = 1 / 4
# The relative rounding error of a loss in float32: a few units in the last place.
_ROUNDING = 1e-6


def smooth(losses: _Array, smoothing: float) -> _Array:
    """The exponential moving average of the losses, with a corrected start.

    As in fastai, the average starts at zero and is divided by the sum of its weights, which is
    ``1 - smoothing ** (i + 1)`` at entry ``i``.

    Args:
        losses: The loss of each step. NaN and infinity are allowed, and stay in the average.
        smoothing: The weight of the past losses, from 0 to below 1.

    Returns:
        The smoothed loss of each step, in float64.
    """
    smoothed, average, weights = [], 0.0, 0.0
    # Python's floats, unlike NumPy's, do not warn about numbers that are not finite. The weights
    # are added up by the same operations as the losses, so that their rounding errors cancel.
    for loss in losses.tolist():
        average = smoothing * average + (1 - smoothing) * loss
        weights = smoothing * weights + (1 - smoothing)
        smoothed.append(average / weights)
    return np.array(smoothed)


def suggest(
    learning_rates: _Array,
    losses: _Array,
    smoothed_losses: _Array,
    accuracies: _Array | None,
) -> dict[str, float | str]:
    """Finds each rate of a `Suggestion`, or the reason why the curve does not show the rate.

    ``max_lr`` is an eighth of the edge of stability, but at most half of the rate at which the loss
    is lowest. If the loss does not show the edge, Smith's rule (arXiv:1506.01186, section 3.3)
    decides: the accuracy rises more slowly, becomes ragged or falls. This is the first step whose
    average accuracy is within a standard error of the highest average.

    ``base_lr`` follows Smith's rule: the accuracy begins to rise, or, if there are no accuracies or
    if they do not rise, the loss begins to fall. It is at most a quarter of ``max_lr``.

    ``steepest``, ``valley`` and ``minimum`` follow the rules of fastai's ``lr_find``. They are read
    from the smoothed losses, without the first tenth of the steps (fastai: of the planned steps)
    and without the last five steps. If the loss does not fall, these rates do not exist.

    If all rates are multiplied by a factor, so are the five results. The results do not depend on
    the unit of the losses. Steps from the first loss on that is not finite are ignored.

    Args:
        learning_rates: The rate of each step.
        losses: The loss of each step's batch.
        smoothed_losses: The losses, smoothed by `smooth`.
        accuracies: The accuracy of each step's batch, or None.

    Returns:
        A dictionary with the keys ``base_lr``, ``max_lr``, ``steepest``, ``valley`` and
        ``minimum``. Each value is a rate, or a string with the reason for a missing rate.
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
    # As fastai, leave out the first tenth of the steps, the last five steps, and the smoothed
    # losses from the first on that is not finite.
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
    """A noisy curve. Tells whether the curve falls, and where the fall begins and ends.

    The level before the fall and the floor after the fall are averages over windows, so that no
    single batch decides on them. A difference counts as a change if it exceeds eight standard
    errors and a tenth of the whole fall.
    """

    def __init__(self, values: _Array, average: Callable[[_Array], _Array]) -> None:
        # The values are divided by a power of two, which is exact. They are at most 1 then, so
        # that no difference overflows.
        self.values = _normalized(values)
        # With a twentieth of the steps, the test resolves eight decades of rates to a factor of
        # 2.5. The number of steps is odd, and at least 5, so that a window has a middle half. Above
        # 201 steps, a window would only cost time.
        self.window = min(max(5, len(values) // 20), 200) | 1
        self.averages = _moving(self.values, self.window, average)
        self.lowest = int(np.argmin(self.averages))
        around = slice(max(0, self.lowest - self.window // 2), self.lowest + self.window // 2 + 1)
        self.bottom = around.start + int(np.argmin(self.values[around]))
        self.floor = float(self.averages[self.lowest])
        self.level = float(self.averages[0])
        self.depth = self.level - self.floor
        # The noise is measured before and during the fall, since it may be different afterwards.
        before = self.values[: max(self.bottom + 1, 4 * self.window)]
        noise = max(_noise(before), _ROUNDING * float(np.max(np.abs(before))))
        self.error = noise / self.window**0.5  # the standard error of an average
        # The smallest changes that count: `step` between averages, `jump` between single values.
        self.step = max(_VISIBLE * self.depth, _SIGNIFICANT * self.error)
        self.jump = max(_VISIBLE * self.depth, _SIGNIFICANT * noise)
        self.seen = self.depth > self.step

    def why_unseen(self) -> str:
        """The reason why the curve shows no fall."""
        if self.values[-1] > self.level + self.jump:
            return "the loss rose without having fallen by more than its noise"
        return "the loss did not fall by more than its noise"

    def begins(self) -> int | None:
        """The last step before the fall; None if the fall begins within the first window."""
        step = int(np.argmax(self.averages < self.level - self.step)) - 1
        return step if step >= self.window else None

    def slows(self) -> int | None:
        """The first step within a standard error of the floor; None if the fall does not end."""
        step = int(np.argmax(self.averages <= self.floor + self.error))
        return step if step < len(self.values) - self.window else None

    def rises(self) -> int:
        """The last step on the floor; the last step of the curve if there is no final rise."""
        averages, values = self.averages[self.bottom :], self.values[self.bottom :]
        # Both must be low: the averages, because a single batch may dip by chance, and the single
        # values, because the averages miss a loss that blows up within the last few steps.
        low = (averages <= self.floor + self.step) & (values <= self.floor + self.jump)
        low[0] = True
        return self.bottom + int(np.flatnonzero(low)[-1])


def _rise(accuracies: _Array | None, steps: int) -> _FallingCurve | None:
    """The rise of the accuracies, as a fall of their negatives; None if they do not rise."""
    if accuracies is None:
        return None
    accuracies = np.asarray(accuracies, np.float64)[:steps]
    if not np.all(np.isfinite(accuracies)):
        return None
    # The plain mean serves here, because accuracies have no outliers, and because with one sample
    # in a batch every accuracy is 0 or 1.
    accuracy = _FallingCurve(-accuracies, _mean)
    return accuracy if accuracy.seen else None


def _base(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, top: float | str
) -> float | str:
    """The rate at which the accuracy begins to rise or the loss begins to fall.

    If there is an upper bound, ``top``, the rate is at most a quarter of it: learning, too, becomes
    visible only some steps later, and a band needs some width.
    """
    fall = accuracy or loss
    if not fall.seen:
        return fall.why_unseen()
    step = fall.begins()
    if step is None:
        already = "accuracy was already rising" if accuracy else "loss was already falling"
        return f"the {already} at the lowest rate, {rates[0]:.3g}"
    rate = float(rates[step])
    if not isinstance(top, str):
        rate = min(rate, top * _OF_THE_TOP)
    return rate if rate >= rates[0] else _below_the_lowest(rates)


def _max(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, *, diverged: bool
) -> float | str:
    """An eighth of the edge of stability, but at most half of the rate of the lowest loss.

    If the loss does not show the edge, the rate at which the accuracy rises more slowly.
    """
    edge = _edge(rates, loss, diverged=diverged) if loss.seen else loss.why_unseen()
    if not isinstance(edge, str):
        answer: float | str = min(edge * _OF_THE_EDGE, float(rates[loss.lowest]) * _OF_THE_LOWEST)
    elif accuracy is None:
        answer = edge
    elif (step := accuracy.slows()) is not None:
        answer = float(rates[step])
    else:
        answer = f"the accuracy was still rising at the highest rate, {rates[-1]:.3g}"
    if not isinstance(answer, str) and answer < rates[0]:
        return _below_the_lowest(rates)
    return answer


def _edge(rates: _Array, loss: _FallingCurve, *, diverged: bool) -> float | str:
    """The edge of stability: the rate above which gradient descent is unstable.

    On a quadratic of curvature ``L``, a step at rate ``r`` multiplies the loss by
    ``(r * L - 1) ** 2``, and the edge of stability is ``2 / L``. If a step at rate ``r`` multiplies
    the loss by ``g``, the edge is therefore ``2 * r / (1 + sqrt(g))``. This also holds if the loss
    begins to grow visibly only long after the edge. The estimate is made at each step of the final
    rise that brings the loss to a new maximum since the floor.

    The result uses the lower quartile of the estimates. If the loss has several curvatures, the
    estimates tend to be too high, which speaks for a low quantile; but the very lowest estimates
    come from noise. In a network, the loss grows slowly or in jumps. There, each estimate is about
    equal to the rate of its step, and the lower quartile is early in the rise.
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
        # The step after the floor was the last with a finite loss, so the growth is unknown.
        return float(rates[start])
    growth = np.exp((np.log(above[records + 1]) - np.log(above[records])) / 2)
    return float(np.quantile(2 * rates[start + records] / (1 + growth), 0.25))


def _steepest(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """The rate at which the smoothed loss, over the logarithm of the rate, falls fastest.

    This is fastai's ``steep`` (``fastai/callback/schedule.py``). The slope of a step is the
    difference to the next step.
    """
    rates = rates[kept]
    # `log1p` gives the logarithm of the ratio of two rates accurately even if they are close.
    slopes = np.diff(_normalized(smoothed[kept])) / np.log1p(np.diff(rates) / rates[:-1])
    step = int(np.argmin(slopes))
    return float(rates[step]) if slopes[step] < 0 else "the smoothed loss did not fall"


def _valley(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """The rate half-way down the longest valley of the smoothed loss, as fastai's ``valley``.

    The valley is the longest decreasing subsequence. If several are equally long, the valley is
    the subsequence that ends first. Its entries need not be neighbours, but fastai treats the
    valley as if they were: as many steps long as it has entries, up to its last entry. The valley
    is divided into three sections, and the rate is in the middle of the second section. As in
    fastai, both the length of a section and half of this length are rounded down.
    """
    # Patience sorting: entry `n - 1` belongs to the decreasing subsequences of length `n`. It is
    # the highest of the losses in which such a subsequence ends, with a minus sign.
    ends: list[float] = []
    longest, end = 0, 0
    for step, loss in enumerate(smoothed[kept].tolist()):
        length = bisect.bisect_left(ends, -loss) + 1
        ends[length - 1 : length] = [-loss]
        if length > longest:
            longest, end = length, step
    # With one or two entries, the rule would just return the first or the last rate.
    if longest < 3:
        return "the smoothed loss did not fall for three steps"
    section = longest / 3
    return float(rates[kept][end - longest + int(section) + int(section / 2)])


def _minimum(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """A tenth of the rate at which the smoothed loss is lowest, as fastai's ``minimum``.

    The curve does not show this rate if the loss was still falling at the end of the test, or if a
    tenth of the rate is below the lowest rate of the test.
    """
    lowest = kept.start + int(np.argmin(smoothed[kept]))
    if np.all(smoothed[lowest:] <= smoothed[lowest]):
        return f"the smoothed loss was still falling at the highest rate, {rates[-1]:.3g}"
    rate = float(rates[lowest]) / 10
    return rate if rate >= rates[0] else _below_the_lowest(rates)


def _below_the_lowest(rates: _Array) -> str:
    """The reason why a rate below those of the test is none that the curve shows."""
    return f"the rate would be below the lowest rate, {rates[0]:.3g}"


def _too_few(steps: int, *, diverged: bool) -> str:
    """The reason why a curve of so few steps shows nothing."""
    if diverged and not steps:
        return "the loss was not finite from the first step on"
    counted = "steps with a finite loss" if diverged else "steps"
    return f"the test took only {steps} {counted}; at least {_FEWEST_STEPS} are needed"


def _finite_steps(values: _Array) -> int:
    """The number of values before the first value that is not finite."""
    return int(np.argmin(np.append(np.isfinite(values), False)))


def _normalized(values: _Array) -> _Array:
    """The values, divided by a power of two so that the largest is from 0.5 to below 1."""
    largest = np.max(np.abs(values))
    return np.asarray(np.ldexp(values, -np.frexp(largest)[1]))


def _moving(values: _Array, window: int, average: Callable[[_Array], _Array]) -> _Array:
    """The average of the window around each value.

    Values near an end, where a window does not fit, get the average of the first or last window.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    rows = 4096  # the number of windows at a time, which keeps the memory to a few megabytes
    averages = [average(windows[i : i + rows]) for i in range(0, len(windows), rows)]
    middles = np.arange(len(values)) - window // 2
    return np.concatenate(averages)[np.clip(middles, 0, len(windows) - 1)]


def _midmean(windows: _Array) -> _Array:
    """The mean of the middle half of each window. Outliers do not affect this mean.

    A median would not average noise that takes only a few different values; this mean does.
    """
    quarter = windows.shape[1] // 4
    return _mean(np.sort(windows, axis=1)[:, quarter : windows.shape[1] - quarter])


def _mean(windows: _Array) -> _Array:
    """The mean of each window."""
    return np.asarray(np.mean(windows, axis=1))


def _noise(values: _Array) -> float:
    """The standard deviation of the noise, estimated from the differences of neighbouring values.

    The estimate assumes normal noise, but uses the largest tenth of the differences instead of
    their median, because the long tails of other noise are what can mislead an average.
    """
    differences = np.diff(values)
    sizes = np.abs(differences - np.median(differences))
    normal_tenth = 1.645  # a tenth of standard normal numbers are farther from 0 than this
    return float(np.quantile(sizes, 0.9)) / normal_tenth / 2**0.5
