"""Finds every Python object that a training can reach from a model."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from clr_schedules._backend import backend, keras

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
# Objects of these packages are not searched, except those that `backend.is_part` names. Keras is
# among them because Keras's own functions hold no state of a model.
_NOT_SEARCHED = sys.stdlib_module_names | {
    *("clr_schedules", keras.__name__, "numpy", "pandas", "scipy"),
    *("tensorflow", "jax", "jaxlib", "torch"),
    # The tokenizers in models of KerasHub.
    *("sentencepiece", "tensorflow_text", "tokenizers"),
}
# Packages of models by the makers of Keras. As in Keras, their classes and functions hold no state
# of a model, and none of their layers changes frozen weights in a training (checked in the sources
# of KerasHub 0.32, KerasNLP 0.14 and KerasCV 0.9). Objects of these packages are searched.
_OF_KERAS = {"keras_hub", "keras_nlp", "keras_cv"}
# These attributes hold the data of the last evaluation, which may be large.
_DATA = {"_eval_data_handler", "_eval_epoch_iterator"}


def reach(roots: Iterable[Any], without: Iterable[Any] = ()) -> Iterator[tuple[Any, bool]]:
    """Yields each object that the roots refer to, once, and whether it is a part of the model.

    The search does not enter the objects in ``without``.

    The search goes through attributes, containers, functions with the variables that they name,
    and classes. Layers, metrics, optimizers and Keras's own objects within them are parts of the
    model, and so are their containers. Other objects, such as the user's own, are searched too, but
    neither they nor what they refer to are parts.

    The variables and the random generators of all these objects belong to the state of a training.
    """
    # The objects themselves are kept, because the id of an object that is gone may come again.
    seen: dict[int, Any] = {id(thing): thing for thing in without}
    waiting = [(root, True) for root in roots]
    while waiting:
        thing, owned = waiting.pop()
        # A proxy, such as TensorFlow's dictionaries, pretends to be of another class.
        if thing.__class__ is not type(thing):
            thing = getattr(thing, "__wrapped__", thing)
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        part = backend.is_part(thing)
        container = isinstance(thing, _CONTAINERS)
        owned = owned and (part or container or not hasattr(thing, "__dict__"))
        yield thing, owned
        if backend.is_variable(thing):
            continue
        if container:
            entries = thing.values() if isinstance(thing, dict) else thing
            waiting += [(entry, owned) for entry in entries if not _is_plain(entry)]
        if part or _is_searched(type(thing)):
            waiting += [
                (value, owned) for name, value in attributes(thing).items() if name not in _DATA
            ]
            waiting.append((type(thing), False))
        else:
            waiting += [(value, False) for value in _referred(thing)]


def attributes(thing: Any) -> dict[str, Any]:
    """The dictionary of an object's attributes; an empty one if the object has none."""
    found = getattr(thing, "__dict__", None)
    return found if isinstance(found, dict) else {}


def is_own_code(thing: Any) -> bool:
    """Whether this is a class or a function of the user's own, or of a package that is unknown."""
    return isinstance(thing, (type, FunctionType)) and _is_own(thing)


def _is_plain(thing: Any) -> bool:
    """Whether an object is of a kind that refers to nothing, and of which there may be many."""
    return thing is None or isinstance(thing, (str, bytes, int, float))


def _is_searched(thing: Any) -> bool:
    """Whether this class or function is the user's own, or from a package that is searched."""
    if thing is SimpleNamespace:
        return True
    package = _package(thing)
    return package is not None and package not in _NOT_SEARCHED


def _is_own(thing: Any) -> bool:
    """Whether this class or function is not one that is known to hold no state of a model."""
    return _is_searched(thing) and _package(thing) not in _OF_KERAS


def _package(thing: Any) -> str | None:
    """The name of the package that a class or a function comes from; None if it is unknown."""
    module = getattr(thing, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else None


def _referred(thing: Any) -> list[Any]:
    """What functions, methods and classes refer to."""
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, (staticmethod, classmethod)):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget]
    if isinstance(thing, type):
        found = [each for each in thing.__mro__ if _is_own(each)]
        return [value for each in found for value in vars(each).values()]
    if isinstance(thing, FunctionType) and _is_own(thing):
        cells = [cell for cell in thing.__closure__ or () if _is_filled(cell)]
        names = _names(thing.__code__) & thing.__globals__.keys()
        values = [thing.__globals__[name] for name in names]
        return [
            *(cell.cell_contents for cell in cells),
            *(thing.__defaults__ or ()),
            *(value for value in values if not isinstance(value, ModuleType)),
        ]
    return []


def _is_filled(cell: Any) -> bool:
    """Whether a variable of a surrounding function has a value."""
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises an error
    except ValueError:
        return False
    return True


def _names(code: CodeType) -> set[str]:
    """The names in the code of a function and of the functions within it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
