"""The Keras that is running, and the operations that the schedules are written in.

Everything that differs between Keras 3 (on TensorFlow, JAX or PyTorch) and the legacy
``tf_keras`` is decided here, once, on import; no other module has a condition on it. What the
rest of the package may rely on:

``LearningRateSchedule``
    the class that the running Keras takes as a ``learning_rate``.
``cast(x, dtype), minimum(x, y), at_least(x, low), clip(x, low, high), where(condition, x, y)``,
``log1p, sin``
    elementwise operations, true to 64 bits; the operators ``+ - * / // %`` of tensors do the rest.
    They are the framework's own, since most of ``keras.ops`` turns float64 into float32 on JAX and
    PyTorch.
``call_schedule(schedule, step)``
    the rate of any schedule of Keras in float64, called as Keras does, with a step of the type of
    ``optimizer.iterations``.
``entries(array, index), bits(x)``
    the entries of a NumPy array at a tensor of indices within it; the bits of float64 as int64.
``tensor(x)``
    a number, an array, a tensor or a variable as a tensor of Keras 3.
``to_numpy(thing)``
    the value of a number, a tensor or a variable, on the host.
``wide_types()``
    a context within which ``"int64"`` and ``"float64"`` tensors can be made and used. A number
    written in Python next to such a tensor takes its type and loses nothing.
``floatx(), name_scope(name)``
    the dtype of results (on JAX, what it makes of Keras's ``floatx()``), and a name for the
    operations in graphs and profiles.
``register, registered, is_registered, serialize, deserialize``
    Keras's serialization.
``register_optimizers_of_keras_2()``
    what Keras 3 lacks to load the files of Keras 2.
``Model, Optimizer, Variable, Callback, Progbar``
    Keras's own.
``inner_optimizer(optimizer)``
    the one that takes the steps, within the one that scales its losses.
``SETTABLE_HYPERPARAMETERS, FLOAT_HYPERPARAMETERS, FIXED_HYPERPARAMETERS``
    whether optimizers read their hyperparameters from attributes in every step, whether these must
    be Python floats then, and which must be anyway.
``ANY_SCHEDULE, any_optimizer()``
    that can be saved, to stand for a while for others that need not be.
``symbolic(shape, dtype), is_built(thing), lend_containers(optimizer)``
    for building models and optimizers, and for having optimizers not built again.
``ENGINE``
    the name of the module in ``_engines`` that trains on this Keras.
``remember_globals()``
    remembers the names that Keras has given and its global random state, to be put back.

The legacy Keras runs where TensorFlow itself would choose it: with ``TF_USE_LEGACY_KERAS`` set to
``1``, ``true`` or ``True``.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")

if LEGACY:
    import tensorflow as _tf
    import tf_keras as keras

    _name_scope = _tf.name_scope
    _floatx = keras.backend.floatx
    BACKEND = "tensorflow"
else:
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "jax", "torch"):
            raise
        raise ModuleNotFoundError(
            f"Keras has no {error.name} to run on. Install one of its backends, such as TensorFlow "
            'with: pip install "clr-schedules[tensorflow]"; or set the environment variable '
            "KERAS_BACKEND to the one that there is: tensorflow, jax or torch.",
            name=error.name,
        ) from error

    _name_scope = keras.name_scope
    _floatx = keras.config.floatx
    BACKEND = keras.config.backend()

ENGINE = "tf_keras" if LEGACY else BACKEND
# The legacy optimizers have copies of them in a dictionary, or in variables.
SETTABLE_HYPERPARAMETERS = not LEGACY
# On JAX this one goes into an operation that takes arrays alone.
FIXED_HYPERPARAMETERS = {"l1_regularization_strength"} if BACKEND == "jax" else set[str]()
# On PyTorch they go into operations on all variables at once, which take numbers.
FLOAT_HYPERPARAMETERS = BACKEND == "torch"

if TYPE_CHECKING:

    class LearningRateSchedule:
        """What a schedule must offer to Keras; Keras itself carries no types."""

        def __call__(self, step: Any) -> Any: ...
        def get_config(self) -> dict[str, Any]: ...

else:
    LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule

Model: Any = keras.Model
Optimizer: Any = keras.optimizers.Optimizer
if LEGACY:
    Optimizer = (Optimizer, keras.optimizers.legacy.Optimizer)
# Not `keras.Variable`: in Keras 3.6 that is a subclass of what layers make.
Variable: Any = _tf.Variable if LEGACY else keras.src.backend.Variable
Callback: Any = keras.callbacks.Callback
Progbar: Any = keras.utils.Progbar
ANY_SCHEDULE: Any = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 1.0)

serialize: Callable[[Any], Any] = keras.saving.serialize_keras_object
deserialize: Callable[[Any], Any] = keras.saving.deserialize_keras_object

if BACKEND == "jax":
    import jax as _jax
    import jax.experimental as _jax_experimental
    import jax.numpy as _framework

    if _jax.__version_info__ < (0, 7, 2):
        raise ImportError(
            "clr_schedules needs JAX 0.7.2 or later; before, the constants of a compiled float64 "
            f"computation come out as float32. Received: JAX {_jax.__version__}"
        )

    # For the schedule's own scalars alone: what surrounds it keeps its 32-bit types.
    _enable_x64 = (_jax if hasattr(_jax, "enable_x64") else _jax_experimental).enable_x64

    def wide_types() -> contextlib.AbstractContextManager[Any]:
        return _enable_x64(True)  # type: ignore[no-any-return]

    _user_has_x64 = bool(_jax.config.jax_enable_x64)

    def _usual_types() -> contextlib.AbstractContextManager[Any]:
        return _enable_x64(_user_has_x64)  # type: ignore[no-any-return]

    def floatx() -> str:
        return str(_jax.dtypes.canonicalize_dtype(_floatx()))

else:
    if BACKEND == "tensorflow":
        import tensorflow as _framework
    elif BACKEND == "torch":
        import torch as _framework
    else:
        _framework = keras.ops

    wide_types = _usual_types = contextlib.nullcontext

    def floatx() -> str:
        return str(_floatx())


minimum: Callable[[Any, Any], Any] = _framework.minimum
log1p: Callable[[Any], Any] = _framework.math.log1p if BACKEND == "tensorflow" else _framework.log1p
sin: Callable[[Any], Any] = _framework.sin
at_least: Callable[[Any, float], Any] = (
    _framework.clip if BACKEND == "torch" else _framework.maximum
)
clip: Callable[[Any, float, float], Any] = (
    _framework.clip_by_value if BACKEND == "tensorflow" else _framework.clip
)


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x``, a number or a tensor, where the condition holds, else the tensor ``y``."""
    if BACKEND == "tensorflow":  # whose `where` takes a Python number for a float32
        x = _framework.convert_to_tensor(x, y.dtype)
    return _framework.where(condition, x, y)


def entries(array: np.ndarray[Any, Any], index: Any) -> Any:
    if BACKEND == "tensorflow":
        return _framework.gather(_framework.constant(array), index)
    if BACKEND == "torch":
        return _framework.as_tensor(array, device=index.device)[index]
    return _framework.asarray(array)[index]


def bits(x: Any) -> Any:
    if BACKEND == "tensorflow":
        return _framework.bitcast(x, "int64")
    if BACKEND == "torch":
        return x.view(_framework.int64)
    return x.view("int64")


def cast(x: Any, dtype: str) -> Any:
    if LEGACY:
        return _tf.cast(x, dtype)
    return keras.ops.cast(tensor(x), dtype)


def tensor(x: Any) -> Any:
    return keras.ops.convert_to_tensor(x)


def call_schedule(schedule: Callable[[Any], Any], step: Any) -> Any:
    if BACKEND == "tensorflow":
        return cast(schedule(step), "float64")
    with _usual_types():
        rate = schedule(cast(step, "int32"))
    return cast(rate, "float64")


def to_numpy(thing: Any) -> np.ndarray[Any, Any]:
    read = keras.backend.get_value if LEGACY else keras.ops.convert_to_numpy
    return np.asarray(read(thing))


def name_scope(name: str) -> contextlib.AbstractContextManager[Any]:
    """A scope of this name, with what a graph does not take in a name replaced."""
    return _name_scope(re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_") or "schedule")  # type: ignore[no-any-return]


_T = TypeVar("_T")


def register(thing: type[_T], package: str = "clr_schedules", name: str | None = None) -> type[_T]:
    """Registers a class of this package with Keras, so that what is saved can be loaded."""
    if LEGACY:  # which looks for what is in an `.h5` file by the name alone
        keras.saving.get_custom_objects()[name or thing.__name__] = thing
    return keras.saving.register_keras_serializable(package, name)(thing)  # type: ignore[no-any-return]


def registered(name: str) -> list[Any]:
    """What is registered with Keras by this name, or else by it and any package."""
    if (thing := keras.saving.get_registered_object(name)) is not None:
        return [thing]
    known = keras.saving.get_custom_objects()
    return [thing for full_name, thing in known.items() if full_name.endswith(f">{name}")]


class _OptimizerOfKeras2:
    """What Keras 3 finds under a name of Keras 2."""

    kind: Any

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        known_no_more = ("is_legacy_optimizer", "jit_compile")
        return cls.kind.from_config({k: v for k, v in config.items() if k not in known_no_more})


def register_optimizers_of_keras_2() -> None:
    """Lets Keras 3 find the optimizers in the ``.h5`` files of Keras 2.11 to 2.15.

    For ``Custom>Adam`` and so on, as these call them, it would take one with the default arguments,
    without a word. What is there under such a name stays.
    """
    if LEGACY:
        return
    names = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD"
    for name in names.split():
        kind = {"kind": getattr(keras.optimizers, name)}
        found = type(name, (_OptimizerOfKeras2,), kind)
        keras.saving.get_custom_objects().setdefault(f"Custom>{name}", found)


def is_registered(thing: Any) -> bool:
    """Whether Keras can find this function, or the class of this object, when it loads a file."""
    named = thing if hasattr(thing, "__name__") else type(thing)
    name = keras.saving.get_registered_name(named)
    # "package>name": any other name is one that a `custom_object_scope` lends.
    return ">" in name and keras.saving.get_registered_object(name) is named


def symbolic(shape: tuple[int | None, ...], dtype: str) -> Any:
    return keras.KerasTensor(shape, dtype)


def inner_optimizer(optimizer: Any) -> Any:
    while (inner := getattr(optimizer, "inner_optimizer", None)) is not None:
        optimizer = inner
    return optimizer


def any_optimizer() -> Any:
    return keras.optimizers.SGD(name="any")  # it does not count as one when Keras gives names


def is_built(thing: Any) -> bool:
    # The second and the third are of the optimizers of the legacy Keras.
    return any(getattr(thing, name, False) for name in ("built", "_built", "_hypers_created"))


def lend_containers(optimizer: Any) -> None:
    """Has an optimizer built with copies of its lists and dictionaries, which can be put back."""
    attributes = vars(optimizer)
    copies = {
        name: kind(value)
        for name, value in attributes.items()
        for kind in (list, dict, set)
        if isinstance(value, kind)
    }
    if (tracker := attributes.get("_tracker")) is not None:
        lent = {id(attributes[name]): value for name, value in copies.items()}
        copies["_tracker"] = tracker = copy.copy(tracker)
        tracker.config = {
            name: (is_kind, lent.get(id(store), store))
            for name, (is_kind, store) in tracker.config.items()
        }
        tracker.stored_ids = {name: set(ids) for name, ids in tracker.stored_ids.items()}
    attributes.update(copies)


def remember_globals() -> Callable[[], None]:
    """Returns the function that puts them back."""
    if LEGACY:
        from tf_keras.src import backend

        seeds = getattr(backend._SEED_GENERATOR, "generator", None)
        return partial(seeds.setstate, seeds.getstate()) if seeds else lambda: None

    from keras.src.backend.common import global_state

    attributes = vars(global_state.GLOBAL_STATE_TRACKER)
    counters = attributes.get("object_name_uids")
    names = dict(counters or {})
    generator = attributes.get("global_seed_generator")
    seed = None if generator is None else keras.ops.convert_to_numpy(generator.state).copy()

    def restore() -> None:
        attributes["global_seed_generator"] = generator
        if generator is not None:
            generator.state.assign(seed)
        if counters is None:
            attributes.pop("object_name_uids", None)
        else:
            attributes["object_name_uids"] = counters
            counters.clear()
            counters.update(names)

    return restore
