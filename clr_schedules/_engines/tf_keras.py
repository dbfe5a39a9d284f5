"""On the legacy Keras: TensorFlow's loop, with the legacy places of the rate and the chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from clr_schedules import _keras
from clr_schedules._engines import modules, resume_training, tensorflow
from clr_schedules._engines.tensorflow import is_variable, native_variables, read, unwrap, write

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep

__all__ = [
    "is_variable",
    "lend_chunk",
    "lend_rate",
    "modules",
    "native_variables",
    "read",
    "resume_training",
    "steps_per_execution",
    "train_function",
    "unwrap",
    "write",
]


class _Lent(_keras.LearningRateSchedule):
    """The rate of the sweep's present step, in the place of a schedule."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __call__(self, step: Any) -> Any:
        return self._sweep.rate

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("it lives as long as a range test")


def lend_rate(optimizer: Any, sweep: Sweep) -> None:
    """Has the optimizer take its learning rate from the sweep."""
    attributes = vars(optimizer)
    if "_hyper" in attributes:  # the optimizers of tf_keras.optimizers.legacy
        attributes["_hyper"] = {**attributes["_hyper"], "learning_rate": _Lent(sweep)}
    elif isinstance(attributes["_learning_rate"], tf.Variable):
        sweep.on_rate = attributes["_learning_rate"].assign
    else:
        attributes["_learning_rate"] = _Lent(sweep)


def steps_per_execution(model: Any) -> int:
    """The steps a call that the model was compiled with."""
    variable = model._steps_per_execution
    return 1 if variable is None else int(variable.numpy())


def lend_chunk(model: Any, chunk: int, length: int | None) -> None:
    """Has `fit` count this many steps a call.

    Of an epoch of unknown length it only goes through one by one; then it counts calls, of which
    each may take many steps all the same.
    """
    if length is None:
        chunk = 1
    with model.distribute_strategy.scope():
        vars(model)["_steps_per_execution"] = tf.Variable(
            chunk, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )


def train_function(model: Any, sweep: Sweep) -> Callable[[Any], dict[str, float]]:
    """The sweep in the place of ``model.train_function``."""
    return tensorflow.train_function(model, sweep, autograph=True)
