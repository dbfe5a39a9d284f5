"""The pictures. Matplotlib is imported when one is drawn, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clr_schedules import _arguments

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clr_schedules.schedules.base import Schedule

# More points than any screen has columns; beyond, every n-th iteration is drawn.
_MAX_POINTS = 200_000


def plot_schedule(schedule: Schedule, num_steps: int, ax: Axes | None = None) -> Axes:
    """Draws the learning rate of a schedule against the iteration.

    Args:
        schedule: The schedule.
        num_steps: The number of iterations to draw, from 0. At least 1.
        ax: The Matplotlib axes to draw on; default: those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        TypeError, ValueError: If ``num_steps`` is not a whole number of at least 1, or ``ax`` is
            something else.

    Example:
        >>> import clr_schedules as clr
        >>> ax = plot_schedule(clr.Triangular(1e-3, 6e-3, step_size=2000), num_steps=8000)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('iteration', 'learning rate')
    """
    num_steps = _arguments.count("num_steps", num_steps)
    ax = _axes(ax)
    steps = np.arange(0, num_steps, max(1, num_steps // _MAX_POINTS))
    label = schedule.name or type(schedule).__name__
    ax.plot(steps, schedule.values(steps), linewidth=1.6, label=label)
    ax.set(xlabel="iteration", ylabel="learning rate", title=label)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    ax.margins(x=0)
    ax.grid(alpha=0.3)
    return ax


def _axes(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(
            'Drawing needs Matplotlib. Install it with: pip install "clr-schedules[plot]"'
        ) from error
    if ax is None:
        return plt.subplots(figsize=(7, 3.5), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(_arguments.received("ax", "Matplotlib axes, or None", ax))
    return ax
