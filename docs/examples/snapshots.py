"""
The ends of cycles: snapshots, ensembles and averages
=====================================================

At the end of a cycle the learning rate is low, and the model has settled: the moment to keep it.
``CycleSnapshots`` keeps the weights at the end of each cycle. What are they worth? This page trains
a small network in two ways, with the same number of steps:

===============  ==================================================================
one-cycle        one cycle that takes all steps
cosine restarts  five cycles, each of a fifth of the steps, and a snapshot at each end
===============  ==================================================================

Six models come from the snapshots of one training with restarts:

========================  =========================================================
the last end              the model at the end of the training
the best end              the snapshot with the lowest loss on the validation images
ensemble of 3, or of 5    the mean of the predictions of the last three, or of all five
average of 3, or of 5     one model with the mean of their weights
========================  =========================================================

All of it is done for five seeds. The page takes about a minute on two CPU cores.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # less noise, in digits and messages

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import clr_schedules as clr

tf.get_logger().setLevel("ERROR")  # TensorFlow warns that every new model is traced

# %%
# The data
# --------
# Images of 8 x 8 pixels. The network learns from 200 labelled images, and 100 more are for
# validation. All others tell the accuracy. Each seed has labelled images of its own.

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16

SEEDS, TRAIN, VALIDATION = 5, 200, 100


def split(seed):
    """The images for training, for validation and for the test, each with as many of each digit."""
    x, rest, y, rest_digits = train_test_split(
        images, digits, train_size=TRAIN, stratify=digits, random_state=seed
    )
    x_val, x_test, y_val, y_test = train_test_split(
        rest, rest_digits, train_size=VALIDATION, stratify=rest_digits, random_state=seed
    )
    return (x, y), (x_val, y_val), (x_test, y_test)


splits = [split(seed) for seed in range(SEEDS)]

# %%
# The network
# -----------
# It has batch normalization, whose statistics an average of weights must estimate anew. It ends
# with probabilities, so that an ensemble takes the mean of probabilities.


def network(seed):
    """The network, untrained."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


# %%
# The trainings
# -------------
# In a cycle of the restarts the network sees each image five times. The callback needs no argument,
# since the schedule knows where its cycles end. An epoch of ``fit`` is a cycle here: the images,
# five times over and shuffled. So the validation at the end of an epoch is at the end of a cycle,
# and a cycle can be one call into the graph (``steps_per_execution``).

BATCH_SIZE, CYCLES, PASSES = 20, 5, 5
CYCLE = PASSES * clr.steps_per_epoch(TRAIN, BATCH_SIZE)
STEPS = CYCLES * CYCLE

SCHEDULES = {
    "one-cycle": lambda peak: clr.OneCycle(peak, total_steps=STEPS),
    "cosine restarts": lambda peak: clr.CosineRestarts(peak, first_cycle_steps=CYCLE),
}
for make in SCHEDULES.values():
    print(make(0.01), "ends cycles at", make(0.01).cycle_ends(STEPS).tolist())

# %%
# To compile a network takes longer than to train it here. So a network with its optimizer is
# trained again for each seed: with other weights, and with the first state of the optimizer.


class Training:
    """A network with a schedule, which can be trained again from the start."""

    def __init__(self, schedule):
        self.model, optimizer = network(seed=0), keras.optimizers.Adam(schedule)
        self.model.compile(
            optimizer,
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=CYCLE,
        )
        optimizer.build(self.model.trainable_variables)
        self.first_state = [variable.numpy() for variable in optimizer.variables]
        self.snapshots = {}

    def run(self, seed):
        """Trains with a seed; returns the loss on the validation images at the end."""
        self.model.set_weights(network(seed).get_weights())
        for variable, value in zip(self.model.optimizer.variables, self.first_state, strict=True):
            variable.assign(value)
        (x, y), validation, _ = splits[seed]
        self.snapshots[seed] = clr.CycleSnapshots()
        history = self.model.fit(
            np.tile(x, (PASSES, 1, 1, 1)),
            np.tile(y, PASSES),
            batch_size=BATCH_SIZE,
            epochs=CYCLES,
            validation_data=validation,
            validation_batch_size=VALIDATION,
            callbacks=[self.snapshots[seed]],
            verbose=0,
        )
        return history.history["val_loss"][-1]


# %%
# The peaks
# ---------
# Each schedule may need another peak. So both get the same search over three peaks with the first
# three seeds, and the lowest mean loss on the validation images at the end of the training decides.
# The images that tell the accuracy are not in the search.
#
# All of this was decided before the first result was seen, but for what was cut so that the page
# takes a minute (the passes over the images in a cycle, the seeds of the search, a pooling layer),
# and for the peaks: a lowest one was in the search that neither schedule took, and the highest one
# was added since one-cycle had taken the highest of the three.

PEAKS = 3e-3, 1e-2, 3e-2
SEARCHED = range(3)

trainings, losses, peaks = {}, {}, {}
for name, make in SCHEDULES.items():
    candidates = {peak: Training(make(peak)) for peak in PEAKS}
    losses[name] = {
        peak: np.mean([training.run(seed) for seed in SEARCHED])
        for peak, training in candidates.items()
    }
    peaks[name] = min(losses[name], key=losses[name].get)
    trainings[name] = candidates[peaks[name]]
    for seed in range(len(SEARCHED), SEEDS):
        trainings[name].run(seed)

print(f"{'loss at the peak':17}" + "".join(f"{peak:>8g}" for peak in PEAKS) + "    chosen")
for name, found in losses.items():
    print(f"{name:17}" + "".join(f"{loss:8.3f}" for loss in found.values()) + f"{peaks[name]:10g}")

# %%
# The models
# ----------
# A snapshot has the logs of its epoch. So the best end can be chosen without another validation.
# An average estimates the statistics of batch normalization on the images of the training.


def accuracy_of(model, seed):
    """The accuracy in percent on the images of the test."""
    x, y = splits[seed][2]
    predictions = np.argmax(keras.ops.convert_to_numpy(model(x, training=False)), axis=-1)
    return 100 * np.mean(predictions == y)


def models_from(snapshots, model, seed):
    """The names of the models that come from the snapshots of a training, and the models."""
    (x, _), _, _ = splits[seed]
    snapshots.snapshots[-1].load_into(model)
    yield "the last end", model
    min(snapshots.snapshots, key=lambda each: each.logs["val_loss"]).load_into(model)
    yield "the best end", model
    for count in (3, 5):
        newest = snapshots.snapshots[-count:]
        yield f"ensemble of {count}", snapshots.ensemble(model, newest)
        yield f"average of {count}", snapshots.average(model, x, BATCH_SIZE, newest)


names = ["the last end", "the best end", "ensemble of 3", "ensemble of 5"]
names = ["one-cycle", *names, "average of 3", "average of 5"]
accuracy = {name: np.zeros(SEEDS) for name in names}
one_cycle, restarts = trainings.values()
for seed in range(SEEDS):
    one_cycle.snapshots[seed].snapshots[-1].load_into(one_cycle.model)
    accuracy["one-cycle"][seed] = accuracy_of(one_cycle.model, seed)
    for name, model in models_from(restarts.snapshots[seed], restarts.model, seed):
        accuracy[name][seed] = accuracy_of(model, seed)

# %%
# The outcome
# -----------
# The intervals hold the mean with a confidence of 95 % (Student's t). The seeds are paired: in the
# last two columns, both accuracies have the same images and the same first weights.


def interval(values):
    """Half the width of the interval around the mean."""
    return stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)


def gains(base):
    """The differences to a model, seed by seed, for all other models."""
    return {name: found - accuracy[base] for name, found in accuracy.items() if name != base}


print(f"{'':17}{'accuracy in %':>15}{'minus one-cycle':>18}{'minus the last end':>21}")
over_one_cycle, over_last_end = gains("one-cycle"), gains("the last end")
for name, found in accuracy.items():
    line = f"{name:17}{found.mean():8.2f} ± {interval(found):4.2f}"
    for width, difference in ((11, over_one_cycle), (14, over_last_end)):
        if name in difference:
            values = difference[name]
            line += f"{values.mean():+{width}.2f} ± {interval(values):4.2f}"
        else:
            line += " " * (width + 7)
    print(line)

# %%
# If an interval contains 0, then five seeds do not show a difference:


def verdict(values):
    """What the interval of a difference says."""
    if abs(values.mean()) <= interval(values):
        return "not distinguishable"
    return "better" if values.mean() > 0 else "worse"


for base in ("one-cycle", "the last end"):
    print(f"compared with {base}:")
    for name, values in gains(base).items():
        print(f"    {name}: {verdict(values)}")

# %%
# No model comes out a point better or worse than one-cycle in the mean, and neither the ensembles
# nor the averages are better than the last end of the same training. So on these images the
# snapshots of one training gain nothing.

assert all(abs(values.mean()) < 1 for values in over_one_cycle.values())
made = "ensemble of 3", "ensemble of 5", "average of 3", "average of 5"
assert not any(verdict(over_last_end[name]) == "better" for name in made)

# %%
# An ensemble can only mend errors that its members do not share. So how often does an end of a
# cycle predict another digit than the last end does, in percent of the images of the test?


def predictions_of(snapshot, seed):
    """The digits that the model predicts with the weights of a snapshot."""
    snapshot.load_into(restarts.model)
    return np.argmax(restarts.model(splits[seed][2][0], training=False), axis=-1)


differing = np.zeros((CYCLES, SEEDS))
for seed in range(SEEDS):
    each = [predictions_of(end, seed) for end in restarts.snapshots[seed].snapshots]
    differing[:, seed] = [100 * np.mean(one != each[-1]) for one in each]
for cycle, found in enumerate(differing, start=1):
    print(f"end of cycle {cycle}: {found.mean():.1f} %")

# %%
# The ends come nearer to the last one from cycle to cycle, and already the third predicts the same
# digit for all but a few images. In the third cycle the network is right on nearly all images of
# the training, and the later cycles do not lead it far away. The earlier ends differ more, but they
# are also less trained. A larger network on more data has longer to go between its ends. The papers
# (`Huang et al., 2017 <https://arxiv.org/abs/1704.00109>`_, `Izmailov et al., 2018
# <https://arxiv.org/abs/1803.05407>`_) found gains there.

assert (np.diff(differing.mean(axis=1)) < 0).all()
assert differing[2:].mean(axis=1).max() < 3
third = [restarts.snapshots[seed].snapshots[2].logs["accuracy"] for seed in range(SEEDS)]
assert np.mean(third) > 0.98

# %%
# The picture
# -----------
# Above, the rates with the snapshots, and the accuracy on the validation images at each end.

BLUE, ORANGE = "#0072b2", "#d55e00"
figure = plt.figure(figsize=(10, 7), layout="constrained")
top, bottom = figure.subfigures(2, height_ratios=(4, 5), hspace=0.06)
left, right = top.subplots(1, 2)
iterations, ends = np.arange(STEPS), [end.iteration for end in restarts.snapshots[0].snapshots]
for (name, make), color, style in zip(SCHEDULES.items(), (ORANGE, BLUE), ("--", "-"), strict=True):
    left.plot(iterations, make(peaks[name]).values(iterations), style, color=color, label=name)
last_rates = SCHEDULES["cosine restarts"](peaks["cosine restarts"]).values(np.array(ends) - 1)
left.plot(ends, last_rates, "D", color="black", label="snapshot")
left.set(title="The rates", xlabel="iteration", ylabel="learning rate", xticks=[0, *ends])
left.legend(loc="upper right")
validated = 100 * np.array(
    [
        [end.logs["val_accuracy"] for end in restarts.snapshots[seed].snapshots]
        for seed in range(SEEDS)
    ]
)
right.plot(ends, validated.T, "o", color=BLUE, alpha=0.5)
right.plot(ends, validated.mean(axis=0), "D-", color="black", label="mean of the seeds")
right.set(title="The ends of the cycles", xlabel="iteration", xticks=[0, *ends])
right.set_ylabel("validation accuracy in %")
right.legend(loc="lower right")

left, right = bottom.subplots(1, 2)
for panel, found in ((left, accuracy), (right, over_one_cycle)):
    for row, values in enumerate(found.values()):
        panel.plot(values, np.full(SEEDS, row - 0.12), "o", color=BLUE, alpha=0.5)
        bar = {"color": "black", "capsize": 5, "elinewidth": 1.5}
        panel.errorbar(values.mean(), row + 0.12, xerr=interval(values), fmt="D", **bar)
    panel.set_yticks(range(len(found)), list(found))
    panel.set_ylim(len(found) - 0.5, -0.5)
left.set_title("Digits, 200 labelled images")
left.set_xlabel("accuracy in %: seeds, and mean with its 95 % interval")
right.set_title("Compared with one-cycle, seed by seed")
right.set_xlabel("difference in points of accuracy")
right.axvline(0, color="black", linewidth=0.8, linestyle="--")

# %%
# ``make images`` runs this page where the README is, and saves the picture for the pages.

if Path("docs", "images").is_dir():
    picture = Path("docs", "images", "snapshots.png")
    figure.savefig(picture, dpi=130, facecolor="white")
    print(picture)
