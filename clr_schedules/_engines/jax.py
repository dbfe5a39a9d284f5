"""On JAX: the compiled train step, called again and again; what it returns stays on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from clr_schedules import _engines

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep
    from clr_schedules.reference import Integers


class Engine(_engines.Engine):
    def is_shared(self, model: Any) -> bool:
        return bool(jax.process_count() > 1)

    def is_chief(self, model: Any) -> bool:
        return bool(jax.process_index() == 0)

    def native_variables(self, model: Any) -> Iterator[Any]:
        return iter(())  # JAX has no variables

    def unwrap(self, variable: Any) -> Any | None:
        """What `read` and `write` take: the Keras variable itself, if it has a value."""
        return None if variable._value is None else variable

    def read(self, variable: Any) -> Any:
        """A copy, not a view: the step takes over the memory that it is given."""
        return np.array(variable.value)

    def remake_train_function(self, model: Any) -> None:
        # JAX finds what it has compiled by the function, and a method is equal to itself.
        attributes, step = vars(model), model.train_step
        former = attributes.get("train_step")
        attributes["train_step"] = lambda state, data: step(state, data)
        super().remake_train_function(model)
        del attributes["train_step"]
        if former is not None:
            attributes["train_step"] = former

    def vectorize(self, schedule: Callable[[Any], Any]) -> Callable[[Integers], Any]:
        mapped = jax.jit(jax.vmap(schedule))
        return lambda steps: mapped(steps.astype(self.counter))

    def train_function(
        self, model: Any, sweep: Sweep
    ) -> Callable[[Any, Any], tuple[dict[str, float], Any]]:
        def step(state: Any, data: Any, rate: Any) -> tuple[dict[str, Any], Any]:
            sweep.begin_step(rate)
            state = (*state[:3], [jax.numpy.asarray(value) for value in fresh])
            logs, state = model.train_step(state, data)
            return _engines.scalars(logs, model), state

        if model.jit_compile and not model.run_eagerly:
            step = jax.jit(step, donate_argnums=0)
        # The metrics' variables before the first batch, for each step to begin with.
        fresh: Any = None

        def function(state: Any, data: Any) -> tuple[dict[str, float], Any]:
            nonlocal fresh
            if fresh is None:
                fresh = jax.device_get(state[3])
            batches = iter(data)
            logs: list[dict[str, Any]] = []
            for rate in sweep.upcoming():
                try:
                    batch = next(batches)
                except StopIteration:
                    if not logs:
                        raise
                    break
                log, state = step(state, batch, rate)
                logs.append(log)
            logs = jax.device_get(logs)
            if logs:
                sweep.add({name: [log[name] for log in logs] for name in logs[0]})
            return sweep.last, state

        return function
