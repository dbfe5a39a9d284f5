"""What the schedules are compared with, as it is found elsewhere."""

from __future__ import annotations

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


def power(step: Any, gamma: float) -> tf.Tensor:
    """``gamma ** step`` in float32: the scale of ``exp_range`` as TensorFlow Addons computed it."""
    return tf.pow(tf.constant(gamma, tf.float32), tf.cast(step, tf.float32))


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
