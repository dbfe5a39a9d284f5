"""Gives each layer its own multiple of the learning rate, with one optimizer and one schedule."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clr_schedules import _arguments
from clr_schedules._backend import LearningRateSchedule, backend, keras
from clr_schedules._serialization import register
from clr_schedules.optimizers.extended import (
    STEP,
    ExtendedOptimizer,
    extend,
    inner_to_extend,
    state_of,
)
from clr_schedules.optimizers.rates_taken import inner_optimizers

# Optimizers whose multipliers must be numbers, and why.
_NUMBERS_ONLY = {
    "Ftrl": "Ftrl rescales its weights when its rate changes",
    "ScheduleFreeAdamW": "the weights of ScheduleFreeAdamW are averages, which move at a rate of 0",
}
# The name, in the optimizer's dictionary, of the factors that the scheduled multipliers are in the
# present step. The factors are written there directly, because Keras would track them.
_FACTORS = f"{STEP}factors"
# What an error shows of the paths that there are, in characters.
_MOST_OF_PATHS = 90


def scale_learning_rates(optimizer: Any, multipliers: Mapping[str, Any]) -> Any:
    """Makes an optimizer that multiplies the learning rate of each layer by a factor.

    .. code-block:: none

        learning rate of a variable = factor * learning_rate(iteration)

    The factor is the multiplier whose pattern matches the path of the variable. A variable without
    a match has the factor 1. So one optimizer with one schedule trains some layers more slowly than
    others (discriminative fine-tuning, layer-wise decay), or leaves them frozen for a while
    (gradual unfreezing). The weights become the same as with a separate optimizer for each factor.
    The weight decay of a variable uses the variable's own rate too.

    **A multiplier of 0 freezes a variable**: the optimizer changes neither the variable nor its
    moments, and there is no weight decay. **Where a schedule of multipliers is 0**, the variable
    does not move either, but its moments follow the gradients as at a learning rate of 0: the
    moments of Adam are up to date when the layer is unfrozen; the velocity of SGD gets no gradient,
    and is multiplied by the momentum in each step. (A gradient that is infinite or NaN still makes
    the variable NaN.) Frozen variables still count for ``global_clipnorm``. As Keras does for all
    variables, the optimizer still applies the constraint of a frozen variable, and ``use_ema``
    overwrites the variable with its average.

    Adafactor applies its own cap of 1 / sqrt(step + 1) to the rate of each layer. (Muon multiplies
    the rate of the layer by ``adam_lr_ratio``, Lamb by the norm of the variable.)

    On PyTorch with ``jit_compile=True``, the update itself is not compiled; the rest of the train
    step is.

    The new optimizer is an instance of the given optimizer's class, with the same arguments. The
    given optimizer does not change. The learning rate of the new optimizer, which
    `LearningRateLogger` logs and the range test sweeps, is the rate of the variables with the
    factor 1. The optimizer can be saved and loaded with its model; ``import clr_schedules`` before
    loading.

    Args:
        optimizer: An optimizer of Keras 3 that is not built yet. If it is a
            ``LossScaleOptimizer``, the inner optimizer is scaled.
        multipliers: A dict from patterns to multipliers. A pattern is the path of a variable, such
            as ``"dense_1/kernel"``, or a regular expression that matches the whole path, such as
            ``"encoder/.*"``. A pattern that is a path stands for that variable alone, and takes
            precedence over the others. ``[v.path for v in model.trainable_variables]`` lists the
            paths; those of a ``Sequential`` model begin with its name. A multiplier is a number
            from 0, or a Keras schedule of such numbers, which gets the number of the iteration as
            the learning rate does. `layer_decay` makes such a dict from layers.

    Returns:
        The new optimizer. Its class is a subclass of the given optimizer's class. If the given
        optimizer has multipliers already, the new ones are added to them.

    Raises:
        TypeError: If ``optimizer`` is not an optimizer of Keras; if it holds other optimizers, as
            ``MultiOptimizer`` does, or updates all variables in a way of its own; if
            ``multipliers`` is not a dict; or if a pattern is not a string, or a multiplier neither
            a number nor a schedule.
        ValueError: If there are no multipliers; if a multiplier is negative or not finite, or a
            schedule with ``Ftrl`` or ``ScheduleFreeAdamW``, whose weights would move at a rate of
            0; if the optimizer is built already; or on ``tf_keras``. When the optimizer is built
            (when the training begins): if a pattern matches no trainable variable, or two patterns
            match the same one.

    Reference:
        J. Howard, S. Ruder, *Universal Language Model Fine-tuning for Text Classification*,
        arXiv:1801.06146, section 3.2 on discriminative fine-tuning and gradual unfreezing.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> lr = clr.OneCycle(max_lr=2e-3, total_steps=4000)
        >>> optimizer = clr.scale_learning_rates(keras.optimizers.AdamW(lr), {"backbone/.*": 0.1})

        The backbone is frozen for 1,000 steps, then has a tenth of the rate:

        >>> unfreezing = clr.Piecewise([0.0, 0.1], boundaries=[1000])
        >>> optimizer = keras.optimizers.AdamW(lr)
        >>> optimizer = clr.scale_learning_rates(optimizer, {"backbone/.*": unfreezing})
    """
    inner = inner_to_extend(optimizer, "scale_learning_rates")
    name = type(inner).__name__
    if inner_optimizers(inner):
        rule = f"an optimizer that takes its steps itself; scale the optimizers in the {name}"
        raise TypeError(_arguments.received("optimizer", rule, optimizer))
    if type(inner).update_step is keras.optimizers.Optimizer.update_step:
        rule = "an optimizer with an `update_step`, which updates one variable at a given rate"
        raise TypeError(_arguments.received("optimizer", rule, optimizer))
    checked = _checked_multipliers(multipliers)
    for kind in type(inner).__mro__:
        scheduled = [pattern for pattern, value in checked.items() if callable(value)]
        if scheduled and (why := _NUMBERS_ONLY.get(kind.__name__)):
            raise ValueError(
                f"Argument `multipliers` must hold numbers, not schedules, since {why}. "
                f"Received: multipliers={_arguments.shown(multipliers)}"
            )
    return extend(optimizer, ScaledOptimizer, checked)


def layer_decay(layers: Iterable[Any], decay: float) -> dict[str, float]:
    """Makes multipliers that become smaller from the top layer to the bottom layer.

    .. code-block:: none

        multiplier of the layer at position k of n = decay ** (n - k)

    So the last layer has the multiplier 1, and each one below has ``decay`` times the multiplier of
    the one above it. Layers without weights, such as ``Dropout``, are not counted, so
    ``layer_decay(model.layers, 0.9)`` works as well.

    Args:
        layers: Layers, or lists of layers that share a multiplier, from bottom (the input) to top.
            Name all layers: a variable that is not named has the multiplier 1.
        decay: The factor between a layer and the one above it; above 0 and at most 1.

    Returns:
        A dict from the path of each trainable variable to its multiplier, for
        `scale_learning_rates`.

    Raises:
        TypeError: If an entry is neither a layer nor a list of layers.
        ValueError: If ``decay`` is out of its range; if no layer has weights; if a layer is not
            built yet; or if two entries have a variable with the same path: a shared layer, or
            layers with the same name.

    Reference:
        H. Bao, L. Dong, S. Piao, F. Wei, *BEiT: BERT Pre-Training of Image Transformers*,
        arXiv:2106.08254, and K. Clark et al., *ELECTRA*, arXiv:2003.10555, fine-tune so.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> embedding = keras.layers.Embedding(10, 4, name="embedding")
        >>> attention = keras.layers.Dense(4, use_bias=False, name="attention")
        >>> head = keras.layers.Dense(1, use_bias=False, name="head")
        >>> model = keras.Sequential([keras.Input((3,)), embedding, attention, head], name="model")
        >>> multipliers = clr.layer_decay([embedding, attention, head], 0.5)
        >>> sorted(multipliers.values())
        [0.25, 0.5, 1.0]
        >>> optimizer = clr.scale_learning_rates(keras.optimizers.AdamW(1e-3), multipliers)
    """
    decay = _arguments.factor("decay", decay)
    rule = "layers, or lists of layers"
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Iterable):
        raise TypeError(_arguments.received("layers", rule, layers))
    levels = [entry if isinstance(entry, (list, tuple)) else [entry] for entry in layers]
    for layer in (layer for level in levels for layer in level):
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(_arguments.received("layers", rule, layer))
        if not layer.built:
            raise ValueError(
                "Argument `layers` must hold layers that have their weights. Build the model "
                "first: call it on some data, or give it an `Input`. "
                f"Received: the layer {_arguments.shown(layer.name)}, which is not built"
            )
    levels = [level for level in levels if any(layer.weights for layer in level)]
    if not levels:
        raise ValueError(f"{_arguments.received('layers', 'layers with weights', layers)}")
    multipliers: dict[str, float] = {}
    for above, level in enumerate(reversed(levels)):
        paths = {variable.path for layer in level for variable in layer.trainable_variables}
        if common := sorted(paths & multipliers.keys()):
            raise ValueError(
                "Argument `layers` must have each variable in one entry only, and layers of "
                "different names. If two entries share a layer, leave the layer out of one of "
                f"them. Received: two entries with {_arguments.shown(common[0])}"
            )
        multipliers |= dict.fromkeys(sorted(paths), decay**above)
    return multipliers


def scheduled_multipliers(optimizer: Any) -> dict[str, Any]:
    """The multipliers of an optimizer that follow schedules, by pattern; empty if there are none.

    Example:
        >>> import keras
        >>> import clr_schedules as clr
        >>> from clr_schedules.optimizers.layers import scheduled_multipliers
        >>> multipliers = {"head/.*": 2.0, "trunk/.*": clr.Piecewise([0.0, 0.1], [1000])}
        >>> scheduled_multipliers(clr.scale_learning_rates(keras.optimizers.SGD(), multipliers))
        {'trunk/.*': Piecewise(schedules=[0.0, 0.1], boundaries=[1000])}
    """
    multipliers = state_of(optimizer, ScaledOptimizer)
    return {pattern: value for pattern, value in multipliers.items() if callable(value)}


# ---- The optimizer


@register
class ScaledOptimizer(ExtendedOptimizer):
    """Extends the class of an optimizer, so that each layer has its own multiple of the rate.

    The state of the extension holds the multiplier of each pattern.
    """

    class_key = "scaled_class"
    state_key = "multipliers"
    # The multiplier of each trainable variable: a number or a schedule.
    _multiplier_of: list[Any]
    # The path and the shape of each trainable variable for which the optimizer was built, perhaps
    # before it was saved.
    _built_for: list[list[Any]] | None = None

    def build(self, variables: Any) -> None:
        """Finds the multiplier of each variable, then makes the optimizer's variables."""
        built_for: list[list[Any]] = [[_path(each), list(each.shape)] for each in variables]
        # When Keras loads a model, the paths may change: those of a `Sequential` lose its name.
        # The same variables are at the same positions, as the optimizer's own variables are too.
        before = self._built_for
        if before and [shape for _, shape in before] == [shape for _, shape in built_for]:
            built_for = before
        multipliers = state_of(self, ScaledOptimizer)
        found = _multiplier_of_each([path for path, _ in built_for], multipliers)
        # Written into the dictionary, since Keras's `__setattr__` would track the lists.
        vars(self).update(_multiplier_of=found, _built_for=built_for)
        super().build(variables)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """The config: that of all extended optimizers, and the variables of a built optimizer."""
        return super().get_config() | {"built_for": self._built_for}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes the optimizer from a config, with or without the variables."""
        config = dict(config)
        built_for = config.pop("built_for", None)
        made = super().from_config(config, custom_objects)
        vars(made)["_built_for"] = built_for
        return made

    def _kept_for_step(self) -> dict[str, Any]:
        # The schedules are evaluated here, since the update may be in a branch of a condition.
        return super()._kept_for_step() | {_FACTORS: self._present_factors()}

    def _present_factors(self) -> dict[int, Any]:
        """The factors that the scheduled multipliers are now, by the ids of the schedules."""
        return {
            id(schedule): backend.cast(schedule(self._iterations), backend.floatx())  # type: ignore[attr-defined]
            for schedule in scheduled_multipliers(self).values()
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable at its own rate."""
        factor = self._factor(variable)
        if isinstance(factor, float) and factor == 0:
            return
        rate = _times(learning_rate, factor)
        before = self._values_to_keep(factor, [variable])
        # An optimizer of one's own may read `self.learning_rate` instead of the argument.
        with self._at_rate(rate):
            super().update_step(gradient, variable, rate)  # type: ignore[misc]
        self._keep_where_0(factor, [variable], before)

    def _parallel_update_step(self, grads: Any, variables: Any, learning_rate: Any) -> None:
        """Updates many variables at once. Most of Keras's optimizers on PyTorch call this method.

        The variables with the same factor are updated together.
        """
        product = getattr(self, "_u_product", None)  # Nadam multiplies it in each call
        product_before = None if product is None else keras.ops.copy(product)
        gradient_of = {
            id(variable): gradient for gradient, variable in zip(grads, variables, strict=True)
        }
        for factor, group in self._groups(variables):
            if product is not None:
                product.assign(product_before)
            before = self._values_to_keep(factor, group)
            of_group = [gradient_of[id(variable)] for variable in group]
            rate = _times(learning_rate, factor)
            with self._at_rate(rate):
                super()._parallel_update_step(of_group, group, rate)  # type: ignore[misc]
            self._keep_where_0(factor, group, before)

    def _values_to_keep(self, factor: Any, variables: list[Any]) -> list[Any]:
        """The values that variables must keep where their factor is 0; none if they do so anyway.

        An optimizer of Keras moves a variable at a rate of 0 only if it has a ``momentum``. Another
        optimizer may move the variable in any case.
        """
        if isinstance(factor, float):
            return []
        kind = next(each for each in type(self).__mro__ if not issubclass(each, ExtendedOptimizer))
        of_keras = kind.__module__.partition(".")[0] == "keras"
        if of_keras and not getattr(self, "momentum", 0):
            return []
        return [keras.ops.copy(variable) for variable in variables]

    def _keep_where_0(self, factor: Any, variables: list[Any], before: list[Any]) -> None:
        """Gives variables the values before the update where their factor is 0."""
        for variable, value in zip(variables, before):  # noqa: B905 - there may be no values
            kept = keras.ops.where(factor == 0, value, backend.tensor(variable))
            self.assign(variable, kept)  # type: ignore[attr-defined]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Decays the variables, each by its own rate."""
        for factor, group in self._groups(variables):
            # On PyTorch, Keras cannot decay a list of variables that are all excluded.
            decayed = [variable for variable in group if self._use_weight_decay(variable)]  # type: ignore[attr-defined]
            if decayed:
                with self._at_rate(_times(self._rate_of_step(), factor)):
                    super()._apply_weight_decay(decayed)  # type: ignore[misc]

    def _groups(self, variables: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Yields each factor that is not the number 0, and the variables that have this factor."""
        groups: dict[Any, tuple[Any, list[Any]]] = {}
        for variable in variables:
            factor = self._factor(variable)
            key = factor if isinstance(factor, float) else id(factor)
            groups.setdefault(key, (factor, []))[1].append(variable)
        yield from (group for key, group in groups.items() if key != 0)

    def _factor(self, variable: Any) -> Any:
        """The factor of a variable in the present step: a float, or a tensor for a schedule."""
        multiplier = self._multiplier_of[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        if not callable(multiplier):
            return multiplier
        return (vars(self).get(_FACTORS) or self._present_factors())[id(multiplier)]


def _times(learning_rate: Any, factor: Any) -> Any:
    """The rate of a layer; the very rate of the optimizer if the factor is the number 1."""
    return learning_rate if isinstance(factor, float) and factor == 1 else learning_rate * factor


# ---- The multipliers


def _checked_multipliers(multipliers: Any) -> dict[str, Any]:
    """The multipliers, with their numbers as floats."""
    if not isinstance(multipliers, Mapping):
        rule = "a dict from patterns of variable paths to numbers or schedules"
        raise TypeError(_arguments.received("multipliers", rule, multipliers))
    if not multipliers:
        rule = "a dict with at least one pattern"
        raise ValueError(_arguments.received("multipliers", rule, multipliers))
    checked = {}
    for pattern, value in multipliers.items():
        if not isinstance(pattern, str):
            rule = "a dict whose keys are strings, the patterns of variable paths"
            raise TypeError(_arguments.received("multipliers", rule, multipliers))
        if not isinstance(value, LearningRateSchedule):
            rule = "a finite number of at least 0, or a schedule of Keras"
            name = f"multipliers[{_arguments.shown(pattern)}]"
            value = _arguments.number_in(name, value, rule, 0.0, float("inf"))
        checked[pattern] = value
    return checked


def _path(variable: Any) -> str:
    """The path of a variable; the name of a variable that is TensorFlow's own."""
    return str(getattr(variable, "path", variable.name))


def _multiplier_of_each(paths: list[str], multipliers: dict[str, Any]) -> list[Any]:
    """The multiplier of each variable: that of its exact path, or of the pattern that matches.

    Raises:
        ValueError: If a pattern matches no variable, or two patterns match the same one.
    """
    exact = multipliers.keys() & set(paths)
    patterns = [pattern for pattern in multipliers if pattern not in exact]
    matching = {path: [p for p in patterns if _matches(p, path)] for path in paths}
    for pattern in patterns:
        if not any(pattern in matches for matches in matching.values()):
            raise ValueError(_no_match(pattern, paths))
    for path, matches in matching.items():
        if path not in exact and len(matches) > 1:
            shown = [_arguments.shown(each) for each in (*matches[:2], path)]
            raise ValueError(
                "Argument `multipliers` must have one pattern for each variable; an exact path "
                f"takes precedence. Received: {shown[0]} and {shown[1]} for {shown[2]}"
            )
    keys = [path if path in exact else next(iter(matching[path]), None) for path in paths]
    return [1.0 if key is None else multipliers[key] for key in keys]


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a whole path. An invalid regular expression matches nothing."""
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error:
        return False


def _no_match(pattern: str, paths: list[str]) -> str:
    """The error for a pattern that matches no variable, with the nearest paths first."""
    words = re.sub(r"[^\w/]", "", pattern)  # without the signs of a regular expression
    nearest = sorted(
        paths,
        key=lambda path: difflib.SequenceMatcher(None, words, path).ratio(),
        reverse=True,
    )
    shown = _arguments.one_line(nearest[0])
    count = 1
    for path in nearest[1:]:
        if len(shown) + len(path) > _MOST_OF_PATHS:
            break
        shown += f", {path}"
        count += 1
    more = f" and {len(paths) - count} more" if len(paths) > count else ""
    return (
        "Each pattern in `multipliers` must match a trainable variable: by its exact path, or as a "
        f"regular expression of the whole path. Nearest paths: {shown}{more}. "
        f"{_advice(pattern, paths)}Received: the pattern {_arguments.shown(pattern)}"
    )


def _advice(pattern: str, paths: list[str]) -> str:
    """What to add to a pattern so that it matches variables; empty if that is not known."""
    try:
        re.compile(pattern)
    except re.error:
        return "This is no regular expression. "
    for before, after in ((".*", ""), ("", "/.*"), (".*", "/.*")):
        if any(_matches(f"{before}{pattern}{after}", path) for path in paths):
            parts = [f"'{before}' before it"] * bool(before) + [f"'{after}' after it"] * bool(after)
            return f"Put {' and '.join(parts)}. "
    return ""
