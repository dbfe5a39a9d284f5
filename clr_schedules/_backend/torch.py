"""PyTorch: a range test takes one train step after another, and fetches their logs together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch

from clr_schedules._backend import base

if TYPE_CHECKING:
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
    def searchsorted(array: NDArray[Any], x: torch.Tensor, side: str = "right") -> torch.Tensor:
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

    def train_function(self, model: Any, sweep: Sweep) -> Callable[[Any], dict[str, float]]:
        def step(data: Any, rate: torch.Tensor) -> dict[str, Any]:
            sweep.begin_step(rate)
            return base.scalars(model.train_step(data), model)

        if model.jit_compile:
            step = torch.compile(step)
        dtype = getattr(torch, self.floatx())
        waiting: list[dict[str, Any]] = []

        def function(data: Any) -> dict[str, float]:
            for batch in data:
                if len(waiting) >= sweep.remaining:
                    break
                for metric in model.metrics:
                    metric.reset_state()
                rate = torch.tensor(float(sweep.table[sweep.taken + len(waiting)]), dtype=dtype)
                waiting.append(step(batch, rate))
                if len(waiting) >= min(sweep.steps_per_call, sweep.remaining):
                    flush()
            return sweep.last

        def flush() -> None:
            if waiting:
                # A tensor each: the device is waited for once, not once a log.
                logs = {
                    name: torch.stack([torch.as_tensor(log[name]).detach() for log in waiting])
                    .cpu()
                    .double()
                    for name in waiting[0]
                }
                waiting.clear()
                sweep.add(logs)

        sweep.flush = flush
        return function


def _distributed() -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())
