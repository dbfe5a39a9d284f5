"""What `docs/comparison.md` says, where it can be run."""

import inspect
import math
import re

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import LEGACY, keras, needs_tensorflow

import clr_schedules as clr

PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
OURS, ADDONS, KERAS, CALLBACK, PYTORCH, OPTAX, FASTAI = range(1, 8)
NEAR = 10**7


def cell(row, library):
    """What a row of the tables says of a library."""
    (line,) = re.findall(rf"^\| {re.escape(row)} \|.*$", PAGE, re.MULTILINE)
    return line.split("|")[library + 1].strip()


def named(module, suffix=""):
    return [name for name in vars(module) if name.endswith(suffix) and not name.startswith("_")]


def test_what_there_is_here():
    schedules = [
        kind
        for name in clr.__all__
        if inspect.isclass(kind := getattr(clr, name))
        and issubclass(kind, keras.optimizers.schedules.LearningRateSchedule)
    ]
    assert cell("schedules", OURS) == str(len(schedules))
    assert callable(clr.lr_range_test)
    clr.CosineRestarts(0.1, 10, cycle_mult=1.5)


@pytest.mark.skipif(LEGACY, reason="Keras 3 is compared")
def test_what_keras_has():
    theirs = keras.optimizers.schedules
    kinds = {name for name in named(theirs) if inspect.isclass(getattr(theirs, name))}
    kinds -= {"LearningRateSchedule"}
    assert cell("schedules", KERAS) == str(len(kinds))
    assert not [name for name in kinds if re.search("(?i)cycl|triang|range", name)]
    theirs.CosineDecayRestarts(0.1, 10, t_mul=1.5)
    assert "warmup_steps" in inspect.signature(theirs.CosineDecay).parameters
    assert keras.callbacks.ReduceLROnPlateau


@pytest.mark.skipif(LEGACY, reason="Keras 3 is compared")
def test_keras_s_cosine_is_right_to_a_millionth():
    theirs = keras.optimizers.schedules.CosineDecay(6e-3, NEAR)
    for step in range(0, NEAR, NEAR // 23):
        right = 6e-3 * math.cos(math.pi / 2 * step / NEAR) ** 2
        assert float(np.asarray(keras.ops.convert_to_numpy(theirs(step)))) == pytest.approx(
            right, rel=0, abs=6e-9
        )


def test_the_callback_s_formula_is_right_in_python_s_floats():
    for i in range(NEAR, NEAR + 4000, 37):
        cycle = math.floor(1 + i / 4000)
        rate = 1e-3 + 5e-3 * max(0, 1 - abs(i / 2000 - 2 * cycle + 1))
        assert rate == pytest.approx(float(clr.Triangular(1e-3, 6e-3, 2000).values(i)), rel=1e-10)


@needs_tensorflow
def test_a_callback_is_called_once_for_several_steps():
    calls = []

    class Callback(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append(batch)

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", steps_per_execution=5)
    x = np.ones((20, 2))
    model.fit(x, x[:, :1], batch_size=1, verbose=0, callbacks=[Callback()])
    assert len(calls) == 4


def test_what_pytorch_has():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.optim.lr_scheduler
    kinds = {
        name
        for name in named(theirs)
        if inspect.isclass(kind := getattr(theirs, name))
        and issubclass(kind, theirs.LRScheduler)
        and kind is not theirs.LRScheduler
    }
    if torch.__version__.startswith("2.13."):
        assert cell("schedules", PYTORCH) == str(len(kinds))
    assert {"CyclicLR", "OneCycleLR", "CosineAnnealingWarmRestarts", "ReduceLROnPlateau"} <= kinds
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="T_mult"):
        theirs.CosineAnnealingWarmRestarts(optimizer, 10, T_mult=1.5)

    def cyclic():
        return theirs.CyclicLR(optimizer, [1e-3, 1e-4], [6e-3, 6e-4], 2000)

    scheduler = cyclic()
    assert optimizer.param_groups[0]["momentum"] == 0.9
    state = scheduler.state_dict()
    for step in (123, NEAR + 777):
        scheduler = cyclic()
        scheduler.load_state_dict(state | {"last_epoch": step - 1})
        optimizer.step()
        scheduler.step()
        rates = scheduler.get_last_lr()
        right = clr.Triangular(1e-3, 6e-3, 2000).values(step)
        np.testing.assert_allclose(rates, [right, right / 10], rtol=1e-11)


def test_what_optax_has():
    pytest.importorskip("jax", reason="JAX is not installed")
    optax = pytest.importorskip("optax", reason="optax is not installed")
    import jax

    kinds = [
        name
        for name in named(optax.schedules)
        if re.search("_schedule$|^exponential_decay$|^(join_)", name)
        and inspect.isfunction(getattr(optax.schedules, name))
    ]
    if optax.__version__ == "0.2.8":
        assert cell("schedules", OPTAX) == str(len(kinds))
    assert not [name for name in kinds if re.search("triang|cyclic", name)]
    assert optax.partition
    assert optax.contrib.reduce_on_plateau
    optimizer = optax.inject_hyperparams(optax.sgd)(
        learning_rate=0.1, momentum=lambda count: 0.95 - 0.01 * count
    )
    weights = np.ones(2, np.float32)
    state = optimizer.init(weights)
    for _ in range(2):
        _, state = optimizer.update(weights, state)
    assert float(state.hyperparams["momentum"]) == pytest.approx(0.94)
    peak, top = 6e-3, 3 * NEAR // 10
    first, last = peak / 25, peak / 25 / 1e4
    steps = np.sort(np.random.default_rng(0).integers(0, NEAR, 20_000))
    right = np.where(
        steps < top,
        first + (peak - first) * np.sin(np.pi / 2 * steps / top) ** 2,
        last + (peak - last) * np.sin(np.pi / 2 * (NEAR - steps) / (NEAR - top)) ** 2,
    )
    schedule = optax.cosine_onecycle_schedule(NEAR, peak)
    rates = np.asarray(jax.jit(jax.vmap(schedule))(steps.astype(np.int32)))
    assert np.max(np.abs(rates - right)) < 2e-7 * peak
    assert np.max(np.abs(rates / right - 1)) < 4e-3
