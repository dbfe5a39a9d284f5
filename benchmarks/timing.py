"""What the benchmarks of time share: the clock, the order of runs, and what ratios are worth.

The machine may be shared, so a time alone says little. What is compared are ratios of runs that
stand next to each other in one process: ``base, arm, arm, base, arm, arm, base, ...``. What drifts
slowly cancels, what comes in bursts hits few of the ratios, and of many the median is taken. A
second base is an arm like any other: how far the interval of its ratio reaches from 1 is the noise.

Two models that are made alike are not equally fast: their programs and numbers lie elsewhere in
memory. Where that is more than what is looked for, an arm is several models, and what counts is how
these differ from several models of the base (``contrasts``).
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import scipy.stats

SEED = 0
CONTROL = "half of the constant ones by the other half"


def tidy() -> None:
    """Collects what is left of models that are not needed any more."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that a call takes, without collections of garbage in between.

    Args:
        call: what is timed.
        clock: whose seconds; `time.process_time` counts those of all threads of the process, and
            none in which they wait for the processor.
    """
    gc.collect()
    gc.freeze()  # what is there by now would take longer to go through than a run takes
    gc.disable()
    try:
        start = clock()
        call()
        return clock() - start
    finally:
        gc.enable()


_Name = TypeVar("_Name")


def interleaved(
    base: Callable[[], float], arms: Mapping[_Name, Callable[[], float]], blocks: int
) -> tuple[list[float], dict[_Name, list[float]]]:
    """The seconds of the base, and the ratios to it of arms that run in turn with it.

    Args:
        base: runs what the arms are compared with, and returns its seconds.
        arms: the same for each arm, by name.
        blocks: the ratios to take of each: of two runs of the arm to the two of the base around
            them, by their geometric means. The arms of each block run in another order.
    """
    names, ratios = list(arms), {name: list[float]() for name in arms}
    taken = [base()]
    for block in range(blocks):
        for i in range(len(names)):
            name = names[(i + block) % len(names)]
            pair = [arms[name]() for _ in range(2)]
            taken.append(base())
            ratios[name].append(math.sqrt(math.prod(pair) / math.prod(taken[-2:])))
    return taken, ratios


def steps_for(seconds: Callable[[int], float], unit: int, target: float) -> int:
    """How many steps, in whole units, take about so many seconds.

    Args:
        seconds: runs so many steps, and returns the seconds that they take.
        unit: what the steps are a multiple of, so that no other program is compiled for a rest.
        target: the seconds.
    """
    steps = unit
    while (taken := min(seconds(steps) for _ in range(3))) < target / 2:
        steps *= math.ceil(min(100, target / taken))
    return math.ceil(steps * target / taken / unit) * unit


def endless(*shape: int, batch_size: int = 32) -> Any:
    """A batch of samples of this shape and ten classes, in memory, for ever."""
    import tensorflow as tf

    random = np.random.default_rng(SEED)
    x = random.standard_normal((batch_size, *shape), np.float32)
    y = random.integers(0, 10, batch_size)
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
        "ratio": statistics.median(ratios),
        "low": float(low),
        "high": float(high),
        "all": [round(ratio, 5) for ratio in ratios],
    }


def mean(ratios: Sequence[float]) -> dict[str, Any]:
    """The geometric mean with Student's 95 % interval, for few ratios."""
    logs = np.log(ratios)
    reach = float(scipy.stats.t.ppf(0.975, len(logs) - 1) * scipy.stats.sem(logs))
    center = float(np.mean(logs))
    found = {"ratio": center, "low": center - reach, "high": center + reach}
    return {end: math.exp(log) for end, log in found.items()} | {
        "all": [round(ratio, 5) for ratio in ratios]
    }


def contrasts(
    models: Mapping[str, Sequence[float]], base: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """The ratios of groups of models to those of the base, by the geometric means of both.

    The intervals are Student's, of the logarithms: how far models of one arm differ among
    themselves, over all arms, is how far those of a group may differ from the base by chance.

    Args:
        models: the seconds of each model, in any unit, by the arm that it is of.
        base: the name of the arm that all are compared with.
        groups: names of arms that are taken together, by the name of the group.

    Returns:
        The ratios of the groups, and that of a control: half of the models of the base by the
        other half.
    """
    logs = {name: np.log(seconds) for name, seconds in models.items()}
    bases = logs.pop(base)
    half = len(bases) // 2
    first, second = bases[:half], bases[half:]
    others = list(logs.values())
    return {CONTROL: _contrast(second, first, [first, second, *others])} | {
        name: _contrast(np.concatenate([logs[arm] for arm in arms]), bases, [bases, *others])
        for name, arms in groups.items()
    }


def _contrast(group: Any, by: Any, samples: Sequence[Any]) -> dict[str, Any]:
    """The ratio of two groups, given by logarithms; its interval by how far samples spread."""
    squares = sum(float(np.sum((sample - sample.mean()) ** 2)) for sample in samples)
    freedom = sum(len(sample) - 1 for sample in samples)
    quantile = float(scipy.stats.t.ppf(0.975, freedom)) * math.sqrt(squares / freedom)
    center = float(np.mean(group) - np.mean(by))
    reach = quantile * math.sqrt(1 / len(group) + 1 / len(by))
    found = {"ratio": center, "low": center - reach, "high": center + reach}
    return {end: math.exp(log) for end, log in found.items()} | {"n": len(group)}


def noise(control: dict[str, Any]) -> float:
    """How far the interval of a control, whose ratio should be 1, reaches from it."""
    return float(max(abs(control[end] - 1) for end in ("low", "high")))


def hidden(ratio: dict[str, Any], noise: float) -> bool:
    """Whether a ratio is not distinguishable from 1: by its interval, or for the noise."""
    return ratio["low"] <= 1 <= ratio["high"] or abs(ratio["ratio"] - 1) <= noise


def cell(ratio: dict[str, Any]) -> str:
    """A ratio with its interval."""
    return f"{ratio['ratio']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"


def percent(x: float) -> str:
    """A share, such as the noise."""
    return f"{100 * x:.1f} %"


def in_words(ratios: Mapping[str, dict[str, Any]], noise: float) -> str:
    """Which ratios differ from 1, and by how much; the others are hidden by the noise."""
    seen = [f"{name} {cell(ratio)}" for name, ratio in ratios.items() if not hidden(ratio, noise)]
    if not seen:
        return f"none of {len(ratios)} is distinguishable from noise of ±{percent(noise)}"
    rest = len(ratios) - len(seen)
    others = f"; the other {rest} are within noise of ±{percent(noise)}" if rest else ""
    return ", ".join(seen) + others
