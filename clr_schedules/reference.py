r"""The schedules' formulas in NumPy: what every other implementation is held against.

Plain float64 and Python or int64 integers; no Keras, no tensors, nothing of the package. One
cycle has ``length = step_size + step_size_down`` iterations, and

.. code-block:: none

    cycle    = floor(iteration / length)                 finished cycles, from 0
    position = iteration - cycle * length                in [0, length)
    triangle = position / step_size                      rising half-cycle
               (length - position) / step_size_down      falling half-cycle
    lr       = base_lr + (max_lr - base_lr) * wave(triangle) * scale

which is, where both half-cycles are equal, the formula of L. N. Smith, *Cyclical Learning Rates
for Training Neural Networks* (arXiv:1506.01186), section 3.1: ``1 - x`` there is ``triangle`` here,
and its ``cycle`` counts from 1.

Each function takes ``iteration``: an integer from 0 or an array of such, of any shape; floats are
taken as the integers that they are. It returns float64 of the same shape. The results are within a
few units of the last place of float64, so they can judge float32 to eight digits more than it has.

>>> import clr_schedules.reference as reference
>>> reference.triangular([0, 1000, 2000, 3000, 4000], base_lr=0.001, max_lr=0.006, step_size=2000)
array([0.001 , 0.0035, 0.006 , 0.0035, 0.001 ])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def as_iterations(iteration: npt.ArrayLike, name: str = "iteration") -> Integers:
    """The iterations as int64, which holds them exactly.

    Args:
        iteration: an integer or an array of integers (or of floats that are whole), each in
            [0, 2^63).
        name: what an error calls them.

    Returns:
        An int64 array of the same shape.

    Raises:
        TypeError: for what is no number.
        ValueError: for a negative, fractional, infinite or too large one.

    >>> as_iterations([0, 2.0, 2**53])
    array([               0,                2, 9007199254740992])
    """
    array = np.asarray(iteration)
    error = (
        f"Argument `{name}` must be an integer from 0 to 2**63 - 1, or an array of such. "
        f"Received: {name}={iteration!r}"
    )
    # Python's integers, kept as objects, among them those beyond 64 bits.
    integers = array.dtype.kind == "O" and all(type(x) is int for x in array.flat)
    if array.dtype.kind not in "iuf" and not integers:
        raise TypeError(error)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        in_range = (array >= 0) & (array < 2.0**63) & (array == np.floor(array))
    else:
        in_range = (array >= 0) & (array <= 2**63 - 1)
    if not np.all(in_range):
        raise ValueError(error)
    return array.astype(np.int64)


def triangular(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
) -> Floats:
    """The paper's ``triangular``: every cycle climbs to ``max_lr``.

    >>> triangular([0, 1, 2, 3, 4, 5, 6], 0.0, 1.0, step_size=2, step_size_down=4)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    return cyclical(iteration, base_lr, max_lr, step_size, step_size_down)


def triangular2(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
) -> Floats:
    """The paper's ``triangular2``: the amplitude halves every cycle.

    >>> triangular2([2, 6, 10], 0.0, 1.0, step_size=2)
    array([1.  , 0.5 , 0.25])
    """
    return cyclical(
        iteration,
        base_lr,
        max_lr,
        step_size,
        step_size_down,
        scale_fn=lambda cycle: np.exp2(1.0 - cycle),
    )


def exp_range(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
    *,
    gamma: float,
) -> Floats:
    """``exp_range``: the amplitude is scaled by ``gamma ** iteration``.

    (In the paper both bounds decline so; in the implementations that people use, the amplitude.)

    >>> exp_range([0, 2, 6], 0.0, 1.0, step_size=2, gamma=0.5)
    array([0.      , 0.25    , 0.015625])
    """
    return cyclical(
        iteration,
        base_lr,
        max_lr,
        step_size,
        step_size_down,
        scale_fn=lambda iterations: np.power(gamma, iterations),
        scale_mode="iterations",
    )


def cyclical(
    iteration: npt.ArrayLike,
    base_lr: float,
    max_lr: float,
    step_size: int,
    step_size_down: int | None = None,
    wave: str = "linear",
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: str = "cycle",
) -> Floats:
    """The general cycle: any wave, any scale; never outside ``[base_lr, max_lr]``.

    >>> cyclical([0, 1, 2], 0.0, 1.0, step_size=4, wave="cosine").round(4)
    array([0.    , 0.1464, 0.5   ])
    """
    iterations = as_iterations(iteration)
    up = step_size
    down = step_size if step_size_down is None else step_size_down
    length = up + down
    cycle = iterations // length
    position = iterations - cycle * length
    triangle = np.where(position <= up, position / up, (length - position) / down)
    amplitude = np.sin(np.pi / 2 * triangle) ** 2 if wave == "cosine" else triangle
    if scale_fn is not None:
        x = iterations if scale_mode == "iterations" else cycle + 1
        # A scale may underflow to 0, and be infinite where its formula has a pole (1 / iteration).
        with np.errstate(all="ignore"):
            scale = np.asarray(scale_fn(x.astype(np.float64)), np.float64)
            amplitude = amplitude * np.clip(scale, -1e300, 1e300)
    # base_lr + (max_lr - base_lr) need not be max_lr in float64; at the top, say so.
    rate = np.where(amplitude == 1.0, max_lr, base_lr + (max_lr - base_lr) * amplitude)
    return np.asarray(np.clip(rate, base_lr, max_lr), np.float64)
