"""The schedules that are measured, one of each kind, and the optimizers that they are put into."""

from __future__ import annotations

from typing import Any

import keras

import clr_schedules as clr

STEP_SIZE, GAMMA = 2000, 0.99994


def cyclical(base_lr: float, max_lr: float) -> dict[str, Any]:
    """The three policies of the paper, and the cosine wave."""
    bounds = (base_lr, max_lr, STEP_SIZE)
    return {
        "Triangular": clr.Triangular(*bounds),
        "Triangular2": clr.Triangular2(*bounds),
        "ExpRange": clr.ExpRange(*bounds, gamma=GAMMA),
        "Cyclical, cosine": clr.Cyclical(*bounds, wave="cosine"),
    }


def all_kinds(base_lr: float, max_lr: float) -> dict[str, Any]:
    """One schedule of each kind: what the compiled step is measured with."""
    one_cycle = clr.OneCycle(max_lr, 10**6)
    return cyclical(base_lr, max_lr) | {
        "OneCycle": one_cycle,
        "CosineRestarts": clr.CosineRestarts(max_lr, 1000),
        "CosineRestarts by 1.5": clr.CosineRestarts(max_lr, 1000, cycle_mult=1.5, peak_mult=0.9),
        "Warmup, Piecewise": clr.Warmup(clr.Piecewise([max_lr, one_cycle], [10**5]), 1000),
    }


def all_rates(base_lr: float, max_lr: float) -> dict[str, Any]:
    """Every formula of a rate, with each of its branches."""
    bounds = (base_lr, max_lr, STEP_SIZE)
    one_cycle = clr.OneCycle(max_lr, 10**6)
    pieces = clr.Piecewise([max_lr, one_cycle], [10**5])
    return cyclical(base_lr, max_lr) | {
        "Triangular, asymmetric": clr.Triangular(*bounds, 500),
        "Triangular2, from 0": clr.Triangular2(0.0, max_lr, STEP_SIZE),
        "ExpRange, from 0": clr.ExpRange(0.0, max_lr, STEP_SIZE, gamma=GAMMA),
        "Cyclical, both decays": _decaying(base_lr, max_lr),
        "OneCycle": one_cycle,
        "OneCycle, three phases": clr.OneCycle(max_lr, 10**6, three_phase=True),
        "OneCycle, linear, three phases": _linear(max_lr),
        "CosineRestarts": clr.CosineRestarts(max_lr, 1000),
        "CosineRestarts by 2": clr.CosineRestarts(max_lr, 1000, 2.0, min_lr=1e-9),
        "CosineRestarts by 1.5": clr.CosineRestarts(max_lr, 1000, 1.5, 0.9, base_lr),
        "CosineRestarts by 1.01": clr.CosineRestarts(max_lr, 1000, 1.01),
        "CosineRestarts by 0.99": clr.CosineRestarts(max_lr, 10**6, 0.99),
        "CosineRestarts by 0.5": clr.CosineRestarts(max_lr, 10**6, 0.5, min_lr=1e-9),
        "Warmup, Piecewise": clr.Warmup(pieces, 1000, start_lr=base_lr / 1000),
        "Shifted": clr.Shifted(one_cycle, 12_345),
        "Shifted, back": clr.Shifted(clr.Triangular2(*bounds), -12_345),
    }


def all_momenta(base_lr: float, max_lr: float) -> dict[str, Any]:
    """The momentum of each family, with each of its branches."""
    mirrored = {
        "Triangular": clr.Triangular(base_lr, max_lr, STEP_SIZE),
        "Cyclical, both decays": _decaying(base_lr, max_lr),
        "OneCycle": clr.OneCycle(max_lr, 10**6),
        "OneCycle, three phases": clr.OneCycle(max_lr, 10**6, three_phase=True),
        "OneCycle, linear, three phases": _linear(max_lr),
    }
    return {f"momentum of {name}": schedule.momentum() for name, schedule in mirrored.items()}


def _decaying(base_lr: float, max_lr: float) -> Any:
    return clr.Cyclical(base_lr, max_lr, STEP_SIZE, 500, "cosine", peak_mult=0.9, gamma=GAMMA)


def _linear(max_lr: float) -> Any:
    return clr.OneCycle(max_lr, 10**6, anneal="linear", three_phase=True)


def kernels_allowed(name: str) -> int:
    """How many small kernels more than a constant rate a schedule may add to an update by Adam.

    Restarts that grow or shrink count the cycles that have begun, in a kernel of its own.
    """
    return 1 if "CosineRestarts by" in name else 0


def optimizers() -> dict[str, tuple[Any, str]]:
    """Optimizers by name: what makes one of a rate, and the hyperparameter that is cycled."""
    kinds = keras.optimizers
    return {
        "Adam": (kinds.Adam, "beta_1"),
        "AdamW": (kinds.AdamW, "beta_1"),
        "SGD with momentum": (lambda rate: kinds.SGD(rate, momentum=0.9), "momentum"),
        "Lion": (kinds.Lion, "beta_1"),
    }
