"""Hyperparameters of an optimizer that follow schedules, as its learning rate does."""

from __future__ import annotations

import contextlib
import functools
import numbers
import operator
from collections.abc import Iterator
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import LearningRateSchedule, backend, keras
from clr_schedules._serialization import deserialize, register, serialize
from clr_schedules.schedules.base import Schedule, rate_of

# What a number in an optimizer's config may be without being read in every step, or as a number.
_STRUCTURAL = backend.fixed_hyperparameters | {
    "learning_rate",
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "initial_accumulator_value",
    "ns_steps",
}


def schedule_hyperparameters(optimizer: Any, **schedules: Any) -> Any:
    """An optimizer whose hyperparameters follow schedules within the compiled step.

    .. code-block:: none

        momentum(iteration), beta_1(iteration), ...     as learning_rate(iteration) does

    The optimizer is of the given one's class (and a subclass of it), with the same arguments; the
    given one is left alone. Each step is taken as if the attributes had been set to the values of
    its iteration. Momentum that is 0 for a while is momentum all the same.

    An attribute that follows a schedule reads as the constant that the optimizer was made with, and
    cannot be set. It saves and loads with the model; ``import clr_schedules`` before loading.

    Adam corrects its bias by the present ``beta`` to the power of the number of steps, as in
    PyTorch.

    Args:
        optimizer: An optimizer of Keras 3 that has not been built; of a ``LossScaleOptimizer``, the
            inner one is meant.
        schedules: For each hyperparameter by its name (``momentum``, ``beta_1``, ``beta_2``,
            ``rho``, ``weight_decay``, ...), any schedule of Keras. At least one.

    Returns:
        The optimizer.

    Raises:
        TypeError: If ``optimizer`` is no optimizer, or a schedule no schedule.
        ValueError: If the optimizer has no such hyperparameter, or one that is no number in every
            step; if it has been built; or on ``tf_keras``.

    Reference:
        L. N. Smith, *A disciplined approach to neural network hyper-parameters: Part 1*,
        arXiv:1803.09820, section 4.3, cyclical momentum.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.OneCycle(max_lr=0.1, total_steps=4000)
        >>> optimizer = keras.optimizers.SGD(learning_rate=lr, momentum=0.9, nesterov=True)
        >>> optimizer = clr.schedule_hyperparameters(optimizer, momentum=lr.momentum())
    """
    if not backend.settable_hyperparameters:
        raise ValueError(
            "`schedule_hyperparameters` must have an optimizer of Keras 3; those of the legacy "
            f"Keras keep copies of their hyperparameters. Received: optimizer={optimizer!r}"
        )
    if not isinstance(optimizer, backend.optimizer_classes):
        raise TypeError(_arguments.received("optimizer", "an optimizer of Keras", optimizer))
    inner = backend.inner_optimizer(optimizer)
    names = _names(inner)
    listed = f"The hyperparameters of `{type(inner).__name__}` are: {', '.join(names)}"
    if not schedules:
        raise ValueError(f"`schedule_hyperparameters` must have a schedule or more. {listed}")
    for name, schedule in schedules.items():
        if name == "learning_rate":
            raise ValueError(
                "Argument `learning_rate` must go into the optimizer itself, which takes a "
                f"schedule. {listed}. Received: learning_rate={schedule!r}"
            )
        if name not in names:
            raise ValueError(
                f"Argument `{name}` must be a hyperparameter that is a number in every step. "
                f"{listed}. Received: {name}={schedule!r}"
            )
        if not isinstance(schedule, LearningRateSchedule):
            raise TypeError(_arguments.received(name, "a schedule of Keras", schedule))
    if optimizer.built or inner.built:
        raise ValueError(
            "Argument `optimizer` must be one that has not been built: its variables are for what "
            f"its hyperparameters were then. {listed}. Received: optimizer={optimizer!r}"
        )
    made = _make(inner, schedules)
    if inner is optimizer:
        return made
    # Its config has the inner one's, which may not be one that can be saved.
    stand_in = {"inner_optimizer": keras.optimizers.SGD(name="any")}
    with _set(optimizer, stand_in, {"inner_optimizer": inner}):
        config = optimizer.get_config() | {"inner_optimizer": made}
    return type(optimizer)(**config)


def scheduled(optimizer: Any) -> dict[str, Any]:
    """The schedules of an optimizer's hyperparameters, by name.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> from clr_schedules.hyperparameters import scheduled
        >>> momentum = clr.OneCycle(max_lr=0.1, total_steps=4000).momentum()
        >>> optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        >>> optimizer = clr.schedule_hyperparameters(optimizer, momentum=momentum)
        >>> scheduled(optimizer) == {"momentum": momentum}
        True
    """
    found: dict[str, Any] = vars(optimizer).get(_SCHEDULES, {})
    return found


def _names(optimizer: Any) -> list[str]:
    """The numbers that the optimizer has an attribute for."""
    config = _plain_config(optimizer)
    return [
        name
        for name, value in config.items()
        if name == "weight_decay"
        or (name not in _STRUCTURAL and name in vars(optimizer) and _is_number(value))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _make(optimizer: Any, schedules: dict[str, Any]) -> Any:
    made = super(_Scheduled, _class(_own_class(optimizer))).from_config(_plain_config(optimizer))
    for name, value in vars(optimizer).items():
        if name.startswith("_exclude_from_weight_decay"):  # in no config
            vars(made)[name] = value
    vars(made)[_SCHEDULES] = found = scheduled(optimizer) | schedules
    # Not what a step finds: another replica may have begun it.
    vars(made)[_CONSTANTS] = {name: vars(made)[name] for name in found}
    return made


# Set past Keras, which would track them.
_SCHEDULES, _CONSTANTS = "_clr_schedules_hyperparameters", "_clr_schedules_constants"


class _Scheduled:
    """Extends an optimizer's own class."""

    def build(self, variables: Any) -> None:
        """Builds for hyperparameters that are not 0."""
        before = {name: vars(self)[name] for name in scheduled(self)}  # within a step, a tensor
        constants = {name: _Float(vars(self)[_CONSTANTS][name] or 0.0) for name in before}
        with _set(self, constants, before):
            super().build(variables)  # type: ignore[misc]

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes a step with the values of its iteration."""
        step = self._iterations  # type: ignore[attr-defined]
        values = {name: _value(schedule, step) for name, schedule in scheduled(self).items()}
        with _set(self, values, vars(self).get(_CONSTANTS, {})):
            super().apply(grads, trainable_variables)  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in scheduled(self):
            raise TypeError(
                f"The `{name}` of this optimizer follows a schedule, and cannot be set. "
                f"Received: {name}={value!r}"
            )
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        # As Keras pickles optimizers, but for the class, which no module has.
        reduced: Any = super().__reduce__()
        load, arguments = reduced
        return getattr(keras.optimizers.Optimizer, load.__name__), arguments

    def get_config(self) -> dict[str, Any]:
        schedules = {name: serialize(s) for name, s in scheduled(self).items()}
        plain = _own_class(self).from_config(_plain_config(self))
        return {"optimizer": serialize(plain), "schedules": schedules}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        if config.keys() != {"optimizer", "schedules"}:
            raise ValueError(
                "The config of an optimizer with schedules must have the keys 'optimizer' and "
                f"'schedules', and no others. Received: config={config}"
            )
        schedules = {name: deserialize(s) for name, s in config["schedules"].items()}
        return _make(deserialize(config["optimizer"]), schedules)


def _own_class(optimizer: Any) -> Any:
    kind = type(optimizer)
    return kind.__mro__[2] if isinstance(optimizer, _Scheduled) else kind


def _plain_config(optimizer: Any) -> dict[str, Any]:
    """The config of the optimizer's own class, with its very learning rate, saveable or not."""
    rate = optimizer._learning_rate
    replaced = {"_learning_rate": keras.optimizers.schedules.ExponentialDecay(1.0, 1, 1.0)} if callable(rate) else {}
    of: Any = super(_Scheduled, optimizer) if isinstance(optimizer, _Scheduled) else optimizer
    with _set(optimizer, replaced, {"_learning_rate": rate}):
        config = dict(of.get_config())
    return config | {"learning_rate": rate} if replaced else config


@functools.cache
def _class(base: Any) -> Any:
    """The class that extends an optimizer's.

    All are registered by one name: the config says which optimizer it is of.
    """
    return register(
        type(f"Scheduled{base.__name__}", (_Scheduled, base), {"__module__": __name__}),
        name="ScheduledOptimizer",
    )


@contextlib.contextmanager
def _set(optimizer: Any, values: dict[str, Any], after: dict[str, Any]) -> Iterator[None]:
    """Sets attributes for a while, past Keras, which would track them."""
    vars(optimizer).update(values)
    try:
        yield
    finally:
        vars(optimizer).update(after)


def _value(schedule: Any, step: Any) -> Any:
    """The value of a schedule at a step, which calculates as a float that is not 0."""
    if backend.float_hyperparameters:
        if isinstance(schedule, Schedule):
            value = float(schedule.values(int(step)))
        else:
            value = float(schedule(step))
        return value if value > 0 else _Float(value)
    with backend.wide_types():
        return _Tensor(rate_of(schedule, backend.cast(step, "int64"), backend.xp))


class _Float(float):
    """A float that is not 0 to code that asks whether it is set."""

    def __ne__(self, other: object) -> bool:
        return True if other == 0 else float(self) != other

    def __gt__(self, other: float) -> bool:
        return True if other == 0 else float(self) > other

    def __bool__(self) -> bool:
        return True

    __hash__ = float.__hash__


class _Tensor:
    """A scalar tensor in float64 that calculates as a float does, and rounds once, at the end.

    ``1 - 0.999`` in float32 would be off by 1.3e-5.
    """

    def __init__(self, wide: Any) -> None:
        self._wide = wide

    @property
    def dtype(self) -> str:
        return backend.floatx()

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def _rounded(self, dtype: Any = None) -> Any:
        with backend.wide_types():
            return backend.cast(self._wide, dtype or backend.floatx())

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self._rounded(dtype and dtype.name)

    def __jax_array__(self) -> Any:
        return self._rounded()

    def _with(self, calculate: Any, other: Any, *, reflected: bool = False) -> Any:
        if isinstance(other, _Tensor):
            other = other._wide
        elif not _is_number(other):  # a tensor or a variable of Keras
            first, second = (other, self._rounded()) if reflected else (self._rounded(), other)
            return calculate(backend.tensor(first), backend.tensor(second))
        with backend.wide_types():
            first, second = (other, self._wide) if reflected else (self._wide, other)
            return _Tensor(calculate(first, second))

    def __add__(self, other: Any) -> Any:
        return self._with(operator.add, other)

    def __radd__(self, other: Any) -> Any:
        return self._with(operator.add, other, reflected=True)

    def __sub__(self, other: Any) -> Any:
        return self._with(operator.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return self._with(operator.sub, other, reflected=True)

    def __mul__(self, other: Any) -> Any:
        return self._with(operator.mul, other)

    def __rmul__(self, other: Any) -> Any:
        return self._with(operator.mul, other, reflected=True)

    def __truediv__(self, other: Any) -> Any:
        return self._with(operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(operator.truediv, other, reflected=True)

    def __pow__(self, other: Any) -> Any:
        return self._with(operator.pow, other)

    def __rpow__(self, other: Any) -> Any:
        return self._with(operator.pow, other, reflected=True)

    def __neg__(self) -> Any:
        return 0.0 - self

    def __ne__(self, other: object) -> bool:
        return True

    def __gt__(self, other: Any) -> bool:
        return True if other == 0 else self._refuse(">", other)

    def __ge__(self, other: Any) -> bool:
        return self._refuse(">=", other)

    def __lt__(self, other: Any) -> bool:
        return self._refuse("<", other)

    def __le__(self, other: Any) -> bool:
        return self._refuse("<=", other)

    def _refuse(self, comparison: str, other: Any) -> bool:
        raise TypeError(
            "A hyperparameter that follows a schedule is a tensor in the compiled step, and has no "
            f"truth value of its own. Received: hyperparameter {comparison} {other!r}"
        )

    __hash__ = object.__hash__


if backend.settable_hyperparameters:
    _class(keras.optimizers.Optimizer)  # so that a new process finds what it loads
