"""Cyclical learning rates for Keras, computed exactly inside the compiled train step."""

from clr_schedules.planning import step_size, steps_per_epoch
from clr_schedules.range_test import RangeTestResult, Suggestion, lr_range_test
from clr_schedules.schedules.cyclical import Cyclical, ExpRange, Triangular, Triangular2

__version__ = "0.1.0"

__all__ = [
    "Cyclical",
    "ExpRange",
    "RangeTestResult",
    "Suggestion",
    "Triangular",
    "Triangular2",
    "lr_range_test",
    "step_size",
    "steps_per_epoch",
]
