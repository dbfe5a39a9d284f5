r"""Loads models with the cyclical schedules of TensorFlow Addons. Addons is not needed for this.

>>> from clr_schedules import migrate
>>> migrate.register_addons()

After this call, ``keras.models.load_model`` turns the schedules of Addons into schedules of this
package. The rates are the same as with Addons, without its rounding errors. If the model is saved
again, the new file needs only ``import clr_schedules`` before it is loaded.

The schedules of ``tensorflow_addons.optimizers``, version 0.23, are loaded as:

=================================== ============================================================
``TriangularCyclicalLearningRate``  ``Triangular``, whatever ``scale_mode`` is
``Triangular2CyclicalLearningRate`` ``Triangular2``
``ExponentialCyclicalLearningRate`` ``ExpRange``
``CyclicalLearningRate``            ``AddonsCyclical`` with the same ``scale_fn``
=================================== ============================================================

Each of the first three schedules is loaded as ``AddonsCyclical`` if the schedule of this package
does not accept the arguments: a fractional ``step_size``, bounds in reverse order, two bounds of 0,
a ``gamma`` that is not in (0, 1], or a ``scale_mode`` that is not the default of Addons.

For new code, ``docs/migrating.md`` lists the names of all arguments.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules._serialization import deserialize, find_registered, register
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Integers, Schedule
from clr_schedules.schedules.cyclical import (
    ExpRange,
    Triangular,
    Triangular2,
    check_scale_fn,
    scale_of,
    serialize_scale_fn,
)

_Config: TypeAlias = dict[str, Any]
_ScaleFn: TypeAlias = Callable[[Any], Any]

_REQUIRED = ("initial_learning_rate", "maximal_learning_rate", "step_size")
_SCALE_MODES = ("cycle", "iterations")


def register_addons() -> None:
    """Lets Keras load files that were saved with the cyclical schedules of TensorFlow Addons.

    Neither Addons nor ``custom_objects`` are needed. Keras can then load:

    ============ ====================================== ==========================================
    saved as     with Keras 3                           with ``tf_keras``
    ============ ====================================== ==========================================
    ``.h5``      the model and the optimizer's step,    the model and the optimizer's state
                 but no momenta (see below)
    SavedModel   nothing: Keras 3 cannot load a         the model, with the optimizer at step 0
                 SavedModel as a model
    ``.keras``   nothing: Keras 3 cannot load such      the model and the optimizer's state, except
                 files of Keras 2                       the state of a ``legacy`` optimizer
    a config     the schedule or the optimizer          the schedule or the optimizer
    ============ ====================================== ==========================================

    Keras 3 does not load an optimizer's momenta from an ``.h5`` file, and the loaded optimizer
    cannot be used for training. Make the optimizer again as follows; the schedule then continues at
    the saved step::

        model = keras.models.load_model("old.h5")
        optimizer = model.optimizer.from_config(model.optimizer.get_config())
        optimizer.build(model.trainable_variables)
        optimizer.iterations.assign(int(model.optimizer.iterations))
        model.compile(optimizer, model.loss)
        model.save("new.keras")

    (A model that was compiled with ``"mse"`` needs ``custom_objects={"mse":
    keras.losses.mean_squared_error}``.) Without ``register_addons``, Keras 3 loads the optimizers
    in ``.h5`` files of Keras 2.11 to 2.15 with their default arguments. ``register_addons`` makes
    Keras load all these optimizers with the saved arguments, also optimizers without a schedule of
    Addons.

    A scale function must be registered with Keras before the file is loaded, or be given in
    ``custom_objects``. It must be registered under the name with which it was saved; the package
    may differ. A Python lambda cannot be loaded, because its code was saved for a single version of
    Python, or not at all. Load a model with a lambda with ``compile=False``, and compile it again
    with ``Cyclical`` and a registered function. The optimizer then starts at step 0.

    Further calls of ``register_addons`` change nothing. A process that imports Addons too must call
    ``register_addons`` after this import, since Keras uses the class that was registered last. The
    schedules of Addons themselves still work.

    Raises:
        TypeError, ValueError: Later, when a file is loaded: if the config cannot come from Addons,
            if the scale function is not registered, or if the optimizer itself comes from Addons
            (``AdamW``, ``LAMB``, ``Lookahead``, ...).

    Warns:
        UserWarning: Later, when a file is loaded: if the scale function comes from
            ``custom_objects``. The model can be trained with this function, but not saved again.

    Example:
        >>> from clr_schedules import migrate
        >>> migrate.register_addons()

        and then, for instance, ``keras.models.load_model("old.h5").optimizer.learning_rate``.
    """
    for saved in (_Cyclical, _Triangular, _Triangular2, _Exponential):
        register(saved, package="Addons", name=saved.name)
    _register_optimizers_of_keras_2()
    _register_optimizers_of_addons()


class _OptimizerOfKeras2:
    """Stands for an optimizer in a file of Keras 2, and makes the optimizer of Keras 3.

    Keras 3 finds a subclass of this class under the name that Keras 2 gave the optimizer.
    """

    kind: ClassVar[Any]

    @classmethod
    def from_config(cls, config: _Config) -> Any:
        """Makes the optimizer of Keras 3, and leaves out the arguments that only Keras 2 had."""
        dropped = ("is_legacy_optimizer", "jit_compile")
        return cls.kind.from_config({k: v for k, v in config.items() if k not in dropped})


def _register_optimizers_of_keras_2() -> None:
    """Lets Keras 3 find the optimizers in the ``.h5`` files of Keras 2.11 to 2.15.

    These files name the optimizers ``Custom>Adam`` and so on. Without this function, Keras 3 makes
    optimizers with default arguments for these names, without a warning. If a user has registered
    a class under such a name, that class stays registered.
    """
    if backend.loads_optimizers_of_keras_2:
        return
    names = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD"
    for name in names.split():
        kind = getattr(keras.optimizers, name)
        found = type(name, (_OptimizerOfKeras2,), {"kind": kind})
        keras.saving.get_custom_objects().setdefault(f"Custom>{name}", found)


class _OptimizerOfAddons:
    """Stands for an optimizer of Addons in a file, and says that it cannot be loaded.

    Without this class, Keras 3 takes the optimizer of Keras that has the name in the config, with
    default arguments: an ``AdamW`` of Addons becomes one of Keras, with a rate of 0.001.
    """

    @classmethod
    def from_config(cls, config: _Config) -> Any:
        """Raises, and names the schedule and the decay, for who compiles the model again."""
        saved = {
            key: deserialize(value) if isinstance(value, dict) else value
            for key, value in config.items()
            if key in ("learning_rate", "weight_decay")
        }
        shown = ", ".join(f"{key}={_arguments.shown(value)}" for key, value in saved.items())
        raise ValueError(
            f"The optimizer `{cls.__name__}` of TensorFlow Addons cannot be loaded, since no "
            "optimizer of Keras takes the same steps. Load the model with `compile=False`, and "
            "compile it with an optimizer of Keras. (Keras multiplies a `weight_decay` by the "
            f"learning rate, Addons did not.) Received: {shown or _arguments.shown(config)}"
        )


def _register_optimizers_of_addons() -> None:
    """Makes Keras refuse the optimizers of Addons, unless Addons itself is imported."""
    names = (
        "AdaBelief AdamW COCOB ConditionalGradient LAMB LazyAdam Lookahead MovingAverage "
        "MultiOptimizer NovoGrad ProximalAdagrad RectifiedAdam SGDW SWA Yogi"
    )
    for name in names.split():
        refused = type(name, (_OptimizerOfAddons,), {})
        keras.saving.get_custom_objects().setdefault(f"Addons>{name}", refused)


@register
@dataclasses.dataclass(frozen=True)
class Power:
    """The scale function ``gamma ** (x - start)``, which can be saved with a schedule.

    It serves schedules of Addons that ``peak_mult`` and ``gamma`` of ``Cyclical`` cannot express.

    Args:
        gamma: The factor per cycle or iteration. Any finite number.
        start: The cycle or iteration at which the scale is 1. Default: 0.

    Example:
        >>> Power(0.5, start=1)(3.0)
        0.25
    """

    gamma: float
    start: int = 0

    def __call__(self, x: Any) -> Any:
        """The scale at a number, an array or a tensor of cycles or iterations."""
        return self.gamma ** (x - self.start)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this function again, as Keras saves them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Power:
        """Makes the function from a config."""
        return cls(**config)


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class AddonsCyclical(Schedule):
    r"""The cycle of TensorFlow Addons: half-cycles of any length, bounds in any order.

    .. code-block:: none

        lr = initial_learning_rate
             + (maximal_learning_rate - initial_learning_rate) * max(0, 1 - x) * scale_fn(cycle)

        cycle = floor(1 + iteration / (2 * step_size))
        x     = |iteration / step_size - 2 * cycle + 1|

    ``register_addons`` makes Keras load a schedule of Addons as this class if ``Triangular``,
    ``Triangular2`` and ``ExpRange`` do not accept the schedule's arguments. In new code, use
    ``Cyclical``. The scale is not limited: if it is above 1, the rate goes beyond
    ``maximal_learning_rate``.

    The phase is exact at every step, also for a ``step_size`` such as ``60_000 / 7``. A fractional
    ``step_size`` is replaced by the nearest fraction with a denominator of at most
    ``sqrt(2**61 / step_size)``, which is about 10^7 for usual lengths. If the bounds are in
    reverse order, the error of a float64 rate is at most 16 units in the last place of the larger
    bound, and not of the rate itself.

    Args:
        initial_learning_rate: The rate where each cycle starts and ends. At least 0.
        maximal_learning_rate: The rate in the middle of each cycle, before the scale. At least 0.
        step_size: The number of iterations in a half-cycle. At least 1/2; fractions are allowed.
        scale_fn: A function of one number that returns a factor of the amplitude, as for
            ``Cyclical``. Default: no scaling. The function gets a float64 tensor, and must cast the
            tensor before it combines it with a float32 tensor of its own. (Addons passed float32,
            or the type of the iterations.)
        scale_mode: The number that ``scale_fn`` gets: with ``"cycle"`` (default), the number of the
            cycle, from 1; with ``"iterations"``, the iteration, from 0.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN. ``get_config`` raises it if
            the scale function is not registered.

    Warns:
        UserWarning: If ``scale_fn`` is not registered. The schedule can be trained with, but it
            cannot be saved.

    Reference:
        ``tensorflow_addons.optimizers.CyclicalLearningRate``, version 0.23.

    Example:
        >>> from clr_schedules import migrate
        >>> lr = migrate.AddonsCyclical(0.001, 0.006, step_size=2.5, scale_fn=migrate.Power(0.9))
        >>> lr.values([0, 1, 2, 3, 4, 5]).round(5)
        array([0.001 , 0.0028, 0.0046, 0.0046, 0.0028, 0.001 ])
    """

    initial_learning_rate: float
    maximal_learning_rate: float
    step_size: float
    scale_fn: _ScaleFn | None = None
    scale_mode: str = "cycle"
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        check_scale_fn(self.scale_fn)
        return _bounds_and_step_size({name: getattr(self, name) for name in _REQUIRED}) | {
            "scale_mode": _arguments.choice("scale_mode", self.scale_mode, _SCALE_MODES),
            "name": _arguments.label("name", self.name),
        }

    def _half_cycle(self) -> tuple[int, int]:
        """The step size as a fraction: its numerator and its denominator.

        Twice the product of the two, which `_rate` computes, is below 2^63 and cannot overflow.
        """
        limit = math.isqrt(2**61 // math.ceil(self.step_size))
        return Fraction(self.step_size).limit_denominator(max(1, limit)).as_integer_ratio()

    def _rate(self, step: Any, xp: Any) -> Any:
        # The position is counted in n-ths of an iteration. A half-cycle is `half` such n-ths long.
        half, n = self._half_cycle()
        # `2 * half` iterations are n whole cycles. Full rounds of n cycles are removed before the
        # multiplication by n, so that the product does not overflow.
        rounds, position = step // (2 * half), step % (2 * half) * n
        phase = numerics.triangle(position, half, half, numerics.TOPS["linear"], xp)
        amplitude = numerics.wave(phase, "linear", xp)
        if self.scale_fn is not None:
            cycle = rounds * n + position // (2 * half) + 1
            x = xp.float64(step if self.scale_mode == "iterations" else cycle)
            amplitude = amplitude * scale_of(self.scale_fn, x, xp, least=-math.inf)
        low, high = self.initial_learning_rate, self.maximal_learning_rate
        if low <= high:
            return low + numerics.height(low, high) * amplitude
        # With bounds in reverse order too, the rate is computed upwards from the lower bound: the
        # other way round, a rate near the lower bound loses its digits, as in `1 + (1e-9 - 1)`.
        return high + numerics.height(high, low) * (1 - amplitude)

    def _natural_length(self) -> int:
        return math.ceil(6 * self.step_size)

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        half, n = self._half_cycle()
        cycles = range(start * n // (2 * half) + 1, stop * n // (2 * half) + 1)
        # The end of a cycle, rounded up to a whole iteration. Python's integers do not overflow.
        return np.array([-(-2 * half * cycle // n) for cycle in cycles], np.int64)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them.

        Raises:
            ValueError: If ``scale_fn`` is not registered with Keras, so that it could not be
                loaded.
        """
        return super().get_config() | {"scale_fn": serialize_scale_fn(self.scale_fn)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AddonsCyclical:
        """Makes the schedule from a config. The scale function must be registered before."""
        if config.get("scale_fn") is not None:
            config = config | {"scale_fn": _load_scale_fn(config["scale_fn"])}
        return super().from_config(config)


def _bounds_and_step_size(arguments: _Config) -> dict[str, Any]:
    """Checks the arguments that all schedules of Addons have, and makes them plain numbers."""
    rule = "a finite number of at least 1/2"
    step_size = arguments["step_size"]
    number = _arguments.real("step_size", step_size, rule)
    if number < 0.5:
        raise ValueError(_arguments.received("step_size", rule, step_size))
    is_whole = number % 1 == 0
    return {
        name: _arguments.rate(name, arguments[name])
        for name in ("initial_learning_rate", "maximal_learning_rate")
    } | {"step_size": _arguments.count("step_size", step_size) if is_whole else number}


class _SavedByAddons:
    """Stands for a schedule of Addons in a file, and makes the schedule of this package.

    Keras finds a subclass of this class under the name of the schedule. The class has no instances.

    Attributes:
        name: The name of the class in Addons.
        required: The keys that its config must have.
        defaults: The other keys of its config, and their default values.
    """

    name: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = _REQUIRED
    defaults: ClassVar[_Config] = {"scale_mode": "cycle", "name": None}

    def get_config(self) -> dict[str, Any]:
        """Keras registers only classes that have this method."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: _Config) -> Schedule:
        """Makes the schedule of this package from a config of Addons."""
        for what, keys in {
            "missing": set(cls.required) - set(config),
            "unknown": set(config) - {*cls.required, *cls.defaults},
        }.items():
            if keys:
                raise ValueError(
                    f"The config of `{cls.name}` must have the keys {', '.join(cls.required)}, and "
                    f"may have {', '.join(cls.defaults)}. Received: {what} "
                    f"{', '.join(sorted(map(repr, keys)))} in config={_arguments.shown(config)}"
                )
        saved = cls.defaults | {key: _plain(value) for key, value in config.items()}
        arguments = _bounds_and_step_size(saved)
        # Addons treats every mode except "cycle" as "iterations".
        mode = "cycle" if saved["scale_mode"] == "cycle" else "iterations"
        low, high, step_size = arguments.values()
        native = cls._native(saved, mode)
        if native and isinstance(step_size, int) and low <= high and high > 0:
            return native(low, high, step_size, name=saved["name"])
        scale_fn = cls._scale_fn(saved)
        return AddonsCyclical(**arguments, scale_fn=scale_fn, scale_mode=mode, name=saved["name"])

    @classmethod
    def _native(cls, saved: _Config, mode: str) -> Callable[..., Schedule] | None:
        """The class of this package with the same scale; None if the package has none."""
        return None

    @classmethod
    def _scale_fn(cls, saved: _Config) -> _ScaleFn | None:
        """The scale function for `AddonsCyclical`."""
        return None


class _Triangular(_SavedByAddons):
    name = "TriangularCyclicalLearningRate"

    @classmethod
    def _native(cls, saved: _Config, mode: str) -> Callable[..., Schedule] | None:
        return Triangular


class _Triangular2(_SavedByAddons):
    name = "Triangular2CyclicalLearningRate"

    @classmethod
    def _native(cls, saved: _Config, mode: str) -> Callable[..., Schedule] | None:
        return Triangular2 if mode == "cycle" else None

    @classmethod
    def _scale_fn(cls, saved: _Config) -> _ScaleFn | None:
        return Power(0.5, start=1)


class _Exponential(_SavedByAddons):
    name = "ExponentialCyclicalLearningRate"
    defaults: ClassVar[_Config] = {"scale_mode": "iterations", "gamma": 1.0, "name": None}

    @classmethod
    def _native(cls, saved: _Config, mode: str) -> Callable[..., Schedule] | None:
        gamma = cls._gamma(saved)
        is_exp_range = 0 < gamma <= 1 and (mode == "iterations" or gamma == 1)
        return partial(ExpRange, gamma=gamma) if is_exp_range else None

    @classmethod
    def _scale_fn(cls, saved: _Config) -> _ScaleFn | None:
        return Power(cls._gamma(saved))

    @classmethod
    def _gamma(cls, saved: _Config) -> float:
        return _arguments.real("gamma", saved["gamma"], "a finite number")


class _Cyclical(_SavedByAddons):
    name = "CyclicalLearningRate"
    required = (*_REQUIRED, "scale_fn")

    @classmethod
    def _scale_fn(cls, saved: _Config) -> _ScaleFn | None:
        return _load_scale_fn(saved["scale_fn"])


def _plain(value: Any) -> Any:
    """The number in a tensor, or in a tensor that Keras has serialized; other values unchanged."""
    match value:
        case {"class_name": "__tensor__" | "__numpy__", "config": {"value": number}}:
            return number
    is_tensor = hasattr(value, "dtype") and not callable(value)
    return np.asarray(value).tolist() if is_tensor else value


def _load_scale_fn(saved: Any) -> _ScaleFn:
    """Finds the scale function for any form in which a version of Keras saves functions."""
    what_to_do = (
        "load the model with `compile=False` and compile it again, with `clr_schedules.Cyclical` "
        f"and a registered function. Received: scale_fn={_arguments.shown(saved)}"
    )
    found: list[_ScaleFn]
    match saved:
        case "<lambda>" | {"class_name": "__lambda__"}:
            raise ValueError(
                "Argument `scale_fn` must be a function registered with Keras. A Python lambda "
                f"cannot be loaded: {what_to_do}"
            )
        case str(name) | {"class_name": "function", "config": str(name)}:
            found = find_registered(name)
        case {"class_name": str(name)}:
            name = saved.get("registered_name") or name
            found = [kind.from_config(saved["config"]) for kind in find_registered(name)]
        case _ if callable(saved):
            found = [saved]
        case _:
            raise TypeError(_arguments.received("scale_fn", "a function saved by Keras", saved))
    if len(found) != 1:
        package, _, name = name.rpartition(">")
        raise ValueError(
            "Argument `scale_fn` must be a function that is registered with Keras exactly once "
            f"before the model is loaded; {len(found)} functions are registered under its name. "
            "Decorate one function with "
            f"`@keras.saving.register_keras_serializable(package={package or 'my_project'!r}, "
            f"name={name!r})`, or {what_to_do}"
        )
    return found[0]
