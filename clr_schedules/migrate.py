r"""Models saved with the cyclical schedules of TensorFlow Addons, loaded without it.

>>> from clr_schedules import migrate
>>> migrate.register_addons()

and ``keras.models.load_model`` makes of them schedules of this package, with the values of Addons
but for its rounding errors. Saved again, they load after ``import clr_schedules``.

TensorFlow Addons 0.23, ``tensorflow_addons.optimizers``, and what becomes of it:

=================================== ============================================================
``initial_learning_rate``           ``base_lr``
``maximal_learning_rate``           ``max_lr``
``step_size``                       ``step_size``
``TriangularCyclicalLearningRate``  ``Triangular``; ``scale_mode`` means nothing to it
``Triangular2CyclicalLearningRate`` ``Triangular2``
``ExponentialCyclicalLearningRate`` ``ExpRange``; ``scale_mode="iterations"`` is its default
``CyclicalLearningRate``            ``AddonsCyclical``, with the same ``scale_fn``
\                                   ``AddonsCyclical`` as well for what the three others do not
                                    say: a fractional ``step_size``, bounds in reverse order,
                                    another ``scale_mode`` (``gamma ** cycle`` is
                                    ``scale_fn=Power(gamma)``), ``gamma`` not in (0, 1]
a rate in a tensor                  the number in it
another ``scale_mode``              ``"iterations"``, as Addons took it
``scale_fn=lambda ...``             an error, see ``register_addons``
=================================== ============================================================

In new code, use the schedules of the right column: ``Cyclical`` instead of ``AddonsCyclical``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

import numpy as np

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules._serialization import register, registered
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Integers, Schedule
from clr_schedules.schedules.cyclical import (
    ExpRange,
    Triangular,
    Triangular2,
    call_scale_fn,
    check_scale_fn,
    serialize_scale_fn,
)

_REQUIRED = ("initial_learning_rate", "maximal_learning_rate", "step_size")


def register_addons() -> None:
    """Lets Keras load what was saved with TensorFlow Addons' cyclical schedules.

    Needs no Addons, nor ``custom_objects``. What loads then:

    ============ ====================================== ==========================================
    saved as     Keras 3                                ``tf_keras``
    ============ ====================================== ==========================================
    ``.h5``      with the step of the optimizer; see    with the optimizer's state
                 below for training on
    SavedModel   not as a model, whatever is in it      with the optimizer at step 0, as ever
    ``.keras``   not that of an older Keras             with the optimizer's state, if it is Keras
                                                        2.15's and no ``legacy`` optimizer
    config       yes                                    yes
    ============ ====================================== ==========================================

    Keras 3 loads no optimizer's momenta from an ``.h5`` file, and what it loads cannot train on.
    Make it anew, and the schedule goes on at its step::

        model = keras.models.load_model("old.h5")
        optimizer = model.optimizer.from_config(model.optimizer.get_config())
        optimizer.build(model.trainable_variables)
        optimizer.iterations.assign(int(model.optimizer.iterations))
        model.compile(optimizer, model.loss)
        model.save("new.keras")

    (A model that was compiled with ``"mse"`` needs ``custom_objects={"mse":
    keras.losses.mean_squared_error}``.) Keras 3 also takes the optimizers of ``.h5`` files of Keras
    2.11 to 2.15 for ones with default arguments; this function has them load as they were, whatever
    their learning rate.

    A scale function must be registered with Keras when the file is loaded, by the name that it was
    saved with and any package, or be in ``custom_objects``. A Python lambda cannot be loaded: its
    saved code is good for one version of Python, if it is there. Load the model with
    ``compile=False`` and compile it again, with ``Cyclical`` and a function that has a name; the
    optimizer then starts anew.

    Calling this again changes nothing. In a process that imports Addons as well, call this after
    that import: the later one decides what Keras loads. The schedules of Addons go on working.

    Raises:
        TypeError, ValueError: On loading, for a config that Addons did not write or whose scale
            function is not there.

    Example:
        >>> from clr_schedules import migrate
        >>> migrate.register_addons()

        and then, say, ``keras.models.load_model("old.h5").optimizer.learning_rate``.
    """
    for saved in (_Cyclical, _Triangular, _Triangular2, _Exponential):
        register(saved, package="Addons", name=saved.name)
    _register_optimizers_of_keras_2()


class _OptimizerOfKeras2:
    """What Keras 3 finds under a name of Keras 2."""

    kind: Any

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        known_no_more = ("is_legacy_optimizer", "jit_compile")
        return cls.kind.from_config({k: v for k, v in config.items() if k not in known_no_more})


def _register_optimizers_of_keras_2() -> None:
    """Lets Keras 3 find the optimizers in the ``.h5`` files of Keras 2.11 to 2.15.

    For ``Custom>Adam`` and so on, as these call them, it would take one with the default arguments,
    without a word. What is there under such a name stays.
    """
    if backend.loads_optimizers_of_keras_2:
        return
    names = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD"
    for name in names.split():
        kind = {"kind": getattr(keras.optimizers, name)}
        found = type(name, (_OptimizerOfKeras2,), kind)
        keras.saving.get_custom_objects().setdefault(f"Custom>{name}", found)


@register
@dataclasses.dataclass(frozen=True)
class Power:
    """The scale function ``gamma ** (x - start)``, which can be saved.

    Args:
        gamma: The factor per cycle or iteration: any finite number.
        start: Where the scale is 1.

    Example:
        >>> Power(0.5, start=1)(3.0)
        0.25
    """

    gamma: float
    start: int = 0

    def __call__(self, x: Any) -> Any:
        """The scale: of a number, an array or a tensor."""
        return self.gamma ** (x - self.start)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this function again, as Keras saves them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Power:
        """Makes the function of a config."""
        return cls(**config)


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class AddonsCyclical(Schedule):
    r"""``Cyclical`` as TensorFlow Addons has it: half-cycles of any length, bounds in any order.

    .. code-block:: none

        lr = initial_learning_rate
             + (maximal_learning_rate - initial_learning_rate) * max(0, 1 - x) * scale_fn(cycle)

        cycle = floor(1 + iteration / (2 * step_size))
        x     = |iteration / step_size - 2 * cycle + 1|

    It is what ``register_addons`` loads where ``Triangular``, ``Triangular2`` and ``ExpRange`` do
    not say it; in new code, use ``Cyclical``. A scale above 1 goes beyond
    ``maximal_learning_rate``.

    The phase is exact at every step, as is a ``step_size`` such as ``60_000 / 7``: it is taken as
    the nearest fraction with a denominator of at most ``sqrt(2**61 / step_size)``, some 10^7.

    Args:
        initial_learning_rate: The rate where each cycle starts and ends. At least 0.
        maximal_learning_rate: The rate in the middle of each cycle, before the scale. At least 0.
        step_size: The iterations of a half-cycle: at least 1/2, and not always a whole number.
        scale_fn: A function of one number that returns the factor of the amplitude, as that of
            ``Cyclical``; default: no scaling. It gets a float64 tensor, and must cast it to mix it
            with float32 tensors of its own (Addons passed float32, or the type of the iterations).
        scale_mode: What ``scale_fn`` gets: ``"cycle"`` (default), the number of the cycle, from 1;
            or ``"iterations"``, the iteration, from 0.
        name: The name in graphs, profiles and plots. Default: the class's.

    Raises:
        TypeError: If an argument is not of its kind (a boolean is no number).
        ValueError: If an argument is out of its range, infinite or NaN; from ``get_config``, if
            the scale function is not registered.

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
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"
    name: str | None = None

    def _check(self) -> dict[str, Any]:
        check_scale_fn(self.scale_fn)
        return _bounds_and_step_size(**{name: getattr(self, name) for name in _REQUIRED}) | {
            "scale_mode": _arguments.choice("scale_mode", self.scale_mode, ("cycle", "iterations")),
            "name": _arguments.label("name", self.name),
        }

    def _half_cycle(self) -> Fraction:
        """The step size as a fraction, of which 2 * numerator * denominator is below 2^63."""
        limit = math.isqrt(2**61 // math.ceil(self.step_size))
        return Fraction(self.step_size).limit_denominator(max(1, limit))

    def _rate(self, step: Any, xp: Any) -> Any:
        # A half-cycle is `half` n-ths of an iteration. Whole cycles, `2 * half` iterations, are
        # taken off first, so that nothing overflows.
        half, n = self._half_cycle().as_integer_ratio()
        position = step % (2 * half) * n
        amplitude = xp.minimum(numerics.triangle(position, half, half, xp), 1.0)
        if self.scale_fn is not None:
            cycle = position // (2 * half) + step // (2 * half) * n + 1
            x = xp.float64(step if self.scale_mode == "iterations" else cycle)
            amplitude = amplitude * numerics.clip_scale(
                call_scale_fn(self.scale_fn, x, xp), xp, least=-math.inf
            )
        low, high = self.initial_learning_rate, self.maximal_learning_rate
        return low + (high - low) * amplitude

    def _natural_length(self) -> int:
        return math.ceil(6 * self.step_size)

    def _cycle_ends(self, num_steps: int) -> Integers:
        cycles = np.arange(1, num_steps / (2 * self.step_size) + 1)
        ends = np.ceil(cycles * 2 * self.step_size).astype(np.int64)
        return ends[ends <= num_steps]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them.

        Raises:
            ValueError: If ``scale_fn`` is not registered with Keras.
        """
        return super().get_config() | {"scale_fn": serialize_scale_fn(self.scale_fn)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AddonsCyclical:
        """Makes the schedule of a config; the scale function must be registered by then."""
        scale_fn = config.get("scale_fn")
        if scale_fn is not None and not callable(scale_fn):
            config = config | {"scale_fn": _function(scale_fn)}
        return super().from_config(config)


def _bounds_and_step_size(
    initial_learning_rate: Any, maximal_learning_rate: Any, step_size: Any
) -> dict[str, Any]:
    """The arguments of all, as plain numbers; a whole step size is an integer."""
    rule = "a finite number of at least 1/2"
    number = _arguments.real("step_size", step_size, rule)
    if number < 0.5:
        raise ValueError(_arguments.received("step_size", rule, step_size))
    return {
        "initial_learning_rate": _arguments.rate("initial_learning_rate", initial_learning_rate),
        "maximal_learning_rate": _arguments.rate("maximal_learning_rate", maximal_learning_rate),
        "step_size": _arguments.count("step_size", step_size) if number % 1 == 0 else number,
    }


class _Saved:
    """What Keras finds under a name of Addons."""

    name: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = _REQUIRED
    defaults: ClassVar[dict[str, Any]] = {"scale_mode": "cycle", "name": None}

    def get_config(self) -> dict[str, Any]:
        """Is what Keras demands of a class that it registers; there are no instances."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """Makes the schedule of a config of Addons."""
        for what, keys in {
            "missing": set(cls.required) - set(config),
            "unknown": set(config) - {*cls.required, *cls.defaults},
        }.items():
            if keys:
                raise ValueError(
                    f"The config of `{cls.name}` must have the keys {', '.join(cls.required)}, and "
                    f"may have {', '.join(cls.defaults)}. Received: {what} "
                    f"{', '.join(sorted(map(repr, keys)))} in config={config}"
                )
        saved = cls.defaults | {key: _plain(value) for key, value in config.items()}
        cycle = _bounds_and_step_size(**{key: saved[key] for key in _REQUIRED})
        # Whatever is not the one is the other to Addons.
        mode = "cycle" if saved["scale_mode"] == "cycle" else "iterations"
        native, scale_fn = cls._policy(saved, mode)
        low, high, step_size = cycle.values()
        if native and isinstance(step_size, int) and low <= high and high > 0:
            return native(low, high, step_size, name=saved["name"])
        return AddonsCyclical(**cycle, scale_fn=scale_fn, scale_mode=mode, name=saved["name"])

    @classmethod
    def _policy(
        cls, saved: dict[str, Any], mode: str
    ) -> tuple[Callable[..., Schedule] | None, Callable[[Any], Any] | None]:
        """The schedule that says it, if there is one, and the scale function of any other."""
        raise NotImplementedError


class _Triangular(_Saved):
    name = "TriangularCyclicalLearningRate"

    @classmethod
    def _policy(cls, saved: dict[str, Any], mode: str) -> Any:
        return Triangular, None


class _Triangular2(_Saved):
    name = "Triangular2CyclicalLearningRate"

    @classmethod
    def _policy(cls, saved: dict[str, Any], mode: str) -> Any:
        return Triangular2 if mode == "cycle" else None, Power(0.5, start=1)


class _Exponential(_Saved):
    name = "ExponentialCyclicalLearningRate"
    defaults: ClassVar[dict[str, Any]] = {"scale_mode": "iterations", "gamma": 1.0, "name": None}

    @classmethod
    def _policy(cls, saved: dict[str, Any], mode: str) -> Any:
        gamma = _arguments.real("gamma", saved["gamma"], "a finite number")
        native = 0 < gamma <= 1 and (mode == "iterations" or gamma == 1)
        return partial(ExpRange, gamma=gamma) if native else None, Power(gamma)


class _Cyclical(_Saved):
    name = "CyclicalLearningRate"
    required = (*_REQUIRED, "scale_fn")

    @classmethod
    def _policy(cls, saved: dict[str, Any], mode: str) -> Any:
        return None, _function(saved["scale_fn"])


def _plain(value: Any) -> Any:
    """The number in a tensor, serialized by Keras or not; anything else as it is."""
    match value:
        case {"class_name": "__tensor__" | "__numpy__", "config": {"value": number}}:
            return number
    is_tensor = hasattr(value, "dtype") and not callable(value)
    return np.asarray(value).tolist() if is_tensor else value


def _function(saved: Any) -> Any:
    """The scale function, in any form in which Keras has saved it."""
    again = (
        "load the model with `compile=False` and compile it again, with `clr_schedules.Cyclical` "
        f"and a function that is. Received: scale_fn={saved!r}"
    )
    if callable(saved):
        return saved
    match saved:
        case "<lambda>" | {"class_name": "__lambda__"}:
            raise ValueError(
                "Argument `scale_fn` must be a function registered with Keras. A Python lambda "
                f"cannot be loaded: {again}"
            )
        case str(name) | {"class_name": "function", "config": str(name)}:
            found = registered(name)
        case {"class_name": str(name)}:
            name = saved.get("registered_name") or name
            found = [kind.from_config(saved["config"]) for kind in registered(name)]
        case _:
            raise TypeError(_arguments.received("scale_fn", "a function, as Keras saves it", saved))
    if len(found) != 1:
        package, _, name = name.rpartition(">")
        raise ValueError(
            "Argument `scale_fn` must be a function registered with Keras before it is loaded, "
            f"once. Decorate it with `@keras.saving.register_keras_serializable("
            f"package={package or 'my_project'!r}, name={name!r})`, or {again}"
        )
    return found[0]
