"""PyTorch: a range test takes one train step after another, and fetches their logs together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import torch

from clr_schedules._backend import base

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from clr_schedules._backend.base import Sweep


class Operations:
    """PyTorch's operations in 64 bits, called as NumPy's."""

    sin = staticmethod(torch.sin)

    @staticmethod
    def float64(x: Any) -> torch.Tensor:
        """The tensor in float64."""
        return x.to(torch.float64)

    @staticmethod
    def minimum(x: torch.Tensor, y: Any) -> torch.Tensor:
        """As NumPy's: PyTorch alone takes no Python number."""
        return torch.minimum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y)

    @staticmethod
    def maximum(x: torch.Tensor, y: Any) -> torch.Tensor:
        """As NumPy's: PyTorch alone takes no Python number."""
        return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)

    @staticmethod
    def where(condition: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
        """As NumPy's, in float64: PyTorch alone takes two Python numbers for float32."""
        device = condition.device
        x, y = (torch.as_tensor(each, dtype=torch.float64, device=device) for each in (x, y))
        return torch.where(condition, x, y)

    @staticmethod
    def take(array: NDArray[Any], indices: torch.Tensor) -> torch.Tensor:
        """The entries of a NumPy array at a tensor of indices."""
        return torch.as_tensor(array, device=indices.device)[indices]

    @staticmethod
    def searchsorted(array: NDArray[Any], x: torch.Tensor, side: Literal["right"]) -> torch.Tensor:
        """How many entries of the array are not above x."""
        return torch.searchsorted(torch.as_tensor(array, device=x.device), x, side=side)


class Torch(base.Backend):
    """Keras 3 on PyTorch."""

    xp = Operations
    # Keras hands them to operations on many variables at once, which take Python's numbers.
    float_hyperparameters = True

    def is_shared(self, model: Any) -> bool:
        return _distributed() and bool(torch.distributed.get_world_size() > 1)

    def is_chief(self, model: Any) -> bool:
        return not _distributed() or bool(torch.distributed.get_rank() == 0)

    def set_steps_per_call(self, model: Any, steps: int, length: int | None) -> None:
        pass  # `fit` takes one step a call

    def native_variables(self, model: Any) -> Iterator[torch.Tensor]:
        return itertools.chain(model.parameters(), model.buffers())

    def modules(self, model: Any) -> Iterator[torch.nn.Module]:
        return model.modules()  # type: ignore[no-any-return]

    def resume_training(self, model: Any) -> None:
        model.train()

    def read(self, variable: torch.Tensor) -> torch.Tensor:
        return variable.detach().cpu().clone()

    def write(self, variable: torch.Tensor, value: torch.Tensor) -> None:
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
    """Takes one train step a call, as `fit` does, and fetches the logs of many together."""

    def __init__(
        self, model: Any, sweep: Sweep, set_rate: Callable[[Any], Any], dtype: torch.dtype
    ) -> None:
        self._model = model
        self._sweep = sweep
        self._set_rate = set_rate
        self._dtype = dtype
        self._step = torch.compile(self._one_step) if model.jit_compile else self._one_step
        # The logs, as tensors, of steps that the sweep was not told of yet.
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
        # One tensor for each name: the device is waited for once, and not once for each log.
        logs = {
            name: torch.stack([torch.as_tensor(log[name]).detach() for log in self._waiting])
            .cpu()
            .double()
            for name in self._waiting[0]
        }
        self._waiting.clear()
        self._sweep.add(logs)

    def _one_step(self, data: Any, rate: torch.Tensor) -> dict[str, Any]:
        self._set_rate(rate)
        return base.scalars(self._model.train_step(data), self._model)


def _distributed() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
