"""Reads learning rates off the curve of a range test, with NumPy alone.

All functions are pure, and take arrays with an entry for each training step. If the curve does not
show a rate, a function returns a string instead of the rate: a sentence with the reason, and a
sentence that says what to do.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clr_schedules.range_test import batch_order

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
# The loss shows what a rate does only some steps later, about as many as a momentum of 0.9 averages
# over. So the rates of the rise and of the floor are read this many steps earlier, or at a half if
# the rates grow so fast that this is the higher one.
_LATE = 8
# ``max_lr`` is at most these parts of the rate at which the loss blows up, and of the edge of
# stability. `python -m benchmarks.suggestions` measures in real trainings what they are worth.
_OF_THE_RISE = 1 / 5
_OF_THE_EDGE = 1 / 2
# The relative rounding error of a loss in float32: a few units in the last place.
_ROUNDING = 1e-6
# A cycle needs bounds that differ by at least this factor. With 200 steps on eight decades, the
# bounds themselves are read to a factor of 2.5.
_BAND = 3.0
# From this accuracy on, a model whose loss does not fall is taken for a trained model.
_TRAINED = 0.9
# The loss of such a model is at most this part of that of a guess with the same accuracy.
_OF_A_TRAINED_MODEL = 0.6
# The accuracy is known if its standard error is at most this part of it: with 100 classes, that
# takes 7,000 samples. With thousands, as in language models, the loss falls long before the
# accuracy can be seen to rise.
_KNOWN_ACCURACY = 0.12
# The loss of a guess is known if its error is at most this part of it.
_KNOWN = 0.08
# A loss that is up to this part above that of a guess is no better than a guess.
_ABOVE_A_GUESS = 0.2

NAMES = ("base_lr", "max_lr", "steepest", "valley", "minimum")

_LOWER = "Run the test again with a lower `min_lr`."
_HIGHER = "Run the test again with a higher `max_lr`."
_NO_DESCENT = (
    "The smoothed loss does not fall where the loss falls. Run the test again with less "
    "`smoothing` or more steps."
)
_NO_NANS = (
    "Look for NaN and infinite values in the data, the targets and the sample weights; if there "
    "are none, run the test again with a lower `min_lr`."
)
# How the `stop_reason` of a test begins whose weights were not finite.
WEIGHTS_NOT_FINITE = "diverged: the weights were not finite"


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
    stop_reason: str = "",
) -> dict[str, float | str]:
    """Finds each rate of a `Suggestion`, or the reason why the curve does not show the rate.

    ``max_lr`` is a fifth of the rate eight steps before the loss blows up, but at most half of the
    edge of stability, and the rate eight steps before the middle of the range where the loss is
    lowest. Eight steps before, the rate counts as at least half. If the loss does not blow up,
    Smith's rule (arXiv:1506.01186, section 3.3) decides: the accuracy rises more slowly, becomes
    ragged or falls. This is the first step whose average accuracy is within a standard error of the
    highest average.

    ``base_lr`` follows Smith's rule: the accuracy begins to rise, or, if there are no accuracies or
    if they do not rise, the loss begins to fall. It must be below ``max_lr`` by a factor of three.

    ``steepest``, ``valley`` and ``minimum`` follow the rules of fastai's ``lr_find``. They are read
    from the smoothed losses, without the first tenth of the steps (fastai: of the planned steps)
    and without the last five steps, and only from the step on where the loss begins to fall up to
    the lowest smoothed loss. If the loss does not fall, these rates do not exist.

    If the batches come in an order, or if the accuracy stays at that of a guess, none of the rates
    exists. Nor do they if the rates grow exponentially, and the loss falls from the first rate on
    while no accuracy rises: batches that are sorted by their targets give such a curve.

    If all rates are multiplied by a factor, so are the five results. The results do not depend on
    the unit of the losses, unless there are accuracies from 0 to 1 that do not rise: then the
    losses are compared with those of a guess. Steps from the first loss on that is not finite are
    ignored.

    Args:
        learning_rates: The rate of each step.
        losses: The loss of each step's batch.
        smoothed_losses: The losses, smoothed by `smooth`.
        accuracies: The accuracy of each step's batch, or None.
        stop_reason: The reason for which the test ended, as in a `RangeTestResult`.

    Returns:
        A dictionary with the keys ``base_lr``, ``max_lr``, ``steepest``, ``valley`` and
        ``minimum``. Each value is a rate, or a string with the reason for a missing rate and with
        what to do.
    """
    rates, losses, smoothed = (
        np.asarray(values, np.float64) for values in (learning_rates, losses, smoothed_losses)
    )
    steps = _finite_steps(losses)
    diverged = steps < len(losses)
    lost = _not_finite(rates, losses, steps, stop_reason)
    if steps < _FEWEST_STEPS:
        return dict.fromkeys(NAMES, lost or _too_few(steps))
    loss = _FallingCurve(losses[:steps], _midmean)
    accuracies = _finite_accuracies(accuracies, steps)
    # The plain mean serves for accuracies, because they have no outliers, and because with one
    # sample in a batch every accuracy is 0 or 1. Their rise is a fall of their negatives.
    accuracy = None if accuracies is None else _FallingCurve(-accuracies, _mean)
    if reason := _in_an_order(loss):
        return dict.fromkeys(NAMES, reason)
    # A metric in percent tells where it rises, but not what a model knows.
    parts = accuracies if accuracies is not None and _are_parts(accuracies) else None
    unseen = _why_unseen(rates, losses[:steps], loss, parts, lost)
    if accuracy and not accuracy.seen:
        accuracy = None
        if loss.seen and parts is not None and (reason := _at_chance(losses[:steps], loss, parts)):
            return dict.fromkeys(NAMES, reason)
    if not (loss.seen or accuracy):
        return dict.fromkeys(NAMES, unseen)
    if not accuracy and loss.begins() is None and _grow_exponentially(rates[:steps]):
        return dict.fromkeys(NAMES, _falls_at_once(rates[0]))
    top = _max(rates[:steps], loss, accuracy, diverged=diverged)
    if lost and stop_reason.startswith(WEIGHTS_NOT_FINITE) and loss.rises() == steps - 1:
        # A rate that is too high raises the loss before it makes the weights infinite.
        top = lost
    answers = {"base_lr": _base(rates, loss, accuracy, top), "max_lr": top}
    kept = _descent(loss, smoothed)
    for name, rule in (("steepest", _steepest), ("valley", _valley), ("minimum", _minimum)):
        if not loss.seen:
            answers[name] = unseen
        elif kept.stop - kept.start < 2:
            answers[name] = _NO_DESCENT
        else:
            answers[name] = rule(rates, smoothed, kept)
    return answers


def _descent(loss: _FallingCurve, smoothed: _Array) -> slice:
    """The steps for the rules of fastai: from the start of the fall to the lowest smoothed loss.

    As in fastai, the first tenth of the steps, the last five steps, and the smoothed losses from
    the first on that is not finite are left out.
    """
    first = max(len(smoothed) // 10, loss.begins() or 0)
    finite = smoothed[first : first + _finite_steps(smoothed[first:-5])]
    return slice(first, first + int(np.argmin(finite)) + 1 if len(finite) else first)


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
        lowest = int(np.argmin(self.averages))
        around = slice(max(0, lowest - self.window // 2), lowest + self.window // 2 + 1)
        self.bottom = around.start + int(np.argmin(self.values[around]))
        self.floor = float(self.averages[lowest])
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

    def has_risen(self) -> bool:
        """Whether the last value is above the level before the fall."""
        return bool(self.values[-1] > self.level + self.jump)

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


def _finite_accuracies(accuracies: _Array | None, steps: int) -> _Array | None:
    """The accuracies of these steps; None if one of them is not finite."""
    if accuracies is None:
        return None
    accuracies = np.asarray(accuracies, np.float64)[:steps]
    return accuracies if np.all(np.isfinite(accuracies)) else None


def _are_parts(accuracies: _Array) -> bool:
    """Whether all accuracies are from 0 to 1, but for rounding errors."""
    return bool(np.all((accuracies > -_ROUNDING) & (accuracies < 1 + _ROUNDING)))


def _base(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, top: float | str
) -> float | str:
    """The rate at which the accuracy begins to rise or the loss begins to fall.

    The rate must be well below ``top``, the upper bound, if there is an upper bound.
    """
    step = (accuracy or loss).begins()
    if step is None:
        already = "accuracy was already rising" if accuracy else "loss was already falling"
        return f"The {already} at the lowest rate, {rates[0]:.3g}. {_LOWER}"
    rate = float(rates[step])
    if not isinstance(top, str) and rate * _BAND > top:
        return (
            f"Learning began only at {rate:.3g}, which is not below max_lr={top:.3g} by a factor "
            f"of {_BAND:g}, so that the two are no band for a cycle. Use `max_lr` alone, as "
            "`OneCycle` does, or a third or a fourth of it as `base_lr`, the paper's rule of thumb."
        )
    return rate


def _max(
    rates: _Array, loss: _FallingCurve, accuracy: _FallingCurve | None, *, diverged: bool
) -> float | str:
    """A fifth of the rate some steps before the loss blows up, or less; see `_below_the_rise`.

    If the loss does not blow up, the rate at which the accuracy rises more slowly.
    """
    still = f"The accuracy was still rising at the highest rate, {rates[-1]:.3g}. {_HIGHER}"
    answer = _below_the_rise(rates, loss, diverged=diverged) if loss.seen else still
    if isinstance(answer, str) and accuracy:
        step = accuracy.slows()
        answer = still if step is None else float(rates[step])
    # So close to the lowest rate, the curve shows no level before the fall.
    if not isinstance(answer, str) and answer < _BAND * rates[0]:
        return _too_low(rates)
    return answer


def _below_the_rise(rates: _Array, loss: _FallingCurve, *, diverged: bool) -> float | str:
    """A fifth of the rate some steps before the loss blows up, within two limits.

    The first limit is half of the edge of stability, above which gradient descent is unstable. On a
    quadratic of curvature ``L``, a step at rate ``r`` multiplies the loss by ``(r * L - 1) ** 2``,
    and the edge is ``2 / L``. If a step at rate ``r`` multiplies the loss by ``g``, the edge is
    therefore ``2 * r / (1 + sqrt(g))``. This also holds if the loss begins to grow visibly only
    long after the edge. The second limit is the rate some steps before the middle of the floor,
    where the loss is lowest.

    In a network, the loss grows slowly or in jumps, and only some steps after it has become
    unstable. The growth then says little about the edge, but trainings at a fifth of the rate are
    good: ``python -m benchmarks.suggestions`` measures how good.

    Both the rate and the edge are estimated at each step of the final rise that brings the loss to
    a new maximum since the floor, and the lower quartile of the estimates counts. If the loss has
    several curvatures, the estimates tend to be too high, which speaks for a low quantile; but the
    very lowest estimates come from noise.
    """
    start = loss.rises()
    above = loss.values[start:] - loss.floor
    if len(above) == 1 and not diverged:
        falling = loss.bottom >= len(rates) - loss.window
        what = "was still falling at" if falling else "did not rise again up to"
        return f"The loss {what} the highest rate, {rates[-1]:.3g}. {_HIGHER}"
    earlier = np.maximum(rates[np.maximum(np.arange(len(rates)) - _LATE, 0)], rates / 2)
    records = np.flatnonzero(above[1:] > np.maximum.accumulate(above)[:-1])
    records = records[above[records] > 0]
    if len(records):
        growth = np.exp((np.log(above[records + 1]) - np.log(above[records])) / 2)
        rise = np.quantile(earlier[start + records], 0.25)
        edge = np.quantile(2 * rates[start + records] / (1 + growth), 0.25)
    else:  # the step after the floor was the last with a finite loss, so the growth is unknown
        rise, edge = earlier[start], rates[start]
    middle = np.median(earlier[loss.averages <= loss.floor + loss.step])
    return float(min(rise * _OF_THE_RISE, edge * _OF_THE_EDGE, middle))


def _steepest(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """The rate at which the smoothed loss, over the logarithm of the rate, falls fastest.

    This is fastai's ``steep`` (``fastai/callback/schedule.py``). The slope of a step is the
    difference to the next step.
    """
    rates = rates[kept]
    # `log1p` gives the logarithm of the ratio of two rates accurately even if they are close.
    slopes = np.diff(_normalized(smoothed[kept])) / np.log1p(np.diff(rates) / rates[:-1])
    step = int(np.argmin(slopes))
    return float(rates[step]) if slopes[step] < 0 else _NO_DESCENT


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
        return _NO_DESCENT
    section = longest / 3
    return float(rates[kept][end - longest + int(section) + int(section / 2)])


def _minimum(rates: _Array, smoothed: _Array, kept: slice) -> float | str:
    """A tenth of the rate at which the smoothed loss is lowest, as fastai's ``minimum``.

    The curve does not show this rate if the loss was still falling at the end of the test, or if a
    tenth of the rate is below the lowest rate of the test.
    """
    lowest = kept.start + int(np.argmin(smoothed[kept]))
    if np.all(smoothed[lowest:] <= smoothed[lowest]):
        return (
            f"The smoothed loss was still falling at the highest rate, {rates[-1]:.3g}. {_HIGHER}"
        )
    rate = float(rates[lowest]) / 10
    if rate < rates[0]:
        return _too_low(rates)
    return rate


# Why the curve shows nothing ----------------------------------------------------------------------


def _too_low(rates: _Array) -> str:
    """The reason why a rate at the lower end of the curve, or below it, is none."""
    return f"The rate would be too close to the lowest rate, {rates[0]:.3g}, or below it. {_LOWER}"


def _too_few(steps: int) -> str:
    """The reason why a curve of so few steps shows nothing."""
    return (
        f"The test took only {steps} steps; at least {_FEWEST_STEPS} are needed. "
        "Run the test again with more steps."
    )


def _not_finite(rates: _Array, losses: _Array, steps: int, stop_reason: str) -> str | None:
    """The reason that weights or a loss were not finite; None if all were finite."""
    if stop_reason.startswith(WEIGHTS_NOT_FINITE):
        what = stop_reason.removeprefix("diverged: ")
    elif steps < len(losses):
        where = f"at step {steps + 1}, at a learning rate of {rates[steps]:.3g}"
        what = f"the loss was {losses[steps]:g} {where}"
    else:
        return None
    return f"{what[0].upper()}{what[1:]}. {_NO_NANS}"


def _why_unseen(
    rates: _Array, losses: _Array, loss: _FallingCurve, accuracies: _Array | None, lost: str | None
) -> str:
    """The reason why the loss did not fall."""
    rose = loss.has_risen()
    if lost and not rose:
        return lost
    did = f"{'rose without having fallen' if rose else 'did not fall'} by more than its noise"
    first = None if accuracies is None else float(np.mean(accuracies[: loss.window]))
    level = float(np.median(losses[: loss.window]))
    # With unbalanced classes, a model that was never trained may have a high accuracy too, but its
    # loss is not below that of a guess. The loss of a guess that is always right would be 0.
    if (
        first is not None
        and first >= _TRAINED
        and level < _OF_A_TRAINED_MODEL * _entropy(min(first, 0.99))
    ):
        return (
            f"The loss {did}, and the accuracy was {first:.2g} from the start: the model may be "
            "trained already. Train it on at a low constant rate, or run the test with the weights "
            "that the training is to start from."
        )
    if rose:
        return (
            f"The loss {did}: the lowest rate, {rates[0]:.3g}, may be too high, or the model may "
            "be trained already. Run the test again with a lower `min_lr` and more steps."
        )
    return (
        f"The loss {did}: the model may be trained already, or unable to learn, or the batches may "
        "be too few or too small to show a fall. Run the test again with more steps, larger "
        "batches or a higher `max_lr`, and see whether the model learns at all."
    )


def _in_an_order(loss: _FallingCurve) -> str | None:
    """The reason that the batches come in an order; None if they do not.

    This looks at the steps up to the floor, since beyond it the loss is ragged for other reasons.
    The floor is that of averages over a fifth of the steps here, since those over fewer steps are
    low also where the data are easy. The accuracies are not asked: they may sink before they rise.
    """
    window = max(5, len(loss.values) // 5) | 1
    steps = int(np.argmin(_moving(loss.values, window, _mean))) + 1
    losses = loss.values[:steps]
    if not (batch_order.jumps(losses) or batch_order.neighbours_are_alike(losses)):
        return None
    return (
        "The batches come in an order (neighbouring batches are more alike than others), and the "
        "curve shows this order instead of the effect of the rate. Shuffle the data."
    )


def _falls_at_once(lowest: float) -> str:
    """The reason that the loss alone tells nothing, since it falls from the lowest rate on.

    Batches that are sorted by their targets give a smooth curve, which falls and rises before the
    model has learned anything. Only a level before the fall shows that the fall is due to the rate.
    """
    return (
        f"The loss was already falling at the lowest rate, {lowest:.3g}, so that the rate is too "
        "high, or the batches come in an order, such as that of their targets. Run the test again "
        "with a lower `min_lr`, and shuffle the data if the loss then falls from the start, too."
    )


def _at_chance(losses: _Array, loss: _FallingCurve, accuracies: _Array) -> str | None:
    """The reason that the loss fell only to that of a guess; None if it did not.

    A guess is a prediction that does not depend on the input. The accuracy tells the loss of a good
    guess, if the loss is one of the usual ones. The accuracy of a guess does not rise. If it is
    known so badly that the loss of a guess is uncertain by some percent, as it is with many
    classes, nothing can be said.
    """
    end = loss.rises() + 1
    low = loss.averages[:end] <= loss.floor + loss.step
    if np.sum(low) < 2 or np.sum(~low) < 2:
        return None
    before, after = _Mean(accuracies[:end][~low]), _Mean(accuracies[:end][low])
    accuracy = _Mean(accuracies[:end])
    floor = _Mean(losses[:end][loss.averages[:end] <= loss.floor + 3 * loss.error])
    if not accuracy.error / _KNOWN_ACCURACY < accuracy.value < 1 - 2 * accuracy.error:
        return None
    rise = after.value - before.value
    # If all guess the same class, another class may be a little more frequent.
    if rise > max(3 * math.hypot(before.error, after.error), _variance(accuracy.value) / 4):
        return None
    for guess in _GUESSES:
        expected = guess(accuracy.value)
        bounds = [guess(accuracy.value + sign * accuracy.error) for sign in (-1, 1)]
        error = math.hypot(bounds[1] - bounds[0], 2 * floor.error)
        if (
            error < _KNOWN * expected
            and -2 * error < floor.value - expected < _ABOVE_A_GUESS * expected
        ):
            return (
                f"The accuracy stayed at {accuracy.value:.2g}, and the loss fell only to "
                f"{floor.value:.3g}, about the loss of a guess that does not depend on the input. "
                "See whether the model can learn: look at the labels, the scale of the inputs, and "
                "for units that are dead."
            )
    return None


class _Mean:
    """The mean of some values, and its standard error."""

    def __init__(self, values: _Array) -> None:
        self.value = float(np.mean(values))
        self.error = float(np.std(values)) / len(values) ** 0.5


def _entropy(accuracy: float) -> float:
    """The lowest cross-entropy of a guess whose class has this probability.

    It is that of as many classes of this probability as there can be, and one with the rest.
    """
    classes = float(np.floor(1 / accuracy))  # infinity for the smallest of all numbers
    rest = max(1 - classes * accuracy, 0.0)
    return -classes * accuracy * math.log(accuracy) - (rest and rest * math.log(rest))


def _binary_entropy(accuracy: float) -> float:
    """The binary cross-entropy of a guess, for two classes or for each of several one-hot."""
    return -accuracy * math.log(accuracy) - (1 - accuracy) * math.log(1 - accuracy)


def _variance(accuracy: float) -> float:
    """The mean squared error of a guess, for two classes or for several one-hot."""
    return accuracy * (1 - accuracy)


_GUESSES = (_entropy, _binary_entropy, _variance)


# Arrays -------------------------------------------------------------------------------------------


def _grow_exponentially(rates: _Array) -> bool:
    """Whether the rates grow over a wide range, and faster and faster, so that low ones abound."""
    return bool(4 * rates[len(rates) // 2] < rates[0] + rates[-1])


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
