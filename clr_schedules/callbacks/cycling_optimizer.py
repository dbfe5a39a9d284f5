"""An optimizer with a constant rate that follows a schedule for a while, and the files of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clr_schedules._backend import backend, keras
from clr_schedules._serialization import deserialize, register, register_extended, serialize
from clr_schedules.optimizers.extended import attributes_set_to

if TYPE_CHECKING:
    from clr_schedules.schedules.base import Schedule

# While an optimizer follows a schedule, these attributes of the optimizer hold its constant rate,
# and a function that gives it this rate back. They are written into the dictionary of the
# optimizer, since Keras's `__setattr__` would track the objects.
_CONSTANT, _RESTORE = "_clr_schedules_constant_rate", "_clr_schedules_restore_rate"


def follow(optimizer: Any, schedule: Schedule) -> None:
    """Makes an optimizer with a constant rate follow a schedule, until `stop_following`.

    The variable of the constant rate stays among the optimizer's variables. So files of weights
    fit the optimizer with its constant rate too, in which Keras counts the variables.
    """
    attributes, kind = vars(optimizer), optimizer.__class__
    constant = attributes.get("_learning_rate")
    restore_rate = backend.install_rate(optimizer, schedule)

    def restore() -> None:
        optimizer.__class__ = kind
        attributes.pop(_CONSTANT, None)
        restore_rate()

    attributes[_RESTORE] = restore
    if backend.rate_is_in_files and backend.is_variable(constant):
        attributes[_CONSTANT] = constant
        optimizer.__class__ = _cycling_class(kind)


def stop_following(optimizer: Any) -> None:
    """Gives an optimizer its constant rate back, if it follows a schedule for a while."""
    vars(optimizer).pop(_RESTORE, lambda: None)()


@register
class CyclingOptimizer:
    """Extends the class of an optimizer while the optimizer follows a schedule for a while.

    The config holds the optimizer with its constant rate and the schedule, because a loaded
    optimizer must have the variable of the constant rate, as the saved one has. A class that
    extends another one exists only in the process that made it. Files therefore name this class,
    and its ``from_config`` makes the optimizer and lets it follow the schedule.
    """

    def get_config(self) -> dict[str, Any]:
        """The config: the optimizer with its constant rate, and the schedule."""
        schedule = vars(self)["_learning_rate"]
        with _plain(self):
            return {"optimizer": serialize(self), "schedule": serialize(schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes the optimizer from its config, and lets it follow the schedule."""
        with keras.saving.custom_object_scope(custom_objects or {}):
            optimizer = deserialize(config["optimizer"])
            follow(optimizer, deserialize(config["schedule"]))
        return optimizer


@functools.cache
def _cycling_class(base: Any) -> Any:
    """Makes the class that extends an optimizer's class."""
    made = type(f"Cycling{base.__name__}", (CyclingOptimizer, base), {})
    register_extended(made, CyclingOptimizer)
    return made


@contextlib.contextmanager
def _plain(optimizer: Any) -> Iterator[None]:
    """A context in which the optimizer has its own class and its constant rate."""
    kind = optimizer.__class__
    with attributes_set_to(optimizer, {"_learning_rate": vars(optimizer)[_CONSTANT]}):
        optimizer.__class__ = kind.__mro__[2]
        try:
            yield
        finally:
            optimizer.__class__ = kind
