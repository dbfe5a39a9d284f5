"""What a training changes: remembered, and put back bit for bit. The README beside says why so."""

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

# What `fit` and `evaluate` set on a model. Of a model that is not built, these alone are put back:
# its other attributes hold what building it made.
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
_ABSENT = object()


class Snapshot:
    """The state of a model, its optimizers and the random numbers, when the snapshot is made.

    `prepare` makes the training possible, and `restore` puts everything back. Objects and compiled
    functions stay the same ones. A model that is not built is built by the training, and goes back
    to its first weights; an optimizer that is not built is not built afterwards either.

    Args:
        model: The model.
        optimizers: The model's optimizer, and those within it.
    """

    def __init__(self, model: Any, optimizers: list[Any]) -> None:
        self._model = model
        self._optimizers = optimizers
        # Each variable that is seen, with its value at that time.
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
        """Puts copies in the place of what a training would change beyond repair."""
        self._restore_tensorflow = use_other_tensorflow_seeds()
        for optimizer in self._optimizers:
            if not backend.is_built(optimizer):
                copy_containers(optimizer)
        # Keras itself builds some models before the first step, on JAX and PyTorch.
        if hasattr(self._model, "_symbolic_build"):
            vars(self._model)["_symbolic_build"] = self.building()(self._model._symbolic_build)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """A context in which the model is built: variables made and numbers drawn there stay.

        A user's own `fit` would make and draw them too: an initializer without a seed draws one,
        and on some backends Keras draws a batch.
        """
        before = random_state()
        yield
        # If a generator has moved since the snapshot, something else than building has drawn.
        if same(before, self._first_random):
            self._random = random_state()
        self._remember_variables()

    def restore(self) -> None:
        """Puts everything back. What cannot be put back raises after the rest is."""
        steps: list[Callable[[], Any]] = [
            *(partial(self._restore_attributes, *each) for each in self._attributes),
            self._restore_modes,
            *(partial(backend.write, *each) for each in self._values),
            partial(set_random_state, self._random),
            self._restore_globals,
            self._restore_tensorflow,
        ]
        # A stack calls all of its entries, whether or not one raises; the last entry first.
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(step)

    def _restore_attributes(self, thing: Any, before: dict[str, Any]) -> None:
        """Puts back the attributes of the model or an optimizer, past Keras's own bookkeeping."""
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
        # Keras makes some of the modules anew. Those take the mode of the model.
        for module in backend.modules(self._model):
            module.training = self._modes.get(module, self._modes[self._model])

    def _remember_variables(self) -> None:
        """Remembers the value of each variable that was not seen before."""
        for variable in self._all_variables():
            if id(variable) not in self._seen:
                self._seen.add(id(variable))
                self._values.append((variable, backend.read(variable)))

    def _all_variables(self) -> Iterator[Any]:
        """The framework's variables, some more than once."""
        model = self._model
        # tf_keras raises an error when the variables of a model are asked for that is not built.
        groups: list[Iterable[Any]] = [model.variables if backend.is_built(model) else ()]
        groups += [metric.variables for metric in model.metrics]
        for optimizer in self._optimizers:
            listed = optimizer.variables
            groups.append(listed() if callable(listed) else listed)
        # Those in no list, such as the states of recurrent layers and tf_keras's counters of steps.
        for thing in (*model._flatten_layers(), *self._optimizers):
            groups.append(filter(backend.is_variable, flatten(list(vars(thing).values()))))
        for group in groups:
            for variable in group:
                if (native := backend.unwrap(variable)) is not None:
                    yield native
        yield from backend.native_variables(model)


def copy_containers(optimizer: Any) -> None:
    """Gives an optimizer copies of its lists, dictionaries and sets, for building to add to.

    The snapshot puts the originals back, which then have nothing added. Keras 3's tracker holds the
    same lists, so it gets a copy that holds the copies.
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
    """The leaves of nested lists, tuples and dictionaries, down to this depth."""
    if isinstance(thing, dict):
        thing = list(thing.values())
    if not isinstance(thing, (list, tuple)):
        yield thing
    elif depth:
        for entry in thing:
            yield from flatten(entry, depth - 1)
