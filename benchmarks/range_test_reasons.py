"""How often a range test gives a reason wrongly, and how often it misses one: small trainings.

The trainings are range tests of linear models and of networks with one hidden layer, on data that
are drawn anew for each seed. They are written in NumPy, and all seeds of a situation are trained
at the same time: 200 seeds take a second or two.

``python -m benchmarks.range_test_reasons`` writes ``results/range_test_reasons.md``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clr_schedules as clr
from benchmarks import report
from clr_schedules.range_test.suggestions import smooth

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Situation:
    """Data, their order, a model, and the rates of a range test."""

    order: str = "shuffled"  # anew in each pass; or "fixed", "class", "source", "time", "target"
    classes: int = 10  # 0: a regression
    samples: int = 1920
    steps: int = 300
    batch: int = 32
    hidden: int = 32  # 0: a linear model
    optimizer: str = "adam"
    low: float = 1e-7
    high: float = 10.0
    spread: float = 1.0  # of the classes, in standard deviations of their samples
    majority: float = 0.0  # the part of the first class that is added to its equal share
    dead: bool = False  # no hidden unit ever answers
    random_labels: bool = False
    loss: str = "crossentropy"  # or "mse", of classes one-hot
    smoothing: float = 0.0  # of the labels
    features: int = 16
    bias: float = 0.3  # of the outputs before the training: their standard deviation
    trained: int = 0  # steps of training before the test
    broken: bool = False  # one sample is NaN


def curves(situation: Situation, seeds: int, first: int = 0) -> Iterator[clr.RangeTestResult]:
    """The range tests of the situation, one for each seed."""
    s = situation
    data = [_data(s, np.random.default_rng(first + seed)) for seed in range(seeds)]
    x, y, order = (np.stack(parts) for parts in zip(*data, strict=True))
    rates = np.geomspace(s.low, s.high, s.steps)
    rng = np.random.default_rng(first)
    width = s.hidden or s.features
    outputs = max(s.classes, 1)
    weights = [
        rng.standard_normal((seeds, s.features, width)) * (2 / s.features) ** 0.5,
        np.full((seeds, 1, width), -1e9 if s.dead else 0.0),
        rng.standard_normal((seeds, width, outputs)) * (1 / width) ** 0.5,
        s.bias * rng.standard_normal((seeds, 1, outputs)),
    ]
    if s.majority:
        weights[3][:, :, 0] += 2
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in weights]
    losses, accuracies = np.empty((2, s.steps, seeds))
    rows = np.arange(seeds)[:, None]
    with np.errstate(all="ignore"):
        for step in range(s.trained):
            batch = order[:, step % s.steps]
            gradients = _gradients(s, weights, x[rows, batch], y[rows, batch])[-1]
            for w, g, m in zip(weights, gradients, moments, strict=True):
                w -= 0.01 * _direction("adam", g, m, step)
        moments = [[np.zeros_like(w), np.zeros_like(w)] for w in weights]
        for step, rate in enumerate(rates):
            batch = order[:, step]
            losses[step], accuracies[step], gradients = _gradients(
                s, weights, x[rows, batch], y[rows, batch]
            )
            for w, g, m in zip(weights, gradients, moments, strict=True):
                w -= rate * _direction(s.optimizer, g, m, step)
    for loss, accuracy in zip(losses.T, accuracies.T, strict=True):
        yield _ended(rates, loss, accuracy if s.classes else None)


def _data(s: Situation, rng: np.random.Generator) -> tuple[Array, Array, Any]:
    """Inputs, targets, and for each step the samples of its batch."""
    n = s.samples
    x = rng.standard_normal((n, s.features))
    if s.classes:
        y = rng.integers(0, s.classes, n)
        y[rng.random(n) < s.majority] = 0
        centres = s.spread * rng.standard_normal((s.classes, s.features))
        x += centres[y]
    else:
        y = x @ rng.standard_normal(s.features) / 2 + 0.3 * rng.standard_normal(n)
    when = np.arange(n) / n
    if s.order == "source":
        x[when > 0.5] = 1.5 * x[when > 0.5] + 0.5 * rng.standard_normal(s.features)
    elif s.order == "time":
        if s.classes:
            x += np.sin(2 * math.pi * (when[:, None] + rng.random(s.features)))
        else:
            y = y + 1.5 * np.sin(2 * math.pi * when)
    elif s.order == "class" or s.order == "target":
        by = np.argsort(y, kind="stable")
        x, y = x[by], y[by]
    if s.random_labels:
        y = rng.permutation(y)
    if s.broken:
        x[rng.integers(0, n)] = math.nan
    passes = -(-s.steps * s.batch // n)
    order = np.concatenate(
        [rng.permutation(n) if s.order == "shuffled" else np.arange(n) for _ in range(passes)]
    )
    return x, y, order[: s.steps * s.batch].reshape(s.steps, s.batch)


def _gradients(s: Situation, weights: list[Array], x: Array, y: Array) -> Any:
    """Losses, accuracies and gradients of a batch, for all seeds."""
    first, bias, second, last_bias = weights
    hidden = np.maximum(x @ first + bias, 0) if s.hidden else x
    out = hidden @ second + last_bias
    if s.classes:
        target = np.eye(s.classes)[y]
        accuracy = np.mean(np.argmax(out, -1) == y, -1)
    else:
        target, accuracy = y[..., None], np.zeros(len(x))
    if s.classes and s.loss == "crossentropy":
        target = (1 - s.smoothing) * target + s.smoothing / s.classes
        out = out - out.max(-1, keepdims=True)
        logs = out - np.log(np.exp(out).sum(-1, keepdims=True))
        loss = -np.mean((target * logs).sum(-1), -1)
        slope = (np.exp(logs) - target) / s.batch
    else:
        loss = np.mean((out - target) ** 2, axis=(-1, -2))
        slope = 2 * (out - target) / s.batch / target.shape[-1]
    back = slope @ second.swapaxes(-1, -2) * (hidden > 0)
    used = bool(s.hidden)
    return (
        loss,
        accuracy,
        [
            x.swapaxes(-1, -2) @ back * used,
            back.sum(1, keepdims=True) * used,
            hidden.swapaxes(-1, -2) @ slope,
            slope.sum(1, keepdims=True),
        ],
    )


def _direction(optimizer: str, gradient: Array, moments: list[Array], step: int) -> Array:
    """The update of an optimizer at a rate of 1."""
    if optimizer == "sgd":
        return gradient
    if optimizer == "momentum":
        moments[0] *= 0.9
        moments[0] += gradient
        return moments[0]
    for moment, power, beta in zip(moments, (1, 2), (0.9, 0.999), strict=True):
        moment *= beta
        moment += (1 - beta) * gradient**power
    mean, square = moments[0] / (1 - 0.9 ** (step + 1)), moments[1] / (1 - 0.999 ** (step + 1))
    return np.asarray(mean / (np.sqrt(square) + 1e-7))


def _ended(rates: Array, losses: Array, accuracies: Array | None) -> clr.RangeTestResult:
    """The test up to where it would have ended."""
    smoothed = smooth(losses, max(0.0, 1 - 20 / len(losses)))
    with np.errstate(invalid="ignore"):
        goes_on = smoothed <= 4 * np.minimum.accumulate(np.maximum(smoothed, 0))
    goes_on[:20] = True
    goes_on &= np.isfinite(losses)
    steps = len(losses) if goes_on.all() else int(np.argmin(goes_on)) + 1
    metrics = {} if accuracies is None else {"accuracy": accuracies[:steps]}
    what = "completed: " if goes_on.all() else "diverged: "
    return clr.RangeTestResult(rates[:steps], losses[:steps], smoothed[:steps], metrics, what)


# What is counted ----------------------------------------------------------------------------------

SEEDS = 200
ORDER = "The batches come in an order", "The loss was already falling at the lowest rate"
CHANCE = ("The accuracy stayed at",)
# A loss alone cannot tell a trained model from one that cannot learn; the accuracy can.
MAYBE_TRAINED, TRAINED = ("may be trained already",), ("from the start: the model may be trained",)
NOT_FINITE = ("Look for NaN and infinite values",)
NO_BAND = ("Learning began only at",)


def _orders(names: tuple[str, ...]) -> dict[str, Situation]:
    """Situations that differ in the order of their data and in their training."""
    trainings: dict[str, dict[str, Any]] = {
        "10 classes, Adam": {},
        "10 classes, SGD with momentum": {"optimizer": "momentum"},
        "10 classes, linear, SGD": {"hidden": 0, "optimizer": "sgd"},
        "10 classes, batches of 4": {"batch": 4, "samples": 240},
        "10 classes, little to learn": {"spread": 0.3},
        "10 classes, 20 batches": {"steps": 200, "samples": 640},
        "10 classes, falls at once": {"low": 1e-3, "optimizer": "momentum"},
        "2 classes": {"classes": 2},
        "regression": {"classes": 0},
        "regression, linear, SGD": {"classes": 0, "hidden": 0, "optimizer": "sgd"},
    }
    if names[0] in ("shuffled", "fixed"):
        trainings |= {
            "10 classes, 1,000 steps, batches of 16": {
                "steps": 1000,
                "samples": 6400,
                "batch": 16,
                "optimizer": "momentum",
            },
            "10 classes, batches of 1": {"batch": 1, "samples": 200},
            "10 classes, 10 batches": {"samples": 320},
            "2 classes, squared error, 9 of 10 in one": {
                "classes": 2,
                "majority": 0.8,
                "loss": "mse",
            },
        }
    return {
        f"{training}: {order}": Situation(order=order, **arguments)
        for order in names
        for training, arguments in trainings.items()
        if (order == "class") <= bool(arguments.get("classes", 10))
        and (order == "target") <= (arguments.get("classes", 10) == 0)
    }


_UNABLE: dict[str, dict[str, Any]] = {
    "10 classes, Adam": {},
    "10 classes, SGD": {"optimizer": "sgd"},
    "10 classes, label smoothing": {"smoothing": 0.1},
    "10 classes, squared error": {"loss": "mse"},
    "2 classes": {"classes": 2},
    "3 classes": {"classes": 3},
    "100 classes": {"classes": 100, "samples": 3200},
    "10 classes, half in one": {"majority": 0.5},
}
_ABLE: dict[str, dict[str, Any]] = {
    "10 classes, Adam": {},
    "10 classes, SGD": {"optimizer": "sgd"},
    "10 classes, 100 steps": {"steps": 100},
    "10 classes, batches of 4": {"batch": 4, "samples": 600},
    "10 classes, little to learn": {"spread": 0.3},
    "10 classes, label smoothing": {"smoothing": 0.1},
    "10 classes, squared error": {"loss": "mse"},
    "2 classes": {"classes": 2},
    "2 classes, 9 of 10 in one": {"classes": 2, "majority": 0.8, "spread": 0.5},
    "2 classes, 95 of 100 in one": {"classes": 2, "majority": 0.9, "spread": 0.5},
    "10 classes, 9 of 10 in one": {"majority": 0.9, "spread": 0.5},
    "100 classes": {"classes": 100, "samples": 3200},
    "100 classes, squared error": {"classes": 100, "samples": 3200, "loss": "mse"},
    "1,000 classes": {"classes": 1000, "samples": 6400, "spread": 0.3, "features": 64},
}
_SIZES: dict[str, dict[str, Any]] = {
    "10 classes, Adam": {},
    "10 classes, SGD with momentum": {"optimizer": "momentum"},
    "10 classes, batches of 8": {"batch": 8, "samples": 480},
    "2 classes": {"classes": 2},
    "regression": {"classes": 0},
}


def _all(cases: dict[str, dict[str, Any]], **more: Any) -> dict[str, Situation]:
    """The situations of these arguments, and of these more."""
    return {name: Situation(**arguments, **more) for name, arguments in cases.items()}


# For each question: what one of its reasons says, and the situations.
QUESTIONS: dict[str, tuple[tuple[str, ...], dict[str, Situation]]] = {
    "batches in an order, false alarms": (ORDER, _orders(("shuffled", "fixed"))),
    "batches in an order, found": (ORDER, _orders(("class", "source", "time", "target"))),
    "accuracy of a guess, false alarms": (
        CHANCE,
        _all(_ABLE),
    ),
    "accuracy of a guess, found": (
        CHANCE,
        {
            f"{name}: {what}": Situation(**arguments, **more)
            for what, more in {
                "dead units": {"dead": True, "bias": 1.0},
                "labels at random": {"random_labels": True, "bias": 1.0},
            }.items()
            for name, arguments in _UNABLE.items()
        },
    ),
    "a trained model, false alarms": (TRAINED, _all(_ABLE)),
    "a trained model, found": (MAYBE_TRAINED, _all(_SIZES, trained=2000)),
    "values that are not finite, false alarms": (NOT_FINITE, _all(_SIZES)),
    "values that are not finite, found": (NOT_FINITE, _all(_SIZES, broken=True)),
    "no band for a cycle, in trainings from nothing": (NO_BAND, _all(_SIZES)),
}


@functools.cache
def suggested(situation: Situation, seeds: int) -> list[clr.Suggestion]:
    """What the tests suggest; several questions share a situation."""
    return [result.suggest() for result in curves(situation, seeds)]


def count(reason: tuple[str, ...], situation: Situation, seeds: int = SEEDS) -> tuple[int, int]:
    """How many of the tests give the reason, and how many give a ``max_lr``."""
    found = suggested(situation, seeds)
    name = "base_lr" if reason is NO_BAND else "max_lr"
    given = sum(any(part in one.reasons.get(name, "") for part in reason) for one in found)
    return given, sum(one.max_lr is not None for one in found)


def measure(seeds: int = SEEDS) -> dict[str, dict[str, tuple[int, int]]]:
    """The counts of each question."""
    return {
        question: {name: count(reason, situation, seeds) for name, situation in situations.items()}
        for question, (reason, situations) in QUESTIONS.items()
    }


def markdown(results: dict[str, dict[str, tuple[int, int]]], seeds: int = SEEDS) -> str:
    """The counts as tables."""
    parts = [
        "# Reasons of a range test: false alarms and misses",
        f"Made by `python -m benchmarks.range_test_reasons`: {seeds} seeds for each row, range "
        "tests of small trainings in NumPy. What gives neither the reason nor a `max_lr` gives "
        "another reason.",
    ]
    for question, rows in results.items():
        total = sum(given for given, _ in rows.values())
        parts += [
            f"## {question[0].upper()}{question[1:]}: {total} of {len(rows) * seeds}",
            report.table(
                ["training: order, or what is wrong", "this reason", "a `max_lr`"],
                [[name, str(given), str(top)] for name, (given, top) in rows.items()],
            ),
        ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    text = markdown(measure())
    (report.RESULTS / "range_test_reasons.md").write_text(text, encoding="utf-8")
    print(text, end="")
