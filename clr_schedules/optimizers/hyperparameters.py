"""Lets hyperparameters of an optimizer follow schedules, as the learning rate can."""

from __future__ import annotations

import functools
import inspect
import numbers
import operator
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import LearningRateSchedule, backend
from clr_schedules._serialization import register
from clr_schedules.optimizers.extended import (
    ExtendedOptimizer,
    attributes_set_to,
    config_with_live_objects,
    extend,
    inner_to_extend,
    state_of,
)
from clr_schedules.schedules.base import Schedule, rate_of

# Attributes that cannot follow a schedule, because a step needs them as Python numbers: some decide
# which operations the step consists of, others are whole numbers.
_STRUCTURAL = backend.fixed_hyperparameters | {
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "ns_steps",
}
# Hyperparameters that cannot follow a schedule, because the state of the optimizer is made of
# their former values: the step would take the state for what it is not. (The other optimizers of
# Keras 3.6 to 3.15 use a hyperparameter for the step alone, or keep what they need of its former
# values, as Nadam does with the product of its momenta.)
_CONSTANT = {
    # Each step recovers the averaged weights from weights that were mixed with the former `beta_1`.
    # `warmup_steps` is a count.
    "ScheduleFreeAdamW": {"beta_1", "warmup_steps"},
    # `linear` adds up differences of powers of the accumulator, which `quadratic` holds whole.
    "Ftrl": {"learning_rate_power", "beta"},
}
# The methods that make, build and save an optimizer. All other methods may serve its steps.
_NOT_FOR_STEPS = {"__init__", "build", "get_config", "from_config"}
# The smallest normal float64. In float32 it acts as 0, but when Keras asks whether a hyperparameter
# is 0, the answer is no.
_ALMOST_0 = sys.float_info.min


def schedule_hyperparameters(optimizer: Any, **schedules: Any) -> Any:
    """Makes an optimizer whose hyperparameters follow schedules inside the compiled train step.

    .. code-block:: none

        momentum(iteration), beta_1(iteration), ...     as learning_rate(iteration) does

    The new optimizer is an instance of the given optimizer's class, with the same arguments. It
    takes each step as if its attributes had been set to the values of that iteration. If a momentum
    schedule is 0 at some steps, the momentum variables are still made and updated. Adam corrects
    its bias by the present ``beta`` to the power of the number of steps, as in PyTorch. The given
    optimizer does not change.

    Outside of a step, an attribute that follows a schedule has the constant value with which the
    optimizer was made. The attribute cannot be set. The optimizer can be saved and loaded with its
    model; ``import clr_schedules`` before loading. The optimizer computes its learning rate once a
    step. (On TensorFlow, Keras's own optimizers compute the rate again for the weight decay of
    every variable.)

    On PyTorch, Keras wants the hyperparameters as numbers of Python. So each step waits once for
    the device, to read the number of the step (the update of SGD waits for its rate anyway, that of
    Adam does not). With ``jit_compile=True``, the update itself is not compiled, because it would
    be compiled anew for every value; the rest of the train step is.

    Args:
        optimizer: An optimizer of Keras 3 that is not built yet. If it is a
            ``LossScaleOptimizer``, the inner optimizer gets the schedules.
        schedules: Keyword arguments, at least one. Each name is that of a hyperparameter
            (``momentum``, ``beta_1``, ``beta_2``, ``rho``, ``weight_decay``, ...), and each value
            is any Keras schedule.

    Returns:
        The new optimizer. Its class is a subclass of the given optimizer's class.

    Raises:
        TypeError: If ``optimizer`` is not an optimizer of Keras, or a schedule is not a schedule.
        ValueError: If no schedule is given; if the optimizer does not have the hyperparameter, or
            reads it only when it is built; if the hyperparameter must stay constant
            (``beta_1`` of ``ScheduleFreeAdamW``, ``beta`` and ``learning_rate_power`` of ``Ftrl``,
            with whose former values the optimizer's variables were computed); if the optimizer is
            built already; or on ``tf_keras``.

    Reference:
        L. N. Smith, *A disciplined approach to neural network hyper-parameters: Part 1*,
        arXiv:1803.09820, section 4.3, on cyclical momentum.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.OneCycle(max_lr=0.1, total_steps=4000)
        >>> optimizer = keras.optimizers.SGD(learning_rate=lr, momentum=0.9, nesterov=True)
        >>> optimizer = clr.schedule_hyperparameters(optimizer, momentum=lr.momentum())
    """
    inner = inner_to_extend(optimizer, "schedule_hyperparameters")
    names = _schedulable_names(inner)
    if not names:
        rule = "an optimizer with hyperparameters of its own; of a `MultiOptimizer`, its optimizers"
        raise TypeError(_arguments.received("optimizer", rule, optimizer))
    constant = _constant_names(type(inner))
    listed = (
        f"The hyperparameters of `{type(inner).__name__}` that can follow a schedule are: "
        f"{', '.join(names)}"
    )
    if not schedules:
        raise ValueError(f"`schedule_hyperparameters` needs at least one schedule. {listed}")
    for name, schedule in schedules.items():
        if name == "learning_rate":
            raise ValueError(
                "Argument `learning_rate` must be given to the optimizer itself, which accepts a "
                f"schedule. {listed}. Received: learning_rate={_arguments.shown(schedule)}"
            )
        if name in constant:
            raise ValueError(
                f"Argument `{name}` must stay constant, since the optimizer's variables hold what "
                f"former steps computed with it. {listed}. "
                f"Received: {name}={_arguments.shown(schedule)}"
            )
        if name not in names:
            raise ValueError(
                f"Argument `{name}` must be a hyperparameter that the optimizer reads as a number "
                f"in every step. {listed}. Received: {name}={_arguments.shown(schedule)}"
            )
        if not isinstance(schedule, LearningRateSchedule):
            raise TypeError(_arguments.received(name, "a schedule of Keras", schedule))
    return extend(optimizer, ScheduledOptimizer, schedules)


def scheduled(optimizer: Any) -> dict[str, Any]:
    """The schedules of an optimizer's hyperparameters, by name; empty for a plain optimizer.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> from clr_schedules.optimizers.hyperparameters import scheduled
        >>> momentum = clr.OneCycle(max_lr=0.1, total_steps=4000).momentum()
        >>> optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        >>> optimizer = clr.schedule_hyperparameters(optimizer, momentum=momentum)
        >>> scheduled(optimizer) == {"momentum": momentum}
        True
    """
    return state_of(optimizer, ScheduledOptimizer)


# ---- The optimizer


@register
class ScheduledOptimizer(ExtendedOptimizer):
    """Extends the class of an optimizer, so that hyperparameters follow schedules.

    The state of the extension holds the schedule of each hyperparameter.
    """

    class_key = "scheduled_class"
    state_key = "hyperparameter_schedules"
    # The constant value of each hyperparameter, from the config.
    _hyperparameter_constants: dict[str, float | None] = {}  # noqa: RUF012 - it is only replaced

    def _state_was_set(self) -> None:
        super()._state_was_set()
        attributes = vars(self)
        constants = {name: attributes[name] for name in scheduled(self)}
        attributes["_hyperparameter_constants"] = constants

    def build(self, variables: Any) -> None:
        """Makes the optimizer's variables, as if all scheduled hyperparameters were set."""
        constants = self._hyperparameter_constants
        # Keras makes the variables of a momentum only if the momentum is not 0. Within a step, the
        # attributes may hold values of the schedules, so they are put back after the building.
        in_use = {name: constant or _ALMOST_0 for name, constant in constants.items()}
        with attributes_set_to(self, in_use):
            super().build(variables)  # type: ignore[misc]

    @backend.not_compiled_with_numbers
    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes a step with the values that the hyperparameters have at its iteration."""
        values = _values_at(scheduled(self), self._iterations)  # type: ignore[attr-defined]
        # After the step, the attributes get the constants. Their present values would be wrong if
        # another replica has begun the same step and has set them already.
        with attributes_set_to(self, values, afterwards=self._hyperparameter_constants):
            super().apply(grads, trainable_variables)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in scheduled(self):
            raise TypeError(
                f"The `{name}` of this optimizer follows a schedule and cannot be set. Make a new "
                "optimizer with another schedule instead. "
                f"Received: {name}={_arguments.shown(value)}"
            )
        super().__setattr__(name, value)


# ---- Which hyperparameters there are


def _schedulable_names(optimizer: Any) -> list[str]:
    """The names of the arguments that the optimizer stores as numbers and reads in every step."""
    kind: Any = type(optimizer)
    read = _names_read_in_steps(kind)
    return [
        name
        for name, value in config_with_live_objects(optimizer).items()
        if name in vars(optimizer)
        and name in read
        and name not in _STRUCTURAL | _constant_names(kind)
        and (_is_number(value) or name == "weight_decay")  # `weight_decay` may be None
    ]


def _constant_names(kind: Any) -> set[str]:
    """The names of the arguments whose former values are in the optimizer's variables."""
    return set().union(*(_CONSTANT.get(base.__name__, set()) for base in kind.__mro__))


@functools.cache
def _names_read_in_steps(kind: Any) -> set[str]:
    """The names in the code of a class, except in methods that make, build or save an optimizer.

    The names are read from the compiled code of Python, because a step on trial would need
    variables.
    """
    methods = [
        member.fget if isinstance(member, property) else member
        for base in kind.__mro__
        for name, member in vars(base).items()
        if name not in _NOT_FOR_STEPS
    ]
    codes = [inspect.unwrap(method).__code__ for method in methods if inspect.isfunction(method)]
    names: set[str] = set()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        names.update(constant for constant in code.co_consts if isinstance(constant, str))
        codes.extend(inner for inner in code.co_consts if isinstance(inner, CodeType))
    return names


def _is_number(value: Any) -> bool:
    """Whether this is a real number of Python or NumPy, but not a boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


# ---- The values that the attributes have during a step


def _values_at(schedules: dict[str, Any], step: Any) -> dict[str, Any]:
    """The values of schedules at a step, in the form in which Keras can calculate with them."""
    if backend.float_hyperparameters:
        number = int(step)  # read once, because Python waits for the device here
        return {
            name: float(each.values(number) if isinstance(each, Schedule) else each(step))
            or _ALMOST_0
            for name, each in schedules.items()
        }
    with backend.wide_types():
        step = backend.cast(step, "int64")
        return {
            name: _ScheduledValue(rate_of(schedule, step, backend.xp))
            for name, schedule in schedules.items()
        }


class _ScheduledValue:
    """A scalar tensor that calculates like a number, and is never 0 when Keras asks.

    While Keras traces a step, it asks in Python whether a hyperparameter is set, as in
    ``if self.momentum != 0``. A tensor has no value at that time, so a plain tensor cannot be the
    attribute. A value of this class always answers that it is set, since a momentum that follows a
    schedule needs its variables at every step. The questions are ``!= 0``, ``== 0``, ``> 0`` and
    the truth of the value. Any other comparison with a number raises an error, since the answer
    might differ from step to step.

    Calculations with numbers are in float64. The result is rounded to ``floatx()`` only when it
    meets another tensor: in float32, ``1 - beta_2`` would be off by a relative 1.3e-5 for 0.999.
    """

    shape: tuple[int, ...] = ()  # Keras asks every tensor for its shape and its type

    def __init__(self, float64: Any) -> None:
        self._float64 = float64

    @property
    def dtype(self) -> str:
        return backend.floatx()

    def _rounded(self, dtype: str | None = None) -> Any:
        with backend.wide_types():
            return backend.cast(self._float64, dtype or backend.floatx())

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self._rounded(dtype and dtype.name)

    def __jax_array__(self) -> Any:
        return self._rounded()

    def _before(self, calculate: Callable[..., Any], right: Any) -> Any:
        return _calculate(calculate, self, right)

    def _after(self, calculate: Callable[..., Any], left: Any) -> Any:
        return _calculate(calculate, left, self)

    __add__ = functools.partialmethod(_before, operator.add)
    __sub__ = functools.partialmethod(_before, operator.sub)
    __mul__ = functools.partialmethod(_before, operator.mul)
    __truediv__ = functools.partialmethod(_before, operator.truediv)
    __pow__ = functools.partialmethod(_before, operator.pow)
    __radd__ = functools.partialmethod(_after, operator.add)
    __rsub__ = functools.partialmethod(_after, operator.sub)
    __rmul__ = functools.partialmethod(_after, operator.mul)
    __rtruediv__ = functools.partialmethod(_after, operator.truediv)
    __rpow__ = functools.partialmethod(_after, operator.pow)

    def __neg__(self) -> Any:
        return 0.0 - self

    def __eq__(self, other: object) -> bool:
        if _is_number(other) and other != 0:
            raise TypeError(
                "A hyperparameter that follows a schedule has no value while a step is traced, so "
                "the optimizer cannot compare it with a number other than 0. Give this "
                f"hyperparameter a constant. Received: hyperparameter == {_arguments.shown(other)}"
            )
        return NotImplemented

    def __gt__(self, other: Any) -> bool:
        return True if _is_number(other) and other == 0 else NotImplemented

    __hash__ = object.__hash__


def _calculate(calculate: Callable[..., Any], *operands: Any) -> Any:
    """Applies an operator to scheduled values, and to numbers or tensors.

    With numbers, the calculation is in float64, and its result is a scheduled value. With tensors,
    the scheduled values are rounded first, and the result is a tensor.
    """
    if all(isinstance(each, _ScheduledValue) or _is_number(each) for each in operands):
        with backend.wide_types():
            result = calculate(*(getattr(each, "_float64", each) for each in operands))
            return _ScheduledValue(result)
    rounded = (each._rounded() if isinstance(each, _ScheduledValue) else each for each in operands)
    return calculate(*(backend.tensor(each) for each in rounded))
