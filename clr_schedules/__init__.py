"""Cyclical learning rates for Keras, computed exactly inside the compiled train step."""

from typing import TYPE_CHECKING, Any

# Imported to register `Power` and `AddonsCyclical` with Keras: models that `migrate` has loaded and
# that were saved again must load after `import clr_schedules` alone, and Keras does not import the
# module of a class by itself.
from clr_schedules import migrate as migrate
from clr_schedules.callbacks.cyclical_lr import CyclicalLR
from clr_schedules.callbacks.logger import LearningRateLogger
from clr_schedules.callbacks.snapshots import CycleEarlyStopping, CycleSnapshots
from clr_schedules.optimizers.hyperparameters import schedule_hyperparameters
from clr_schedules.optimizers.layers import layer_decay, scale_learning_rates
from clr_schedules.planning import step_size, steps_per_epoch
from clr_schedules.schedules.compose import Piecewise, Shifted, Warmup
from clr_schedules.schedules.cosine_restarts import CosineRestarts
from clr_schedules.schedules.cyclical import Cyclical, ExpRange, Triangular, Triangular2
from clr_schedules.schedules.one_cycle import OneCycle

if TYPE_CHECKING:
    from clr_schedules.range_test import RangeTestResult, Suggestion, lr_range_test

__version__ = "0.1.0"

__all__ = [
    "CosineRestarts",
    "CycleEarlyStopping",
    "CycleSnapshots",
    "Cyclical",
    "CyclicalLR",
    "ExpRange",
    "LearningRateLogger",
    "OneCycle",
    "Piecewise",
    "RangeTestResult",
    "Shifted",
    "Suggestion",
    "Triangular",
    "Triangular2",
    "Warmup",
    "layer_decay",
    "lr_range_test",
    "scale_learning_rates",
    "schedule_hyperparameters",
    "step_size",
    "steps_per_epoch",
]


def __getattr__(name: str) -> Any:
    """Imports the range test when it is first used: most programs do not use it."""
    if name in ("RangeTestResult", "Suggestion", "lr_range_test"):
        from clr_schedules import range_test

        return getattr(range_test, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
