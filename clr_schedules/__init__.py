"""Cyclical learning rates for Keras, computed exactly inside the compiled train step."""

from clr_schedules.planning import step_size, steps_per_epoch
from clr_schedules.schedules.cyclical import Cyclical, ExpRange, Triangular, Triangular2

__version__ = "0.1.0"

__all__ = [
    "Cyclical",
    "ExpRange",
    "Triangular",
    "Triangular2",
    "step_size",
    "steps_per_epoch",
]
