"""Keras's serialization: what is registered can be saved with a model and loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from clr_schedules._backend import backend, keras

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

serialize: Callable[[Any], Any] = keras.saving.serialize_keras_object
deserialize: Callable[[Any], Any] = keras.saving.deserialize_keras_object


def register(thing: type[_T], package: str = "clr_schedules", name: str | None = None) -> type[_T]:
    """Registers a class of this package with Keras, so that what is saved can be loaded."""
    backend.register_short_name(name or thing.__name__, thing)
    return keras.saving.register_keras_serializable(package, name)(thing)  # type: ignore[no-any-return]


def registered(name: str) -> list[Any]:
    """What is registered with Keras by this name, or else by it and any package."""
    if (thing := keras.saving.get_registered_object(name)) is not None:
        return [thing]
    known = keras.saving.get_custom_objects()
    return [thing for full_name, thing in known.items() if full_name.endswith(f">{name}")]


def is_registered(thing: Any) -> bool:
    """Whether Keras can find this function, or the class of this object, when it loads a file."""
    named = thing if hasattr(thing, "__name__") else type(thing)
    name = keras.saving.get_registered_name(named)
    # A registered name has the form "package>name". Any other name comes from a
    # `custom_object_scope`, and is gone when the scope ends.
    return ">" in name and keras.saving.get_registered_object(name) is named
