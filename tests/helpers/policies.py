"""The policies of the package: a new one is a line in `POLICIES`, and is tested with the others.

From the list follow the tests of signatures, arguments, configs, copies, equality, immutability,
representation, pictures, ends of cycles, momentum, values on every engine, training and files. What
holds the rates against exact arithmetic needs the formula, in `exact`. An argument with a name that
no policy had before is a line in `ARGUMENTS`, and one in `strategies.ARGUMENTS`.
"""

import inspect
from typing import Any, NamedTuple

import pytest

import clr_schedules as clr
from clr_schedules.schedules.momentum import MirroredMomentum
from helpers import strategies
from helpers.small_training import STEPS


class Policy(NamedTuple):
    make: type
    signature: str
    """The arguments as people write them: what other people's code calls."""
    example: Any
    """One that a short training with `small_training` takes through some cycles."""

    def good(self, **changes: Any):
        """A schedule of this policy, whose required arguments are those of `ARGUMENTS`."""
        required = {name: ARGUMENTS[name].good for name in self.names if self.is_required(name)}
        if self.make is MirroredMomentum:
            required["schedule"] = clr.OneCycle(6e-3, 2000)
        return self.make(**required | changes)

    @property
    def names(self) -> list[str]:
        return list(inspect.signature(self.make).parameters)

    def is_required(self, name: str) -> bool:
        return inspect.signature(self.make).parameters[name].default is inspect.Parameter.empty


_CYCLE = "base_lr, max_lr, step_size, step_size_down=None"
POLICIES = [
    Policy(clr.Triangular, f"{_CYCLE}, name=None", clr.Triangular(1e-3, 6e-2, 7)),
    Policy(clr.Triangular2, f"{_CYCLE}, name=None", clr.Triangular2(1e-3, 6e-2, 3, 5)),
    Policy(
        clr.ExpRange,
        f"{_CYCLE}, name=None, *, gamma",
        clr.ExpRange(1e-3, 6e-2, 7, gamma=0.99),
    ),
    Policy(
        clr.Cyclical,
        f"{_CYCLE}, wave='linear', peak_mult=1.0, gamma=1.0, scale_fn=None, scale_mode='cycle', "
        "name=None",
        clr.Cyclical(1e-3, 6e-2, 4, wave="cosine", scale_fn=strategies.harmonic, name="mine"),
    ),
    Policy(
        clr.OneCycle,
        "max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=10000.0, "
        "anneal='cosine', three_phase=False, name=None",
        clr.OneCycle(6e-2, 2 * STEPS - 1, three_phase=True),
    ),
    Policy(
        clr.CosineRestarts,
        "max_lr, first_cycle_steps, cycle_mult=1.0, peak_mult=1.0, min_lr=0.0, name=None",
        clr.CosineRestarts(6e-2, 7, 1.5, 0.9, 1e-3),
    ),
    Policy(
        clr.Warmup,
        "schedule, warmup_steps, start_lr=0.0, name=None",
        clr.Warmup(clr.Piecewise([6e-2, clr.Triangular(1e-3, 6e-2, 7)], [20]), 10),
    ),
    Policy(
        clr.Piecewise,
        "schedules, boundaries, name=None",
        clr.Piecewise([6e-2, clr.OneCycle(6e-2, STEPS)], [9]),
    ),
    Policy(
        clr.Shifted,
        "schedule, steps, name=None",
        clr.Shifted(clr.Triangular(1e-3, 6e-2, 7), 5),
    ),
    Policy(
        MirroredMomentum,
        "schedule, max_momentum, base_momentum, name=None",
        clr.OneCycle(6e-2, STEPS).momentum(),
    ),
]
EXAMPLES = [policy.example for policy in POLICIES]
CYCLICAL = [policy for policy in POLICIES if "base_lr" in policy.names]
WITH_MOMENTUM = [policy for policy in POLICIES if hasattr(policy.make, "momentum")]

policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.make.__name__)
cyclical_policies = pytest.mark.parametrize(
    "policy", CYCLICAL, ids=lambda policy: policy.make.__name__
)


class Argument(NamedTuple):
    good: Any
    """A value that every policy takes which requires this argument."""
    other: Any
    """Another one, beside the good values and the defaults of the others."""
    fine: tuple[Any, ...] = ()
    """What is valid of the values that tests try as bad ones."""


ARGUMENTS = {
    "base_lr": Argument(1e-3, 0.0, fine=(0,)),
    "max_lr": Argument(6e-3, 1.0, fine=(2.5,)),
    "min_lr": Argument(0.0, 1e-4, fine=(0,)),
    "step_size": Argument(2000, 1),
    "step_size_down": Argument(None, 3, fine=(None,)),
    "wave": Argument("linear", "cosine"),
    "peak_mult": Argument(1.0, 0.5),
    "gamma": Argument(0.99994, 0.9),
    "scale_fn": Argument(None, strategies.harmonic, fine=(None,)),
    "scale_mode": Argument("cycle", "iterations"),
    "total_steps": Argument(2000, 1),
    "pct_start": Argument(0.3, 0.5, fine=(0,)),
    "div_factor": Argument(25.0, 2, fine=(2.5,)),
    "final_div_factor": Argument(1e4, 2, fine=(2.5,)),
    "anneal": Argument("cosine", "linear"),
    "three_phase": Argument(False, True, fine=(True,)),
    "first_cycle_steps": Argument(2000, 1),
    "cycle_mult": Argument(1.0, 2, fine=(2.5,)),
    "max_momentum": Argument(0.95, 0.9, fine=()),
    "base_momentum": Argument(0.85, 0.5, fine=(0,)),
    "schedule": Argument(clr.Triangular2(1e-3, 6e-3, 2000), clr.Triangular(1e-3, 1.0, 7), (0, 2.5)),
    "warmup_steps": Argument(300, 1, fine=(0,)),
    "start_lr": Argument(0.0, 1e-6, fine=(0, 2.5)),
    "schedules": Argument([0.1, clr.OneCycle(6e-3, 2000)], [0.1, 0.2]),
    "boundaries": Argument([500], [1]),
    "steps": Argument(300, 1, fine=(0, -1)),
    "name": Argument(None, "x", fine=("3", None)),
}
