"""Keras's serialization: what is registered can be saved with a model and loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from clr_schedules._backend import backend, keras

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

serialize: Callable[[Any], Any] = keras.saving.serialize_keras_object
deserialize: Callable[[Any], Any] = keras.saving.deserialize_keras_object


def register(cls: type[_T], package: str = "clr_schedules", name: str | None = None) -> type[_T]:
    """Registers a class with Keras as ``package>name``; by default under its own name."""
    backend.register_short_name(name or cls.__name__, cls)
    return keras.saving.register_keras_serializable(package, name)(cls)  # type: ignore[no-any-return]


def register_extended(made: Any, extension: Any) -> None:
    """Registers a class that extends an optimizer's class, and exists only in this process.

    Files name the extension, which exists in every process, and whose ``from_config`` makes the
    class again. The first call makes Keras write this name for the new class. The second call makes
    Keras still find the extension under the name.
    """
    register(made, name=extension.__name__)
    register(extension)


def find_registered(name: str) -> list[Any]:
    """The object that is registered under this name, or else those of this name in any package."""
    if (found := keras.saving.get_registered_object(name)) is not None:
        return [found]
    known = keras.saving.get_custom_objects()
    return [found for full_name, found in known.items() if full_name.endswith(f">{name}")]


def serialize_function(function: Any) -> dict[str, Any]:
    """A registered function, or a registered object that is called like one, as Keras saves it."""
    saved: dict[str, Any] = serialize(function)
    if saved["class_name"] == "function":
        # Keras 3.6 and tf_keras would write the name without its package, and may then find another
        # function whose name ends in the same way.
        saved["config"] = keras.saving.get_registered_name(function)
    return saved


def is_registered(thing: Any) -> bool:
    """Whether Keras finds a function, or the class of an object, by its name when it loads a file.

    As for layers, Keras finds the one that was registered last: in a notebook, that of the cell
    that was run last.
    """
    name = keras.saving.get_registered_name(thing if hasattr(thing, "__name__") else type(thing))
    # A registered name has the form "package>name". Any other name comes from a
    # `custom_object_scope`, and is gone when the scope ends.
    return ">" in name and keras.saving.get_registered_object(name) is not None
