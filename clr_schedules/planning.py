"""How many iterations: from samples, batches and epochs to the ``step_size`` of a cycle."""

from __future__ import annotations

from clr_schedules import _arguments


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """The iterations of one epoch: ``ceil(num_samples / batch_size)``.

    A partial last batch is a step, as in ``Model.fit``.

    Args:
        num_samples: The samples of one epoch. At least 1.
        batch_size: The samples of one batch, over all replicas. At least 1.

    Returns:
        The number of iterations, at least 1.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If an argument is not a whole number of at least 1.

    Example:
        >>> import clr_schedules as clr
        >>> clr.steps_per_epoch(num_samples=50_000, batch_size=128)
        391
    """
    samples = _arguments.count("num_samples", num_samples)
    return -(-samples // _arguments.count("batch_size", batch_size))


def step_size(num_samples: int, batch_size: int, epochs: float = 4) -> int:
    """The half-cycle, in iterations, that lasts this many epochs.

    ``epochs * steps_per_epoch(num_samples, batch_size)``, rounded to whole iterations.

    Args:
        num_samples: The samples of one epoch. At least 1.
        batch_size: The samples of one batch, over all replicas. At least 1.
        epochs: The epochs of a half-cycle. Above 0, may be a fraction. 2 to 10 work well; default:
            4, so that a full cycle takes 8 epochs.

    Returns:
        The number of iterations, at least 1.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If a count is not a whole number of at least 1, or ``epochs`` not above 0.

    Reference:
        L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, arXiv:1506.01186,
        section 3.2, "How can one estimate a good value for the cycle length?".

    Example:
        >>> import clr_schedules as clr
        >>> clr.step_size(num_samples=50_000, batch_size=100)
        2000
    """
    steps = steps_per_epoch(num_samples, batch_size)
    rule = f"above 0, and {steps} steps times it below 2**62"
    half_cycle = _arguments.real("epochs", epochs, rule) * steps
    if not 0 < half_cycle <= _arguments.MAX_COUNT:
        raise ValueError(_arguments.received("epochs", rule, epochs))
    return max(1, round(half_cycle))
