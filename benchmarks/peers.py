"""What the schedules are compared with, as it is found elsewhere; restated, not copied."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf


def textbook(
    step: Any, base_lr: float, max_lr: float, step_size: int, scale: float = 1.0
) -> tf.Tensor:
    """The formula of Smith's paper in float32, from the raw step, as TensorFlow Addons wrote it."""
    step = tf.cast(step, tf.float32)
    size = tf.cast(step_size, tf.float32)
    low, high = tf.constant(base_lr, tf.float32), tf.constant(max_lr, tf.float32)
    cycle = tf.floor(1 + step / (2 * size))
    x = tf.abs(step / size - 2 * cycle + 1)
    return low + (high - low) * tf.maximum(0.0, 1 - x) * scale


def keras_cosine(base_lr: float, max_lr: float, cycle: int) -> Any:
    """Keras's own cyclical schedule: cosines from ``max_lr`` to ``base_lr``, all of one length."""
    return keras.optimizers.schedules.CosineDecayRestarts(
        max_lr, first_decay_steps=cycle, t_mul=1.0, m_mul=1.0, alpha=base_lr / max_lr
    )


def keras_cosine_values(
    steps: npt.NDArray[np.int64], base_lr: float, max_lr: float, cycle: int
) -> npt.NDArray[np.float64]:
    """The real-number formula of ``keras_cosine``: an integer phase, then float64."""
    phase = (steps % cycle) / cycle
    return base_lr + (max_lr - base_lr) * np.cos(np.pi / 2 * phase) ** 2


class Textbook(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """``textbook`` as a schedule of Keras, as TensorFlow Addons had it."""

    def __init__(self, base_lr: float, max_lr: float, step_size: int) -> None:
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size

    def __call__(self, step: Any) -> tf.Tensor:
        """The rate of a step."""
        return textbook(step, self.base_lr, self.max_lr, self.step_size)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return dict(vars(self))


class PostCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """The callback of the blog post: after every batch, it notes the rate and sets the next one."""

    def __init__(self, base_lr: float, max_lr: float, step_size: int) -> None:
        super().__init__()
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        self.iteration = 0
        self.history: dict[str, list[float]] = {}

    def rate(self) -> float:
        """The formula, in Python."""
        cycle = math.floor(1 + self.iteration / (2 * self.step_size))
        x = abs(self.iteration / self.step_size - 2 * cycle + 1)
        return self.base_lr + (self.max_lr - self.base_lr) * max(0.0, 1 - x)

    def on_train_begin(self, logs: Any = None) -> None:
        """Sets the first rate."""
        self.model.optimizer.learning_rate.assign(self.rate())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes and sets."""
        self.iteration += 1
        rate = float(self.model.optimizer.learning_rate.numpy())
        for name, value in {"lr": rate, "iterations": self.iteration, **(logs or {})}.items():
            self.history.setdefault(name, []).append(value)
        self.model.optimizer.learning_rate.assign(self.rate())


class BatchScheduler(keras.callbacks.Callback):  # type: ignore[misc]
    """What ``keras.callbacks.LearningRateScheduler`` does before an epoch, before every batch."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        super().__init__()
        self.schedule = schedule
        self.iteration = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the rate."""
        self.model.optimizer.learning_rate = self.schedule(self.iteration)
        self.iteration += 1


class Finder(keras.callbacks.Callback):  # type: ignore[misc]
    """A range test as the known Keras finders have it: a callback that raises the rate.

    It keeps the weights in a file, notes the loss of every batch and its rate, smooths, stops where
    the smoothed loss is several times the best, and loads the weights again. Where several steps
    make an execution, it cannot see all of them.
    """

    def __init__(
        self, min_lr: float, max_lr: float, num_steps: int, stop_factor: float = 4.0
    ) -> None:
        super().__init__()
        self.min_lr, self.max_lr, self.num_steps = min_lr, max_lr, num_steps
        self.stop_factor = stop_factor
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Saves the weights and sets the first rate."""
        self.folder = tempfile.TemporaryDirectory()
        self.model.save_weights(Path(self.folder.name, "first.weights.h5"))
        self.average, self.best, self.total = 0.0, math.inf, 0.0
        self.model.optimizer.learning_rate.assign(self.min_lr)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the loss, perhaps stops, and sets the next rate."""
        # `fit` reports the mean of the losses so far.
        steps = len(self.losses) + 1
        loss, self.total = logs["loss"] * steps - self.total, logs["loss"] * steps
        self.average = 0.98 * self.average + 0.02 * loss
        smoothed = self.average / (1 - 0.98**steps)
        self.best = min(self.best, smoothed)
        self.losses.append(loss)
        self.rates.append(float(self.model.optimizer.learning_rate.numpy()))
        if smoothed > self.stop_factor * self.best:
            self.model.stop_training = True
        rate = self.min_lr * (self.max_lr / self.min_lr) ** (steps / self.num_steps)
        self.model.optimizer.learning_rate.assign(rate)

    def on_train_end(self, logs: Any = None) -> None:
        """Loads the weights again."""
        self.model.load_weights(Path(self.folder.name, "first.weights.h5"))
        self.folder.cleanup()
