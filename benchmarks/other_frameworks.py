"""Peers that run elsewhere: optax through Keras's JAX backend, and PyTorch's own scheduler.

Each runs in a process of its own, if it is installed. A schedule of optax is a function of the step
as those of this package are; PyTorch's scheduler is called after every step.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import report, timing

CONSTANT, CONTROL = "constant", "constant again"
OPTAX, CYCLIC_LR = "optax `cosine_onecycle_schedule`", "PyTorch's `CyclicLR`"
NEEDS = {"jax": ("jax", "optax"), "torch": ("torch",)}
BLOCKS, QUICK_BLOCKS = 15, 3
STEPS, EXECUTIONS, BATCH_SIZE = 1000, 50, 32
TOTAL_STEPS, MAX_LR = 10**6, 6e-3
SAMPLES = 100_000
TARGET = 1.01


def measure(*, quick: bool = False) -> dict[str, Any]:
    """What each framework's process prints, or what it would need.

    Args:
        quick: whether to take few ratios.
    """
    return {
        framework: _run(framework, QUICK_BLOCKS if quick else BLOCKS)
        if not (missing := [name for name in needs if not importlib.util.find_spec(name)])
        else {"missing": missing}
        for framework, needs in NEEDS.items()
    }


def _run(framework: str, blocks: int) -> dict[str, Any]:
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.other_frameworks", framework, str(blocks)],
        env=os.environ | {"KERAS_BACKEND": framework},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


# In the process of JAX ----------------------------------------------------------------------------


def measure_jax(blocks: int) -> dict[str, Any]:
    """The ratios of `fit` of an MLP on JAX, and the errors of the one-cycle rates."""
    import jax
    import keras
    import optax

    import clr_schedules as clr

    def onecycle(max_lr: float) -> Any:
        return optax.cosine_onecycle_schedule(TOTAL_STEPS, max_lr)

    class Optax(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __init__(self, schedule: Any) -> None:
            self.schedule = schedule

        def __call__(self, step: Any) -> Any:
            return self.schedule(step)

    small = 1e-9  # so that no weights move
    rates = {
        CONSTANT: small,
        CONTROL: small,
        "Triangular": clr.Triangular(small, 6 * small, 2000),
        "OneCycle": clr.OneCycle(small, TOTAL_STEPS),
        OPTAX: Optax(onecycle(small)),
    }
    random = np.random.default_rng(timing.SEED)
    x = random.standard_normal((STEPS * BATCH_SIZE, 784), np.float32)
    y = random.integers(0, 10, len(x))

    def arm(rate: Any) -> Callable[[], float]:
        keras.utils.set_random_seed(timing.SEED)
        layers = keras.layers
        model = keras.Sequential([keras.Input((784,)), layers.Dense(128, "relu"), layers.Dense(10)])
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=EXECUTIONS,
        )
        return lambda: timing.seconds(
            lambda: model.fit(x, y, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
        )

    arms = {name: arm(rate) for name, rate in rates.items()}
    for warm_up in arms.values():
        warm_up()
    _, ratios = timing.interleaved(arms.pop(CONSTANT), arms, blocks)

    # At float32's own size. The cosine in float64, from the step as an integer.
    steps = np.sort(random.integers(0, TOTAL_STEPS, SAMPLES))
    initial, final = MAX_LR / 25, MAX_LR / 25 / 1e4
    top = int(0.3 * TOTAL_STEPS)
    rise = initial + (MAX_LR - initial) * np.sin(np.pi / 2 * steps / top) ** 2
    left = (TOTAL_STEPS - steps) / (TOTAL_STEPS - top)
    truth = np.where(steps < top, rise, final + (MAX_LR - final) * np.sin(np.pi / 2 * left) ** 2)
    ours = clr.OneCycle(MAX_LR, TOTAL_STEPS)
    found = {
        OPTAX: (np.asarray(jax.jit(jax.vmap(onecycle(MAX_LR)))(steps.astype(np.int32))), truth),
        "OneCycle": (np.asarray(jax.jit(ours)(steps.astype(np.int32))), ours.values(steps)),
    }
    return {
        "n": blocks,
        "versions": {"jax": jax.__version__, "optax": optax.__version__},
        "ratios": {name: timing.summary(r) for name, r in ratios.items()},
        "ulp": {
            name: float(np.max(np.abs(rates - exact) / np.spacing(np.float32(exact))))
            for name, (rates, exact) in found.items()
        },
    }


# In the process of PyTorch ------------------------------------------------------------------------


def measure_torch(blocks: int) -> dict[str, Any]:
    """The ratios of a loop of steps of an MLP in PyTorch, with its scheduler and without."""
    import torch

    torch.manual_seed(timing.SEED)
    x, y = torch.randn(BATCH_SIZE, 784), torch.randint(0, 10, (BATCH_SIZE,))

    def arm(*, scheduled: bool) -> Callable[[], float]:
        model = torch.nn.Sequential(
            torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
        scheduler = torch.optim.lr_scheduler.CyclicLR(
            optimizer, 1e-9, 6e-9, step_size_up=2000, cycle_momentum=False
        )

        def steps() -> None:
            for _ in range(100):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
                if scheduled:
                    scheduler.step()

        return lambda: timing.seconds(steps)

    arms = {CONTROL: arm(scheduled=False), CYCLIC_LR: arm(scheduled=True)}
    base = arm(scheduled=False)
    for warm_up in (base, *arms.values()):
        warm_up()
    _, ratios = timing.interleaved(base, arms, 2 * blocks)
    return {
        "n": 2 * blocks,
        "versions": {"torch": torch.__version__},
        "ratios": {name: timing.summary(r) for name, r in ratios.items()},
    }


# The report ---------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    return f"""## Peers on other frameworks

### Keras on JAX

{_told("jax", result["jax"])}
### PyTorch

{_told("torch", result["torch"])}"""


def _told(framework: str, found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"Not measured: {' and '.join(found['missing'])} not installed.\n"
    rows = timing.rows(found["ratios"], CONTROL, TARGET)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    what = {
        "jax": f"`fit` of the MLP with Adam, {STEPS:,} steps, {EXECUTIONS} per execution: the time "
        "with a schedule by that with a constant rate",
        "torch": "A loop of Adam steps of the MLP, not compiled: the time with the scheduler's "
        "`step()` after each by that without",
    }[framework]
    text = f"""{what}; n = {found["n"]} ratios ({versions}).

{report.table(["learning rate", "ratio", "95 % interval", "in words"], rows)}
"""
    if "ulp" in found:
        errors = " and ".join(f"{ulp:.3g} ulp with {name}" for name, ulp in found["ulp"].items())
        text += f"""
The worst error in float32 over {SAMPLES:,} random steps of a cycle of {TOTAL_STEPS:,}, each held
against its own formula in float64: {errors}.
"""
    return text


if __name__ == "__main__":
    print(json.dumps({"jax": measure_jax, "torch": measure_torch}[sys.argv[1]](int(sys.argv[2]))))
