"""The schedules that are measured, one of each kind, and the optimizers that they are put into."""

from __future__ import annotations

from typing import Any

import keras

import clr_schedules as clr

STEP_SIZE, GAMMA = 2000, 0.99994


def cyclical(base_lr: float, max_lr: float) -> dict[str, Any]:
    """Those of the paper, and the cosine."""
    bounds = (base_lr, max_lr, STEP_SIZE)
    return {
        "Triangular": clr.Triangular(*bounds),
        "Triangular2": clr.Triangular2(*bounds),
        "ExpRange": clr.ExpRange(*bounds, gamma=GAMMA),
        "Cyclical, cosine": clr.Cyclical(*bounds, wave="cosine"),
    }


def all_kinds(base_lr: float, max_lr: float) -> dict[str, Any]:
    """Those and the others."""
    one_cycle = clr.OneCycle(max_lr, 10**6)
    return cyclical(base_lr, max_lr) | {
        "OneCycle": one_cycle,
        "CosineRestarts": clr.CosineRestarts(max_lr, 1000),
        "CosineRestarts by 1.5": clr.CosineRestarts(max_lr, 1000, cycle_mult=1.5, peak_mult=0.9),
        "Warmup, Sequence": clr.Warmup(clr.Sequence([max_lr, one_cycle], [10**5]), 1000),
    }


def optimizers() -> dict[str, tuple[Any, str]]:
    """Optimizers by name: what makes one of a rate, and the hyperparameter that is cycled."""
    kinds = keras.optimizers
    return {
        "Adam": (kinds.Adam, "beta_1"),
        "AdamW": (kinds.AdamW, "beta_1"),
        "SGD with momentum": (lambda rate: kinds.SGD(rate, momentum=0.9), "momentum"),
        "Lion": (kinds.Lion, "beta_1"),
    }
