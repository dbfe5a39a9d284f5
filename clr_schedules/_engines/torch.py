"""On PyTorch: one train step after another; what they return is fetched a chunk at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from clr_schedules import _engines, _keras

if TYPE_CHECKING:
    from clr_schedules._sweep import Sweep


class Engine(_engines.Engine):
    def is_shared(self, model: Any) -> bool:
        return _distributed() and bool(torch.distributed.get_world_size() > 1)

    def is_chief(self, model: Any) -> bool:
        return not _distributed() or bool(torch.distributed.get_rank() == 0)

    def lend_chunk(self, model: Any, chunk: int, length: int | None) -> None:
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
            return _engines.scalars(model.train_step(data), model)

        if model.jit_compile:
            step = torch.compile(step)
        dtype = getattr(torch, _keras.floatx())
        waiting: list[dict[str, Any]] = []

        def function(data: Any) -> dict[str, float]:
            for batch in data:
                if len(waiting) >= sweep.remaining:
                    break
                for metric in model.metrics:
                    metric.reset_state()
                rate = torch.tensor(float(sweep.table[sweep.taken + len(waiting)]), dtype=dtype)
                waiting.append(step(batch, rate))
                if len(waiting) >= min(sweep.chunk, sweep.remaining):
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
