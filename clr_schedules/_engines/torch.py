"""On PyTorch: one train step after another; what they return is fetched a chunk at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from clr_schedules import _engines, _keras
from clr_schedules._engines import lend_rate, steps_per_execution

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


def lend_chunk(model: Any, chunk: int, length: int | None) -> None:
    """Nothing: Keras on PyTorch takes one step a call."""


def native_variables(model: Any) -> Iterator[torch.Tensor]:
    """Every parameter and buffer of the module that a model is on PyTorch."""
    return itertools.chain(model.parameters(), model.buffers())


def modules(model: Any) -> Iterator[torch.nn.Module]:
    """The modules in the model, each in training mode or not."""
    return model.modules()  # type: ignore[no-any-return]


def resume_training(model: Any) -> None:
    """Goes back to the mode in which `fit` trains; `evaluate` has left it."""
    model.train()


def is_variable(thing: Any) -> bool:
    """Whether this is what `unwrap` takes."""
    return isinstance(thing, _keras.Variable)


def unwrap(variable: Any) -> torch.Tensor | None:
    """The framework's variable within one of Keras's; None if it has no value yet."""
    return getattr(variable, "_value", variable)


def read(variable: torch.Tensor) -> torch.Tensor:
    """A copy of the variable's value."""
    return variable.detach().cpu().clone()


def write(variable: torch.Tensor, value: torch.Tensor) -> None:
    """Gives the variable this value."""
    with torch.no_grad():
        variable.copy_(value)


def train_function(model: Any, sweep: Sweep) -> Callable[[Any], dict[str, float]]:
    """The sweep in the place of ``model.train_function``."""

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
            # A tensor each, so that the device is waited for once and not once a log.
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
