"""Keras on JAX. A range test calls the compiled train step in a Python loop.

The logs of a call stay on the device until the end of the call.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np

from clr_schedules._backend import base

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clr_schedules._backend.base import Integers, Sweep

if jax.__version_info__ < (0, 7, 2):
    raise ImportError(
        "clr_schedules needs JAX 0.7.2 or later. Older versions round the constants of a compiled "
        f"float64 computation to float32. Received: JAX {jax.__version__}"
    )

_enable_x64 = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64


class Operations:
    """JAX's operations in 64 bits, called as in NumPy."""

    maximum = staticmethod(jnp.maximum)
    minimum = staticmethod(jnp.minimum)
    sin = staticmethod(jnp.sin)

    @staticmethod
    def float64(x: Any) -> jax.Array:
        """The tensor or number in float64."""
        return jnp.asarray(x, jnp.float64)

    @staticmethod
    def where(condition: jax.Array, x: Any, y: Any) -> jax.Array:
        """NumPy's ``where``, in float64."""
        return jnp.where(condition, jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64))

    @staticmethod
    def take(array: NDArray[Any], indices: jax.Array) -> jax.Array:
        """The entries of a NumPy array at a tensor of indices."""
        return jnp.asarray(array)[indices]

    @staticmethod
    def searchsorted(array: NDArray[Any], x: jax.Array, side: Literal["right"]) -> jax.Array:
        """The number of entries that are at most x. Every entry is compared with x."""
        each = x[..., np.newaxis, np.newaxis, np.newaxis]
        return jnp.sum(each >= jnp.asarray(base.as_cube(array)), axis=(-3, -2, -1))


class JAX(base.Backend):
    """Keras 3 on JAX."""

    xp = Operations
    # Keras's Ftrl passes this attribute to `jnp.clip`, which accepts only numbers and arrays.
    fixed_hyperparameters = frozenset({"l1_regularization_strength"})

    def __init__(self) -> None:
        super().__init__()
        self._user_has_x64 = bool(jax.config.jax_enable_x64)

    def wide_types(self) -> contextlib.AbstractContextManager[Any]:
        # The context is used only for the schedule's own scalars. The rest of the step keeps its
        # 32-bit types.
        return _enable_x64(True)  # type: ignore[no-any-return]

    def floatx(self) -> str:
        return str(jax.dtypes.canonicalize_dtype(super().floatx()))

    def call_without_value(self, function: Callable[[Any], Any]) -> None:
        with self.wide_types():
            jax.eval_shape(function, jax.ShapeDtypeStruct((), np.float64))

    def call_schedule(self, schedule: Callable[[Any], Any], step: Any) -> Any:
        step = self.cast(step, self._counter)
        with _enable_x64(self._user_has_x64):
            rate = schedule(step)
        return self.cast(rate, "float64")

    def step_keeps_rate(self, model: Any, former: Any) -> bool:
        # Without the variable of a constant rate, the step has other arguments and is traced anew.
        return bool(model.jit_compile and not model.run_eagerly and callable(former))

    def is_shared(self, model: Any) -> bool:
        return bool(jax.process_count() > 1)

    def is_chief(self, model: Any) -> bool:
        return bool(jax.process_index() == 0)

    def unwrap(self, variable: Any) -> Any | None:
        """The Keras variable itself, because JAX has no variables; None if it has no value yet."""
        return None if variable._value is None else variable

    def read(self, variable: Any) -> Any:
        """A copy of the value. A view would not do, because a train step reuses the memory."""
        return np.array(variable.value)

    def remake_train_function(self, model: Any) -> None:
        # JAX would find the old compiled function again, because it looks the train step up by
        # equality, and a bound method equals itself. A new function is always compiled.
        attributes, step = vars(model), model.train_step
        former = attributes.get("train_step")
        attributes["train_step"] = lambda state, data: step(state, data)
        super().remake_train_function(model)
        del attributes["train_step"]
        if former is not None:
            attributes["train_step"] = former

    def _map(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any]:
        mapped = jax.jit(jax.vmap(schedule))
        return lambda steps: mapped(steps.astype(self._counter))

    def train_loop(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> TrainLoop:
        # During a training and an evaluation, Keras takes the arrays out of the variables, and a
        # step reuses the memory of the old arrays. So an error in a step would lose the values of
        # the frozen weights, of which the range test has no copy. Therefore the variables that are
        # not trainable keep their arrays, and no step reuses their memory.
        purge = model._purge_model_variables
        vars(model)["_purge_model_variables"] = lambda **which: purge(
            **which | {"non_trainable_variables": False}
        )
        own = type(model).make_test_function is not self.keras.Model.make_test_function
        if _is_compiled(model) and not own:
            vars(model)["test_function"] = TestLoop(model)
        return TrainLoop(model, sweep, set_rate)


def _is_compiled(model: Any) -> bool:
    """Whether the model compiles its steps."""
    return bool(model.jit_compile and not model.run_eagerly)


class TrainLoop(base.TrainLoop):
    """Calls the compiled train step once for each batch."""

    def __init__(self, model: Any, sweep: Sweep, set_rate: Callable[[Any], Any]) -> None:
        self._model = model
        self._sweep = sweep
        self._set_rate = set_rate
        # The values of the metrics' variables before the first batch. Each step begins with them.
        self._fresh_metrics: Any = None
        self._step: Callable[..., Any] = self._one_step
        if _is_compiled(model):
            # With `donate_argnums`, a step reuses the memory of the old state, as in Keras, but not
            # that of the variables that are not trainable.
            self._step = jax.jit(self._one_step, donate_argnums=(0, 2, 3))

    def __call__(self, state: Any, data: Any) -> tuple[dict[str, float], Any]:
        if self._fresh_metrics is None:
            self._fresh_metrics = jax.device_get(state[3])
        batches = iter(data)
        logs: list[dict[str, Any]] = []
        for rate in self._sweep.upcoming():
            try:
                batch = next(batches)
            except StopIteration:
                if not logs:
                    raise
                break
            log, (trainable, changes, *others) = self._step(*state, batch, rate)
            state = (trainable, _changed(state[1], changes), *others)
            logs.append(log)
        logs = jax.device_get(logs)
        if logs:
            self._sweep.add({name: [log[name] for log in logs] for name in logs[0]})
        return self._sweep.last, state

    def _one_step(
        self, trainable: Any, non_trainable: Any, optimizer: Any, _: Any, data: Any, rate: Any
    ) -> tuple[dict[str, Any], Any]:
        """Takes a step at this rate and with fresh metrics; returns its logs and the new state."""
        self._set_rate(rate)
        fresh = [jnp.asarray(value) for value in self._fresh_metrics]
        state = (trainable, non_trainable, optimizer, fresh)
        logs, (trainable, new, *others) = self._model.train_step(state, data)
        # Complex weights are checked too, integers are always finite.
        finite = [jnp.all(jnp.isfinite(weight)) for weight in trainable]
        logs = base.scalars(logs, self._model) | {base.FINITE_WEIGHTS: jnp.array(finite).all()}
        return logs, (trainable, _changes(non_trainable, new), *others)


class TestLoop:
    """Calls the compiled test step, which reuses the memory of no variable."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._step = jax.jit(self._one_step)

    def __call__(self, state: Any, data: Any) -> tuple[Any, Any]:
        """Takes up to ``steps_per_execution`` batches; returns the last logs and the new state.

        The arguments are the same as for Keras's own ``test_function``. If the data have ended, a
        ``StopIteration`` is raised, as by Keras's own function.
        """
        batches = itertools.islice(iter(data), self._model.steps_per_execution)
        for batch in itertools.chain([next(batches)], batches):
            logs, changes = self._step(state, batch)
            state = tuple(map(_changed, state, changes))
        return logs, state

    def _one_step(self, state: Any, data: Any) -> tuple[Any, Any]:
        logs, new = self._model.test_step(state, data)
        return logs, tuple(map(_changes, state, new))


def _changes(values: list[Any], new: list[Any]) -> list[Any]:
    """The new values, with None in the place of each that is the old value.

    A compiled step would return a copy of an old value, and so copy all frozen weights.
    """
    return [None if now is before else now for before, now in zip(values, new, strict=True)]


def _changed(values: list[Any], changes: list[Any]) -> list[Any]:
    """The new values, from the old ones and what `_changes` returned."""
    return [before if now is None else now for before, now in zip(values, changes, strict=True)]
