"""The legacy Keras (``tf_keras``) on TensorFlow.

The train loop is the same as for Keras 3, but the rate and the steps per call are stored elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from clr_schedules._backend import base, tensorflow

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from numpy.typing import NDArray


class TFKeras(tensorflow.TensorFlow):
    """The legacy Keras, on TensorFlow."""

    settable_hyperparameters = False  # optimizers copy their hyperparameters when they are made
    rate_is_in_files = False
    loads_optimizers_of_keras_2 = True
    _autograph = True

    def __init__(self) -> None:
        import tf_keras

        self.keras = tf_keras
        optimizers = tf_keras.optimizers
        self.optimizer_classes = (optimizers.Optimizer, optimizers.legacy.Optimizer)
        self.variable_class = tf.Variable
        self.part_classes = self._keras_parts()

    def floatx(self) -> str:
        return str(self.keras.backend.floatx())

    def cast(self, x: Any, dtype: str) -> Any:
        return tf.cast(x, dtype)

    def tensor(self, x: Any) -> Any:
        return tf.convert_to_tensor(x)

    def to_numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(self.keras.backend.get_value(x))

    def _name_scope(self, name: str) -> contextlib.AbstractContextManager[Any]:
        return tf.name_scope(name)  # type: ignore[no-any-return]

    @property
    def tree(self) -> Any:
        return tf.nest

    def rename(self, layer: Any, name: str) -> None:
        layer._name = name

    def register_short_name(self, name: str, thing: Any) -> None:
        self.keras.saving.get_custom_objects()[name] = thing  # `.h5` files contain this name alone

    def is_built(self, thing: Any) -> bool:
        # Models have the attribute `built`, optimizers `_built`, and optimizers of
        # `optimizers.legacy` have `_hypers_created`.
        return any(getattr(thing, name, False) for name in ("built", "_built", "_hypers_created"))

    def frozen_weights(self, layer: Any) -> list[Any]:
        return [] if layer.trainable else list(layer._trainable_weights)

    def remember_globals(self) -> Callable[[], None]:
        from tf_keras.src import backend

        seeds = getattr(backend._SEED_GENERATOR, "generator", None)
        return partial(seeds.setstate, seeds.getstate()) if seeds else lambda: None

    def take_over_rate(self, optimizer: Any) -> Callable[[Any], Any]:
        attributes = vars(optimizer)
        constant = attributes.get("_learning_rate")
        if isinstance(constant, tf.Variable):
            # The variable is kept, because compiled functions of the optimizer read it.
            return constant.assign  # type: ignore[no-any-return]
        rate = _settable_schedule(self.keras)
        if "_hyper" in attributes:  # the optimizers of tf_keras.optimizers.legacy
            attributes["_hyper"] = {**attributes["_hyper"], "learning_rate": rate}
            return rate.set  # type: ignore[no-any-return]
        attributes["_learning_rate"] = rate
        # If the user assigned a schedule, the optimizer would make this variable in the first step,
        # where its initial value would be a rate that exists only in the trace of the step.
        if "_current_learning_rate" not in attributes:
            optimizer._build_learning_rate(rate)
        return rate.set  # type: ignore[no-any-return]

    def iteration(self, optimizer: Any) -> int:
        return int(self.to_numpy(optimizer.iterations))

    def rate_source(self, optimizer: Any) -> Any:
        if not hasattr(optimizer, "_hyper"):
            return super().rate_source(optimizer)
        source = optimizer._hyper["learning_rate"]
        if isinstance(source, self.keras.optimizers.schedules.LearningRateSchedule):
            return source
        return float(self.to_numpy(optimizer.lr))

    def rate_decay(self, optimizer: Any) -> float:
        return float(getattr(optimizer, "_initial_decay", None) or 0.0)

    def install_rate(self, optimizer: Any, schedule: Any) -> Callable[[], None]:
        if hasattr(optimizer, "_hyper"):
            optimizer._create_hypers()
            rate = optimizer._hyper["learning_rate"]
            optimizer.learning_rate = schedule
            return partial(optimizer._hyper.__setitem__, "learning_rate", rate)
        rate = optimizer._learning_rate
        optimizer._learning_rate = optimizer._build_learning_rate(schedule)

        def restore() -> None:
            optimizer._learning_rate = rate
            del optimizer._current_learning_rate

        return restore

    def endless(self, model: Any, data: dict[str, Any]) -> dict[str, Any]:
        return base.Backend.endless(self, model, data)

    def steps_per_execution(self, model: Any) -> int:
        variable = model._steps_per_execution
        return 1 if variable is None else int(variable.numpy())

    def set_steps_per_call(self, model: Any, steps: int, length: int | None) -> None:
        # In epochs of unknown length, tf_keras accepts only one step per call. It then counts the
        # calls, and the train loop may still take several steps in a call.
        if length is None:
            steps = 1
        with model.distribute_strategy.scope():
            vars(model)["_steps_per_execution"] = tf.Variable(
                steps, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )


def _settable_schedule(keras: Any) -> Any:
    """Makes a `SettableRate` that is also a schedule, because tf_keras calls only schedules."""

    class Rate(base.SettableRate, keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def get_config(self) -> dict[str, Any]:
            raise NotImplementedError("This rate exists only during a range test.")

    return Rate()
