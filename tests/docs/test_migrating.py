"""What `docs/migrating.md` says about other libraries, row by row.

The formulas of the other libraries are written out here, in Python's floats. Where PyTorch is
installed, its own scheduler is run too. (`test_migrate.py` has the values that TensorFlow Addons
itself computed.)
"""

import inspect
import itertools
import math
import re

import numpy as np
import pytest
from helpers import ROOT, strategies
from helpers.keras_under_test import LEGACY, keras
from helpers.weight_model import fit, weight, weight_model
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import migrate

PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
ADDONS, CALLBACK, POST = (
    "TensorFlow Addons",
    "The `CyclicLR` callback for Keras",
    "The callback of the blog post",
)
CYCLIC, ONE_CYCLE, FASTAI = "PyTorch's `CyclicLR`", "PyTorch's `OneCycleLR`", "fastai"
GROUPS, ENDS = "A rate for each group", "Snapshots and averages"
WARM, KERAS = "PyTorch's `CosineAnnealingWarmRestarts`", "Keras's `CosineDecayRestarts`"
CHECKED = []


def row(section, *cells):
    """Says which rows of a section's table a test checks, by their first cells."""
    CHECKED.extend((section, cell) for cell in cells)
    return lambda test: test


def rows():
    """The first two cells of every row of every table of the page, with its section."""
    for section in PAGE.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        for line in re.findall(r"^\| .*\|$", section, re.MULTILINE)[1:]:
            theirs, ours = [cell.strip() for cell in line.split("|")][1:3]
            yield title, theirs, ours


def test_every_row_has_a_test_and_every_test_a_row():
    found = [(section, theirs) for section, theirs, _ in rows()]
    assert len(found) > 50
    assert sorted(found) == sorted(CHECKED)


def test_what_the_second_column_names_is_there():
    kinds = *POLICIES, clr.OneCycle, clr.Cyclical, clr.CyclicalLR, clr.CosineRestarts
    arguments = {name for kind in kinds for name in inspect.signature(kind).parameters}
    for _, _, ours in rows():
        for word, kind, argument in re.findall(r"^`(\w+)`$|^`(\w+)\((?:(\w+)=…)?", ours):
            assert hasattr(clr, word or kind) or word in arguments, ours
            if argument:
                assert argument in inspect.signature(getattr(clr, kind)).parameters, ours


def test_the_lines_of_code_run():
    """All but the lines that load a file: `test_migrate.py` runs those."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    names = {"keras": keras, "clr": clr, "model": model}
    names |= {"x_train": np.ones((64, 4)), "y_train": np.ones(64)}
    for block in blocks[1:]:
        if not (LEGACY and "scale_learning_rates" in block):  # which needs Keras 3
            exec(block, names)
    assert len(names["cyclical"].history["lr"]) == 2
    rates = names["lr"].values([0, 500, 2500, 4500, 6500, 8500, 9500])
    peaks = 0.006, 0.001, 0.0035
    expected = [0, 0.001, *peaks, 0.001 / 25, 0.001 / 25 / 1e4]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)


# --- The formulas of others ---


def textbook(iteration, low, high, step_size, scale=lambda cycle, iteration: 1.0):
    """The cycle as the paper, Addons and the callbacks write it."""
    cycle = math.floor(1 + iteration / (2 * step_size))
    x = abs(iteration / step_size - 2 * cycle + 1)
    return low + (high - low) * max(0.0, 1 - x) * scale(cycle, iteration)


def pytorch(iteration, low, high, up=2000, down=None, scale=lambda cycle, iteration: 1.0):
    """`CyclicLR`, whose two half-cycles may differ in length."""
    down = up if down is None else down
    total, ratio = up + down, up / (up + down)
    cycle = math.floor(1 + iteration / total)
    x = 1.0 + iteration / total - cycle
    height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
    return low + (high - low) * height * scale(cycle, iteration)


def one_cycle(step, peak, total, pct_start, div, final_div, anneal, three_phase):
    """`OneCycleLR`."""
    first, last = peak / div, peak / div / final_div
    top = pct_start * total - 1
    corners = [(0.0, first), (top, peak)]
    if three_phase:
        corners.append((2 * pct_start * total - 2, first))
    corners.append((total - 1, last))
    for (start, before), (end, after) in itertools.pairwise(corners):
        if step <= end or end == total - 1:
            t = (step - start) / (end - start)
            if anneal == "cos":
                return after + (before - after) / 2 * (1 + math.cos(math.pi * t))
            return before + (after - before) * t
    raise AssertionError


@keras.saving.register_keras_serializable(package="tests")
def shifted_harmonic(x):
    return 1 / (1 + x)


def halves(cycle, iteration):
    return 1 / 2 ** (cycle - 1)


def decays(cycle, iteration):
    return 0.999**iteration


POLICIES = {
    clr.Triangular: ({}, lambda cycle, iteration: 1.0),
    clr.Triangular2: ({}, halves),
    clr.ExpRange: ({"gamma": 0.999}, decays),
}
MODES = "triangular", "triangular2", "exp_range"
each_policy = pytest.mark.parametrize("kind", POLICIES)
bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda b: b[1] > 1e-9)
bounds = bounds.map(lambda b: (b[0] if b[0] > 1e-9 else 0.0, b[1]))
counts, iterations = st.integers(1, 3000), st.integers(0, 50_000)


def is_refused(message, kind, *args, error=ValueError, **kwargs):
    with pytest.raises(error, match=message):
        kind(*args, **kwargs)


# --- TensorFlow Addons, and the callback that its classes were made from ---


@row(ADDONS, "`maximal_learning_rate`")
@row(CALLBACK, "`base_lr`", "`max_lr`", *(f'`mode="{mode}"`' for mode in MODES))
@each_policy
@given(bounds, counts, iterations)
def test_the_cycles_are_those_of_addons_and_the_callback(kind, limits, step_size, iteration):
    arguments, scale = POLICIES[kind]
    ours = kind(*limits, step_size, **arguments).values(iteration)
    theirs = textbook(iteration, *limits, step_size, scale)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def of_addons(kind, /, **config):
    migrate.register_addons()
    config = {"initial_learning_rate": 0.1, "maximal_learning_rate": 0.9, "step_size": 7} | config
    saved = {"class_name": f"Addons>{kind}CyclicalLearningRate", "config": config}
    return keras.optimizers.schedules.deserialize(saved)


@row(ADDONS, "`name`", *(f"`{k}CyclicalLearningRate`" for k in ("Triangular", "Triangular2")))
def test_addons_classes_are_read_as_policies():
    assert of_addons("Triangular") == clr.Triangular(0.1, 0.9, 7)
    assert of_addons("Triangular2") == clr.Triangular2(0.1, 0.9, 7)
    assert of_addons("Triangular", name="mine").name == "mine"


@row(ADDONS, "`initial_learning_rate`")
def test_addons_base_may_be_above_the_maximum():
    assert of_addons("Triangular", initial_learning_rate=1.0).values([0, 7]).tolist() == [1.0, 0.9]
    is_refused("must not be above `max_lr`", clr.Triangular, 1.0, 0.9, 7)


@row(ADDONS, "`step_size`")
@row(CALLBACK, "`step_size`")
def test_step_sizes_are_whole_but_loaded_ones():
    assert of_addons("Triangular", step_size=7.0).step_size == 7
    fractional = of_addons("Triangular", step_size=2.5)
    expected = [textbook(i, 0.1, 0.9, 2.5) for i in range(30)]
    np.testing.assert_allclose(fractional.values(range(30)), expected, rtol=1e-12)
    is_refused("step_size=2.5", clr.Triangular, 0.1, 0.9, 2.5)


@row(ADDONS, "`ExponentialCyclicalLearningRate`", "`gamma`")
@row(CALLBACK, "`gamma`")
def test_addons_gamma_counts_iterations_or_cycles():
    assert of_addons("Exponential", gamma=0.9) == clr.ExpRange(0.1, 0.9, 7, gamma=0.9)
    by_cycle = of_addons("Exponential", gamma=0.9, scale_mode="cycle").values(range(50))
    expected = [textbook(i, 0.1, 0.9, 7, lambda cycle, i: 0.9**cycle) for i in range(50)]
    ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=migrate.Power(0.9)).values(range(50))
    np.testing.assert_allclose(by_cycle, expected, rtol=1e-12)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    is_refused("gamma=1.1", clr.ExpRange, 0.1, 0.9, 7, gamma=1.1)


@row(ADDONS, "`CyclicalLearningRate`", "`scale_fn`")
def test_addons_scales_leave_the_bounds_and_ours_do_not():
    # Power is registered, and above 1 from the second cycle on.
    rates = of_addons("", scale_fn=migrate.Power(1.5, start=1), scale_mode="cycle").values([7, 21])
    assert rates.tolist() == pytest.approx([0.9, 0.1 + 0.8 * 1.5])
    ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=migrate.Power(1.5, start=1)).values([7, 21])
    assert ours.tolist() == [0.9, 0.9]
    is_refused("lambda", of_addons, "", scale_fn="<lambda>", scale_mode="cycle")


@row(ADDONS, "`scale_mode`")
def test_there_are_two_modes_of_scales():
    is_refused("'cycle', 'iterations'", clr.Cyclical, 0.1, 0.9, 7, scale_mode="step")


@row(CALLBACK, "`scale_fn`", "`scale_mode`")
@row(CYCLIC, "`scale_fn`", "`scale_mode`")
@pytest.mark.parametrize(("mode", "index"), [("cycle", 0), ("iterations", 1)])
def test_scales_count_as_the_callback_s_and_pytorch_s(mode, index):
    def scale(*counts):
        return shifted_harmonic(counts[index])

    ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=shifted_harmonic, scale_mode=mode)
    expected = [textbook(i, 0.1, 0.9, 7, scale) for i in range(60)]
    np.testing.assert_allclose(ours.values(range(60)), expected, rtol=1e-12)
    ours = clr.Cyclical(0.1, 0.9, 7, 4, scale_fn=shifted_harmonic, scale_mode=mode)
    expected = [pytorch(i, 0.1, 0.9, 7, 4, scale) for i in range(60)]
    np.testing.assert_allclose(ours.values(range(60)), expected, rtol=1e-9)
    assert clr.Cyclical(0.1, 0.9, 7, scale_fn=strategies.wild).values(7) == 0.9


@row(CALLBACK, "`scale_fn=lambda x: 0.5 * (1 + np.sin(x * np.pi / 2))`")
@pytest.mark.skipif(LEGACY, reason="the operations of Keras 3")
def test_a_sine_of_the_callback_computes_with_keras_ops():
    @keras.saving.register_keras_serializable(package="tests")
    def raised_sine(x):
        return 0.5 * (1 + keras.ops.sin(x * (math.pi / 2)))

    def theirs(x, _):
        return 0.5 * (1 + math.sin(x * math.pi / 2))

    lr = clr.Cyclical(0.1, 0.9, 7, scale_fn=raised_sine)
    expected = [textbook(i, 0.1, 0.9, 7, theirs) for i in range(60)]
    np.testing.assert_allclose(lr.values(range(60)), expected, rtol=1e-6)
    model = weight_model(keras.optimizers.SGD(lr))
    fit(model, 60)
    moved = -np.asarray(model.get_weights()[0]).item()
    assert moved == pytest.approx(sum(expected), rel=1e-5)


@row(CALLBACK, "`scale_fn=lambda x: 1 / 2.0 ** (x - 1)`")
@row(CALLBACK, "`scale_fn=lambda x: 1 / 1.2 ** (x - 1)`")
@row(CALLBACK, '`scale_fn=lambda x: 0.999 ** x`, with `scale_mode="iterations"`')
def test_lambdas_of_the_callback_are_numbers():
    for ours, theirs in {
        clr.Triangular2(0.1, 0.9, 7): lambda x, _: 1 / 2.0 ** (x - 1),
        clr.Cyclical(0.1, 0.9, 7, peak_mult=1 / 1.2): lambda x, _: 1 / 1.2 ** (x - 1),
        clr.ExpRange(0.1, 0.9, 7, gamma=0.999): lambda _, x: 0.999**x,
    }.items():
        expected = [textbook(i, 0.1, 0.9, 7, theirs) for i in range(60)]
        np.testing.assert_allclose(ours.values(range(60)), expected, rtol=1e-12)


def decayed_weight(optimizer):
    """A weight of 1 after four steps whose gradient is 0, so that it moves by the decay alone."""
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, loss=lambda y_true, y_pred: 0 * y_pred)
    model.set_weights([np.ones((1, 1))])
    fit(model, 4)
    return np.asarray(model.get_weights()[0]).item()


@row(ADDONS, "`AdamW(weight_decay=schedule)`")
@pytest.mark.skipif(LEGACY, reason="the optimizers of Keras 3")
def test_addons_decay_is_the_rate_times_keras_s():
    """Addons subtracts `weight_decay * weight`, its documentation says."""
    lr = clr.Triangular(0.01, 0.05, 2)
    decay = clr.Triangular(0.1, 0.9, 3)
    ours = clr.schedule_hyperparameters(
        keras.optimizers.AdamW(lr, weight_decay=0.5), weight_decay=decay
    )
    expected = np.prod([1 - lr.values(i) * decay.values(i) for i in range(4)])
    assert decayed_weight(ours) == pytest.approx(expected, rel=1e-6)
    # In proportion to the rate: `weight_decay=lambda step: 0.5 * lr(step)` of Addons.
    addons = np.prod([1 - 0.5 * lr.values(i) for i in range(4)])
    constant = keras.optimizers.AdamW(lr, weight_decay=0.5)
    assert decayed_weight(constant) == pytest.approx(addons, rel=1e-6)


@row(ADDONS, "`Lookahead`")
@pytest.mark.skipif(LEGACY, reason="the optimizers of Keras 3")
def test_the_moving_average_of_keras_takes_in_every_step():
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=6)
    model = weight_model(optimizer)
    fit(model, 7)
    weight = average = -1.0  # the average begins with the weight after the first step
    for step in range(2, 8):
        weight -= 1
        average = 0.5 * average + 0.5 * weight
        if step == 6:
            weight = average
    assert not hasattr(keras.optimizers, "Lookahead")
    # At the end of `fit`, Keras replaces the weights once more.
    assert np.asarray(model.get_weights()[0]).item() == pytest.approx(average)


def trained(rate, *callbacks):
    model = weight_model(keras.optimizers.SGD(rate))
    fit(model, 5, epochs=2, callbacks=[*callbacks])
    return model


@row(CALLBACK, "`clr_iterations`", "`history`")
def test_the_optimizer_counts_and_the_logger_has_the_history():
    logger = clr.LearningRateLogger()
    model = trained(clr.Triangular(0.1, 0.9, 7), logger)
    assert int(np.asarray(model.optimizer.iterations)) == 10
    assert list(logger.history) == ["iteration", "learning_rate"]
    assert logger.history["iteration"] == list(range(10))


# --- The callback of the post ---


@row(POST, "`base_lr`", "`max_lr`", "`mode`", "`history`", "several `fit` calls")
@pytest.mark.parametrize(("mode", "kind"), list(zip(MODES, POLICIES, strict=True)))
def test_the_post_s_callback_goes_on_in_the_next_fit(mode, kind):
    arguments, scale = POLICIES[kind]
    callback = clr.CyclicalLR(0.1, 0.9, 3, mode=mode, **arguments)
    model = trained(0.5, callback)
    assert float(np.asarray(model.optimizer.learning_rate)) == 0.5
    fit(model, 5, callbacks=[callback])
    assert callback.history["iter"] == list(range(15))
    expected = [textbook(i, 0.1, 0.9, 3, scale) for i in range(15)]
    np.testing.assert_allclose(callback.history["lr"], expected, rtol=1e-6)


@row(POST, "other callbacks that set the rate")
def test_the_post_s_callback_is_the_only_one_that_sets_the_rate():
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    others = [
        keras.callbacks.ReduceLROnPlateau(monitor="loss"),
        keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr),
        clr.CyclicalLR(0.1, 0.9, 3),
    ]
    for other in others:
        with pytest.raises(ValueError, match=type(other).__name__):
            trained(0.5, callback, other)


@row(POST, "`stepsize`", "`gamma`")
def test_the_post_s_arguments_have_its_names_and_our_limits():
    is_refused("stepsize=2.5", clr.CyclicalLR, 0.1, 0.9, stepsize=2.5)
    assert clr.CyclicalLR(0.1, 0.9, 3, "triangular", 0.5).schedule == clr.Triangular(0.1, 0.9, 3)
    is_refused("gamma=2", clr.CyclicalLR, 0.1, 0.9, 3, "exp_range", 2)


# --- PyTorch ---


@row(CYCLIC, "`max_lr`", "`step_size_down`", *(f'`mode="{mode}"`' for mode in MODES))
@each_policy
@given(bounds, counts, st.none() | counts, iterations)
def test_the_cycles_are_pytorch_s(kind, limits, up, down, iteration):
    arguments, scale = POLICIES[kind]
    ours = kind(*limits, up, down, **arguments).values(iteration)
    theirs = pytorch(iteration, *limits, up, down, scale)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@row(CYCLIC, "`base_lr`", "`step_size_up`", "`gamma`")
@row(ONE_CYCLE, "`max_lr`")
def test_bounds_are_single_numbers_and_pytorch_s_defaults_must_be_given():
    is_refused("base_lr", clr.Triangular, [0.1, 0.2], 0.9, 7, error=TypeError)
    is_refused("max_lr", clr.OneCycle, [0.1, 0.2], 100, error=TypeError)
    is_refused("step_size", clr.Triangular, 0.1, 0.9, error=TypeError)
    is_refused("gamma", clr.ExpRange, 0.1, 0.9, 7, error=TypeError)


MOMENTUM = "`cycle_momentum`, `base_momentum`, `max_momentum`"


def momenta_of_a_training(steps, momentum):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    if LEGACY:
        with pytest.raises(ValueError, match="an optimizer of Keras 3"):
            clr.schedule_hyperparameters(optimizer, momentum=momentum)
        return momentum.values(range(steps))
    logger = clr.LearningRateLogger()
    model = weight_model(clr.schedule_hyperparameters(optimizer, momentum=momentum))
    fit(model, steps, callbacks=[logger])
    return logger.history["momentum"]


@row(CYCLIC, MOMENTUM)
@each_policy
def test_momenta_are_pytorch_s(kind):
    arguments, scale = POLICIES[kind]
    momentum = kind(0.1, 0.9, 7, **arguments).momentum()  # with the defaults of PyTorch
    expected = [0.9 - pytorch(i, 0.0, 0.1, 7, scale=scale) for i in range(40)]
    np.testing.assert_allclose(momenta_of_a_training(40, momentum), expected, rtol=1e-6)


@row(ONE_CYCLE, MOMENTUM)
@row(FASTAI, "`moms=(0.95, 0.85, 0.95)`")
def test_momenta_are_one_cycle_s():
    momentum = clr.OneCycle(0.1, 20, 0.25).momentum(0.95, 0.85)
    expected = [
        0.95 - 0.1 * math.sin(math.pi / 2 * min(i / 4, (19 - i) / 15)) ** 2 for i in range(20)
    ]
    np.testing.assert_allclose(momenta_of_a_training(20, momentum), expected, rtol=1e-6)


@row(WARM, "the optimizer's `lr`", "`T_0`", "`T_mult`", "`eta_min`")
def test_restarts_are_pytorch_s():
    lr, t_0, t_mult, eta_min = 0.1, 7, 3, 0.01

    def pytorchs(epoch):
        """The closed form of its `step(epoch)`."""
        n = int(math.log(epoch / t_0 * (t_mult - 1) + 1, t_mult) + 1e-9)
        current, length = epoch - t_0 * (t_mult**n - 1) / (t_mult - 1), t_0 * t_mult**n
        return eta_min + (lr - eta_min) * (1 + math.cos(math.pi * current / length)) / 2

    ours = clr.CosineRestarts(lr, t_0, t_mult, min_lr=eta_min)
    np.testing.assert_allclose(
        ours.values(range(500)), [pytorchs(i) for i in range(500)], rtol=1e-9
    )


@row(KERAS, "`initial_learning_rate`", "`first_decay_steps`", "`t_mul`", "`m_mul`", "`alpha`")
def test_restarts_are_keras_s():
    theirs = keras.optimizers.schedules.CosineDecayRestarts
    steps = [step for step in range(0, 1000, 29) if step % 50 > 2]  # float32 wavers at a restart
    for arguments, ours in (
        (theirs(0.1, 100), clr.CosineRestarts(0.1, 100, 2)),
        (theirs(0.1, 50, 1.0, 0.9, 0.2), clr.CosineRestarts(0.1, 50, 1, 0.9, 0.2 * 0.1)),
        (theirs(0.1, 100, 1.5, 0.5), clr.CosineRestarts(0.1, 100, 1.5, 0.5)),
    ):
        rates = [float(np.asarray(arguments(step))) for step in steps]
        np.testing.assert_allclose(rates, ours.values(steps), rtol=2e-3, atol=1e-6)


@row(CYCLIC, "`last_epoch`")
@row(ONE_CYCLE, "`last_epoch`")
def test_a_training_goes_on_from_the_optimizer_s_count():
    model = weight_model(keras.optimizers.SGD(clr.OneCycle(0.1, 20)))
    model.optimizer.iterations.assign(15)
    logger = clr.LearningRateLogger()
    fit(model, 3, callbacks=[logger])
    assert logger.history["iteration"] == [15, 16, 17]


@row(ONE_CYCLE, "`pct_start`", "`div_factor`", "`final_div_factor`", "`three_phase`")
@row(ONE_CYCLE, '`anneal_strategy="cos"`', '`anneal_strategy="linear"`')
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(("anneal", "ours"), [("cos", "cosine"), ("linear", "linear")])
@given(
    st.floats(1e-3, 1),
    st.integers(20, 5000),
    st.floats(0.1, 0.5),
    st.floats(2, 1e3),
    st.floats(2, 1e5),
    st.floats(0, 1),
)
def test_one_cycles_are_pytorch_s(
    anneal, ours, three_phase, peak, total, pct_start, div, final_div, at
):
    step = round(at * (total - 1))
    schedule = clr.OneCycle(peak, total, pct_start, div, final_div, ours, three_phase)
    theirs = one_cycle(step, peak, total, pct_start, div, final_div, anneal, three_phase)
    assert schedule.values(step) == pytest.approx(theirs, rel=1e-6, abs=1e-14)


@row(ONE_CYCLE, "`total_steps`", "`epochs`, `steps_per_epoch`")
@row(FASTAI, "`pct_start=0.25`")
def test_one_cycle_holds_its_last_rate_and_has_pytorch_s_defaults():
    rates = clr.OneCycle(0.1, 100).values([99, 100, 10**6])
    assert rates[0] == rates[1] == rates[2] == pytest.approx(0.1 / 25 / 1e4)
    assert clr.OneCycle(0.1, 100) == clr.OneCycle(0.1, 100, 0.3, 25.0, 1e4, "cosine", False)
    is_refused("pct_start=0.6", clr.OneCycle, 0.1, 100, 0.6, three_phase=True)
    assert 3 * clr.steps_per_epoch(1000, 32) == 3 * math.ceil(1000 / 32)


@pytest.mark.parametrize(("mode", "kind"), list(zip(MODES, POLICIES, strict=True)))
def test_pytorch_itself_has_the_values_of_its_formula(mode, kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.9, 7, 4, mode=mode, gamma=0.999)
    arguments, scale = POLICIES[kind]
    rates, momenta = [], []
    for _step in range(100):
        rates.append(theirs.get_last_lr()[0])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        theirs.step()
    expected = [pytorch(i, 0.1, 0.9, 7, 4, scale) for i in range(100)]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    ours = kind(0.1, 0.9, 7, 4, **arguments)
    np.testing.assert_allclose(rates, ours.values(range(100)), rtol=1e-9)
    np.testing.assert_allclose(momenta, ours.momentum().values(range(100)), rtol=1e-9)


# --- fastai ---


def fit_one_cycle(step, n, peak, pct_start=0.25, div=25.0, div_final=1e5):
    """fastai's one-cycle: two cosines over the part of the training that is done."""
    done = step / n
    if done < pct_start:
        before, after, t = peak / div, peak, done / pct_start
    else:
        before, after, t = peak, peak / div_final, (done - pct_start) / (1 - pct_start)
    return before + (after - before) * (1 - math.cos(math.pi * t)) / 2


@row(FASTAI, "`fit_one_cycle(n_epoch, lr_max)`", "`div=25.0`", "`div_final=1e5`")
@given(
    st.integers(10, 5000),
    st.floats(0.1, 0.9),
    st.floats(2, 100),
    st.floats(200, 1e6),
    st.floats(0, 1),
)
def test_one_cycles_are_fastai_s(n, pct_start, div, div_final, at):
    step = round(at * (n - 1))
    share = (pct_start * n + 1) / (n + 1)
    ours = clr.OneCycle(0.1, n + 1, share, div, div_final / div).values(step)
    assert ours == pytest.approx(fit_one_cycle(step, n, 0.1, pct_start, div, div_final), rel=1e-6)


@row(FASTAI, "`lr_find()`", "`valley`", "`steep`", "`minimum`", "`slide`")
def test_single_rates_are_fastai_s():
    rates = np.geomspace(1e-4, 1, 400)
    losses = 1 - np.minimum(rates / 0.02, 1) + (rates / 0.3) ** 3
    suggestion = clr.RangeTestResult(rates, losses, losses, {}, "completed").suggest()
    assert suggestion.base_lr < suggestion.max_lr
    assert suggestion.minimum == pytest.approx(rates[losses.argmin()] / 10)
    # Where the loss falls fastest per decade, and within its one descent.
    falls = np.gradient(losses, np.log(rates))
    assert suggestion.steepest == pytest.approx(rates[falls.argmin()], rel=0.1)
    assert rates[0] < suggestion.valley < rates[losses.argmin()]
    assert not hasattr(suggestion, "slide")


# --- Groups ---

SGD = keras.optimizers.SGD
NAMES = "bottom", "middle", "top"


def rates_of_groups(make_optimizer, steps=1):
    """The rates of three layers in each step. The optimizer is made from the layers."""
    layers = [keras.layers.Dense(1, use_bias=False, name=name) for name in NAMES]
    for layer in layers:
        layer.build((None, 1))
    variables = [layer.kernel for layer in layers]
    optimizer = make_optimizer(*layers)
    optimizer.build(variables)
    weights = [[keras.ops.convert_to_numpy(v).item() for v in variables]]
    for _step in range(steps):
        optimizer.apply([keras.ops.ones((1, 1)) for _ in variables])
        weights.append([keras.ops.convert_to_numpy(v).item() for v in variables])
    return -np.diff(weights, axis=0)


def paths(layers, multiplier):
    return {v.path: multiplier for layer in layers for v in layer.trainable_variables}


@row(
    GROUPS,
    'PyTorch\'s `SGD([{"params": backbone.parameters(), "lr": 1e-4}, '
    '{"params": head.parameters()}], lr=1e-3)`',
    "PyTorch's `OneCycleLR(optimizer, max_lr=[1e-4, 1e-3], total_steps=4000)`",
    "fastai's `fit_one_cycle(n, slice(1e-3))`",
    "fastai's `fit_one_cycle(n, slice(1e-5, 1e-3))`",
)
@row(
    GROUPS,
    "fastai's `freeze()`, `freeze_to(n)`",
    "fastai's `freeze()`, `fit_one_cycle`, `unfreeze()`, `fit_one_cycle`",
    "Addons' `MultiOptimizer([(SGD(1e-4), backbone), (SGD(1e-3), head)])`",
)
@pytest.mark.skipif(LEGACY, reason="the optimizers of Keras 3")
def test_groups_have_their_rates():
    def is_close(rates, expected):
        np.testing.assert_allclose(rates, expected, rtol=1e-3, atol=1e-7)

    def tenth(*layers):
        one_cycle = clr.OneCycle(1.0, total_steps=5)
        return clr.scale_learning_rates(SGD(one_cycle), paths(layers[:-1], 0.1))

    expected = clr.OneCycle(1.0, total_steps=5).values(range(5))
    is_close(rates_of_groups(tenth, 5), np.stack([0.1 * expected, 0.1 * expected, expected], 1))

    # fastai's `even_mults` for three groups, from 0.01 to 1.
    def spread(*layers):
        decay = (0.01 / 1) ** (1 / (len(layers) - 1))
        return clr.scale_learning_rates(SGD(1.0), clr.layer_decay(layers, decay))

    is_close(rates_of_groups(spread), [[0.01, 0.1, 1.0]])

    def grouped(bottom, middle, top):  # Addons has lists of layers, too
        return clr.scale_learning_rates(SGD(1.0), clr.layer_decay([[bottom, middle], top], 0.1))

    is_close(rates_of_groups(grouped), [[0.1, 0.1, 1.0]])

    def unfrozen(bottom, middle, top):
        unfreezing = clr.Piecewise([0.0, 0.1], boundaries=[2])
        multipliers = paths([bottom], 0.0) | paths([middle], unfreezing)
        return clr.scale_learning_rates(SGD(1.0), multipliers)

    is_close(rates_of_groups(unfrozen, 3), [[0, 0, 1], [0, 0, 1], [0, 0.1, 1]])


@row(GROUPS, 'Keras\'s `MultiOptimizer(OptimizerMap(SGD(1e-3), {"lower/.*": SGD(1e-4)}))`')
@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras 3.15 and later")
def test_groups_have_the_rates_of_keras_s_optimizers():
    def theirs(*_layers):
        optimizers = keras.optimizers.OptimizerMap(SGD(1.0), {"bottom/.*": SGD(0.1)})
        return keras.optimizers.MultiOptimizer(optimizers)

    def ours(*_layers):
        return clr.scale_learning_rates(SGD(1.0), {"bottom/.*": 0.1})

    expected = rates_of_groups(theirs, 2)
    np.testing.assert_allclose(expected, [[0.1, 1, 1]] * 2, rtol=1e-6)
    np.testing.assert_allclose(rates_of_groups(ours, 2), expected, rtol=1e-6)


def test_pytorch_s_groups_follow_one_multiplied_cycle():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[1e-4, 1e-3], total_steps=50)
    rates = []
    for _step in range(49):
        rates.append(theirs.get_last_lr())
        optimizer.step()
        theirs.step()
    ours = clr.OneCycle(1e-3, total_steps=50).values(range(49))
    np.testing.assert_allclose(rates, np.stack([0.1 * ours, ours], 1), rtol=1e-9)


# --- Snapshots and averages ---


class Weights(keras.callbacks.Callback):
    """Keeps the weight of the weight model after each step, from its beginning."""

    def __init__(self):
        super().__init__()
        self.weights = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(weight(self.model))


def addons_swa(weights, start, period):
    """Addons' running average. Its count is that before the step, the weights are those after."""
    average = 0.0
    for count, value in enumerate(weights[1:]):
        number = max(0, (count - start) // period)
        if count >= start and start + number * period == count:
            average = (average * number + value) / (number + 1)
    return average


@row(
    ENDS,
    "Addons' `SWA(optimizer, start_averaging=m, average_period=k)`",
    "Addons' `AverageModelCheckpoint(update_weights, filepath)`",
    "PyTorch's `AveragedModel(model)`, `update_parameters(model)`",
    "Keras's `SGD(0.1, use_ema=True, ema_momentum=0.99)`",
)
def test_averages_of_snapshots_and_of_steps(tmp_path):
    model = weight_model(SGD(0.1, use_ema=True, ema_momentum=0.9))
    keeping, snapshots = Weights(), clr.CycleSnapshots(every=3)
    fit(model, 10, callbacks=[keeping, snapshots])
    weights, averaged = np.array(keeping.weights), snapshots.average(model)
    equal = np.mean(weights[[3, 6, 9]])
    assert weight(averaged) == pytest.approx(equal, rel=1e-6)
    assert addons_swa(weights, 2, 3) == pytest.approx(equal)
    assert addons_swa(weights, 5, 3) == pytest.approx(np.mean(weights[[6, 9]]))
    chosen = [each for each in snapshots.snapshots if each.iteration > 5]
    assert weight(snapshots.average(model, snapshots=chosen)) == pytest.approx(
        np.mean(weights[[6, 9]]), rel=1e-6
    )
    # Keras's average of all steps, which the model has after the training.
    first = 0 if LEGACY else 1
    moving = weights[first]
    for value in weights[first + 1 :]:
        moving = 0.9 * moving + 0.1 * value
    assert weight(model) == pytest.approx(moving, rel=1e-5)
    assert abs(moving - equal) > 0.01
    averaged.save(tmp_path / "averaged.keras")
    loaded = keras.models.load_model(tmp_path / "averaged.keras")
    assert weight(loaded) == weight(averaged)


@row(ENDS, "`SnapshotCallbackBuilder(nb_epochs, nb_snapshots, init_lr)` for Keras")
def test_snapshots_are_those_of_the_callbacks_for_keras():
    nb_epochs, nb_snapshots, init_lr, per_epoch = 20, 4, 0.1, 7
    length = nb_epochs // nb_snapshots
    theirs = [
        init_lr / 2 * (math.cos(math.pi * (t % length) / length) + 1) for t in range(nb_epochs)
    ]
    ours = clr.CosineRestarts(init_lr, length * per_epoch)
    np.testing.assert_allclose(ours.values(per_epoch * np.arange(nb_epochs)), theirs, rtol=1e-9)
    saved = [t + 1 for t in range(nb_epochs) if t != 0 and (t + 1) % length == 0]
    assert ours.cycle_ends(nb_epochs * per_epoch).tolist() == [t * per_epoch for t in saved]


@row(ENDS, "PyTorch's `update_bn(loader, averaged)`")
def test_batch_normalization_of_averages():
    """Against PyTorch's own, where it is installed."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32") * [1, 2, 3] + [0, 1, 5]
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.BatchNormalization()])
    model.compile(SGD(clr.Triangular(0.01, 0.1, 2)), "mse")
    snapshots = clr.CycleSnapshots()
    model.fit(x, x, batch_size=5, verbose=0, callbacks=[snapshots])
    ours = snapshots.average(model, x, batch_size=8).get_weights()[2:]
    batches = x[:8], x[8:16], x[16:]
    means, variances = [b.mean(axis=0) for b in batches], [b.var(axis=0) for b in batches]
    for found, expected in zip(ours, (means, variances), strict=True):
        np.testing.assert_allclose(found, np.average(expected, 0, weights=[8, 8, 4]), rtol=1e-5)

    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.nn.BatchNorm1d(3)
    batches = [torch.as_tensor(np.asarray(b, "float32")) for b in batches]
    torch.optim.swa_utils.update_bn(batches, theirs)
    unbiased = [v * len(b) / (len(b) - 1) for v, b in zip(variances, batches, strict=True)]
    np.testing.assert_allclose(theirs.running_mean.cpu(), np.mean(means, 0), rtol=1e-5)
    np.testing.assert_allclose(theirs.running_var.cpu(), np.mean(unbiased, 0), rtol=1e-5)
