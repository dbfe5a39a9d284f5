"""Keras on TensorFlow. A range test runs a loop in a graph, which takes many steps per call."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from clr_schedules._backend import base

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clr_schedules._backend.base import Floats, Integers, Sweep

# The intended duration of a call of the graph. Between two calls, Python can handle a Ctrl-C.
_SECONDS_PER_CALL = 0.25
# The tables that a training can change.
_TABLES = (tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable)


class Operations:
    """TensorFlow's operations in 64 bits, called as in NumPy."""

    maximum = staticmethod(tf.maximum)
    minimum = staticmethod(tf.minimum)
    sin = staticmethod(tf.sin)

    @staticmethod
    def float64(x: Any) -> tf.Tensor:
        """The tensor or number in float64."""
        return tf.cast(x, tf.float64)

    @staticmethod
    def where(condition: tf.Tensor, x: Any, y: Any) -> tf.Tensor:
        """NumPy's ``where``, in float64. TensorFlow's own makes float32 of a Python number."""
        x, y = (tf.convert_to_tensor(each, tf.float64) for each in (x, y))
        if condition.shape.rank == x.shape.rank == y.shape.rank == 0:
            # For scalars, the old operation `Select` takes half the time of `tf.where`, which
            # broadcasts.
            return tf.raw_ops.Select(condition=condition, x=x, y=y)
        return tf.where(condition, x, y)

    @staticmethod
    def take(array: NDArray[Any], indices: tf.Tensor) -> tf.Tensor:
        """The entries of a NumPy array at a tensor of indices."""
        return tf.gather(tf.constant(array), indices)

    @staticmethod
    def searchsorted(array: NDArray[Any], x: tf.Tensor, side: Literal["right"]) -> tf.Tensor:
        """The number of entries that are at most x. Every entry is compared with x."""
        each = x if x.shape.rank == 0 else x[..., tf.newaxis, tf.newaxis, tf.newaxis]
        not_above = tf.cast(each >= tf.constant(base.as_cube(array)), tf.int64)
        return tf.reduce_sum(not_above, axis=(-3, -2, -1))


class TensorFlow(base.Backend):
    """Keras 3 on TensorFlow."""

    xp = Operations
    _counter = "int64"
    # Whether Python's control flow in a train step becomes TensorFlow's; in Keras 3 it does not.
    _autograph = False

    def call_without_value(self, function: Callable[[Any], Any]) -> None:
        variables = []

        def refuse(next_creator: Any, **arguments: Any) -> Any:
            variables.append(arguments)
            raise RuntimeError("No variable can be made here.")

        # A `tf.function` would initialize the devices.
        graph = tf.__internal__.FuncGraph("call_without_value")
        try:
            with graph.as_default(), tf.variable_creator_scope(refuse):
                function(tf.compat.v1.placeholder(tf.float64, ()))
        except Exception:
            # A function that makes a variable on its first call must not make it in this graph,
            # which nobody keeps. Whether a train step can call the function is not known then.
            if not variables:
                raise

    def call_schedule(self, schedule: Callable[[Any], Any], step: Any) -> Any:
        return self.cast(schedule(step), "float64")

    def step_keeps_rate(self, model: Any, former: Any) -> bool:
        return not (model.run_eagerly or tf.config.functions_run_eagerly())

    def is_shared(self, model: Any) -> bool:
        strategy = model.distribute_strategy
        if isinstance(strategy, tf.distribute.ParameterServerStrategy):
            return True
        return len(_workers(strategy)) > 1

    def is_chief(self, model: Any) -> bool:
        strategy = model.distribute_strategy
        if len(workers := _workers(strategy)) < 2:
            return True
        resolver = strategy.cluster_resolver
        return (resolver.task_type, resolver.task_id) == workers[0]

    def _keras_parts(self) -> tuple[Any, ...]:
        # Modules, loaded SavedModels and generators of random numbers are of the first class, and
        # the lists in which TensorFlow keeps the attributes of such objects are of the second.
        tracking = tf.__internal__.tracking
        return *super()._keras_parts(), tracking.AutoTrackable, tracking.TrackableDataStructure

    def is_variable(self, thing: Any) -> bool:
        return isinstance(thing, (tf.Variable, self.variable_class, *_TABLES))

    def read(self, variable: Any) -> Any:
        if isinstance(variable, _TABLES):
            return variable.export()
        return np.array(variable.numpy())

    def write(self, variable: Any, value: Any) -> None:
        if not isinstance(variable, _TABLES):
            variable.assign(value)
            return
        keys, _ = variable.export()
        variable.remove(keys)
        variable.insert(*value)

    def _map(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any]:
        return tf.function(  # type: ignore[no-any-return]
            lambda steps: tf.vectorized_map(schedule, steps),
            autograph=False,
            input_signature=[tf.TensorSpec([None], tf.int64)],
        )

    def scalar_writer(self, log_dir: str) -> ScalarWriter:
        return ScalarWriter(log_dir)

    def endless(self, model: Any, data: dict[str, Any]) -> dict[str, Any]:
        # With TensorFlow's seed set, the shuffling of arrays starts anew with each iterator, and
        # Keras makes an iterator for each epoch: all epochs would have the same order. A single
        # iterator shuffles each pass anew. A model with a `fit` of its own gets the arrays.
        if data["shuffle"] and type(model).fit is self.keras.Model.fit and "fit" not in vars(model):
            from keras.src.trainers.data_adapters import array_data_adapter

            if array_data_adapter.can_convert_arrays((data["x"], data["y"], data["sample_weight"])):
                adapter = array_data_adapter.ArrayDataAdapter(**data)
                return {"x": adapter.get_tf_dataset().repeat(), "shuffle": False}
        return super().endless(model, data)

    def train_loop(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> TrainLoop:
        return TrainLoop(model, sweep, set_rate, building, self.keras, autograph=self._autograph)


def _workers(strategy: tf.distribute.Strategy) -> list[tuple[str, int]]:
    """The tasks that train together, the chief first; empty if the strategy has no workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return []
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return [
        (kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))
    ]


class ScalarWriter(base.ScalarWriter):
    """Writes scalars with TensorFlow's own operations, without the package TensorBoard."""

    def __init__(self, log_dir: str) -> None:
        self._writer = tf.raw_ops.SummaryWriter(shared_name=str(uuid.uuid4()))
        tf.raw_ops.CreateSummaryFileWriter(
            writer=self._writer,
            logdir=log_dir,
            max_queue=1000,
            flush_millis=120_000,
            filename_suffix=".learning_rate",
        )

    def write(self, name: str, steps: Integers, values: Floats) -> None:
        _write(self._writer, tf.constant(name), tf.constant(steps), tf.constant(values, tf.float32))
        tf.raw_ops.FlushSummaryWriter(writer=self._writer)

    def close(self) -> None:
        tf.raw_ops.CloseSummaryWriter(writer=self._writer)


# This loop runs in a graph, because a call from Python for every step would take longer.
@partial(tf.function, autograph=False, reduce_retracing=True)
def _write(writer: Any, name: Any, steps: Any, values: Any) -> None:
    def one(i: Any) -> Any:
        tf.raw_ops.WriteScalarSummary(writer=writer, step=steps[i], tag=name, value=values[i])
        return i + 1

    # With `parallel_iterations=1`, the steps are written in order, as TensorBoard reads them.
    tf.while_loop(lambda i: i < tf.size(steps), one, [0], parallel_iterations=1)


class TrainLoop(base.TrainLoop):
    """Takes the steps in the loop of a graph, or singly in Python if the model runs eagerly."""

    def __init__(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
        keras: Any,
        *,
        autograph: bool,
    ) -> None:
        self._model = model
        self._sweep = sweep
        self._set_rate = set_rate
        self._building = building
        self._keras = keras
        self._autograph = autograph
        # The function that takes the steps of a call. The first call makes it, since only the
        # first call knows the types of the data.
        self._take: Callable[[Any], None] | None = None

    def __call__(self, iterator: Any) -> dict[str, float]:
        if self._take is None:
            self._build(iterator.element_spec)
            self._take = (
                self._take_eagerly
                if self._model.run_eagerly
                else _GraphSteps(self._compiled_step(), iterator.element_spec, self._sweep)
            )
        before = self._sweep.taken
        self._take(iterator)
        if self._sweep.remaining and self._sweep.taken == before:
            raise StopIteration
        return self._sweep.last

    def _build(self, element_spec: Any) -> None:
        """Builds the model before the first step is traced.

        The trace of a step contains the resets of those metrics alone that exist at that time.
        """
        data = without_missing(element_spec)
        with self._building():
            try:
                self._model._symbolic_build(data_batch=tf.nest.map_structure(self._symbol, data))
            # The method does not exist in tf_keras. In Keras 3, it fails with errors of any type
            # if the model has a `train_step` of its own, or layers that do not accept symbolic
            # tensors. Such models can be built by tracing a step instead. If the error is the
            # user's own, tracing raises it again.
            except Exception:
                rate = tf.TensorSpec((), self._sweep.table.dtype)
                traced = tf.function(self._step, autograph=self._autograph)
                traced.get_concrete_function(data, rate)

    def _symbol(self, spec: Any) -> Any:
        """A symbolic tensor with the shape and the type of a spec."""
        return self._keras.KerasTensor(tuple(spec.shape), spec.dtype.name)

    def _step(self, data: Any, rate: Any) -> dict[str, Any]:
        """Takes a train step on all replicas. The logs are the means over the replicas."""
        strategy = self._model.distribute_strategy
        logs = strategy.run(self._step_on_replica, args=(data, rate))
        if strategy.num_replicas_in_sync == 1:
            return logs  # type: ignore[no-any-return]
        mean = tf.distribute.ReduceOp.MEAN
        return {name: strategy.reduce(mean, log, axis=None) for name, log in logs.items()}

    def _step_on_replica(self, data: Any, rate: Any) -> dict[str, Any]:
        """Takes a train step on one replica, at this rate and with fresh metrics."""
        self._set_rate(rate)
        for metric in self._model.metrics:
            metric.reset_state()
        logs = base.scalars(self._model.train_step(data), self._model)
        return logs | {base.FINITE_WEIGHTS: _all_finite(self._model.trainable_variables)}

    def _compiled_step(self) -> Any:
        """The step as a `tf.function`, compiled by XLA if the model is."""
        # The argument `autograph=False` of `tf.function` would not be enough, since `strategy.run`
        # looks for this decorator.
        do_not_convert = tf.autograph.experimental.do_not_convert
        return tf.function(
            self._step if self._autograph else do_not_convert(self._step),
            jit_compile=self._model.jit_compile or None,
            reduce_retracing=True,
        )

    def _take_eagerly(self, iterator: Any) -> None:
        """Takes the steps of a call singly, in Python."""
        for rate in self._sweep.upcoming():
            try:
                data = next(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            logs = self._step(without_missing(data), tf.constant(rate))
            self._sweep.add({name: [float(log)] for name, log in logs.items()})
            if not self._sweep.remaining:
                break


class _GraphSteps:
    """Takes the steps of a call in a graph.

    If the sweep is paced, each run of the graph takes as many steps as fit into a quarter of a
    second.
    """

    def __init__(self, one_step: Any, element_spec: Any, sweep: Sweep) -> None:
        self._several = _graph_loop(one_step, element_spec, sweep.table)
        self._sweep = sweep
        self._steps = 1 if sweep.paced else sweep.steps_per_call
        self._compiled = False

    def __call__(self, iterator: Any) -> None:
        sweep = self._sweep
        left = min(sweep.steps_per_call, sweep.remaining)
        while left and sweep.remaining:
            count = min(self._steps, left)
            start = time.perf_counter()
            taken, logs = self._several(iterator, tf.constant(sweep.taken), tf.constant(count))
            taken = int(taken)
            self._pace(count, time.perf_counter() - start)
            if taken:
                sweep.add({name: log.numpy()[:taken] for name, log in logs.items()})
            left -= count
            if taken < count:
                break

    def _pace(self, count: int, seconds: float) -> None:
        """Sets the number of steps in the next run, from the duration of the last run."""
        # The duration of the first run says nothing, since the graph is compiled in that run.
        if self._sweep.paced and self._compiled:
            steps = int(count * _SECONDS_PER_CALL / max(seconds, 1e-6))
            self._steps = max(1, min(self._sweep.steps_per_call, steps))
        self._compiled = True


def _graph_loop(one_step: Any, element_spec: Any, table: Any) -> Any:
    """Makes a graph that takes ``count`` steps; the rate of the first step is ``table[first]``.

    The graph ends early if the data end, and after a loss or weights that are not finite.
    """
    # The step is traced before the loop, since the loop must know the names and types of the logs.
    spec = one_step.get_concrete_function(
        without_missing(element_spec), tf.TensorSpec((), table.dtype)
    ).structured_outputs
    dtypes = {name: tf.convert_to_tensor(log).dtype for name, log in spec.items()}

    def several(iterator: Any, first: tf.Tensor, count: tf.Tensor) -> Any:
        rates = tf.constant(table)
        nothing = tf.experimental.Optional.empty(element_spec)

        def peek(go_on: tf.Tensor) -> Any:
            return tf.cond(go_on, iterator.get_next_as_optional, lambda: nothing)

        def body(taken: tf.Tensor, data: Any, arrays: dict[str, Any]) -> Any:
            logs = one_step(without_missing(data.get_value()), rates[first + taken])
            arrays = {name: array.write(taken, logs[name]) for name, array in arrays.items()}
            taken += 1
            finite = tf.math.is_finite(tf.cast(logs["loss"], tf.float64))
            finite &= logs[base.FINITE_WEIGHTS] == 1
            go_on = (taken < count) & finite
            return taken, peek(go_on), arrays

        taken, _, arrays = tf.while_loop(
            lambda taken, data, arrays: data.has_value(),
            body,
            (
                tf.constant(0),
                peek(count > 0),
                {
                    name: tf.TensorArray(dtype, size=count, element_shape=())
                    for name, dtype in dtypes.items()
                },
            ),
            parallel_iterations=1,
        )
        return taken, {name: array.stack() for name, array in arrays.items()}

    return tf.function(several, autograph=False)


def _all_finite(variables: list[Any]) -> tf.Tensor:
    """1.0 if all entries of all variables are finite, else 0.0."""
    finite = [
        tf.reduce_all(tf.math.is_finite(variable))
        for variable in variables
        if tf.as_dtype(variable.dtype).is_floating
    ]
    return tf.cast(tf.reduce_all(finite) if finite else True, tf.float32)


def without_missing(data: Any) -> Any:
    """Replaces each empty ``Optional``, which Keras's adapters put into the data, by None."""
    kinds = (tf.experimental.Optional, tf.OptionalSpec)
    return tf.nest.map_structure(lambda leaf: None if isinstance(leaf, kinds) else leaf, data)
