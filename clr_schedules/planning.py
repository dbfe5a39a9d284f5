"""Computes numbers of iterations, such as a cycle's ``step_size``, from data and epochs."""

from __future__ import annotations

import numbers
from typing import Any

from clr_schedules import _arguments

# The batch size that `fit` uses by default.
DEFAULT_BATCH_SIZE = 32


def steps_per_epoch(data: Any, batch_size: int | None = None) -> int:
    """The number of iterations in one epoch.

    An epoch of ``n`` samples has ``ceil(n / batch_size)`` iterations: a partial last batch counts
    as an iteration, as in `fit`. Data that come in batches have one iteration for each batch.

    Args:
        data: The number of samples in one epoch, at least 1; or the training data, as for `fit`:
            an array, a list or a dictionary of arrays, a `tf.data.Dataset`, a `PyDataset` or a
            `DataLoader`. The function reads only the length of the data.
        batch_size: The number of samples in one batch, over all replicas. At least 1. Default: 32,
            as in `fit`. For data that come in batches, leave ``batch_size`` out.

    Returns:
        The number of iterations, at least 1.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If the data are empty or of unknown length; if a number of samples is not a
            whole number of at least 1; or if ``batch_size`` is given for data that come in batches.

    Example:
        >>> import numpy as np
        >>> import clr_schedules as clr
        >>> clr.steps_per_epoch(50_000, batch_size=128)
        391
        >>> clr.steps_per_epoch(np.zeros((1000, 28, 28)))
        32
    """
    rule = "the number of samples in an epoch (at least 1), or data whose length is known"
    size = None if batch_size is None else _arguments.count("batch_size", batch_size)
    if isinstance(data, numbers.Number) or getattr(data, "shape", None) == ():
        samples = _arguments.count("data", data)
        return -(-samples // (size or DEFAULT_BATCH_SIZE))
    if data is None or isinstance(data, (str, bytes)):
        raise TypeError(_arguments.received("data", rule, data))
    steps = count_batches(data, size)
    if steps is None:
        raise ValueError(
            f"{_arguments.received('data', rule, data)}, which has no end or no known length. "
            "Pass the number of samples instead, and `batch_size`"
        )
    if size is not None and count_samples(data) is None:
        raise ValueError(
            "Argument `batch_size` must be None for data that come in batches already. "
            f"Received: batch_size={_arguments.shown(batch_size)}, data={_arguments.shown(data)}"
        )
    if steps < 1:
        raise ValueError(f"{_arguments.received('data', rule, data)}, which is empty")
    return steps


def step_size(data: Any, batch_size: int | None = None, epochs: float = 4) -> int:
    """The number of iterations in a half-cycle that lasts this many epochs.

    This is ``epochs * steps_per_epoch(data, batch_size)``, rounded to whole iterations.

    Args:
        data: The number of samples in one epoch, or the training data; see `steps_per_epoch`.
        batch_size: The number of samples in one batch, over all replicas. Default: 32, as in
            `fit`. For data that come in batches, leave ``batch_size`` out.
        epochs: The length of a half-cycle in epochs. Above 0; fractions are allowed. Values from 2
            to 10 work well. Default: 4, so that a full cycle takes 8 epochs.

    Returns:
        The number of iterations, at least 1.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If the data are empty or of unknown length; if a number of samples is not a
            whole number of at least 1; if ``epochs`` is not above 0; or if ``batch_size`` is given
            for data that come in batches.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.2, "How can one estimate a good value for the cycle length?".

    Example:
        >>> import clr_schedules as clr
        >>> clr.step_size(50_000, batch_size=100)
        2000
    """
    steps = steps_per_epoch(data, batch_size)
    rule = f"above 0, and give a half-cycle of at most 2**53 iterations at {steps} per epoch"
    half_cycle = _arguments.real("epochs", epochs, rule) * steps
    if not 0 < half_cycle <= _arguments.MAX_STEPS:
        raise ValueError(_arguments.received("epochs", rule, epochs))
    return max(1, round(half_cycle))


def count_batches(data: Any, batch_size: int | None) -> int | None:
    """The number of batches in an epoch of data for `fit`; None if the length is unknown."""
    samples = count_samples(data)
    if samples is not None:
        return -(-samples // (batch_size or DEFAULT_BATCH_SIZE))
    length = cardinality(data)
    if length is not None:
        return length if length >= 0 else None
    try:
        # A PyDataset has `num_batches`; a DataLoader, or a Sequence of tf_keras, has a length.
        length = data.num_batches if hasattr(data, "num_batches") else len(data)
    except TypeError:
        return None
    return None if length is None else int(length)


def count_samples(data: Any) -> int | None:
    """The number of samples in arrays; None for other data."""
    while isinstance(data, (dict, list, tuple)) and len(data):
        first = next(iter(data.values() if isinstance(data, dict) else data))
        # A list of numbers, strings or lists, which some models accept as data.
        samples = isinstance(first, (numbers.Number, str, bytes, list, tuple))
        if isinstance(data, (list, tuple)) and (samples or getattr(first, "shape", None) == ()):
            return len(data)
        data = first
    shape = getattr(data, "shape", None)
    return int(shape[0]) if shape else None


def cardinality(data: Any) -> int | None:
    """The number of elements of a `tf.data.Dataset`: -1 if endless, -2 if unknown.

    None for other data.
    """
    if not hasattr(data, "cardinality"):
        return None
    # `cardinality` is a method, but a property if the dataset is distributed over replicas.
    return int(data.cardinality() if callable(data.cardinality) else data.cardinality)
