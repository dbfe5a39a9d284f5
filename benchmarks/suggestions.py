"""What a suggestion of the range test is worth: how far a training with it falls short of the best.

Each task is a small real training. For each seed, the data are split anew, and the network gets new
weights. The trainings of a seed differ in nothing but their rates: those of a grid of nine peaks
over four decades, and those that a range test of this seed suggests. The best of the grid is the
peak with the best mean over the seeds, since the best single training would be a lucky one. The
regret of a rule is the mean, over the seeds, of how much better the best of the grid is.

A median of 0.2 points was sought for `max_lr`, and not found. Of 57,000 rules (geometric means of
up to four marks of the curve), scored between the peaks of the grid, two have 0.19 on the tasks of
the choice (the present rule: 0.31), but 0.50 on the others (0.39). If a task is left out of the
choice, it has 0.34. The suggestions for the seeds of a task deviate by 0.1 decades, which costs 0.3
points even around the best peak of the other seeds. In the regressions, the training loss falls on
at rates at which the test loss rises: no range test can see that.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import clr_schedules as clr
from benchmarks import report

# The steps of a training and of its range test.
STEPS, TEST_STEPS = 300, 200
CYCLES = 3
SEEDS, SEEDS_OF_TABLES = 5, 10  # the tables are small, so their trainings are fast and noisy
# The highest peak of the grid.
HIGHEST = {"SGD": 10**0.5, "Adam": 10**-0.5, "AdamW": 10**-0.5}
ONE_CYCLE, TRIANGULAR = "`OneCycle`", "`Triangular`"
SINGLE_RATES = ("max_lr", "valley", "steepest", "minimum")
BOUNDS = "base_lr to max_lr"
MOMENTUM, DECAY = 0.9, 0.01
# The peaks of the trainings that come before a fine-tuning.
PRETRAINING = {"SGD": 0.05, "Adam": 0.003, "AdamW": 0.003}


@dataclasses.dataclass(frozen=True)
class Task:
    """A small training: its data, its network, its optimizer and its batch size.

    "digits 5 to 9" are fine-tuned: the network was trained on the digits 0 to 4 before, and has a
    new last layer.
    """

    data: str
    network: str
    optimizer: str
    batch_size: int

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{self.data}, {self.network}, {self.optimizer}, {self.batch_size}"

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return SEEDS if self.data.startswith("digits") else SEEDS_OF_TABLES

    @property
    def steps(self) -> int:
        """The steps of a training. With more, the networks only overfit the 221 patients."""
        return 100 if self.data == "diabetes" else STEPS

    @property
    def classes(self) -> int | None:
        """The number of classes; None for a regression."""
        counts = {"digits": 10, "digits 5 to 9": 5, "breast cancer": 2, "wine": 3}
        return counts.get(self.data)


# The rule for `max_lr` was chosen on the first tasks, and judged on the second ones.
CHOSEN_ON = (
    Task("digits", "dense", "SGD", 16),
    Task("digits", "dense", "Adam", 128),
    Task("digits", "convolutional", "SGD", 16),
    Task("digits", "convolutional", "Adam", 128),
    Task("digits", "batch-normalized", "SGD", 128),
    Task("digits", "batch-normalized", "AdamW", 16),
    Task("digits", "recurrent", "Adam", 16),
    Task("digits", "transformer", "AdamW", 16),
    Task("digits 5 to 9", "convolutional", "SGD", 16),
    Task("digits 5 to 9", "batch-normalized", "Adam", 128),
    Task("breast cancer", "dense", "Adam", 128),
    Task("breast cancer", "batch-normalized", "SGD", 16),
    Task("breast cancer", "dense", "SGD", 16),
    Task("wine", "dense", "SGD", 16),
    Task("diabetes", "dense", "SGD", 128),
    Task("diabetes", "dense", "AdamW", 16),
)
JUDGED_ON = (
    Task("digits", "dense", "AdamW", 16),
    Task("digits", "convolutional", "SGD", 128),
    Task("digits", "batch-normalized", "Adam", 16),
    Task("digits", "recurrent", "SGD", 16),
    Task("digits 5 to 9", "dense", "SGD", 128),
    Task("digits 5 to 9", "transformer", "AdamW", 16),
    Task("digits 5 to 9", "convolutional", "AdamW", 16),
    Task("breast cancer", "batch-normalized", "Adam", 128),
    Task("wine", "dense", "AdamW", 128),
    Task("wine", "batch-normalized", "Adam", 16),
    Task("diabetes", "batch-normalized", "Adam", 128),
)

Data = tuple[Any, Any]


class Training:
    """The trainings of a task: one model, whose whole training is one compiled call.

    The weights, the data and the rates are arguments of this call, so that hundreds of trainings
    take one compilation.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.model = network(task)
        self.optimizer: Any = {
            "SGD": functools.partial(keras.optimizers.SGD, momentum=MOMENTUM),
            "Adam": keras.optimizers.Adam,
            "AdamW": functools.partial(keras.optimizers.AdamW, weight_decay=DECAY),
        }[task.optimizer]()
        self.loss: Any = (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if task.classes
            else keras.losses.MeanSquaredError()
        )
        self.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, *self.optimizer.variables]
        self.fresh = [variable.numpy() for variable in self.optimizer.variables]
        # XLA compiles convolutions slowly, and what it makes of them is slow on a CPU.
        convolutions = any(isinstance(layer, keras.layers.Conv2D) for layer in self.model.layers)
        self.take = tf.function(self._take, jit_compile=not convolutions)

    def start(self, seed: int) -> tuple[list[Any], Data, Data]:
        """The initial weights, the training data and the test data of a seed."""
        keras.utils.set_random_seed(seed)
        weights = [variable.numpy() for variable in network(self.task).variables]
        train, test, before = split(self.task.data, seed)
        if before is not None:
            peak = PRETRAINING[self.task.optimizer]
            rates = clr.OneCycle(peak, STEPS).values(range(STEPS))
            self.run(weights, before, before, rates, seed)
            # All is kept but the last layer, which has two variables: the head.
            weights[:-2] = [variable.numpy() for variable in self.model.variables[:-2]]
        return weights, train, test

    def run(self, weights: list[Any], train: Data, test: Data, rates: Any, seed: int) -> Any:
        """The losses and accuracies of all steps, and the loss and accuracy on the test data."""
        for variable, value in zip(self.variables, weights + self.fresh, strict=True):
            variable.assign(value)
        order = batches(len(train[0]), self.task.batch_size, len(rates), seed)
        rates = np.asarray(rates, np.float32)
        return [part.numpy() for part in self.take(*train, *test, order, rates)]

    def _take(self, x: Any, y: Any, x_test: Any, y_test: Any, order: Any, rates: Any) -> Any:
        steps = len(rates)

        def step(i: Any, losses: Any, accuracies: Any) -> Any:
            x_batch, y_batch = tf.gather(x, order[i]), tf.gather(y, order[i])
            with tf.GradientTape() as tape:
                outputs = self.model(x_batch, training=True)
                loss = self.loss(y_batch, outputs)
            gradients = tape.gradient(loss, self.model.trainable_variables)
            self.optimizer.learning_rate = rates[i]
            self.optimizer.apply(gradients, self.model.trainable_variables)
            return (
                i + 1,
                losses.write(i, loss),
                accuracies.write(i, self._accuracy(y_batch, outputs)),
            )

        records = [tf.TensorArray(tf.float32, steps) for _ in range(2)]
        _, losses, accuracies = tf.while_loop(lambda i, *_: i < steps, step, [0, *records])
        outputs = self.model(x_test, training=False)
        score = self.loss(y_test, outputs), self._accuracy(y_test, outputs)
        return losses.stack(), accuracies.stack(), *score

    def _accuracy(self, y: Any, outputs: Any) -> Any:
        if not self.task.classes:
            return tf.constant(0.0)
        right = tf.argmax(outputs, axis=-1, output_type=tf.int32) == y
        return tf.reduce_mean(tf.cast(right, tf.float32))


def measure(task: Task, seeds: int | None = None) -> dict[str, Any]:
    """The scores of all trainings of a task.

    Returns:
        ``peaks``: the grid. ``grid``: for each kind of schedule, the scores of each peak, by seed.
        ``rates``: for each rule, the suggested rates, by seed; None where there is none.
        ``scores``: for each rule, the scores at these rates.
    """
    training, seeds = Training(task), seeds or task.seeds
    peaks = (HIGHEST[task.optimizer] * 10 ** -np.arange(4, -0.1, -0.5)).tolist()
    grid: dict[str, list[list[float]]] = {kind: [[] for _ in peaks] for kind in KINDS}
    found: dict[str, list[Any]] = {rule: [] for rule in (*SINGLE_RATES, BOUNDS)}
    scores: dict[str, list[float | None]] = {rule: [] for rule in found}
    for seed in range(seeds):
        start = training.start(seed)

        def score(kind: str, base_lr: float, max_lr: float) -> float:
            schedule = KINDS[kind](base_lr, max_lr, task.steps)
            rates = schedule.values(range(task.steps))
            *_, loss, accuracy = training.run(*start, rates, seed)  # noqa: B023
            # A regression is no worse than a constant, which has a loss of about 1.
            return 100 * float(accuracy) if task.classes else float(np.fmin(loss, 1.0))

        for kind, of_kind in grid.items():
            for peak, of_peak in zip(peaks, of_kind, strict=True):
                of_peak.append(score(kind, peak / 10, peak))
        suggestion = range_test(training, *start[:2], seed).suggest()
        for rule in SINGLE_RATES:
            rate = getattr(suggestion, rule)
            found[rule].append(rate)
            scores[rule].append(None if rate is None else score(ONE_CYCLE, rate / 10, rate))
        bounds = suggestion.base_lr, suggestion.max_lr
        found[BOUNDS].append(None if None in bounds else bounds)
        scores[BOUNDS].append(None if None in bounds else score(TRIANGULAR, *bounds))
    return {"peaks": peaks, "grid": grid, "rates": found, "scores": scores}


KINDS: dict[str, Any] = {
    ONE_CYCLE: lambda base_lr, max_lr, steps: clr.OneCycle(max_lr, steps),
    TRIANGULAR: lambda base_lr, max_lr, steps: clr.Triangular(
        base_lr, max_lr, steps // (2 * CYCLES)
    ),
}


def range_test(training: Training, weights: list[Any], train: Data, seed: int) -> Any:
    """The range test of a seed: that of the package, on a model with the same weights."""
    task = training.task
    model = network(task)
    model.compile(
        type(training.optimizer).from_config(training.optimizer.get_config()),
        training.loss,
        metrics=["accuracy"] if task.classes else None,
        jit_compile=False,
    )
    for variable, value in zip(model.variables, weights, strict=False):
        variable.assign(value)
    samples = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[0]), seed).repeat()
    return clr.lr_range_test(
        model,
        samples.batch(task.batch_size),
        num_steps=TEST_STEPS,
        smoothing=1 - 20 / TEST_STEPS,
        verbose=0,
    )


def regret(result: dict[str, Any], rule: str, *, percent: bool) -> dict[str, Any]:
    """How much better than the rule the best of the grid is, in the mean over the seeds.

    Args:
        result: the scores of a task.
        rule: the rule, or the bounds.
        percent: whether the scores are losses; the regret is then in percent of the best loss.

    Returns:
        ``mean``, None if the rule gave no rate at all; ``error``, its standard error; ``none``, the
        number of seeds for which the rule gave no rate.
    """
    grid = result["grid"][TRIANGULAR if rule == BOUNDS else ONE_CYCLE]
    sign = -1 if percent else 1
    best = max(grid, key=lambda scores: sign * statistics.mean(scores))
    unit = statistics.mean(best) / 100 if percent else 1.0
    scores = result["scores"][rule]
    worse = [
        sign * (of_best - score) / unit
        for of_best, score in zip(best, scores, strict=True)
        if score is not None
    ]
    return {
        "mean": statistics.mean(worse) if worse else None,
        "error": statistics.stdev(worse) / len(worse) ** 0.5 if len(worse) > 1 else math.nan,
        "none": len(scores) - len(worse),
    }


def floor(result: dict[str, Any]) -> float:
    """The regret of a peak that is as good as can be known: the best one of the other seeds."""
    by_seed = np.array(result["grid"][ONE_CYCLE]).T
    best = by_seed.mean(axis=0).argmax()
    of_others = (by_seed.sum(axis=0) - by_seed).argmax(axis=1)
    return float(np.mean(by_seed[:, best] - by_seed[np.arange(len(by_seed)), of_others]))


def markdown(results: dict[str, Any] | None) -> str:
    """The results as tables and sentences."""
    title = "## What a suggestion is worth\n\n"
    if not results:
        return title + "Not measured: `python -m benchmarks.suggestions` does.\n"
    tasks = {task.name: task for task in (*CHOSEN_ON, *JUDGED_ON)}
    rules = (*SINGLE_RATES, BOUNDS)
    regrets = {
        name: {rule: regret(one, rule, percent=not tasks[name].classes) for rule in rules}
        for name, one in results.items()
    }
    header = ["task", *(f"`{rule}`" for rule in SINGLE_RATES), "`Triangular`"]
    rows = [
        [name, *(_cell(of_task[rule], tasks[name]) for rule in rules)]
        for name, of_task in regrets.items()
    ]
    groups = {
        "accuracy, tasks of the choice": [task for task in CHOSEN_ON if task.classes],
        "accuracy, tasks of the judgement": [task for task in JUDGED_ON if task.classes],
        "loss, all tasks": [task for task in (*CHOSEN_ON, *JUDGED_ON) if not task.classes],
    }
    summary = []
    for group, of_group in groups.items():
        names = [task.name for task in of_group if task.name in regrets]
        seeds = sum(tasks[name].seeds for name in names)
        cells = []
        for rule in rules:
            means = [m for n in names if (m := regrets[n][rule]["mean"]) is not None]
            missing = sum(regrets[n][rule]["none"] for n in names)
            cells.append(
                f"{statistics.median(means):.2f}, {max(means):.2f}; {missing} of {seeds}"
                if means
                else ""
            )
        summary.append([group, *cells])
    errors = [
        regrets[name]["max_lr"]["error"]
        for name in regrets
        if tasks[name].classes and regrets[name]["max_lr"]["mean"] is not None
    ]
    own = [
        mean
        for name, one in regrets.items()
        if tasks[name].classes and (mean := one["max_lr"]["mean"]) is not None
    ]
    floors = [floor(one) for name, one in results.items() if tasks[name].classes]
    losses = [
        mean
        for name, one in regrets.items()
        if not tasks[name].classes and (mean := one["max_lr"]["mean"]) is not None
    ]
    regression = (
        " A regression of few and noisy samples (diabetes) is another matter: its loss ends up to "
        f"{max(losses):.0f} % above the best of the grid."
        if losses
        else ""
    )
    headline = f"""After a range test of {TEST_STEPS} steps, a training with
`OneCycle(suggestion.max_lr, ...)` ends, in the median of {len(own)} classifications,
{statistics.median(own):.2f} points of test accuracy below the best of a grid of nine peaks, and in
the worst {max(own):.2f} points.{regression}"""
    text = f"""The regret of each rule: points of test accuracy, or percent of the test loss of a
regression, below the best of nine peaks over four decades, in the mean over {SEEDS} seeds (digits)
or {SEEDS_OF_TABLES} (tables), ± its standard error, which is at most {max(errors):.2f} points for
`max_lr`. The best peak is the one with the best mean over the seeds. Of nine noisy means, the best
is a little too good: the peak that is the best one on the other seeds has a regret of
{statistics.median(floors):.2f} points in the median classification, and of {max(floors):.2f} in the
worst. The single rates are the `max_lr` of a `OneCycle`; `Triangular` goes {CYCLES} times from
`base_lr` to `max_lr` and back, and is compared with a grid of its own, from a tenth of each peak.
Trainings take {STEPS} steps (100 for diabetes), range tests {TEST_STEPS} steps. In brackets: the
seeds for which the rule gave no rate.

{report.table(header, rows)}

Median and worst of the tasks' regrets, and the number of seeds for which the rule gave no rate.
The rule of `max_lr` was chosen on {len(CHOSEN_ON)} tasks, and judged on the {len(JUDGED_ON)}
others, whose results the choice did not use.

{report.table(["", *header[1:]], summary)}"""
    last = max(results.values(), key=lambda one: str(one["environment"]["date"]))
    measured = report.measured({"environment": last["environment"]})
    return f"{title}{report.part('suggestions', headline)}\n\n{text}\n\n{measured}\n"


def _cell(of_rule: dict[str, Any], task: Task) -> str:
    """The regret of a rule in a task, and how often the rule gave nothing."""
    none = f" ({of_rule['none']})" if of_rule["none"] else ""
    if of_rule["mean"] is None:
        return f"none{none}"
    error = "" if math.isnan(of_rule["error"]) else f" ± {of_rule['error']:.2f}"
    return f"{of_rule['mean']:.2f}{error}{'' if task.classes else ' %'}{none}"


def main(names: Sequence[str]) -> None:
    """Measures the tasks of these names (default: all), and keeps the results of the others."""
    # TensorFlow takes the train functions of several models for one that is traced again.
    tf.get_logger().setLevel("ERROR")
    tasks = [*CHOSEN_ON, *JUDGED_ON]
    for task in tasks:
        if names and task.name not in names:
            continue
        start = time.perf_counter()
        result = measure(task)
        result |= {
            "environment": report.environment(),
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(f"{task.name}: {result['seconds']:.0f} s", file=sys.stderr, flush=True)
        results = (report.read("suggestions") or {}) | {task.name: result}
        results = {one.name: results[one.name] for one in tasks if one.name in results}
        report.write(results, "suggestions")
    print(report.filled(markdown(report.read("suggestions"))))


def batches(samples: int, batch_size: int, steps: int, seed: int) -> Any:
    """The samples of each batch: the data in a new order in each pass, cut into batches."""
    rng = np.random.default_rng(seed)
    passes = [rng.permutation(samples) for _ in range(-(-steps * batch_size // samples))]
    return np.concatenate(passes)[: steps * batch_size].reshape(steps, -1).astype("int32")


def split(name: str, seed: int) -> tuple[Data, Data, Data | None]:
    """The training and test data of a seed, and the data of the training before, if any."""
    x, y = data(name.removesuffix(" 5 to 9"))
    order = np.random.default_rng(seed).permutation(len(x))
    x, y, before = x[order], y[order], None
    if name == "digits 5 to 9":
        before = x[y < 5], y[y < 5]
        x, y = x[y >= 5], y[y >= 5] - 5
    train = {"digits": 600, "digits 5 to 9": 200}.get(name, len(x) // 2)
    return (x[:train], y[:train]), (x[train:], y[train:]), before


@functools.cache
def data(name: str) -> Data:
    """The samples and targets of a data set; tables are scaled to mean 0 and deviation 1."""
    from sklearn import datasets  # type: ignore[import-untyped]

    x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    if name == "digits":
        return x.reshape(-1, 8, 8).astype("float32") / 16, y.astype("int32")
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    if name == "diabetes":
        y = ((y - y.mean()) / y.std())[:, None].astype("float32")
    else:
        y = y.astype("int32")
    return x.astype("float32"), y


def network(task: Task) -> Any:
    """The network of a task, with new weights."""
    layers = keras.layers
    inputs = keras.Input(data(task.data.removesuffix(" 5 to 9"))[0].shape[1:])
    x = inputs
    if task.network == "dense":
        x = layers.Flatten()(x)
        for _ in range(2):
            x = layers.Dense(64 if task.classes else 16, "relu")(x)
    elif task.network == "recurrent":  # an image is a sequence of its rows
        x = layers.GRU(32)(x)
    elif task.network == "transformer":  # a row is a token
        x = layers.Dense(32)(x)
        x = Positions()(x)
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8)(y, y)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(32)(layers.Dense(64, "gelu")(y))
        x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    elif task.data.startswith("digits"):
        x = layers.Reshape((8, 8, 1))(x)
        normalized = task.network == "batch-normalized"
        for filters in (16, 32):
            x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=not normalized)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x) if normalized else x)
        x = layers.Flatten()(x)
    else:
        for _ in range(2):
            x = layers.Dense(64, use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(task.classes or 1)(x))


class Positions(keras.layers.Layer):  # type: ignore[misc]
    """Adds a vector that is learnt for each position."""

    def build(self, shape: Any) -> None:
        """Makes the vectors."""
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x: Any) -> Any:
        """Adds them."""
        return x + self.vectors


if __name__ == "__main__":
    main(sys.argv[1:])
