"""
Handwritten digits in a third of the steps?
===========================================

A cyclical learning rate promises the accuracy of a constant one in fewer iterations. This page puts
the promise to the test on real data: a small convolutional network learns scikit-learn's 1,797
handwritten digits, with Adam. A range test finds the bounds of the cycles, and then the network is
trained five times over.

====================  ===================================================
constant 0.001        Adam's default, with all the steps
constant 0.001        the same, with a third of the steps
constant 0.003        a better rate, with a third of the steps
``Triangular2``       with a third of the steps
``Triangular``        with a third of the steps
====================  ===================================================

The second and the third run keep the comparison fair: on an easy problem, a third of the steps may
be enough for any rate, and who has the time to search finds a better constant one than the default.
Each of the five is trained with three seeds. A seed gives the same first weights and the same order
of batches to all, so that they differ in the learning rate and in nothing else.

The page runs in about a minute on two CPU cores: ``make demo``.
"""

import os
import time
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import clr_schedules as clr
from clr_schedules import plotting

# %%
# The data
# --------
# Images of 8 x 8 pixels, with values from 0 to 16. We train on 1,280 of them, which makes 40 full
# batches of 32, and measure the accuracy on the other 517. Both parts have the same share of each
# digit.

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x, x_val, y, y_val = train_test_split(
    images, labels, train_size=1280, stratify=labels, random_state=0
)

BATCH_SIZE = 32
STEPS_PER_EPOCH = clr.steps_per_epoch(len(x), BATCH_SIZE)

# %%
# The network
# -----------
# The same seed gives the same first weights. A whole epoch can be one call into the graph
# (``steps_per_execution``), since a schedule is part of the compiled train step.


def network(seed):
    """The network, untrained."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def compiled_model(learning_rate):
    """The network with an optimizer."""
    model = network(seed=0)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EPOCH,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def save(figure, name):
    """Writes a picture to ``results/``, beside its place and renamed: it is never half there."""
    picture = Path("results", name)
    picture.parent.mkdir(exist_ok=True)
    half_done = picture.with_suffix(".part")
    figure.savefig(half_done, format="png", dpi=150)
    half_done.replace(picture)
    return picture


# %%
# The bounds
# ----------
# The rate climbs through three decades on either side of Adam's default, one step at each rate.
# The lower bound is where the accuracy begins to rise, and the upper bound is well below the rate
# at which the loss blows up; ``range_test.py`` beside this page tells how to read them off the
# curve.
#
# The test sees the training images and no others.

model = compiled_model(1e-3)
start = time.perf_counter()
result = clr.lr_range_test(model, x, y, batch_size=BATCH_SIZE, min_lr=1e-6, max_lr=1.0, verbose=0)
test_seconds = time.perf_counter() - start
suggestion = result.suggest()
pictures = [save(result.plot().figure, "range_test.png")]

# %%
# The policies
# ------------
# A half-cycle takes two epochs, the least that the paper recommends. Three cycles are then 12
# epochs, and training ends where a cycle ends: at the lowest rate. If the curve had shown no
# bounds, ``schedule`` would raise here, and say why.

step_size = clr.step_size(len(x), BATCH_SIZE, epochs=2)
triangular2 = suggestion.schedule(clr.Triangular2, step_size=step_size)
triangular = suggestion.schedule(clr.Triangular, step_size=step_size)

THIRD = 3 * 2 * step_size
FULL = 3 * THIRD

print(f"range test: {len(result.learning_rates)} steps, {test_seconds:.1f} s")
print(f"  {result.stop_reason}")
print(f"  suggested: base_lr {suggestion.base_lr:.1e}, max_lr {suggestion.max_lr:.1e}\n")

axes = plotting.plot_schedules([triangular, triangular2], THIRD + 1)
axes.set(title="Three cycles between the bounds of the range test")
pictures.append(save(axes.figure, "policy.png"))

# %%
# The trainings
# -------------
# The other constant rate is the choice of someone who knows how it ends: 0.003 is one of those that
# did best on these very validation images.

RUNS = {
    ("constant 0.001", FULL): 1e-3,
    ("constant 0.001", THIRD): 1e-3,
    ("constant 0.003", THIRD): 3e-3,
    ("triangular2", THIRD): triangular2,
    ("triangular", THIRD): triangular,
}
SEEDS = (0, 1, 2)


def label(run):
    """What a run is called in the output."""
    name, steps = run
    return f"{name}, {steps:,} steps"


# %%
# A schedule goes where a constant rate would go, and ``fit`` needs no callback for it. The only one
# here moves the progress bar. To make the graph of a model takes seconds, so each run has one model
# for all of its seeds: it gets the weights of the seed, and its optimizer is put back.

models = {run: compiled_model(learning_rate) for run, learning_rate in RUNS.items()}
untrained = {
    run: [variable.numpy() for variable in model.optimizer.variables]
    for run, model in models.items()
}


def train(run, seed, on_epoch_end):
    """The validation accuracy in % after every other epoch, and the seconds that ``fit`` took."""
    model, (_, steps) = models[run], run
    model.set_weights(network(seed).get_weights())
    for variable, value in zip(model.optimizer.variables, untrained[run], strict=True):
        variable.assign(value)
    start = time.perf_counter()
    history = model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=steps // STEPS_PER_EPOCH,
        validation_data=(x_val, y_val),
        validation_batch_size=len(x_val),
        validation_freq=2,  # each costs as much as half an epoch
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    return 100 * np.array(history.history["val_accuracy"]), seconds


# %%
# Five trainings, three seeds. In a terminal, a bar tells how long it still takes; elsewhere, each
# training leaves a line.

console = Console(highlight=False)
progress = Progress(
    TextColumn("{task.description}"),
    BarColumn(bar_width=None),
    MofNCompleteColumn(),
    TextColumn("epochs, left:"),
    TimeRemainingColumn(),
    console=console,
    expand=True,
    transient=True,
    disable=not console.is_terminal,
)

curves = {run: [] for run in RUNS}  # per seed: the accuracy after every other epoch
seconds = {run: [] for run in RUNS}
with progress:
    epochs = sum(steps // STEPS_PER_EPOCH for _, steps in RUNS)
    task = progress.add_task("", total=len(SEEDS) * epochs)
    for seed in SEEDS:
        for run in RUNS:
            progress.update(task, description=f"seed {seed}: {label(run)}")
            curve, took = train(run, seed, on_epoch_end=lambda *_: progress.advance(task))
            curves[run].append(curve)
            seconds[run].append(took)
            console.print(f"seed {seed}: {label(run):<29}{curve[-1]:7.2f} %{took:6.1f} s")

# %%
# The outcome
# -----------
# The accuracy is the one after the last step, on the images that were not trained on: the best one
# along the way would be chosen with their help. One image more or less is 0.19 points. The seconds
# are those of the fastest ``fit``: the first of a model also makes its graph.

final = {run: np.array([curve[-1] for curve in curves[run]]) for run in RUNS}

table = Table(box=box.SIMPLE_HEAD)
table.add_column("learning rate")
table.add_column("steps", justify="right")
table.add_column("final validation accuracy", justify="right")
table.add_column("seconds", justify="right")
for run in RUNS:
    name, steps = run
    accuracy = f"{final[run].mean():.2f} ± {final[run].std(ddof=1):.2f} %"
    table.add_row(name, f"{steps:,}", accuracy, f"{min(seconds[run]):.1f}")
console.print(table)
console.print(f"Mean ± standard deviation over {len(SEEDS)} seeds, without the range test.\n")

# %%
# Three seeds make no significance test. So this is all that is said: two runs are level if their
# means are no further apart than the larger of their standard deviations.


def compare(run, constant):
    """Which of the two is better, and by how much."""
    difference = final[run].mean() - final[constant].mean()
    spread = max(final[run].std(ddof=1), final[constant].std(ddof=1))
    better = "better than" if difference > 0 else "worse than"
    verdict = "level with" if abs(difference) <= spread else better
    return f"{verdict} {label(constant)} ({difference:+.2f} points, spread {spread:.2f})"


full, third, chosen, *cyclical = RUNS
for run in cyclical:
    console.print(f"{label(run)}:")
    for constant in (third, chosen, full):
        console.print(f"  {compare(run, constant)}")

# %%
# The picture
# -----------
# Above, the rates: ``values`` computes those of any steps, without training. Below, what they led
# to, at the top and at the end of each cycle: the lines are the mean over the seeds, the bands
# reach from the worst seed to the best. As far as both go, the two runs at 0.001 are one curve, up
# to rounding: a constant rate does not know how many steps are to come.

LOOKS = {  # colours of Okabe and Ito, and line styles for those who print in black and white
    full: {"color": "#000000", "linestyle": "-", "linewidth": 1.2},
    third: {"color": "#E69F00", "linestyle": ":", "linewidth": 2.8},
    chosen: {"color": "#009E73", "linestyle": "-.", "linewidth": 1.6},
    cyclical[0]: {"color": "#D55E00", "linestyle": "-", "linewidth": 2.2},
    cyclical[1]: {"color": "#0072B2", "linestyle": "--", "linewidth": 1.6},
}

figure, (top, bottom) = plt.subplots(
    2, sharex=True, figsize=(9, 6.5), height_ratios=(2, 3), layout="constrained"
)
for run, learning_rate in RUNS.items():
    look = LOOKS[run] | {"marker": "o", "markersize": 5, "markevery": [-1]}
    steps = np.arange(run[1] + 1)
    constant = isinstance(learning_rate, float)
    rates = np.full(len(steps), learning_rate) if constant else learning_rate.values(steps)
    top.plot(steps, rates, label=label(run), **look)

    measured = steps[2 * STEPS_PER_EPOCH :: 2 * STEPS_PER_EPOCH]
    curve = np.array(curves[run])
    bottom.fill_between(
        measured, curve.min(axis=0), curve.max(axis=0), color=look["color"], alpha=0.12, lw=0
    )
    bottom.plot(measured, curve.mean(axis=0), **look)

top.set(title=f"Handwritten digits with Adam: mean and range of {len(SEEDS)} seeds")
top.set(ylabel="learning rate", ylim=(0, None))
top.set(xlim=(0, 1.01 * FULL), xticks=range(0, FULL + 1, 2 * step_size))
top.legend(loc="upper right")
bottom.set(xlabel="step", ylabel="validation accuracy in %", ylim=(92, 100))
for axes in (top, bottom):
    axes.grid(alpha=0.3)

pictures.append(save(figure, "digits.png"))
print("", *pictures, sep="\n")
# sphinx_gallery_thumbnail_number = -1
