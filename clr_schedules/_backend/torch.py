"""Keras on PyTorch. A range test takes the train steps singly, and fetches many logs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from clr_schedules._backend import base

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from clr_schedules._backend.base import Sweep, _Function


class Operations:
    """PyTorch's operations in 64 bits, called as in NumPy."""

    sin = staticmethod(torch.sin)

    @staticmethod
    def float64(x: Any) -> torch.Tensor:
        """The tensor in float64."""
        return x.to(torch.float64)

    @staticmethod
    def minimum(x: torch.Tensor, y: Any) -> torch.Tensor:
        """NumPy's ``minimum``. PyTorch's own function does not accept a Python number."""
        return torch.minimum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y)

    @staticmethod
    def maximum(x: torch.Tensor, y: Any) -> torch.Tensor:
        """NumPy's ``maximum``. PyTorch's own function does not accept a Python number."""
        return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)

    @staticmethod
    def where(condition: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
        """NumPy's ``where``, in float64. PyTorch's own makes float32 of two Python numbers."""
        device = condition.device
        x, y = (torch.as_tensor(each, dtype=torch.float64, device=device) for each in (x, y))
        return torch.where(condition, x, y)

    @staticmethod
    def take(array: NDArray[Any], indices: torch.Tensor) -> torch.Tensor:
        """The entries of a NumPy array at a tensor of indices."""
        return torch.as_tensor(array, device=indices.device)[indices]

    @staticmethod
    def searchsorted(array: NDArray[Any], x: torch.Tensor, side: Literal["right"]) -> torch.Tensor:
        """The number of entries of the array that are at most x."""
        return torch.searchsorted(torch.as_tensor(array, device=x.device), x, side=side)


class TensorWithoutValue(torch.Tensor):  # type: ignore[misc]
    """A tensor that can be calculated with, and whose value Python cannot read.

    PyTorch would let Python read the value, but not from a GPU into NumPy, and not without a wait
    for the device.
    """

    def _refuse(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("Python cannot read the value of this tensor.")

    __bool__ = __int__ = __float__ = __index__ = __array__ = _refuse
    item = tolist = numpy = _refuse


class Torch(base.Backend):
    """Keras 3 on PyTorch."""

    xp = Operations
    # Keras passes the hyperparameters to operations on many variables at once, which accept only
    # Python numbers.
    float_hyperparameters = True

    def call_without_value(self, function: Callable[[Any], Any]) -> None:
        with self.keras.device("cpu"):
            function(torch.ones((), dtype=torch.float64).as_subclass(TensorWithoutValue))

    def not_compiled_with_numbers(self, function: _Function) -> _Function:
        # A compiled function is compiled anew for each new number, up to a limit of 8.
        return torch.compiler.disable(function)  # type: ignore[no-any-return]

    def step_keeps_rate(self, model: Any, former: Any) -> bool:
        return False  # a step asks the optimizer; `torch.compile` compiles again if it has changed

    def is_shared(self, model: Any) -> bool:
        return _distributed() and bool(torch.distributed.get_world_size() > 1)

    def is_chief(self, model: Any) -> bool:
        return not _distributed() or bool(torch.distributed.get_rank() == 0)

    def set_steps_per_call(self, model: Any, steps: int, length: int | None) -> None:
        pass  # on PyTorch, `fit` takes one step per call

    def _keras_parts(self) -> tuple[Any, ...]:
        return *super()._keras_parts(), torch.nn.Module, torch.optim.Optimizer

    def is_variable(self, thing: Any) -> bool:
        return isinstance(thing, (torch.Tensor, torch.Generator, self.variable_class))

    def unwrap(self, variable: Any) -> torch.Tensor | torch.Generator | None:
        native = super().unwrap(variable)
        # A tensor on the device "meta" has no value.
        return None if native is None or native.device.type == "meta" else native

    def modules(self, model: Any) -> Iterator[torch.nn.Module]:
        return model.modules()  # type: ignore[no-any-return]

    def resume_training(self, model: Any) -> None:
        model.train()

    def read(self, variable: torch.Tensor | torch.Generator) -> torch.Tensor:
        if isinstance(variable, torch.Generator):
            return variable.get_state()
        return variable.detach().to("cpu", copy=True)

    def write(self, variable: torch.Tensor | torch.Generator, value: torch.Tensor) -> None:
        if isinstance(variable, torch.Generator):
            variable.set_state(value)
            return
        with torch.no_grad():
            variable.copy_(value)

    def train_loop(
        self,
        model: Any,
        sweep: Sweep,
        set_rate: Callable[[Any], Any],
        building: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> TrainLoop:
        return TrainLoop(model, sweep, set_rate, getattr(torch, self.floatx()))


class TrainLoop(base.TrainLoop):
    """Takes one train step per call, as `fit` does, and fetches the logs of many steps at once."""

    def __init__(
        self, model: Any, sweep: Sweep, set_rate: Callable[[Any], Any], dtype: torch.dtype
    ) -> None:
        self._model = model
        self._sweep = sweep
        self._set_rate = set_rate
        self._dtype = dtype
        self._step = torch.compile(self._one_step) if model.jit_compile else self._one_step
        # The logs, as tensors, of the steps that the sweep has not recorded yet.
        self._waiting: list[dict[str, Any]] = []

    def __call__(self, data: Any) -> dict[str, float]:
        sweep, waiting = self._sweep, self._waiting
        for batch in data:
            if len(waiting) >= sweep.remaining:
                break
            for metric in self._model.metrics:
                metric.reset_state()
            rate = float(sweep.table[sweep.taken + len(waiting)])
            waiting.append(self._step(batch, torch.tensor(rate, dtype=self._dtype)))
            if len(waiting) >= min(sweep.steps_per_call, sweep.remaining):
                self.flush()
        return sweep.last

    def flush(self) -> None:
        if not self._waiting:
            return
        # The logs of a name become one tensor, so that the host waits for the device once for each
        # name and not once for each log.
        logs = {
            name: torch.stack([torch.as_tensor(log[name]).detach() for log in self._waiting])
            .cpu()
            .double()
            for name in self._waiting[0]
        }
        self._waiting.clear()
        self._sweep.add(logs)

    def _one_step(self, data: Any, rate: torch.Tensor) -> dict[str, Any]:
        """Takes a step at this rate, and returns its logs."""
        self._set_rate(rate)
        logs = base.scalars(self._model.train_step(data), self._model)
        return logs | {base.FINITE_WEIGHTS: _all_finite(self._model.trainable_variables)}


def _all_finite(variables: list[Any]) -> torch.Tensor:
    """Whether all entries of all variables are finite, as a tensor on their device."""
    # The largest absolute value takes one operation, a check of each entry would take several.
    largest = [
        torch.linalg.vector_norm(variable.value.detach(), float("inf"))
        for variable in variables
        if variable.value.is_floating_point() and variable.value.numel()
    ]
    return torch.isfinite(torch.stack(largest)).all() if largest else torch.tensor(True)


def _distributed() -> bool:
    """Whether this process belongs to a group of PyTorch processes."""
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
