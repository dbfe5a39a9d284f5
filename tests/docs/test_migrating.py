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
from helpers.weight_model import fit, weight_model
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import migrate

PAGE = ROOT / "docs" / "migrating.md"
ADDONS, CALLBACK, POST = (
    "TensorFlow Addons",
    "The `CyclicLR` callback for Keras",
    "The callback of the blog post",
)
CYCLIC, ONE_CYCLE, FASTAI = "PyTorch's `CyclicLR`", "PyTorch's `OneCycleLR`", "fastai"
WARM, KERAS = "PyTorch's `CosineAnnealingWarmRestarts`", "Keras's `CosineDecayRestarts`"
CHECKS = {}


def row(section, *cells):
    """Registers the check of one or more rows of a section's table, by their first cells."""

    def register(check):
        for cell in cells:
            assert (section, cell) not in CHECKS
            CHECKS[section, cell] = check
        return check

    return register


def rows():
    """The first two cells of every row of every table of the page, with its section."""
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        for line in re.findall(r"^\| .*\|$", section, re.MULTILINE)[1:]:
            theirs, ours = [cell.strip() for cell in line.split("|")][1:3]
            yield title, theirs, ours


ROWS = list(rows())


def test_every_row_has_a_check_and_every_check_a_row():
    assert len(ROWS) > 50
    assert {(section, theirs) for section, theirs, _ in ROWS} == set(CHECKS)


@pytest.mark.parametrize(("section", "theirs", "ours"), ROWS, ids=lambda cell: cell.strip("`"))
def test_a_row_is_true(section, theirs, ours):
    CHECKS[section, theirs]()
    for name in re.findall(r"^`(\w+)`$|^`(\w+)\(", ours):
        # What the second column calls is there.
        word = name[0] or name[1]
        arguments = {
            argument
            for kind in (*POLICIES, clr.OneCycle, clr.Cyclical, clr.CyclicalLR, clr.CosineRestarts)
            for argument in inspect.signature(kind).parameters
        }
        assert hasattr(clr, word) or word in arguments | {"optimizer", "several"}


def test_the_lines_of_code_run():
    """All but the lines that load a file: `test_migrate.py` runs those."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    names = {"keras": keras, "clr": clr, "model": model}
    names |= {"x_train": np.ones((64, 4)), "y_train": np.ones(64)}
    for block in blocks[1:]:
        exec(block, names)
    assert len(names["cyclical"].history["lr"]) == 2


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
bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda b: b[1] > 1e-9)
bounds = bounds.map(lambda b: (b[0] if b[0] > 1e-9 else 0.0, b[1]))


def agree(kind, formula):
    """The policy has the values of the formula, whatever its arguments."""
    arguments, scale = POLICIES[kind]

    @settings(max_examples=30)
    @given(bounds, st.integers(1, 3000), st.integers(0, 50_000))
    def check(limits, step_size, iteration):
        ours = kind(*limits, step_size, **arguments).values(iteration)
        theirs = formula(iteration, *limits, step_size, scale=scale)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)

    check()


def is_argument(name, *kinds):
    for kind in kinds:
        assert name in inspect.signature(kind).parameters


def is_refused(message, kind, *args, error=ValueError, **kwargs):
    with pytest.raises(error, match=message):
        kind(*args, **kwargs)


def agree_in_all(formula):
    for kind in POLICIES:
        agree(kind, formula)


# --- TensorFlow Addons ---


def of_addons(kind, /, **config):
    migrate.register_addons()
    config = {"initial_learning_rate": 0.1, "maximal_learning_rate": 0.9, "step_size": 7} | config
    saved = {"class_name": f"Addons>{kind}CyclicalLearningRate", "config": config}
    return keras.optimizers.schedules.deserialize(saved)


@row(ADDONS, "`initial_learning_rate`")
def _():
    assert of_addons("Triangular").base_lr == 0.1
    assert of_addons("Triangular", initial_learning_rate=1.0).values([0, 7]).tolist() == [1.0, 0.9]
    is_refused("must not be above `max_lr`", clr.Triangular, 1.0, 0.9, 7)


@row(ADDONS, "`maximal_learning_rate`")
def _():
    assert of_addons("Triangular").max_lr == 0.9
    agree_in_all(textbook)


@row(ADDONS, "`step_size`")
def _():
    assert of_addons("Triangular", step_size=7.0).step_size == 7
    fractional = of_addons("Triangular", step_size=2.5)
    expected = [textbook(i, 0.1, 0.9, 2.5) for i in range(30)]
    np.testing.assert_allclose(fractional.values(range(30)), expected, rtol=1e-12)
    is_refused("step_size=2.5", clr.Triangular, 0.1, 0.9, 2.5)


@row(ADDONS, "`TriangularCyclicalLearningRate`")
def _():
    assert of_addons("Triangular") == clr.Triangular(0.1, 0.9, 7)


@row(ADDONS, "`Triangular2CyclicalLearningRate`")
def _():
    assert of_addons("Triangular2") == clr.Triangular2(0.1, 0.9, 7)


@row(ADDONS, "`ExponentialCyclicalLearningRate`", "`gamma`")
def _():
    assert of_addons("Exponential", gamma=0.9) == clr.ExpRange(0.1, 0.9, 7, gamma=0.9)
    by_cycle = of_addons("Exponential", gamma=0.9, scale_mode="cycle").values(range(50))
    expected = [textbook(i, 0.1, 0.9, 7, lambda cycle, i: 0.9**cycle) for i in range(50)]
    ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=migrate.Power(0.9)).values(range(50))
    np.testing.assert_allclose(by_cycle, expected, rtol=1e-12)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    is_refused("gamma=1.1", clr.ExpRange, 0.1, 0.9, 7, gamma=1.1)


@row(ADDONS, "`CyclicalLearningRate`", "`scale_fn`")
def _():
    # Power is registered, and above 1 from the second cycle on.
    rates = of_addons("", scale_fn=migrate.Power(1.5, start=1), scale_mode="cycle").values([7, 21])
    assert rates.tolist() == pytest.approx([0.9, 0.1 + 0.8 * 1.5])
    ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=migrate.Power(1.5, start=1)).values([7, 21])
    assert ours.tolist() == [0.9, 0.9]
    is_refused("lambda", of_addons, "", scale_fn="<lambda>", scale_mode="cycle")


@row(ADDONS, "`scale_mode`")
def _():
    is_argument("scale_mode", clr.Cyclical)
    is_refused("'cycle', 'iterations'", clr.Cyclical, 0.1, 0.9, 7, scale_mode="step")


@row(ADDONS, "`name`")
def _():
    assert of_addons("Triangular", name="mine").name == "mine"


# --- The callbacks ---


@row(CALLBACK, "`base_lr`", "`max_lr`", '`mode="triangular"`')
def _():
    agree(clr.Triangular, textbook)


@row(CALLBACK, "`step_size`")
def _():
    is_argument("step_size", *POLICIES)
    is_refused("step_size=0.5", clr.Triangular, 0.1, 0.9, 0.5)


@row(CALLBACK, '`mode="triangular2"`')
def _():
    agree(clr.Triangular2, textbook)


@row(CALLBACK, '`mode="exp_range"`', "`gamma`")
def _():
    agree(clr.ExpRange, textbook)
    is_refused("gamma=1.1", clr.ExpRange, 0.1, 0.9, 7, gamma=1.1)


@row(CALLBACK, "`scale_fn`", "`scale_mode`")
def _():
    decaying = clr.Cyclical(0.1, 0.9, 7, peak_mult=1 / 1.2).values(range(60))
    expected = [textbook(i, 0.1, 0.9, 7, lambda x, _: 1 / 1.2 ** (x - 1)) for i in range(60)]
    np.testing.assert_allclose(decaying, expected, rtol=1e-12)
    for mode, index in {"cycle": 0, "iterations": 1}.items():
        ours = clr.Cyclical(0.1, 0.9, 7, scale_fn=shifted_harmonic, scale_mode=mode)
        expected = [
            textbook(i, 0.1, 0.9, 7, lambda *counts, index=index: 1 / (1 + counts[index]))
            for i in range(60)
        ]
        np.testing.assert_allclose(ours.values(range(60)), expected, rtol=1e-12)


def trained(rate, callback):
    model = weight_model(keras.optimizers.SGD(rate))
    fit(model, 5, epochs=2, callbacks=[callback])
    return model


@row(CALLBACK, "`clr_iterations`")
def _():
    model = trained(clr.Triangular(0.1, 0.9, 7), keras.callbacks.Callback())
    assert int(np.asarray(model.optimizer.iterations)) == 10


@row(CALLBACK, "`history`")
def _():
    logger = clr.LearningRateLogger()
    trained(clr.Triangular(0.1, 0.9, 7), logger)
    assert list(logger.history) == ["iteration", "learning_rate"]
    assert logger.history["iteration"][0] == 0


@row(POST, "`base_lr`", "`max_lr`", "`mode`")
def _():
    for mode, (arguments, scale) in zip(
        ("triangular", "triangular2", "exp_range"), POLICIES.values(), strict=True
    ):
        callback = clr.CyclicalLR(0.1, 0.9, 3, mode=mode, **arguments)
        trained(0.5, callback)
        expected = [textbook(i, 0.1, 0.9, 3, scale) for i in range(10)]
        np.testing.assert_allclose(callback.history["lr"], expected, rtol=1e-6)


@row(POST, "`stepsize`")
def _():
    is_argument("stepsize", clr.CyclicalLR)
    is_refused("stepsize=2.5", clr.CyclicalLR, 0.1, 0.9, 2.5)


@row(POST, "`gamma`")
def _():
    assert clr.CyclicalLR(0.1, 0.9, 3, "triangular", 0.5).schedule == clr.Triangular(0.1, 0.9, 3)
    is_refused("gamma=2", clr.CyclicalLR, 0.1, 0.9, 3, "exp_range", 2)


@row(POST, "`history`", "several `fit` calls")
def _():
    callback = clr.CyclicalLR(0.1, 0.9, 3)
    model = trained(0.5, callback)
    assert float(np.asarray(model.optimizer.learning_rate)) == 0.5
    fit(model, 5, callbacks=[callback])
    assert callback.history["iter"] == list(range(15))
    expected = clr.Triangular(0.1, 0.9, 3).values(range(15))
    np.testing.assert_allclose(callback.history["lr"], expected, rtol=1e-6)


# --- PyTorch ---


@row(CYCLIC, "`base_lr`")
def _():
    is_refused("base_lr", clr.Triangular, [0.1, 0.2], 0.9, 7, error=TypeError)


@row(CYCLIC, "`max_lr`", '`mode="triangular"`')
def _():
    agree(clr.Triangular, pytorch)


@row(CYCLIC, "`step_size_up`")
def _():
    parameter = inspect.signature(clr.Triangular).parameters["step_size"]
    assert parameter.default is inspect.Parameter.empty


@row(CYCLIC, "`step_size_down`")
def _():
    @settings(max_examples=30)
    @given(bounds, st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 50_000))
    def check(limits, up, down, iteration):
        ours = clr.Triangular2(*limits, up, down).values(iteration)
        theirs = pytorch(iteration, *limits, up, down, halves)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)

    check()
    assert clr.Triangular(0.1, 0.9, 7).values(10) == pytest.approx(pytorch(10, 0.1, 0.9, 7))


@row(CYCLIC, '`mode="triangular2"`')
def _():
    agree(clr.Triangular2, pytorch)


@row(CYCLIC, '`mode="exp_range"`', "`gamma`")
def _():
    agree(clr.ExpRange, pytorch)
    is_refused("gamma", clr.ExpRange, 0.1, 0.9, 7, error=TypeError)


@row(CYCLIC, "`scale_fn`", "`scale_mode`")
def _():
    for mode, index in {"cycle": 0, "iterations": 1}.items():
        ours = clr.Cyclical(0.1, 0.9, 7, 4, scale_fn=shifted_harmonic, scale_mode=mode)
        expected = [
            pytorch(i, 0.1, 0.9, 7, 4, lambda *counts, index=index: 1 / (1 + counts[index]))
            for i in range(60)
        ]
        np.testing.assert_allclose(ours.values(range(60)), expected, rtol=1e-9)
    assert clr.Cyclical(0.1, 0.9, 7, scale_fn=strategies.wild).values(7) == 0.9


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
def _():
    for kind, (arguments, scale) in POLICIES.items():
        momentum = kind(0.1, 0.9, 7, **arguments).momentum()  # with the defaults of PyTorch
        expected = [0.9 - pytorch(i, 0.0, 0.1, 7, scale=scale) for i in range(40)]
        np.testing.assert_allclose(momenta_of_a_training(40, momentum), expected, rtol=1e-6)


@row(ONE_CYCLE, MOMENTUM)
@row(FASTAI, "`moms=(0.95, 0.85, 0.95)`")
def _():
    momentum = clr.OneCycle(0.1, 20, 0.25).momentum(0.95, 0.85)
    expected = [
        0.95 - 0.1 * math.sin(math.pi / 2 * min(i / 4, (19 - i) / 15)) ** 2 for i in range(20)
    ]
    np.testing.assert_allclose(momenta_of_a_training(20, momentum), expected, rtol=1e-6)


@row(WARM, "the optimizer's `lr`", "`T_0`", "`T_mult`", "`eta_min`")
def _():
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
def _():
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
def _():
    model = weight_model(keras.optimizers.SGD(clr.OneCycle(0.1, 20)))
    model.optimizer.iterations.assign(15)
    logger = clr.LearningRateLogger()
    fit(model, 3, callbacks=[logger])
    assert logger.history["iteration"] == [15, 16, 17]


def agree_one_cycle(**fixed):
    @settings(max_examples=30)
    @given(
        st.floats(1e-3, 1),
        st.integers(20, 5000),
        st.floats(0.1, 0.5),
        st.floats(2, 1e3),
        st.floats(2, 1e5),
        st.sampled_from(["cos", "linear"]),
        st.booleans(),
        st.floats(0, 1),
    )
    def check(peak, total, pct_start, div, final_div, anneal, three_phase, at):
        anneal = fixed.get("anneal", anneal)
        three_phase = fixed.get("three_phase", three_phase)
        step = round(at * (total - 1))
        ours = clr.OneCycle(
            peak,
            total,
            pct_start,
            div,
            final_div,
            "cosine" if anneal == "cos" else anneal,
            three_phase,
        ).values(step)
        theirs = one_cycle(step, peak, total, pct_start, div, final_div, anneal, three_phase)
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-14)

    check()


@row(ONE_CYCLE, "`max_lr`")
def _():
    is_refused("max_lr", clr.OneCycle, [0.1, 0.2], 100, error=TypeError)


@row(ONE_CYCLE, "`total_steps`")
def _():
    rates = clr.OneCycle(0.1, 100).values([99, 100, 10**6])
    assert rates[0] == rates[1] == rates[2] == pytest.approx(0.1 / 25 / 1e4)


@row(ONE_CYCLE, "`epochs`, `steps_per_epoch`")
def _():
    assert 3 * clr.steps_per_epoch(1000, 32) == 3 * math.ceil(1000 / 32)


@row(ONE_CYCLE, "`pct_start`", "`div_factor`", "`final_div_factor`")
def _():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(clr.OneCycle).parameters.items()
    }
    assert defaults["pct_start"] == 0.3
    assert (defaults["div_factor"], defaults["final_div_factor"]) == (25.0, 1e4)
    agree_one_cycle()


@row(ONE_CYCLE, '`anneal_strategy="cos"`')
def _():
    agree_one_cycle(anneal="cos")


@row(ONE_CYCLE, '`anneal_strategy="linear"`')
def _():
    agree_one_cycle(anneal="linear")


@row(ONE_CYCLE, "`three_phase`")
def _():
    agree_one_cycle(three_phase=True)
    is_refused("pct_start=0.6", clr.OneCycle, 0.1, 100, 0.6, three_phase=True)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_pytorch_itself_has_the_values_of_its_formula(mode):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.9, 7, 4, mode=mode, gamma=0.999)
    kind = list(POLICIES)[["triangular", "triangular2", "exp_range"].index(mode)]
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
def _():
    @settings(max_examples=30)
    @given(
        st.integers(10, 5000),
        st.floats(0.1, 0.9),
        st.floats(2, 100),
        st.floats(200, 1e6),
        st.floats(0, 1),
    )
    def check(n, pct_start, div, div_final, at):
        step = round(at * (n - 1))
        ours = clr.OneCycle(
            0.1,
            n + 1,
            (pct_start * n + 1) / (n + 1),
            div_factor=div,
            final_div_factor=div_final / div,
        ).values(step)
        theirs = fit_one_cycle(step, n, 0.1, pct_start, div, div_final)
        assert ours == pytest.approx(theirs, rel=1e-6)

    check()


@row(FASTAI, "`pct_start=0.25`")
def _():
    assert inspect.signature(clr.OneCycle).parameters["pct_start"].default == 0.3


@row(FASTAI, "`lr_find()`", "`valley`", "`steep`", "`minimum`", "`slide`")
def _():
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
