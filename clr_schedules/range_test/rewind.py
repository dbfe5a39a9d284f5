"""Remembers everything that a training changes, and puts it back bit for bit.

The README in this folder explains what is put back, and in which order.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from clr_schedules._backend import backend
from clr_schedules._backend.randomness import (
    random_state,
    same,
    set_random_state,
    use_other_tensorflow_seeds,
)

# The attributes that `fit` and `evaluate` set on a model. If the model is not built before the
# test, only these are put back, since its other attributes hold the results of the building.
_SET_BY_FIT = (
    "history",
    "stop_training",
    "stop_evaluating",
    "train_function",
    "train_tf_function",
    "test_function",
    "steps_per_execution",
    "_steps_per_execution",
    "_eval_epoch_iterator",
    "_eval_data_handler",
    "_jax_state",
    "_jax_state_synced",
    "_symbolic_build",
)
# Stands for the value of an attribute that the model did not have.
_ABSENT = object()


class Snapshot:
    """The state of a model, its optimizers and the random generators when the snapshot is made.

    `prepare` makes a training reversible, and `restore` puts everything back. Objects and compiled
    functions keep their identity. If the model is not built yet, the training builds it, and
    `restore` gives it its initial weights. If the optimizer is not built yet, it is not built
    afterwards either.

    Args:
        model: The model.
        optimizers: The model's optimizer, and the optimizers that it wraps.
    """

    def __init__(self, model: Any, optimizers: list[Any]) -> None:
        self._model = model
        self._optimizers = optimizers
        # Pairs of a variable and the value that it had when it was seen first.
        self._values: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        self._built = backend.is_built(model)
        self._attributes = [
            (
                model,
                dict(vars(model))
                if self._built
                else {name: vars(model).get(name, _ABSENT) for name in _SET_BY_FIT},
            ),
            *((optimizer, dict(vars(optimizer))) for optimizer in optimizers),
        ]
        self._modes = {module: module.training for module in backend.modules(model)}
        self._restore_globals = backend.remember_globals()
        self._restore_tensorflow: Callable[[], None] = lambda: None
        self._first_random = self._random = random_state()
        self._remember_variables()

    def prepare(self) -> None:
        """Replaces objects by copies where the training would change them beyond repair."""
        self._restore_tensorflow = use_other_tensorflow_seeds()
        for optimizer in self._optimizers:
            if not backend.is_built(optimizer):
                copy_containers(optimizer)
        # Keras itself builds some models before the first step, on JAX and PyTorch.
        if hasattr(self._model, "_symbolic_build"):
            vars(self._model)["_symbolic_build"] = self.building()(self._model._symbolic_build)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """A context in which the model is built. `restore` does not undo the building.

        The new variables go back to the values that they have at the end of this context. The
        random numbers that the building draws stay drawn, since a user's own `fit` would draw them
        too: an initializer without a seed draws a seed, and on some backends Keras draws a batch.
        """
        before = random_state()
        yield
        # If a generator had moved before this context, something other than the building has
        # drawn numbers. Then the state that was remembered before is kept.
        if same(before, self._first_random):
            self._random = random_state()
        self._remember_variables()

    def restore(self) -> None:
        """Puts everything back. If a step fails, its error is raised after all other steps."""
        steps: list[Callable[[], Any]] = [
            *(partial(self._restore_attributes, *each) for each in self._attributes),
            self._restore_modes,
            *(partial(backend.write, *each) for each in self._values),
            partial(set_random_state, self._random),
            self._restore_globals,
            self._restore_tensorflow,
        ]
        # The stack calls all its entries even if one of them raises. It begins with the last entry.
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(step)

    def _restore_attributes(self, thing: Any, before: dict[str, Any]) -> None:
        """Puts back the attributes of the model or an optimizer.

        The attributes are written into the object's dictionary, because Keras's ``__setattr__``
        would track, convert or refuse them.
        """
        now = vars(thing)
        if self._built or thing is not self._model:
            for name in now.keys() - before.keys():
                del now[name]
        for name, value in before.items():
            if value is _ABSENT:
                now.pop(name, None)
            else:
                now[name] = value

    def _restore_modes(self) -> None:
        """Puts back the training modes of PyTorch's modules."""
        # Keras makes some modules anew during the training. They get the mode of the model.
        for module in backend.modules(self._model):
            module.training = self._modes.get(module, self._modes[self._model])

    def _remember_variables(self) -> None:
        """Remembers the value of each variable, unless an earlier call has remembered it."""
        for variable in self._all_variables():
            if id(variable) not in self._seen:
                self._seen.add(id(variable))
                self._values.append((variable, backend.read(variable)))

    def _all_variables(self) -> Iterator[Any]:
        """Yields the framework's variables of the model and the optimizers, some more than once."""
        model = self._model
        # A model of tf_keras raises an error if it is asked for its variables before it is built.
        groups: list[Iterable[Any]] = [model.variables if backend.is_built(model) else ()]
        groups += [metric.variables for metric in model.metrics]
        for optimizer in self._optimizers:
            listed = optimizer.variables
            groups.append(listed() if callable(listed) else listed)
        # Variables that are in none of these lists, such as the states of recurrent layers and
        # tf_keras's counters of steps.
        for thing in (*model._flatten_layers(), *self._optimizers):
            groups.append(filter(backend.is_variable, flatten(list(vars(thing).values()))))
        for group in groups:
            for variable in group:
                if (native := backend.unwrap(variable)) is not None:
                    yield native
        yield from backend.native_variables(model)


def copy_containers(optimizer: Any) -> None:
    """Replaces the lists, dictionaries and sets of an optimizer by copies.

    Building the optimizer adds to the copies, and the snapshot then puts the unchanged originals
    back. Keras 3's tracker holds the same lists, so the tracker is replaced by a copy too, which
    holds the copied lists.
    """
    attributes = vars(optimizer)
    copies = {
        name: kind(value)
        for name, value in attributes.items()
        for kind in (list, dict, set)
        if isinstance(value, kind)
    }
    if (tracker := attributes.get("_tracker")) is not None:
        copy_of = {id(attributes[name]): value for name, value in copies.items()}
        copies["_tracker"] = tracker = copy.copy(tracker)
        tracker.config = {
            name: (is_kind, copy_of.get(id(store), store))
            for name, (is_kind, store) in tracker.config.items()
        }
        tracker.stored_ids = {name: set(ids) for name, ids in tracker.stored_ids.items()}
    attributes.update(copies)


def flatten(thing: Any, depth: int = 4) -> Iterator[Any]:
    """Yields the leaves of nested lists, tuples and dictionaries, down to this depth."""
    if isinstance(thing, dict):
        thing = list(thing.values())
    if not isinstance(thing, (list, tuple)):
        yield thing
    elif depth:
        for entry in thing:
            yield from flatten(entry, depth - 1)
