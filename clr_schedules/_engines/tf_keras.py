"""On the legacy Keras: TensorFlow's loop, with the legacy places of the rate and the chunk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from clr_schedules import _keras
from clr_schedules._engines import tensorflow

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep


class Engine(tensorflow.Engine):
    autograph = True

    def lend_rate(self, optimizer: Any, sweep: Sweep) -> None:
        attributes = vars(optimizer)
        if "_hyper" in attributes:  # the optimizers of tf_keras.optimizers.legacy
            attributes["_hyper"] = {**attributes["_hyper"], "learning_rate": _Lent(sweep)}
        elif isinstance(attributes["_learning_rate"], tf.Variable):
            sweep.on_rate = attributes["_learning_rate"].assign
        else:
            attributes["_learning_rate"] = _Lent(sweep)

    def iteration(self, optimizer: Any) -> int:
        return int(_keras.to_numpy(optimizer.iterations))

    def rate_source(self, optimizer: Any) -> Any:
        if not hasattr(optimizer, "_hyper"):
            return super().rate_source(optimizer)
        source = optimizer._hyper["learning_rate"]
        if not isinstance(source, _keras.LearningRateSchedule):
            source = float(_keras.to_numpy(optimizer.lr))
        decay = optimizer._initial_decay
        if not decay:
            return source
        return lambda step: (
            (source(step) if callable(source) else source) / (1 + decay * tf.cast(step, tf.float32))
        )

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

    def steps_per_execution(self, model: Any) -> int:
        variable = model._steps_per_execution
        return 1 if variable is None else int(variable.numpy())

    def lend_chunk(self, model: Any, chunk: int, length: int | None) -> None:
        # It goes through epochs of unknown length one by one only; then it counts calls, of any
        # number of steps.
        if length is None:
            chunk = 1
        with model.distribute_strategy.scope():
            vars(model)["_steps_per_execution"] = tf.Variable(
                chunk, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )


class _Lent(_keras.LearningRateSchedule):
    """The rate of the sweep's present step, as a schedule."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __call__(self, step: Any) -> Any:
        return self._sweep.rate

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("it lives as long as a range test")
