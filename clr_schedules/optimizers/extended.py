"""Makes optimizers that extend the class of a Keras optimizer, and their files.

`schedule_hyperparameters` and `scale_learning_rates` return such optimizers. Each of them has an
extension: a class that changes the steps of any optimizer. An optimizer may have both.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules._serialization import deserialize, register_extended, serialize

# The names, in the optimizer's dictionary, of what is kept for the present step: its rate, the rate
# at present (which may be that of a layer), and the number of replicas that are taking the step.
# They are written there directly, because Keras's `__setattr__` would track them.
# The prefix is that of names which are removed when the step ends.
STEP = "_clr_schedules_step_"
_RATE_OF_STEP, _RATE, _REPLICAS = f"{STEP}rate", f"{STEP}present_rate", f"{STEP}replicas"


class ExtendedOptimizer:
    """Extends the class of a Keras 3 optimizer. This is the base class of the extensions.

    ``extended_class(Extension, SGD)`` returns a class with the bases ``Extension`` and ``SGD``.
    Such a class exists only in the process that made it. Saved files therefore name the extension,
    and its ``from_config`` makes the extended class again.

    The config contains the config of the optimizer's class, and two more keys for each extension:
    ``class_key`` names the class that is extended, and ``state_key`` holds the state of the
    extension, a dictionary of schedules and numbers. An optimizer has the state as an attribute,
    ``_`` and the ``state_key``; and its class has the class that it extends as ``class_key``.

    Each step computes the learning rate once. Keras computes the rate at every place where a step
    uses the rate: for the update, for the weight decay, and on TensorFlow for the weight decay of
    each variable. With this class, all these places get the same tensor, which is computed when the
    step begins. The tensor is dropped when the step ends.
    """

    class_key: str
    state_key: str

    @backend.not_compiled_with_numbers  # nor with what is kept, which is new in each step
    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes a step at the rate of its iteration."""
        attributes = vars(self)
        # The replicas of a `MirroredStrategy` share the optimizer, and what the first of them keeps
        # for the step. One may end its step before another one, which still needs it.
        attributes[_REPLICAS] = attributes.get(_REPLICAS, 0) + 1
        try:
            if attributes[_REPLICAS] == 1:
                attributes.update(self._kept_for_step())
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        finally:
            attributes[_REPLICAS] -= 1
            if attributes[_REPLICAS] == 0:
                for name in [name for name in attributes if name.startswith(STEP)]:
                    del attributes[name]

    def _kept_for_step(self) -> dict[str, Any]:
        """What is computed once a step: entries of the dictionary, whose names have that prefix."""
        return dict.fromkeys((_RATE_OF_STEP, _RATE), super()._get_current_learning_rate())  # type: ignore[misc]

    def _rate_of_step(self) -> Any:
        """The rate of the step, also where the rate is that of a layer at present."""
        return vars(self).get(_RATE_OF_STEP, self._get_current_learning_rate())

    def _get_current_learning_rate(self) -> Any:
        """The rate at present. Keras calls this method at every place where it uses the rate."""
        if _RATE in vars(self):
            return vars(self)[_RATE]
        return super()._get_current_learning_rate()  # type: ignore[misc]

    def _at_rate(self, rate: Any) -> contextlib.AbstractContextManager[None]:
        """A context in which this is the optimizer's learning rate."""
        # Afterwards, it is that of the step: the rate before may be one that another replica set.
        attributes = vars(self)
        kept = {_RATE: attributes[_RATE_OF_STEP]} if _RATE_OF_STEP in attributes else {}
        return attributes_set_to(self, {_RATE: rate}, afterwards=kept)

    def _state_was_set(self) -> None:
        """Is called when the optimizer has been made and has the states of its extensions."""

    def __reduce__(self) -> Any:
        # Keras pickles an optimizer as the bytes of a file, and a method of the optimizer's class
        # that loads them. A new process does not have the extended class, but the same method of
        # Keras's `Optimizer` loads the bytes too.
        reduced: Any = super().__reduce__()
        load, arguments = reduced
        return getattr(keras.optimizers.Optimizer, load.__name__), arguments

    def get_config(self) -> dict[str, Any]:
        """The config: the optimizer's arguments, its class, and what the extensions add."""
        config: dict[str, Any] = super().get_config()  # type: ignore[misc]
        for extension in reversed(_extensions(type(self))):
            # Keras serializes a class only as part of an instance. This instance has a constant
            # rate, since the optimizer's own rate may be a schedule that cannot be loaded.
            plain = getattr(self, extension.class_key).from_config(
                {key: 0.1 if key == "learning_rate" else value for key, value in config.items()}
            )
            of_class = {key: value for key, value in serialize(plain).items() if key != "config"}
            state = {name: serialize(value) for name, value in state_of(self, extension).items()}
            config |= {extension.class_key: of_class, extension.state_key: state}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes the optimizer from a config, whose states may hold objects or their configs."""
        if custom_objects:
            with keras.saving.custom_object_scope(custom_objects):
                return cls.from_config(config)
        extensions = _extensions(cls)
        for extension in extensions:
            keys = extension.class_key, extension.state_key
            if not config.keys() >= set(keys):
                raise ValueError(
                    f"The config of an optimizer of the class `{extension.__name__}` must have the "
                    f"keys '{keys[0]}' and '{keys[1]}'. "
                    f"Received: config={_arguments.shown(config)}"
                )
        named: Any = cls
        if named in extensions:  # the class that is named in files
            own_keys = cls.class_key, cls.state_key
            others = {key: value for key, value in config.items() if key not in own_keys}
            plain = deserialize(config[cls.class_key] | {"config": others})
            return extended_class(named, plain.__class__).from_config(config)
        added = {key for each in extensions for key in (each.class_key, each.state_key)}
        own_config = {key: value for key, value in config.items() if key not in added}
        made = super().from_config(own_config)  # type: ignore[misc]
        for extension in extensions:
            # Written into the dictionary, since Keras's `__setattr__` would track the objects.
            vars(made)[f"_{extension.state_key}"] = {
                name: deserialize(value) if isinstance(value, dict) else value
                for name, value in config[extension.state_key].items()
            }
        made._state_was_set()
        return made


def state_of(optimizer: Any, extension: Any) -> dict[str, Any]:
    """The state of an optimizer's extension; empty if the optimizer does not have it."""
    return getattr(optimizer, f"_{extension.state_key}", {})


def inner_to_extend(optimizer: Any, function: str) -> Any:
    """The optimizer that takes the steps, without the ``LossScaleOptimizer`` around it.

    Raises:
        TypeError: If this is not an optimizer of Keras.
        ValueError: On the legacy Keras; the error names the function that was called.
    """
    if not backend.settable_hyperparameters:
        raise ValueError(
            f"`{function}` needs an optimizer of Keras 3. The optimizers of the legacy Keras keep "
            "copies of their hyperparameters, and a schedule cannot change the copies. Use Keras 3 "
            f"instead of tf_keras. Received: optimizer={_arguments.shown(optimizer)}"
        )
    if not isinstance(optimizer, backend.optimizer_classes):
        raise TypeError(_arguments.received("optimizer", "an optimizer of Keras", optimizer))
    return backend.inner_optimizer(optimizer)


def extend(optimizer: Any, extension: Any, state: dict[str, Any]) -> Any:
    """Makes an optimizer with the same arguments and an extension, which has this state.

    Args:
        optimizer: An optimizer that is not built. If it is a ``LossScaleOptimizer``, its inner
            optimizer is extended. If it has the extension already, the new state is added to the
            state that the extension has.
        extension: A subclass of `ExtendedOptimizer`.
        state: A dictionary of schedules and numbers.
    """
    inner = backend.inner_optimizer(optimizer)
    if optimizer.built or inner.built:
        raise ValueError(
            "Argument `optimizer` must not be built yet, since its variables depend on its "
            "hyperparameters. Pass a new optimizer, before it is used in a training. "
            f"Received: optimizer={_arguments.shown(optimizer)}"
        )
    kind: Any = type(inner)
    if not isinstance(inner, extension):
        kind = extended_class(extension, kind)
    config = {extension.class_key: None} | config_with_live_objects(inner)
    config[extension.state_key] = state_of(inner, extension) | state
    made = kind.from_config(config)
    for name, value in vars(inner).items():
        if name.startswith("_exclude_from_weight_decay"):  # these attributes are in no config
            vars(made)[name] = value
    if inner is optimizer:
        return made
    # The outer config contains the inner optimizer's config. A stand-in takes the place of the
    # inner optimizer, which may have a rate that cannot be saved.
    with attributes_set_to(optimizer, {"inner_optimizer": keras.optimizers.SGD(name="stand_in")}):
        outer_config = optimizer.get_config() | {"inner_optimizer": made}
    return type(optimizer)(**outer_config)


@functools.cache
def extended_class(extension: Any, base: Any) -> Any:
    """Makes the class that extends an optimizer's class."""
    name = extension.__name__.removesuffix("Optimizer") + base.__name__
    made = type(name, (extension, base), {extension.class_key: base})
    register_extended(made, extension)
    return made


def config_with_live_objects(optimizer: Any) -> dict[str, Any]:
    """The config of an optimizer, with its rate and the states of its extensions as objects.

    It also works if a schedule cannot be saved, because the optimizer makes its config without
    the schedules.
    """
    without: dict[str, Any] = {}
    live: dict[str, Any] = {}
    if callable(rate := optimizer._learning_rate):
        without["_learning_rate"] = optimizer._iterations  # any variable will do
        live["learning_rate"] = rate
    for extension in _extensions(type(optimizer)):
        without[f"_{extension.state_key}"] = {}
        live[extension.state_key] = state_of(optimizer, extension)
    with attributes_set_to(optimizer, without):
        return optimizer.get_config() | live  # type: ignore[no-any-return]


@contextlib.contextmanager
def attributes_set_to(
    thing: Any, values: dict[str, Any], afterwards: dict[str, Any] | None = None
) -> Iterator[None]:
    """A context in which attributes of an optimizer or a model have other values.

    The attributes are written into the dictionary, since Keras's ``__setattr__`` would track them.

    Args:
        thing: The optimizer or the model.
        values: The values of the attributes within the context.
        afterwards: The values after the context; attributes that have none are removed. Default:
            the values before the context.
    """
    attributes = vars(thing)
    if afterwards is None:
        afterwards = {name: attributes[name] for name in values if name in attributes}
    attributes.update(values)
    try:
        yield
    finally:
        attributes.update(afterwards)
        for name in values.keys() - afterwards.keys():
            attributes.pop(name, None)


def _extensions(kind: Any) -> list[Any]:
    """The extensions in a class, the outermost first."""
    return [each for each in kind.__mro__ if "state_key" in vars(each)]
