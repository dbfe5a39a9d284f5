"""Which optimizers of a model take its steps, and at which learning rates.

The callbacks and the range test ask this module, and nobody else. The page "Optimizers" of the
documentation has a table of what each optimizer of Keras does with its rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from clr_schedules import _arguments
from clr_schedules._backend import backend, keras
from clr_schedules.schedules.base import Floats, Integers, Schedule, rate_of

# ---- Which optimizers there are


def optimizers_of(model: Any) -> list[Any]:
    """The optimizers that may take steps when the model is trained.

    These are the model's own optimizer, and the optimizers that are attributes of the model or of
    its layers and inner models, also in lists and dictionaries. Of an optimizer that wraps others,
    only the wrapper is listed; `inner_optimizers` returns the others.

    Example:
        >>> import keras
        >>> from clr_schedules.optimizers.rates_taken import optimizers_of
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(name="mine"))
        >>> model.others = [keras.optimizers.Adam(name="first"), keras.optimizers.Adam(name="next")]
        >>> [optimizer.name for optimizer in optimizers_of(model)]
        ['mine', 'first', 'next']
    """
    layers = getattr(model, "_flatten_layers", lambda: [model])()
    return _distinct(
        [
            *_optimizers_in(getattr(model, "optimizer", None)),
            *(found for layer in layers for found in _attributes(layer)),
        ]
    )


def inner_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers that an optimizer holds, such as those of a ``MultiOptimizer``."""
    return [inner for inner in _distinct(_attributes(optimizer)) if inner is not optimizer]


def the_optimizer(model: Any, who: str) -> list[Any]:
    """The only optimizer that may take the model's steps, after the wrappers around it.

    Args:
        model: A compiled model.
        who: What needs a single optimizer, for the error.

    Returns:
        The model's own optimizer and those that it wraps. The last one has the rate.

    Raises:
        ValueError: If the model has no optimizer or several optimizers, or optimizers that Keras
            will make only in the training.
    """
    optimizer = getattr(model, "optimizer", None)
    chain = [] if optimizer is None else [optimizer]
    candidates = _distinct([*chain, *_attributes(model)])
    for each in candidates:  # the list grows
        candidates += (inner for inner in inner_optimizers(each) if not _is_in(inner, candidates))
    while chain and len(inner := _wrapped(chain[-1])) == 1 and not _is_in(inner[0], chain):
        chain += inner
    stepping = [each for each in candidates if not _wrapped(each)]
    rule = f"{who} must have a model that is compiled with one optimizer"
    if len(stepping) > 1:
        names = ", ".join(f"{type(each).__name__} ({_name(each)})" for each in stepping)
        raise ValueError(
            f"{rule}, because each optimizer has a learning rate of its own. Compile the model "
            "with one optimizer for all weights, or with one of them at a time. "
            f"Received: a model with several optimizers: {names}"
        )
    if optimizer is None:
        raise ValueError(
            f"{rule}. Call `model.compile(optimizer=..., loss=...)` first. "
            f"Received: model={_arguments.shown(model)}"
        )
    if _is_multi(chain[-1]):
        raise ValueError(
            f"{rule}, because each optimizer has a learning rate of its own. Compile the model "
            "with one optimizer for all weights. Received: a model with several optimizers, which "
            f"its {type(chain[-1]).__name__} gets from a function when the training begins"
        )
    return chain


def names_its_rates(optimizer: Any) -> bool:
    """Whether Keras names rates after the optimizers in it: a ``MultiOptimizer``, wrapped or not.

    Keras does so even if it holds a single optimizer.
    """
    return _is_multi(optimizer) or any(map(names_its_rates, _wrapped(optimizer)))


def _wrapped(optimizer: Any) -> list[Any]:
    """The optimizers that take the steps of a wrapper of Keras; empty for other optimizers."""
    if _is_multi(optimizer):
        return inner_optimizers(optimizer)
    inner = getattr(optimizer, "inner_optimizer", None)
    return [] if inner is None else [inner]


def _is_multi(optimizer: Any) -> bool:
    """Whether this is Keras's ``MultiOptimizer``, which takes no step itself."""
    kind = getattr(keras.optimizers, "MultiOptimizer", None)
    return kind is not None and isinstance(optimizer, kind)


def _attributes(thing: Any) -> Iterator[Any]:
    """Yields the optimizers among the attributes of an object."""
    for name, value in list(vars(thing).items()):
        if not name.startswith("_self_"):  # TensorFlow's own records, which may be out of date
            yield from _optimizers_in(value)


def _optimizers_in(value: Any, depth: int = 4) -> Iterator[Any]:
    """Yields an optimizer itself, or the optimizers in nested lists and dictionaries."""
    if isinstance(value, backend.optimizer_classes):
        yield value
    elif depth and isinstance(value, (Mapping, list, tuple, set)):
        yield from _optimizers_in(getattr(value, "default_optimizer", None))
        for entry in list(value.values() if isinstance(value, Mapping) else value):
            yield from _optimizers_in(entry, depth - 1)


def _name(optimizer: Any) -> str:
    """The name of an optimizer."""
    return str(getattr(optimizer, "name", None) or type(optimizer).__name__)


def _distinct(things: Any) -> list[Any]:
    """The things without repetitions of the same object."""
    return list({id(thing): thing for thing in things}.values())


def _is_in(thing: Any, things: list[Any]) -> bool:
    """Whether the very object is in the list."""
    return any(thing is each for each in things)


# ---- Which of them have taken steps


class NewSteps(NamedTuple):
    """Steps that an optimizer has taken.

    Attributes:
        optimizer: The optimizer.
        name: The name of the optimizer, with a number if another one has the same name.
        iterations: The numbers of steps that the optimizer had taken before each of these steps.
    """

    optimizer: Any
    name: str
    iterations: Integers


class StepCounters:
    """Reads the counters of optimizers, and tells which steps were taken since the last reading.

    A wrapper is not asked for its steps if one of the optimizers in it has moved. Optimizers that
    appear between two readings count as well: Keras's ``MultiOptimizer`` may ask a function for
    its optimizers in the first step.

    Args:
        find: Returns the optimizers that may take steps, as `optimizers_of` does. It is called for
            each reading.
    """

    def __init__(self, find: Callable[[], list[Any]]) -> None:
        self._find = find
        # For the id of each optimizer: the optimizer (so that no other object gets this id), its
        # name, and its counter at the last reading.
        self._known: dict[int, tuple[Any, str, int]] = {}
        for optimizer in find():
            self._read(optimizer, None, {})

    def new_steps(self) -> list[NewSteps]:
        """Reads the counters, and returns the steps of each optimizer that has taken some."""
        starts: dict[int, int] = {}
        # Those that were there before count too: the model may have got another optimizer since.
        tops = _distinct([*self._find(), *(optimizer for optimizer, _, _ in self._known.values())])
        for optimizer in tops:
            self._read(optimizer, 0, starts)
        moved = _distinct(each for top in tops for each in self._moved(top, starts))
        return [
            NewSteps(optimizer, name, np.arange(starts[id(optimizer)], count, dtype=np.int64))
            for optimizer, name, count in (self._known[id(each)] for each in moved)
        ]

    def _read(self, optimizer: Any, steps_before: int | None, starts: dict[int, int]) -> None:
        """Reads the counters of an optimizer and those in it.

        Args:
            optimizer: The optimizer.
            steps_before: The number of steps that an optimizer which was not known before may have
                taken since the last reading; None if it has taken no step since.
            starts: Gets the counter at the last reading of each optimizer.
        """
        if id(optimizer) in starts:
            return
        count = backend.iteration(optimizer)
        new = optimizer, self._new_name(optimizer), count
        _, name, start = self._known.get(id(optimizer), new)
        if id(optimizer) not in self._known and steps_before is not None:
            start = count - steps_before if steps_before else 0
        self._known[id(optimizer)] = optimizer, name, count
        starts[id(optimizer)] = start
        for inner in inner_optimizers(optimizer):
            # The optimizers in a wrapper take as many steps as the wrapper.
            self._read(inner, None if steps_before is None else max(count - start, 0), starts)

    def _moved(self, optimizer: Any, starts: dict[int, int]) -> list[Any]:
        """The optimizers that have taken steps: those in a wrapper, or the optimizer itself."""
        inner = inner_optimizers(optimizer)
        found = [each for one in inner for each in self._moved(one, starts)]
        has_moved = self._known[id(optimizer)][2] > starts[id(optimizer)]
        return found or ([optimizer] if has_moved and not _is_multi(optimizer) else [])

    def _new_name(self, optimizer: Any) -> str:
        """The optimizer's name, or the first free name of this kind: adam, adam_1, adam_2."""
        base = name = _name(optimizer)
        taken = {other for _, other, _ in self._known.values()}
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        return name


# ---- At which rates they took them


class _OwnRate(NamedTuple):
    """How a class of optimizers changes the rate that it is given.

    Attributes:
        applies: Whether an optimizer does so.
        taken: The rates that the optimizer takes, from the rates that it is given and the numbers
            of updates before.
        rule: The same in words.
        advice: What to change so that it takes the rates of a range test, whose last update has
            this number.
    """

    applies: Callable[[Any], bool]
    taken: Callable[[Any, Floats, Integers], Floats]
    rule: str
    advice: Callable[[int], str]


def _is_a(name: str) -> Callable[[Any], bool]:
    """Whether an optimizer is of this class of Keras, which not all versions of Keras have.

    The class of this name in ``keras.optimizers.legacy`` counts as well.
    """
    modules = keras.optimizers, getattr(keras.optimizers, "legacy", None)
    classes = tuple(getattr(module, name, ()) for module in modules)
    return lambda optimizer: isinstance(optimizer, classes)


_WITH_OWN_RATES = [
    _OwnRate(
        _is_a("Adafactor"),
        lambda optimizer, rates, updates: np.minimum(rates, 1 / np.sqrt(updates + 1)),
        "takes the lower of the given rate and 1 / sqrt(step + 1), also with `relative_step=False` "
        "and with schedules",
        lambda last: (
            f"Pass `max_lr` of at most {np.floor(1e4 / np.sqrt(last + 1)) / 1e4:.4g} to a test of "
            "this length, or use another optimizer"
        ),
    ),
    _OwnRate(
        lambda optimizer: _is_a("ScheduleFreeAdamW")(optimizer) and optimizer.warmup_steps > 0,
        lambda optimizer, rates, updates: (
            rates * np.minimum((updates + 1) / optimizer.warmup_steps, 1.0)
        ),
        "multiplies the given rate by (step + 1) / warmup_steps while it warms up",
        lambda last: "Make the optimizer with `warmup_steps=0` for the test",
    ),
    _OwnRate(
        lambda optimizer: bool(backend.rate_decay(optimizer)),
        lambda optimizer, rates, updates: rates / (1 + backend.rate_decay(optimizer) * updates),
        "divides the given rate by 1 + decay * step",
        lambda last: "Make the optimizer with `decay=0` for the test",
    ),
]


def rates_taken(optimizer: Any, steps: Integers) -> Floats:
    """The rates that an optimizer takes at these steps, as it rounds them.

    Most optimizers take the rate that they are given. An optimizer of an unknown class is taken to
    do so.

    Args:
        optimizer: An optimizer that has a rate of its own, so not a wrapper.
        steps: Iterations, as the optimizer counts them.

    Returns:
        The rates in float64, rounded to ``floatx()``.

    Example:
        >>> import keras, numpy as np
        >>> from clr_schedules.optimizers.rates_taken import rates_taken
        >>> rates_taken(keras.optimizers.SGD(0.5), np.array([0, 3, 15]))
        array([0.5, 0.5, 0.5])
        >>> rates_taken(keras.optimizers.Adafactor(0.5), np.array([0, 3, 15]))
        array([0.5 , 0.5 , 0.25])
    """
    given = values_at(backend.rate_source(optimizer), steps)
    return _taken(optimizer, given, _updates(optimizer, steps))


def values_at(source: Any, steps: Integers) -> Floats:
    """The values of a hyperparameter at these steps, rounded as the optimizer rounds them.

    Args:
        source: A schedule, another function of the step, or a constant.
        steps: Iterations, as the optimizer counts them.
    """
    if isinstance(source, Schedule):
        return source.values(steps).astype(backend.floatx()).astype(np.float64)
    if callable(source):
        return np.asarray(rate_of(source, steps, np))
    return np.full(len(steps), source)


def check_sweep(optimizer: Any, rates: Floats) -> None:
    """Raises unless an optimizer takes each of these rates in its next updates.

    Raises:
        ValueError: If the optimizer would take another rate, or if it rescales the weights when the
            rate changes, as Ftrl does; the error says what to change.
    """
    if _is_a("Ftrl")(optimizer):
        raise ValueError(
            "The range test would show losses of weights that were not trained: Ftrl multiplies "
            "its weights by the factor by which the rate rises, even if the gradients are 0. Test "
            "the model with another optimizer, or train it with some constant rates of Ftrl and "
            "compare the losses. Received: a model with Ftrl"
        )
    first = _updates(optimizer, np.array([backend.iteration(optimizer)], np.int64))
    updates = first + np.arange(len(rates), dtype=np.int64)
    other = np.flatnonzero(~np.isclose(_taken(optimizer, rates, updates), rates, rtol=1e-6, atol=0))
    if len(other):
        own = next(each for each in _WITH_OWN_RATES if each.applies(optimizer))
        name = type(optimizer).__name__
        raise ValueError(
            f"The range test would show rates that were never taken: {name} {own.rule}. "
            f"{own.advice(int(updates[-1]))}. Received: a model with {name}, and a rate of "
            f"{rates[other[0]]:.3g} at step {other[0]}"
        )


def _taken(optimizer: Any, given: Floats, updates: Integers) -> Floats:
    """The rates that an optimizer takes, when it is given these rates at these updates."""
    for own in _WITH_OWN_RATES:
        if own.applies(optimizer):
            taken = own.taken(optimizer, given, updates)
            given = taken.astype(backend.floatx()).astype(np.float64)
    return given


def _updates(optimizer: Any, steps: Integers) -> Integers:
    """The numbers of updates before these steps; a step may only add to the gradients."""
    return steps // backend.batches_per_step(optimizer)
