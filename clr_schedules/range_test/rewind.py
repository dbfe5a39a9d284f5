"""What a training changes, remembered, and put back bit for bit."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from clr_schedules._backend import backend

# What `fit` and `evaluate` set on a model.
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
    """The state of a model, its optimizers and the random numbers, at the time of its making.

    Objects and compiled functions stay the same ones. A model that is not built is built meanwhile,
    and goes back to its first weights; an optimizer is not.
    """

    def __init__(self, model: Any, optimizers: list[Any]) -> None:
        self._model = model
        self._optimizers = optimizers
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
        self._first_random = self._random = _random_state()
        self._tensorflow = _TensorFlowSeeds()
        self._remember_variables()

    def open(self) -> None:
        """Prepares for changes."""
        self._tensorflow.lend()
        for optimizer in self._optimizers:
            if not backend.is_built(optimizer):
                copy_containers(optimizer)
        if hasattr(self._model, "_symbolic_build"):
            vars(self._model)["_symbolic_build"] = self.building()(self._model._symbolic_build)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """A context for what builds the model: what is made and drawn there stays.

        An initializer without a seed draws one, and Keras draws a batch on some backends.
        """
        before = _random_state()
        yield
        if _same(before, self._first_random):
            self._random = _random_state()
        self._remember_variables()

    def _remember_variables(self) -> None:
        for variable in self._variables():
            if id(variable) not in self._seen:
                self._seen.add(id(variable))
                self._values.append((variable, backend.read(variable)))

    def restore(self) -> None:
        """Puts everything back, each thing whether or not another can be."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._tensorflow.restore)
            stack.callback(self._restore_globals)
            stack.callback(_set_random_state, self._random)
            for variable, value in self._values:
                stack.callback(backend.write, variable, value)
            stack.callback(self._restore_modes)
            for thing, before in self._attributes:
                stack.callback(self._restore_attributes, thing, before)

    def _restore_modes(self) -> None:
        # Keras makes some of the modules anew; those go with the model.
        for module in backend.modules(self._model):
            module.training = self._modes.get(module, self._modes[self._model])

    def _restore_attributes(self, thing: Any, before: dict[str, Any]) -> None:
        if self._built or thing is not self._model:
            for name in vars(thing).keys() - before.keys():
                del vars(thing)[name]
        _put_back(vars(thing), before)

    def _variables(self) -> Iterator[Any]:
        """The framework's variables, some more than once."""
        model = self._model
        # The legacy Keras raises an error for a model that is not built.
        groups: list[Iterable[Any]] = [model.variables if backend.is_built(model) else ()]
        groups += [metric.variables for metric in model.metrics]
        for optimizer in self._optimizers:
            listed = optimizer.variables
            groups.append(listed() if callable(listed) else listed)
        # Those in no list, such as the states of recurrent layers and the legacy Keras's counters.
        for thing in (*model._flatten_layers(), *self._optimizers):
            groups.append(filter(backend.is_variable, leaves(list(vars(thing).values()))))
        for group in groups:
            for variable in group:
                if (native := backend.unwrap(variable)) is not None:
                    yield native
        yield from backend.native_variables(model)


def _put_back(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name, value in before.items():
        if value is _ABSENT:
            now.pop(name, None)
        else:
            now[name] = value


def copy_containers(optimizer: Any) -> None:
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


def leaves(thing: Any, depth: int = 4) -> Iterator[Any]:
    """What is in nested lists, tuples and dictionaries, so deep and no deeper."""
    if isinstance(thing, dict):
        thing = list(thing.values())
    if not isinstance(thing, (list, tuple)):
        yield thing
    elif depth:
        for entry in thing:
            yield from leaves(entry, depth - 1)


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - Keras shuffles with it
    }
    if torch := sys.modules.get("torch"):
        state["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    if "torch" in state:
        sys.modules["torch"].set_rng_state(state["torch"])
    if "cuda" in state:
        sys.modules["torch"].cuda.set_rng_state_all(state["cuda"])


def _same(a: Any, b: Any) -> bool:
    """Whether two random states, nested arrays and tensors, are equal."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return all(map(_same, a, b))
    return np.array_equal(a, b) if hasattr(a, "shape") else bool(a == b)


class _TensorFlowSeeds:
    """TensorFlow's random state, if TensorFlow is there.

    An eager random operation keeps its position in a cache that goes by seeds: with seeds of its
    own, the test leaves the user's alone.
    """

    def __init__(self) -> None:
        self._generator = None
        self._context: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        if "tensorflow" in sys.modules:
            from tensorflow.python.eager import context
            from tensorflow.python.ops import stateful_random_ops

            self._context = vars(context.context())
            self._before = {name: self._context.get(name, _ABSENT) for name in ("_seed", "_rng")}
            self._generator = stateful_random_ops.global_generator
            if self._generator is not None:
                self._position = self._generator.state.numpy()

    def lend(self) -> None:
        """Gives TensorFlow other seeds, drawn from its own if it has any."""
        if self._before:
            seed, generator = self._before.values()
            seeded = None if seed is None else f"range test of {seed}, {generator.getstate()}"
            lent = random.Random(seeded)
            self._context.update(_seed=lent.getrandbits(31), _rng=lent)

    def restore(self) -> None:
        _put_back(self._context, self._before)
        if self._generator is not None:
            self._generator.reset(self._position)
