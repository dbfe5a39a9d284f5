"""Remembers everything that a training changes, and puts it back bit for bit.

The README in this folder explains what is put back, and in which order.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from clr_schedules._backend import backend, keras
from clr_schedules._backend.randomness import (
    is_generator,
    random_state,
    remember_generator,
    same,
    set_random_state,
    use_other_tensorflow_seeds,
)
from clr_schedules.range_test.reach import attributes, is_own_code, reach

# The attributes that `fit` and `evaluate` set on a model. If the model is not built before the
# test, the attributes that the building sets stay, but these are put back.
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
    "_purge_model_variables",
    "_symbolic_build",
)
# The attribute in which the layers of tf_keras count their seeds. Tracing a step moves it, also if
# the step is traced in order to build the model.
_MOVED_BY_TRACING = ("_seed",)
# The classes of containers whose entries are put back, the subclass first.
_CONTAINERS: tuple[Any, ...] = (OrderedDict, dict, list, set, deque)


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
        self._roots = [model, *model.metrics, *optimizers]
        self._built = backend.is_built(model)
        # What was seen, by the ids of the objects: the contents of the parts of the model; pairs of
        # a variable and the value that it had when it was seen first; and for each random
        # generator, the function that puts its state back.
        self._contents: dict[int, _Contents] = {}
        self._values: dict[int, tuple[Any, Any]] = {}
        self._generators: dict[int, Callable[[], None]] = {}
        self._modes = {module: module.training for module in backend.modules(model)}
        self._restore_globals = backend.remember_globals()
        self._restore_tensorflow: Callable[[], None] = lambda: None
        self._first_random = self._random = random_state()
        self._remember()
        # The parts of the optimizers alone, which are put back although the model is built.
        self._of_optimizers = {id(thing) for thing, _ in reach(optimizers, without=(model,))}

    def prepare(self) -> None:
        """Gives TensorFlow other seeds, and has Keras build the model in the context `building`."""
        self._restore_tensorflow = use_other_tensorflow_seeds()
        # Keras itself builds some models before the first step, on JAX and PyTorch.
        if hasattr(self._model, "_symbolic_build"):
            vars(self._model)["_symbolic_build"] = self.building()(self._model._symbolic_build)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """A context in which the model is built. `restore` does not undo the building.

        The new variables go back to the values that they have at the end of this context. The
        random numbers that the building draws stay drawn, since a user's own `fit` would draw them
        too: an initializer without a seed draws a seed, and on some backends Keras draws a batch.

        If the model was built before, the context does nothing, and everything is put back.
        """
        before = random_state()
        yield
        if self._built:
            return
        # If a generator had moved before this context, something other than the building has
        # drawn numbers. Then the state that was remembered before is kept.
        if same(before, self._first_random):
            self._random = random_state()
        former, self._contents = self._contents, {}
        self._remember()
        for key, contents in self._contents.items():
            if key in former:
                contents.keep_from(former[key])
        self._contents |= {key: former[key] for key in self._of_optimizers & former.keys()}

    def restore(self) -> None:
        """Puts everything back. If a step fails, its error is raised after all other steps."""
        steps: list[Callable[[], Any]] = [
            *(contents.restore for contents in self._contents.values()),
            self._restore_modes,
            *(partial(backend.write, *each) for each in self._values.values()),
            *self._generators.values(),
            partial(set_random_state, self._random),
            self._restore_globals,
            self._restore_tensorflow,
        ]
        # The stack calls all its entries even if one of them raises. It begins with the last entry.
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(step)

    def _restore_modes(self) -> None:
        """Puts back the training modes of PyTorch's modules."""
        # Keras makes some modules anew during the training. They get the mode of the model.
        for module in backend.modules(self._model):
            module.training = self._modes.get(module, self._modes[self._model])

    def _remember(self) -> None:
        """Remembers everything that the model and the optimizers refer to.

        A variable or a random generator that was remembered before keeps its state from then.
        """
        found = list(reach(self._roots))
        frozen = _frozen(self._model, self._optimizers, [thing for thing, _ in found])
        for thing, owned in found:
            if backend.is_variable(thing):
                native = backend.unwrap(thing)
                if (
                    native is not None
                    and id(native) not in frozen
                    and id(native) not in self._values
                ):
                    self._values[id(native)] = native, backend.read(native)
            elif is_generator(thing):
                if id(thing) not in self._generators:
                    self._generators[id(thing)] = remember_generator(thing)
            elif owned and _has_contents(thing):
                self._contents[id(thing)] = _Contents(thing)


class _Contents:
    """The attributes and the entries of an object, to be put back into the same object.

    They are read and written without the object's own methods, because Keras and TensorFlow have
    methods that would track, convert or refuse them.
    """

    def __init__(self, thing: Any) -> None:
        self._thing = thing
        self._attributes = dict(attributes(thing))
        self._class = next((each for each in _CONTAINERS if isinstance(thing, each)), None)
        self._entries = self._present_entries()

    def keep_from(self, earlier: _Contents) -> None:
        """Takes over, from a time before the building, what the building does not set."""
        for name in _SET_BY_FIT:
            self._attributes.pop(name, None)
        for name in (*_SET_BY_FIT, *_MOVED_BY_TRACING):
            if name in earlier._attributes:
                self._attributes[name] = earlier._attributes[name]

    def restore(self) -> None:
        """Puts the attributes and the entries back."""
        now = attributes(self._thing)
        for name in now.keys() - self._attributes.keys():
            del now[name]
        now.update(self._attributes)
        if isinstance(self._thing, np.ndarray):
            self._thing[...] = self._entries
        elif self._class is not None and not _same_entries(self._entries, self._present_entries()):
            self._class.clear(self._thing)
            fill = self._class.extend if hasattr(self._class, "extend") else self._class.update
            fill(self._thing, self._entries)

    def _present_entries(self) -> Any:
        if isinstance(self._thing, np.ndarray):
            return self._thing.copy()
        if self._class is None:
            return None
        is_dict = issubclass(self._class, dict)
        return list((self._class.items if is_dict else self._class.__iter__)(self._thing))


def _frozen(model: Any, optimizers: list[Any], found: list[Any]) -> set[int]:
    """The ids of the variables that no training can change, which need no copy.

    These are the weights of frozen layers, and the kernels that LoRA freezes. State such as moving
    statistics is not among them, since a layer of Keras changes its state in a training.
    """
    # Only the code of Keras and KerasHub is known to leave frozen weights alone.
    if not backend.is_built(model) or any(map(is_own_code, found)):
        return set()
    layers = [thing for thing in found if isinstance(thing, keras.layers.Layer)]
    changed = [
        *model.trainable_variables,
        # An optimizer writes into its variables. With `use_ema`, these may be frozen by now.
        *(thing for thing, _ in reach(optimizers, without=(model,)) if backend.is_variable(thing)),
    ]
    for layer in layers:
        # This layer of Keras writes into the weights of the layer in it, also if it is frozen.
        if isinstance(layer, keras.layers.SpectralNormalization):
            changed += layer.weights
    frozen = [variable for layer in layers for variable in backend.frozen_weights(layer)]
    return {id(backend.unwrap(each)) for each in frozen} - {
        id(backend.unwrap(each)) for each in changed
    }


def _has_contents(thing: Any) -> bool:
    """Whether an object has attributes or entries that a training could change."""
    if isinstance(thing, np.ndarray):
        return bool(thing.flags.writeable)
    return isinstance(thing, _CONTAINERS) or bool(attributes(thing))


def _same_entries(some: list[Any], others: list[Any]) -> bool:
    """Whether two lists have the same objects, or pairs of the same objects, in the same order."""

    def identities(entries: list[Any]) -> list[Any]:
        return [tuple(map(id, each)) if type(each) is tuple else id(each) for each in entries]

    return identities(some) == identities(others)
