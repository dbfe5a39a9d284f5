import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules.range_test import suggestions

NAMES = ("base_lr", "max_lr", "steepest", "valley", "minimum")
SMOOTHING = 0.98


FLAT = "The loss did not fall by more than its noise"
ROSE = "The loss rose without having fallen by more than its noise"
ORDER = "The batches come in an order"
CHANCE = "The accuracy stayed at"
LOWER = "Run the test again with a lower `min_lr`."
HIGHER = "Run the test again with a higher `max_lr`."


def suggest(rates, losses, smoothed, accuracies=None, stop_reason="completed"):
    metrics = {} if accuracies is None else {"accuracy": accuracies}
    return clr.RangeTestResult(rates, losses, smoothed, metrics, stop_reason).suggest()


def read(rates, losses, accuracies=None, stop_reason="completed"):
    losses = np.asarray(losses, float)
    smoothed = suggestions.smooth(losses, SMOOTHING)
    return suggest(rates, losses, smoothed, accuracies, stop_reason)


def rates_of(steps, low=1e-7, high=10.0):
    return np.geomspace(low, high, steps)


def with_ups_and_downs(steps, seed=0, noise=0.1):
    """A loss that begins to fall at 1e-4 and blows up at 1, and accuracies to go with it."""
    rng = np.random.default_rng(seed)
    rates = rates_of(steps)
    learned = 1 / (1 + (1e-3 / rates) ** 1.5)
    losses = 2.3 - 2 * learned + 3 * np.maximum(0, np.log(rates)) ** 2
    losses = losses + noise * rng.standard_normal(steps)
    accuracies = 0.1 + 0.8 * learned * (rates < 1) + 0.3 * noise * rng.standard_normal(steps)
    return rates, losses, accuracies


def check(reading, rates):
    """What holds for every reading."""
    for name in NAMES:
        rate = getattr(reading, name)
        assert (rate is None) == (name in reading.reasons)
        if rate is None:
            reason = reading.reasons[name]
            # What it is, and what to do.
            assert re.fullmatch(r"[A-Z].*[^.]\. [A-Z].*[^.]\.", reason), reason
        else:
            assert isinstance(rate, float)
            assert rates[0] <= rate <= rates[-1]
    if reading.base_lr is not None and reading.max_lr is not None:
        assert 3 * reading.base_lr <= reading.max_lr


def nothing(reading, reason):
    assert [getattr(reading, name) for name in NAMES] == [None] * 5
    assert set(reading.reasons) == set(NAMES)
    (only,) = set(reading.reasons.values())
    assert only.startswith(reason), only
    check(reading, ())


# The smoothed loss -------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=50),
    st.just(0.0) | st.just(0.98) | st.floats(0, 1, exclude_max=True),
)
def test_smoothing_is_a_weighted_mean_of_the_losses_so_far(losses, smoothing):
    smoothed = suggestions.smooth(np.array(losses), smoothing)
    assert smoothed.dtype == np.float64
    assert len(smoothed) == len(losses)
    for i, value in enumerate(smoothed):
        weights = smoothing ** np.arange(i, -1, -1.0)
        assert value == pytest.approx(np.average(losses[: i + 1], weights=weights), abs=1e-6)


def test_smoothing_is_that_of_the_formula():
    losses = np.random.default_rng(0).random(1000)
    smoothed = suggestions.smooth(losses, 0.98)
    average = 0.0
    for i, loss in enumerate(losses):
        average = 0.98 * average + 0.02 * loss
        assert smoothed[i] == pytest.approx(average / (1 - 0.98 ** (i + 1)), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98, 1 - 2**-53])
def test_a_constant_loss_stays_what_it_is(smoothing):
    np.testing.assert_allclose(suggestions.smooth(np.full(100, 2.3), smoothing), 2.3, rtol=1e-12)


def test_what_is_not_finite_spreads():
    smoothed = suggestions.smooth(np.array([1.0, math.inf, 1.0, -math.inf, 1.0, math.nan]), 0.5)
    np.testing.assert_array_equal(smoothed, [1, math.inf, math.inf, math.nan, math.nan, math.nan])


# Whatever the curve ------------------------------------------------------------------------------

numbers = st.floats(width=32) | st.floats() | st.sampled_from([0.0, 1.0, 2.3, math.nan, math.inf])
finite = st.floats(-10, 10) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def curves(draw, values=numbers, most=80):
    """Rates, losses, smoothed losses and perhaps accuracies of any values."""
    steps = draw(st.integers(0, most))
    # From one draw: rows of a few values, so that curves have levels, slopes and spikes.
    palette = draw(st.lists(values, min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    losses = np.array(palette)[rng.integers(0, len(palette), steps)]
    if draw(st.booleans()):
        losses = np.sort(losses)[:: draw(st.sampled_from([1, -1]))]
    if draw(st.booleans()):
        smoothed = suggestions.smooth(losses, draw(st.sampled_from([0.0, 0.5, 0.98])))
    else:
        smoothed = np.array(palette)[rng.integers(0, len(palette), steps)]
    accuracies = None
    if draw(st.booleans()):
        accuracies = np.array(palette)[rng.integers(0, len(palette), steps)]
        if draw(st.booleans()):
            accuracies = np.linspace(0, 1, steps)
    low = draw(st.sampled_from([1e-7, 1e-30, 1.0, 0.0]))
    if draw(st.booleans()) and low:
        rates = np.geomspace(low, low * draw(st.sampled_from([1.001, 1e3, 1e8])), steps)
    else:
        rates = np.linspace(low, low + draw(st.sampled_from([1e-6, 0.1, 1e30])), steps)
    return rates, losses, smoothed, accuracies


@given(curves())
def test_any_numbers_at_all_are_read_without_a_warning(curve):
    reading = suggest(*curve)
    if len(curve[0]):
        check(reading, curve[0])
    else:
        nothing(reading, "The test took only 0 steps; at least 20 are needed")


@given(curves(), st.integers(-60, 60))
def test_the_answers_scale_with_the_rates(curve, exponent):
    rates, *rest = curve
    reading = suggest(rates, *rest)
    scaled = suggest(np.ldexp(rates, exponent), *rest)
    for name in NAMES:
        rate = getattr(reading, name)
        expected = rate if rate is None else math.ldexp(rate, exponent)
        assert getattr(scaled, name) == (None if rate is None else pytest.approx(expected))


# The inverse of the smallest accuracies is too large for a number.
TINY = 2.225e-313
SMALLEST = (
    np.linspace(1e-7, 1.1e-6, 20),
    TINY * np.isin(np.arange(20), range(3, 9)),
    TINY * np.isin(np.arange(20), [0, 3, 4, 7, 11, 12, 14, 16, 17, 18, 19]),
    TINY * np.isin(np.arange(20), [0, 1, 2, 3, 4, 8, 11, 12, 16]),
)


@example(SMALLEST, 0)
@given(curves(finite), st.integers(-60, 60))
def test_the_unit_of_the_loss_does_not_matter(curve, exponent):
    rates, losses, smoothed, accuracies = curve
    if accuracies is not None:
        # Others than rising ones call for a comparison with the loss of a guess, which has a unit.
        accuracies = np.linspace(0, 1, len(rates))
    with np.errstate(over="ignore"):
        other = np.ldexp(losses, exponent), np.ldexp(smoothed, exponent)
        back = np.ldexp(other[0], -exponent), np.ldexp(other[1], -exponent)
    if np.array_equal(back, (losses, smoothed)):  # nothing overflowed, nothing got lost
        assert suggest(rates, *other, accuracies) == suggest(rates, losses, smoothed, accuracies)


@pytest.mark.parametrize("factor", [1e-30, 0.1, 3.0, 1e30])
@pytest.mark.parametrize("steps", [50, 100, 400])
def test_the_units_do_not_matter(factor, steps):
    rates, losses, accuracies = with_ups_and_downs(steps)
    for accuracy in (None, accuracies):
        reading = read(rates, losses, accuracy)
        assert None not in vars(reading).values()
        for other, scale in (
            (read(rates, factor * losses, accuracy), 1),
            (read(factor * rates, losses, accuracy), factor),
            (read(rates, -losses.mean() + losses, accuracy), 1),
        ):
            for name in NAMES:
                assert getattr(other, name) == pytest.approx(scale * getattr(reading, name))


@pytest.mark.parametrize("tail", [[math.nan], [math.inf, math.nan], [math.nan] * 5])
@pytest.mark.parametrize("steps", [100, 400])
def test_a_loss_that_is_no_longer_finite_changes_next_to_nothing(steps, tail):
    rates, losses, accuracies = with_ups_and_downs(steps)
    more = rates[-1] * 1.2 ** np.arange(1, len(tail) + 1)
    for accuracy in (None, accuracies):
        reading = read(rates, losses, accuracy)
        longer = read(
            np.append(rates, more),
            np.append(losses, tail),
            None if accuracy is None else np.append(accuracy, tail),
        )
        assert (longer.base_lr, longer.max_lr) == (reading.base_lr, reading.max_lr)
        for name in NAMES:
            assert 0.5 < getattr(longer, name) / getattr(reading, name) < 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [100, 400])
def test_the_bounds_are_where_an_eye_would_put_them(steps, seed):
    rates, losses, accuracies = with_ups_and_downs(steps, seed)
    by_loss, by_accuracy = read(rates, losses), read(rates, losses, accuracies)
    for reading in (by_loss, by_accuracy):
        check(reading, rates)
        assert not reading.reasons
        assert 5e-5 < reading.base_lr < 1e-3  # learning begins at about 1e-4
    assert 2e-3 < by_loss.max_lr < 3 / 4  # level from 1e-2, blows up at 1
    assert by_accuracy.max_lr == by_loss.max_lr


def test_the_accuracy_does_not_move_the_maximum_that_the_loss_shows():
    rates, losses, accuracies = with_ups_and_downs(200)
    late = 0.1 + 0.8 * np.linspace(0, 1, 200) ** 8  # still rising while the loss blows up
    for accuracy in (late, accuracies):
        assert read(rates, losses, accuracy).max_lr == read(rates, losses).max_lr


def test_the_maximum_is_at_most_half_of_the_rate_in_the_middle_of_the_floor():
    rates = rates_of(400)
    # The floor is from 1e-4 to 1e-2; then the loss rises slowly, and blows up at 3.
    losses = np.interp(np.log10(rates), [-5, -4, -2, -1.9, 0.5, 1], [2.3, 0.1, 0.1, 0.6, 0.9, 9])
    assert read(rates, losses).max_lr == pytest.approx(1e-3 / 2, rel=0.3)


def test_the_length_of_the_test_does_not_matter_where_the_loss_is_eight_steps_late():
    found = []
    for steps in (200, 400, 800, 1600):
        rates, losses, _ = with_ups_and_downs(steps + 8, noise=0)
        found.append(read(rates[8:], losses[:-8]).max_lr)
    assert max(found) < 1.2 * min(found)  # without regard to the delay, the factor is 1.9


@pytest.mark.parametrize("accuracies", [np.zeros(200), np.full(200, math.nan)])
def test_accuracies_that_say_nothing_leave_it_to_the_loss(accuracies):
    rates, losses, _ = with_ups_and_downs(200)
    assert read(rates, losses, accuracies) == read(rates, losses)


def test_the_maximum_is_where_the_accuracy_is_first_as_good_as_it_gets():
    rates = rates_of(200)
    accuracies = np.clip(0.1 + np.log10(rates / 1e-4) / 4, 0.1, 1)  # from 1e-4 to 4e-1
    reading = read(rates, 2.3 - accuracies, accuracies)
    assert reading.max_lr == pytest.approx(0.4, rel=0.7)
    assert reading.base_lr == pytest.approx(1e-4, rel=2)


def test_linear_growth():
    rates = np.linspace(0.001, 0.2, 200)
    learned = 1 / (1 + np.exp(-(rates - 0.006) / 0.0008))
    losses = 2.3 - 2 * learned + np.maximum(0, rates - 0.15) * 50
    reading = read(rates, losses, 0.1 + 0.8 * learned)
    check(reading, rates)
    assert 0.01 < reading.max_lr < 0.05
    # So few steps are below 0.006 that they are no level.
    assert reading.reasons == {
        "base_lr": f"The accuracy was already rising at the lowest rate, 0.001. {LOWER}"
    }


def test_a_long_test_is_read_too():
    rates, losses, accuracies = with_ups_and_downs(20_000)
    reading = read(rates, losses, accuracies)
    assert not reading.reasons
    assert 2e-5 < reading.base_lr < 1e-3


# What the curve does not show --------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 19])
def test_a_few_steps_show_nothing(steps):
    losses = np.linspace(2.3, 0.1, steps)
    reason = f"The test took only {steps} steps; at least 20 are needed"
    nothing(read(rates_of(steps), losses, losses), reason)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nothing_finite_shows_nothing(value):
    nothing(
        read(rates_of(100), np.full(100, value)),
        f"The loss was {value} at step 1, at a learning rate of 1e-07. Look for NaN",
    )
    few = np.append([2.3, 2.2, 2.1], np.full(97, value))
    nothing(
        read(rates_of(100), few),
        f"The loss was {value} at step 4, at a learning rate of 1.75e-07. Look for NaN",
    )


@pytest.mark.parametrize("value", [0.0, 2.3, -1e-300, 1e300])
def test_a_flat_loss_shows_nothing(value):
    nothing(read(rates_of(200), np.full(200, value)), FLAT)


def test_the_rounding_of_float32_is_not_a_fall():
    losses = np.linspace(2.3, 2.3 - 1e-6, 200).astype(np.float32)
    nothing(read(rates_of(200), losses), FLAT)


NOISES = {
    "normal": lambda rng, steps: 2.3 + 0.1 * rng.standard_normal(steps),
    "skewed": lambda rng, steps: rng.exponential(size=steps),
    "long tails": lambda rng, steps: rng.standard_t(3, steps),
    "uniform": lambda rng, steps: rng.random(steps),
    "two values": lambda rng, steps: (rng.random(steps) < 0.3) * 1.0,
    "spikes": lambda rng, steps: 2.3 + 10 * (rng.random(steps) < 0.03),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("steps", [20, 50, 100, 400, 1000])
def test_pure_noise_shows_nothing(noise, steps):
    shown = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        reading = read(rates_of(steps), NOISES[noise](rng, steps))
        shown += len(reading.reasons) < 5
    assert shown <= 1


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_loss_that_only_rises_shows_nothing(noise):
    losses = np.linspace(1, 3, 200) + noise * np.random.default_rng(0).standard_normal(200)
    nothing(read(rates_of(200), losses), ROSE)


def test_divergence_from_the_first_step():
    losses = 10.0 ** np.arange(4)  # and the test stops
    nothing(read(rates_of(200)[:4], losses), "The test took only 4 steps; at least 20 are needed")
    nothing(
        read(rates_of(30), 2.0 ** np.arange(30)),
        ROSE,
    )


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_loss_that_still_falls_at_the_highest_rate_shows_no_maximum(noise):
    rates = rates_of(200)
    losses = 2.3 - np.maximum(0, np.log10(rates / 1e-4)) / 4
    losses = losses + noise * np.random.default_rng(0).standard_normal(200)
    reading = read(rates, losses)
    check(reading, rates)
    assert 1e-4 < reading.base_lr < 1e-2
    assert reading.reasons == {
        "max_lr": f"The loss was still falling at the highest rate, 10. {HIGHER}",
        "minimum": f"The smoothed loss was still falling at the highest rate, 10. {HIGHER}",
    }


def test_a_loss_that_stays_low_shows_no_maximum():
    rates = rates_of(200)
    losses = 2.3 - 2 / (1 + (1e-3 / rates) ** 2)
    assert read(rates, losses).reasons["max_lr"] in (
        f"The loss did not rise again up to the highest rate, 10. {HIGHER}",
        f"The loss was still falling at the highest rate, 10. {HIGHER}",
    )
    losses[150:] = 0.3
    reason = f"The loss did not rise again up to the highest rate, 10. {HIGHER}"
    assert read(rates, losses).reasons["max_lr"] == reason


def test_an_accuracy_that_still_rises_shows_no_maximum():
    rates = rates_of(200)
    accuracies = np.maximum(0.1, 0.1 + np.log10(rates / 1e-4) / 6)
    reading = read(rates, 2.3 - accuracies, accuracies)
    assert reading.max_lr is None
    assert (
        reading.reasons["max_lr"]
        == f"The accuracy was still rising at the highest rate, 10. {HIGHER}"
    )
    assert 1e-4 < reading.base_lr < 1e-3


def test_learning_from_the_lowest_rate_on_shows_no_base():
    rates = np.linspace(0.01, 1, 100)
    losses = np.exp(-20 * rates) + 5 * np.maximum(0, rates - 0.5) ** 2
    reading = read(rates, losses)
    assert reading.base_lr is None
    assert reading.reasons == {
        "base_lr": f"The loss was already falling at the lowest rate, 0.01. {LOWER}"
    }
    assert 0.05 < reading.max_lr < 0.5 / 2  # lowest at about 0.2, rises from 0.5
    reading = read(rates, losses, 1 - np.exp(-20 * rates))
    assert reading.reasons == {
        "base_lr": f"The accuracy was already rising at the lowest rate, 0.01. {LOWER}"
    }


def test_a_base_that_is_not_below_the_maximum_is_none():
    rates, losses, _ = with_ups_and_downs(200)
    late = np.where(rates < 2, 0.1, 0.1 + np.log10(rates / 2))  # rises where the loss blows up
    reading = read(rates, losses, late)
    assert reading.max_lr == read(rates, losses).max_lr
    assert reading.base_lr is None
    assert reading.reasons["base_lr"].startswith(
        f"Learning began only at 1.89, which is not below max_lr={reading.max_lr:.3g} by a factor "
    )


def test_a_maximum_below_the_lowest_rate_is_none():
    # The rates hardly grow, and half of any of them is below the first.
    rates = np.linspace(1, 1.1, 100)
    losses = np.concatenate([np.full(40, 2.3), np.linspace(2.3, 0.1, 40), np.linspace(0.2, 9, 20)])
    reading = read(rates, losses)
    assert reading.max_lr is None
    assert (
        reading.reasons["max_lr"]
        == f"The rate would be too close to the lowest rate, 1, or below it. {LOWER}"
    )
    assert (
        reading.reasons["minimum"]
        == f"The rate would be too close to the lowest rate, 1, or below it. {LOWER}"
    )
    assert reading.base_lr is not None


def test_a_loss_that_is_suddenly_not_finite_is_the_edge():
    rates = rates_of(100)
    losses = np.where(rates < 1e-4, 2.3, 2.3 - np.log10(rates / 1e-4) / 3)
    losses[80:] = math.nan
    assert read(rates, losses).max_lr == rates[79] / 10


@pytest.mark.parametrize("when", ["step 3, at a learning rate of 1.2e-07", "step 40, at …"])
def test_weights_that_are_not_finite_are_named_where_the_loss_has_not_fallen(when):
    """Such a network may go on at the loss of a guess, as one of relus does."""
    steps = int(when.split()[1].strip(","))
    losses = 2.3 + 0.05 * np.random.default_rng(0).standard_normal(steps)
    stop = f"diverged: the weights were not finite after {when}"
    reason = (
        f"The weights were not finite after {when}. Look for NaN and infinite values in the data"
    )
    nothing(read(rates_of(200)[:steps], losses, np.full(steps, 0.1), stop), reason)


def test_weights_that_are_not_finite_after_a_rise_are_an_edge_and_without_one_they_are_not():
    rates, losses, accuracies = with_ups_and_downs(200)
    stop = "diverged: the weights were not finite after step 200, at a learning rate of 10"
    assert read(rates, losses, accuracies, stop) == read(rates, losses, accuracies)
    early = read(rates[:130], losses[:130], accuracies[:130], stop)
    assert early.base_lr == pytest.approx(read(rates, losses, accuracies).base_lr, rel=0.7)
    assert early.reasons["max_lr"].startswith("The weights were not finite after step 200")


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_trained_model_shows_nothing(noise):
    """The loss is small, and its noise is that of a few hard samples."""
    rng = np.random.default_rng(0)
    losses = rng.gamma(0.5, 0.01, 200)
    losses[190:] += np.linspace(0, 3, 10) * noise
    accuracies = 0.98 + 0.02 * rng.uniform(-1, 1, 200)
    start = ROSE if noise else FLAT
    expected = (
        f"{start}, and the accuracy was 0.98 from the start: the model may be trained already"
    )
    nothing(read(rates_of(200), losses, accuracies), expected)
    assert "may be trained already" in read(rates_of(200), losses).reasons["max_lr"]


def blocks(steps, length, seed=0):
    """A level for each block of batches of one class, the same in each pass of ten blocks."""
    levels = np.random.default_rng(seed).normal(2.3, 0.7, 10)
    return levels[np.arange(steps) // length % 10]


def test_batches_in_an_order_show_nothing():
    rates, losses, accuracies = with_ups_and_downs(300)
    for seed in range(20):
        ordered = losses + blocks(300, 6, seed)
        nothing(read(rates, ordered), ORDER)
        nothing(read(rates, ordered, accuracies), ORDER)
    # Two sources, the second of which is easier.
    nothing(read(rates, losses + 2 * (np.arange(300) % 60 < 30)), ORDER)


def test_a_loss_that_falls_from_the_first_of_many_decades_shows_nothing():
    """Sorted targets: the loss falls and rises before the model has learned anything."""
    for batches, steps in ((60, 58), (60, 240), (200, 200), (400, 200)):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            targets = np.sort(rng.standard_normal((batches, 32)).ravel()).reshape(batches, 32)
            losses = np.mean(targets**2, axis=1)[np.arange(steps) % batches]
            reading = read(rates_of(300)[:steps], losses)
            assert reading.max_lr is None
            if ORDER not in reading.reasons["max_lr"]:
                nothing(reading, "The loss was already falling at the lowest rate, 1e-07, so that")
    # Accuracies that rise show that the model learns.
    rates = rates_of(100, 0.03, 6)
    losses = np.exp(-20 * rates) + 5 * np.maximum(0, rates - 0.5) ** 2
    nothing(read(rates, losses), "The loss was already falling at the lowest rate, 0.03, so that")
    assert read(rates, losses, 1 - np.exp(-20 * rates)).max_lr is not None


def test_batches_in_a_random_order_that_repeats_are_in_no_order():
    for batches in (3, 10, 25, 60, 100, 299):
        alarms = 0
        for seed in range(25):
            rates, losses, _ = with_ups_and_downs(300, seed, noise=0.02)
            rng = np.random.default_rng(seed)
            again = losses + np.resize(0.4 * rng.standard_normal(batches), 300)
            alarms += ORDER in read(rates, again).reasons.get("max_lr", "")
        assert alarms <= 1, batches


def test_an_accuracy_of_a_guess_shows_nothing_where_the_loss_is_that_of_a_guess():
    """Ten classes alike, or two of which one has nine tenths: the loss falls, to its guess."""
    rates = rates_of(200)
    rng = np.random.default_rng(0)
    fall = 1 / (1 + (rates / 1e-3) ** 1.5) + np.maximum(0, np.log10(rates)) ** 2
    for part, guess in ((0.1, math.log(10)), (0.9, 0.325), (0.1, 0.09), (0.1, 0.325)):
        accuracies = rng.binomial(32, part, 200) / 32
        losses = guess * (1.02 + fall) + 0.02 * guess * rng.standard_normal(200)
        nothing(read(rates, losses, accuracies), f"{CHANCE} 0.")
        assert read(rates, losses).max_lr is not None
        # Lower than that of a guess: the loss tells what the accuracy does not.
        better = read(rates, losses - 0.2 * guess, accuracies)
        assert better.max_lr is not None, (part, guess)


def test_an_accuracy_that_is_hardly_known_does_not_count():
    """Language models: of thousands of words, the loss falls long before one is guessed right."""
    rates, losses, _ = with_ups_and_downs(200)
    rare = (np.random.default_rng(0).random(200) < 0.1) / 32
    for accuracies in (rare, np.zeros(200), np.ones(200)):
        assert read(rates, losses + 6, accuracies) == read(rates, losses + 6)


def test_accuracies_in_percent_do_not_say_what_a_model_knows():
    """They tell where they rise, and are neither those of a trained model nor of a guess."""
    rates, losses, accuracies = with_ups_and_downs(200)
    assert read(rates, losses, 100 * accuracies) == read(rates, losses, accuracies)
    rng = np.random.default_rng(0)
    at_chance = 100 * rng.binomial(32, 0.1, 200) / 32
    flat = 2.3 + 0.1 * rng.standard_normal(200)
    assert read(rates, flat, at_chance) == read(rates, flat)
    assert read(rates, losses, at_chance) == read(rates, losses)
    assert read(rates, losses, np.full(200, 1e308)) == read(rates, losses)


def test_single_rates_are_where_the_loss_falls():
    """Beside a dip in the flat part and a steep fall beyond the lowest loss."""
    rates, losses, _ = with_ups_and_downs(200, noise=0.0)
    smoothed = suggestions.smooth(losses, 0.8)
    base = read(rates, losses).base_lr
    lowest = rates[np.argmin(smoothed)]
    smoothed[30], smoothed[-12:-9] = 9.0, (30.0, 20.0, 10.0)
    reading = suggest(rates, losses, smoothed)
    assert base <= min(reading.valley, reading.steepest)
    assert max(reading.valley, reading.steepest) <= lowest
    assert reading.minimum == lowest / 10


# Where a rule changes its mind -------------------------------------------------------------------

# What is read, as `base_lr` and `max_lr` of the losses alone and of accuracies too. A change of
# these numbers is a change of what users are told: it belongs into the changelog.
READINGS = {
    (30, 0.1): (2.043e-4, 0.03105, 3.857e-4, 0.03105),
    (30, 0.3): (3.857e-4, 0.01645, 7.279e-4, 0.01645),
    (50, 0.1): (1.842e-4, 0.03772, 1.842e-4, 0.03772),
    (50, 0.3): (5.690e-4, 0.02184, 5.690e-4, 0.02184),
    (100, 0.1): (2.477e-4, 0.0329, 2.477e-4, 0.0329),
    (100, 0.3): (7.565e-4, 0.02267, 6.280e-4, 0.02267),
    (150, 0.1): (2.413e-4, 0.03559, 2.132e-4, 0.03559),
    (150, 0.3): (6.488e-4, 0.02313, 5.733e-4, 0.02313),
    (250, 0.1): (2.740e-4, 0.04688, 1.893e-4, 0.04688),
    (250, 0.3): (4.599e-4, 0.03238, 3.966e-4, 0.03238),
    (400, 0.1): (2.130e-4, 0.0568, 2.130e-4, 0.0568),
    (400, 0.3): (4.065e-4, 0.04306, 4.257e-4, 0.04306),
    (1000, 0.1): (2.145e-4, 0.06884, 2.067e-4, 0.06884),
    (1000, 0.3): (2.676e-4, 0.06948, 2.105e-4, 0.06948),
}


@pytest.mark.parametrize(("steps", "noise"), READINGS)
def test_the_readings_of_a_noisy_curve_stay_what_they_are(steps, noise):
    rates, losses, accuracies = with_ups_and_downs(steps, noise=0)
    waves = noise * (np.sin(np.arange(steps) ** 2 * 2.4) + np.sin(np.arange(steps) * 1.7) ** 9)
    losses, accuracies = losses + waves, accuracies + waves[::-1] / 3
    by_loss, by_accuracy = read(rates, losses), read(rates, losses, accuracies)
    found = (by_loss.base_lr, by_loss.max_lr, by_accuracy.base_lr, by_accuracy.max_lr)
    assert found == pytest.approx(READINGS[steps, noise], rel=1e-3)


def test_a_loss_that_blows_up_in_the_last_step_alone_has_risen():
    losses = np.append(np.full(199, 2.3), 9.0)
    assert read(rates_of(200), losses).reasons["max_lr"].startswith(ROSE)


def test_an_accuracy_that_is_best_beyond_the_edge_does_not_raise_the_maximum():
    rates, losses, _ = with_ups_and_downs(200)
    late = np.clip(0.1 + np.log10(rates / 1e-4) / 5, 0.1, 0.98)  # level from 2.5
    assert read(rates, losses, late).max_lr == read(rates, losses).max_lr < 2


def test_a_smoothed_loss_that_is_finite_for_two_steps_is_read_and_for_one_it_is_not():
    rates, losses, _ = with_ups_and_downs(200)
    begins = int(np.flatnonzero(rates == read(rates, losses).base_lr)[0])
    smoothed = np.full(200, math.nan)
    smoothed[begins : begins + 2] = 2, 1
    assert suggest(rates, losses, smoothed).steepest == rates[begins]
    smoothed[begins + 1] = math.nan
    reasons = suggest(rates, losses, smoothed).reasons
    assert reasons == dict.fromkeys(("steepest", "valley", "minimum"), suggestions._NO_DESCENT)


def test_a_valley_has_at_least_three_entries():
    rates, losses, _ = with_ups_and_downs(200)
    smoothed = np.arange(200.0)
    smoothed[100] = 10  # falls once from those before
    assert suggest(rates, losses, smoothed).reasons["valley"] == suggestions._NO_DESCENT
    smoothed[99] = 20
    assert suggest(rates, losses, smoothed).valley == rates[100 - 3 + 1]


def test_float32_is_read_as_the_same_numbers_in_float64():
    curve = [np.float32(values) for values in with_ups_and_downs(200)]
    rates, losses, accuracies = (values.astype(np.float64) for values in curve)
    assert suggest(*curve[:2], curve[1]) == suggest(rates, losses, losses)
    expected = suggest(rates, losses, losses, accuracies)
    assert suggest(*curve[:2], *curve[1:]) == expected


def test_the_lowest_rate_is_named():
    rates = np.linspace(1, 1.5, 100)
    losses = np.concatenate([np.full(40, 2.3), np.linspace(2.3, 0.1, 40), np.linspace(0.2, 9, 20)])
    reasons = read(rates, losses).reasons
    assert (
        reasons["max_lr"]
        == reasons["minimum"]
        == f"The rate would be too close to the lowest rate, 1, or below it. {LOWER}"
    )


# The rules of others -----------------------------------------------------------------------------


def trimmed(rates, smoothed):
    """Where the loss falls from the first step on: up to the lowest smoothed loss."""
    first = len(rates) // 10
    end = first + int(np.argmin(smoothed[first:-5])) + 1
    return rates[first:end], smoothed[first:end]


def longest_valley(losses):
    """By the definition: for every step, the longest of all that may come before it, and one."""
    lengths = []
    for i, loss in enumerate(losses):
        before = [lengths[j] for j in range(i) if losses[j] > loss]
        lengths.append(1 + max(before, default=0))
    return max(lengths), lengths.index(max(lengths))


@given(
    st.lists(st.integers(0, 9) | st.integers(0, 1000), min_size=20, max_size=120),
    st.integers(0, 2**32 - 1),
)
def test_the_rules_of_others_by_their_definitions(values, seed):
    smoothed = np.array(values, float)
    rates = np.cumsum(0.01 + np.random.default_rng(seed).random(len(values)))
    reading = suggest(rates, np.repeat([1.0, 0.0], [3, len(rates) - 3]), smoothed)
    kept, inner = trimmed(rates, smoothed)
    if len(kept) < 2:
        assert reading.steepest is reading.valley is reading.minimum is None
        return

    slopes = [
        (inner[i + 1] - inner[i]) / math.log(kept[i + 1] / kept[i]) for i in range(len(kept) - 1)
    ]
    steepest = float(kept[int(np.argmin(slopes))]) if min(slopes) < 0 else None
    assert reading.steepest == steepest

    length, end = longest_valley(inner)
    start = end - length
    third = (end - start) / 3
    assert reading.valley == (kept[start + int(third) + int(third / 2)] if length > 2 else None)

    lowest = int(np.argmin(inner))
    rate = kept[lowest] / 10
    shown = rate >= rates[0] and smoothed[len(rates) // 10 + lowest :].max() > inner[lowest]
    assert reading.minimum == (rate if shown else None)


def test_others_on_a_curve_that_can_be_read_by_hand():
    rates = np.arange(1.0, 41.0)
    smoothed = np.concatenate(
        [np.full(10, 9.0), np.arange(9.0, 0, -1), np.arange(1.0, 22.0)]
    )  # falls by one from step 10 (rate 11) to step 18 (rate 19), the last that is kept
    losses = np.concatenate([np.full(7, 9.0), np.linspace(9, 0, 18), np.full(15, 20.0)])
    reading = suggest(rates, losses, smoothed)
    assert reading.steepest == 18  # the last step down is the shortest on the axis of logarithms
    # Nine entries, the last at step 18; so taken to start at step 9; 3 + 1 steps from there.
    assert reading.valley == rates[13]
    assert reading.minimum == 1.9


# Quadratics --------------------------------------------------------------------------------------


def quadratics(curvature, rates, dimensions=1, noise="none", seeds=1):
    """Range tests of gradient descent on a quadratic, weights in float32: one for each seed."""
    curvatures = np.geomspace(
        curvature / 100 if dimensions > 1 else curvature, curvature, dimensions
    ).astype(np.float32)
    shape = len(rates), 1 if noise == "factor of all" else dimensions
    noises = [np.random.default_rng(seed).standard_normal(shape) for seed in range(seeds)]
    noises = 0.3 * np.stack(noises, axis=1).astype(np.float32)
    if noise == "added in proportion":
        noises *= curvatures
    elif noise == "added to all alike":
        noises *= np.linalg.norm(curvatures)
    weights = np.ones((seeds, dimensions), np.float32)
    losses = np.empty((len(rates), seeds))
    with np.errstate(over="ignore", invalid="ignore"):
        for step, rate in enumerate(rates):
            gradients = curvatures * weights
            losses[step] = np.float32(0.5) * np.sum(gradients * weights, axis=1)
            if noise.startswith("factor"):
                gradients *= 1 + noises[step]
            elif noise.startswith("added"):
                gradients += noises[step]
            weights -= np.float32(rate) * gradients
    for column in losses.T:
        smoothed = suggestions.smooth(column, SMOOTHING)
        goes_on = smoothed <= 4 * np.minimum.accumulate(smoothed)
        steps = len(rates) if goes_on.all() else int(np.argmin(goes_on)) + 1
        yield rates[:steps], column[:steps]


def of_the_edge(curvature, *args):
    """The maxima as parts of the edge of stability, NaN where there is none."""
    for rates, losses in quadratics(curvature, *args):
        reading = read(rates, losses)
        check(reading, rates)
        if reading.max_lr is None:
            what = r"The loss did not rise again up to the highest rate, 1e\+0[35]\. .*"
            assert re.fullmatch(what, reading.reasons["max_lr"])
        yield math.nan if reading.max_lr is None else reading.max_lr * curvature / 2


CURVATURES = (1e-2, 1.0, 1e3)
NOISY = ("factor of each", "factor of all", "added in proportion", "added to all alike")


# In ten dimensions, 1000 steps are so many that weights of the largest curvatures may be rounded
# to zero on the way: the curve then shows the edge of those that are left.
@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize(
    ("dimensions", "steps"),
    [(1, 100), (1, 200), (1, 500), (1, 1000), (10, 100), (10, 200), (10, 500)],
)
def test_the_maximum_is_below_the_edge_of_stability(curvature, dimensions, steps):
    for low, high in ((1e-7, 1e5), (1e-7 / curvature, 1e3 / curvature)):
        rates = rates_of(steps, low, high)
        (part,) = of_the_edge(curvature, rates, dimensions)
        if not math.isnan(part):
            assert 0.1 <= part <= 1
        else:
            # So many steps near the best rate that float32 has no loss left, which could rise.
            assert steps == 1000
            ((_, losses),) = quadratics(curvature, rates)
            assert losses[-1] == 0


@pytest.mark.parametrize("noise", NOISY)
@pytest.mark.parametrize("dimensions", [1, 10])
@pytest.mark.parametrize("steps", [100, 200, 500])
def test_the_maximum_is_below_the_edge_of_stability_in_noise(noise, dimensions, steps):
    for curvature, low, high in [(c, 1e-7, 1e5) for c in CURVATURES] + [(1.0, 1e-7, 1e3)]:
        rates = rates_of(steps, low, high)
        parts = np.array(list(of_the_edge(curvature, rates, dimensions, noise, 20)))
        assert np.sum(np.isnan(parts)) <= 2
        # Noise that is added to the gradients raises the loss long before the edge.
        least = 0.03 if noise.startswith("added") else 0.1
        assert np.sum(parts > 1) <= 1
        assert np.sum((parts < least) | (parts > 1)) <= 2
