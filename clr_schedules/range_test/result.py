"""The result of a range test: the curve, the rates that it suggests, and files for both."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import io
import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clr_schedules import _arguments
from clr_schedules.range_test import suggestions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_S = TypeVar("_S")
_Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTestResult:
    """The curve of a range test: losses and metrics of single batches against the learning rate.

    Attributes:
        learning_rates: The rate of each step that was taken, in rising order: float64, of shape
            ``(steps,)``. (The optimizer gets the rates rounded to Keras's ``floatx()``.)
        losses: The loss of each step's batch alone. The last loss may be infinite or NaN.
        smoothed_losses: The exponential moving average of the losses, with a corrected start.
        metrics: For the name of each metric, its value on each step's batch alone. Metrics that
            are not scalars are left out.
        stop_reason: The reason for which the test ended: ``"completed: …"``, ``"diverged: …"`` or
            ``"stopped: …"``.
        growth: ``"exponential"`` or ``"linear"``.
        validation_learning_rates: The rates at which the model was evaluated on the validation
            data. Empty without validation data.
        validation_losses: The loss on the validation data at these rates.
        validation_metrics: The metrics on the validation data at these rates.
        accuracy_names: The names of those metrics that are accuracies. With None, these are the
            metrics that have the name of an accuracy in Keras, such as ``accuracy``, ``acc``,
            ``binary_accuracy`` or ``<output>_accuracy``.

    Example:
        >>> import numpy as np
        >>> import clr_schedules as clr
        >>> rates = np.geomspace(1e-6, 1.0, 200)
        >>> losses = 2.3 / (1 + rates / 1e-3) + (rates / 0.1) ** 2  # it falls, then it blows up
        >>> result = clr.RangeTestResult(rates, losses, losses, {}, "completed")
        >>> result
        <RangeTestResult: 200 steps from 1e-06 to 1; completed>
        >>> result.suggest().schedule(clr.Triangular, step_size=500)
        Triangular(base_lr=9.771241535346502e-05, max_lr=0.009890915067631291, step_size=500)
    """

    learning_rates: _Array
    losses: _Array
    smoothed_losses: _Array
    metrics: Mapping[str, _Array]
    stop_reason: str
    growth: str = "exponential"
    validation_learning_rates: _Array = dataclasses.field(default_factory=lambda: np.empty(0))
    validation_losses: _Array = dataclasses.field(default_factory=lambda: np.empty(0))
    validation_metrics: Mapping[str, _Array] = dataclasses.field(default_factory=dict)
    accuracy_names: Sequence[str] | None = None

    @property
    def accuracies(self) -> _Array | None:
        """For each step, the mean of the metrics that are accuracies; None without any."""
        names = self.accuracy_names
        if names is None:
            names = [name for name in self.metrics if is_name_of_accuracy(name)]
        return np.mean([self.metrics[name] for name in names], axis=0) if names else None

    def suggest(self) -> Suggestion:
        """Reads the bounds of a cycle, and three single rates, off the curve.

        ``base_lr`` follows the paper's rule: it is the rate at which the accuracy begins to rise,
        or, without an accuracy that rises, the rate at which the loss begins to fall. ``max_lr`` is
        a tenth to a fifth of the rate at which the loss blows up, but at most the rate in the
        middle of the range where the loss is lowest, or half of it, and half of the rate from which
        gradient descent is unstable. (The fewer steps the test takes for a decade of rates, the
        later the curve shows what a rate does, and the lower is the part.) If the loss does not
        blow up, ``max_lr`` follows the paper's rule: it is the rate at which the accuracy rises
        more slowly, becomes ragged or falls. The other rates follow the rules of fastai.

        Returns:
            The suggestion. A rate that the curve does not show is None, and ``reasons`` says why,
            and what to do.
        """
        answers = suggestions.suggest(
            self.learning_rates,
            self.losses,
            self.smoothed_losses,
            self.accuracies,
            self.stop_reason,
        )
        rates = {name: None if isinstance(a, str) else a for name, a in answers.items()}
        reasons = {name: a for name, a in answers.items() if isinstance(a, str)}
        return Suggestion(**rates, reasons=reasons)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the loss and the accuracy against the rate, and marks the suggested bounds.

        See `clr_schedules.plotting.plot_range_test`.

        Args:
            ax: The Matplotlib axes to draw on. Default: those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If Matplotlib is missing: ``pip install "clr-schedules[plot]"``.
        """
        from clr_schedules import plotting

        return plotting.plot_range_test(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result to a JSON file, which `load` reads.

        A temporary file in the same folder is written first and then renamed, so that the path
        never leads to an incomplete file.

        Args:
            path: The file to write. An existing file is replaced.
        """
        content = {"class": type(self).__name__, **_to_json(vars(self))}
        _write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RangeTestResult:
        """Reads a file that `save` wrote.

        Args:
            path: The file.

        Returns:
            The result, equal bit for bit to the saved result.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If `save` did not write the file, or if the file is damaged so that its
                columns differ in length.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("class", None) != cls.__name__:
                raise ValueError("the file holds an object of another class")
            names = content.pop("accuracy_names", None)
            names = None if names is None else tuple(names)
            result = cls(**_from_json(content), accuracy_names=names)
            result._check()
        # A file of another origin may hold values of any type, or be nested so deeply that it
        # exceeds Python's stack.
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"Argument `path` must be a file that `{cls.__name__}.save` wrote. "
                f"Received: path={_arguments.shown(str(path))}, which cannot be read as such a "
                f"file: {_arguments.one_line(error)}"
            ) from error
        return result

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes a table with a line for each step: learning rate, loss, smoothed loss, metrics.

        A temporary file in the same folder is written first and then renamed, so that the path
        never leads to an incomplete file.

        Args:
            path: The file to write. An existing file is replaced.
        """
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["step", "learning_rate", "loss", "smoothed_loss", *self.metrics])
        for step, row in enumerate(zip(*self._columns(), strict=True)):
            writer.writerow([step, *map(float, row)])
        _write(path, table.getvalue())

    def _columns(self) -> list[_Array]:
        """The arrays with an entry for each step."""
        return [self.learning_rates, self.losses, self.smoothed_losses, *self.metrics.values()]

    def _check(self) -> None:
        """Raises a ``ValueError`` if columns that belong together differ in length.

        ``stop_reason`` and ``growth`` must be strings.
        """
        validation = self.validation_learning_rates, self.validation_losses
        for columns in self._columns(), (*validation, *self.validation_metrics.values()):
            shapes = {np.shape(column) for column in columns}
            if len(shapes) != 1 or len(*shapes) != 1:
                raise ValueError(f"the columns have the shapes {sorted(shapes)}")
        if unknown := set(self.accuracy_names or ()) - set(self.metrics):
            raise ValueError(f"`accuracy_names` has names that are no metrics: {sorted(unknown)}")
        if not (isinstance(self.stop_reason, str) and isinstance(self.growth, str)):
            raise ValueError(
                "`stop_reason` and `growth` are not strings: "
                f"stop_reason={_arguments.shown(self.stop_reason)}, "
                f"growth={_arguments.shown(self.growth)}"
            )

    def __repr__(self) -> str:
        text = f"{len(self.learning_rates)} steps"
        if len(self.learning_rates):
            text += " from {:.3g} to {:.3g}".format(*self.learning_rates[[0, -1]])
        if validated := len(self.validation_learning_rates):
            text += f", validated at {validated} rates"
        return f"<RangeTestResult: {text}; {self.stop_reason}>"


@dataclasses.dataclass(frozen=True, repr=False)
class Suggestion:
    """The rates that a range test suggests. A rate that the curve does not show is None.

    Attributes:
        base_lr: The lower bound of a cycle: learning begins at this rate.
        max_lr: The upper bound of a cycle: well below the rate at which the loss blows up.
        steepest: The rate at which the smoothed loss falls fastest (fastai's ``steep``).
        valley: The middle of the longest descent of the smoothed loss (fastai's ``valley``).
        minimum: A tenth of the rate at which the smoothed loss is lowest (fastai's ``minimum``).
        reasons: For the name of each rate that is None, a sentence with the reason, and a sentence
            that says what to do.

    Example:
        >>> import numpy as np
        >>> import clr_schedules as clr
        >>> rates = np.geomspace(1e-6, 1e-2, 200)
        >>> losses = 2.3 / (1 + rates / 1e-3)  # the loss still falls when the test ends
        >>> suggestion = clr.RangeTestResult(rates, losses, losses, {}, "completed").suggest()
        >>> suggestion.max_lr is None
        True
        >>> print(suggestion.reasons["max_lr"])
        The loss was still falling at the highest rate, 0.01. Run the test again with a higher `max_lr`.
        >>> clr.Suggestion(1e-3, 6e-3, 1e-3, 2e-3, None, {"minimum": "The loss was flat. Wait."})
        Suggestion:
          base_lr   0.001
          max_lr    0.006
          steepest  0.001
          valley    0.002
          minimum   None
        minimum is None: The loss was flat. Wait.
    """  # noqa: E501 - an output of a doctest stands in one line

    base_lr: float | None
    max_lr: float | None
    steepest: float | None
    valley: float | None
    minimum: float | None
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def schedule(self, kind: Callable[..., _S], **arguments: Any) -> _S:
        """Makes a schedule with the suggested bounds that the schedule takes.

        Args:
            kind: The class of a schedule, or any other function, that takes ``base_lr``, ``max_lr``
                or both by name: `Triangular2` takes both, `OneCycle` takes ``max_lr``. A function
                with ``**kwargs`` gets both.
            **arguments: The other arguments of ``kind``, such as ``step_size``. A bound that is
                given here replaces the suggested bound.

        Returns:
            The schedule, or whatever else ``kind`` returns.

        Raises:
            TypeError: If ``kind`` takes neither bound.
            ValueError: If ``kind`` takes a bound that the curve does not show. The message says
                why, and what to do.

        Example:
            >>> import clr_schedules as clr
            >>> suggestion = clr.Suggestion(1e-3, 6e-3, None, None, None)
            >>> suggestion.schedule(clr.Triangular2, step_size=2000)
            Triangular2(base_lr=0.001, max_lr=0.006, step_size=2000)
            >>> suggestion.schedule(clr.OneCycle, total_steps=10_000).max_lr
            0.006
        """
        parameters = inspect.signature(kind).parameters
        any_name = inspect.Parameter.VAR_KEYWORD in {p.kind for p in parameters.values()}
        names = [name for name in ("base_lr", "max_lr") if name in parameters or any_name]
        if not names:
            raise TypeError(
                "Argument `kind` must take `base_lr` or `max_lr`, or both, by name. "
                f"Received: kind={_arguments.shown(kind)}"
            )
        bounds = {name: getattr(self, name) for name in names if name not in arguments}
        missing = [name for name, rate in bounds.items() if rate is None]
        if missing:
            why = " ".join(self.why_none(missing))
            own = ", ".join(f"{name}=…" for name in missing)
            raise ValueError(
                f"The range test does not show all bounds that the schedule takes. {why} "
                f"(Or give what is missing yourself: schedule(…, {own}).)"
            )
        return kind(**bounds, **arguments)

    def why_none(self, names: Iterable[str]) -> list[str]:
        """Says why rates are None: a reason that several rates share is said once.

        Args:
            names: The names of the rates. Those that are not None are left out.

        Returns:
            A text for each reason, such as ``"base_lr and max_lr are None: …"``.
        """
        sharing: dict[str, list[str]] = {}
        for name in names:
            if getattr(self, name) is None:
                sharing.setdefault(self.reasons.get(name, ""), []).append(name)
        return [
            f"{_listed(same)} {'is' if len(same) == 1 else 'are'} None"
            + (f": {reason}" if reason else ".")
            for reason, same in sharing.items()
        ]

    def __repr__(self) -> str:
        rates = {name: getattr(self, name) for name in suggestions.NAMES}
        lines = [
            f"  {name:<8}  {'None' if rate is None else format(rate, '.3g')}"
            for name, rate in rates.items()
        ]
        return "\n".join(["Suggestion:", *lines, *self.why_none(suggestions.NAMES)])


def is_name_of_accuracy(name: str) -> bool:
    """Whether a metric of this name is an accuracy, as Keras names its accuracies.

    The last word of the name is ``acc`` or ``accuracy``, as in ``binary_accuracy`` or
    ``<output>_acc``. A number may follow, by which Keras distinguishes equal names.
    """
    return re.search(r"(^|[^a-z])(acc|accuracy)(_\d+)?$", name.lower()) is not None


def _listed(names: list[str]) -> str:
    """The names with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _to_json(value: Any) -> Any:
    """Converts arrays to lists; infinity and NaN, which JSON lacks, become strings for `float`."""
    if isinstance(value, Mapping):
        return {name: _to_json(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return [entry if math.isfinite(entry) else str(entry) for entry in value.tolist()]
    return value


def _from_json(value: Any) -> Any:
    """The inverse of `_to_json`."""
    if isinstance(value, dict):
        return {name: _from_json(entry) for name, entry in value.items()}
    return np.array(value, np.float64) if isinstance(value, list) else value


def _write(path: str | os.PathLike[str], text: str) -> None:
    """Writes a temporary file in the same folder, and renames it when it is complete."""
    path = Path(os.path.realpath(path))  # a link stays, and the linked file is replaced
    half_done = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        half_done.write_text(text, encoding="utf-8", newline="")
        half_done.replace(path)
    finally:
        half_done.unlink(missing_ok=True)
