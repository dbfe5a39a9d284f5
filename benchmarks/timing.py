"""What the benchmarks of ``fit`` share: the clock, the data, and what a few ratios are worth."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

SEED = 0


def seconds(call: Callable[[], Any]) -> float:
    """The seconds that a call takes, without collections of garbage in between."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    finally:
        gc.enable()


def endless(*shape: int) -> tf.data.Dataset:
    """A batch of 32 samples of this shape and ten classes, in memory, for ever."""
    random = np.random.default_rng(SEED)
    x, y = random.standard_normal((32, *shape), np.float32), random.integers(0, 10, 32)
    options = tf.data.Options()
    # The tuner's thread sleeps ever longer, and the end of `fit` waits until it wakes.
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors((x, y)).repeat().with_options(options)


def summary(ratios: Sequence[float]) -> dict[str, Any]:
    """The median with its 95 % interval, by the percentiles of 10,000 resamples."""
    random = np.random.default_rng(SEED)
    medians = np.median(random.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return {
        "median": statistics.median(ratios),
        "low": float(low),
        "high": float(high),
        "all": list(ratios),
    }


def noise(control: dict[str, Any]) -> float:
    """How far the interval of a control, whose ratio should be 1, reaches from it."""
    return float(max(abs(control["low"] - 1), abs(control["high"] - 1)))


def cells(ratio: dict[str, Any], in_words: str) -> list[str]:
    """The columns of a ratio in a table: its median, its interval, and what that says."""
    return [f"{ratio['median']:.3f}", f"{ratio['low']:.3f} to {ratio['high']:.3f}", in_words]


def verdict(ratio: dict[str, Any], noise: float, target: float) -> str:
    """What the interval says, and no more."""
    if ratio["high"] <= target and noise <= target - 1:
        return f"≤ {target}"
    if ratio["low"] <= 1 <= ratio["high"] or abs(ratio["median"] - 1) <= noise:
        return f"not distinguishable from {of_noise(noise)}"
    direction = "slower" if ratio["low"] > 1 else "faster"
    return f"{direction} by {_percent(abs(ratio['median'] - 1))} (noise ±{_percent(noise)})"


def of_noise(noise: float) -> str:
    """The verdict on a control."""
    return f"noise of ±{_percent(noise)}"


def _percent(x: float) -> str:
    return f"{100 * x:.1f} %"
