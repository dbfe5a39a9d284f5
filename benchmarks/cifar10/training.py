"""The post's network, trained with `fit` and tried with the range test, in this process."""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers

import clr_schedules as clr
from benchmarks import report
from benchmarks.cifar10 import plan, results
from benchmarks.cifar10.data import SHAPE, Data

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKEND: str = keras.config.backend()
# What is kept of an epoch, by what `fit` calls it: means over its batches, and over the test.
SCORES = {"train_loss": "loss", "test_loss": "val_loss", "test_accuracy": "val_accuracy"}
# What the curve of a range test is averaged to, to be kept.
_POINTS = 250


def network(learning_rate: Any, seed: int) -> Any:
    """The post's network, for pixels from 0 to 255, with the first weights that a seed has."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA's convolutions are slow on CPUs, and JAX has nothing else.
        jit_compile=BACKEND == "jax",
    )
    return model


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The batches of an epoch, a function of the seed and the epoch, so that arms are alike.

    Images that fill no batch are left out, other ones in each epoch.
    """

    def __init__(self, data: Data, seed: int) -> None:
        super().__init__()
        self._data, self._seed = data, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Has the batches be those of this epoch."""
        images = np.random.default_rng((self._seed, epoch)).permutation(len(self._data.x_train))
        self.order = images[: len(self) * plan.BATCH_SIZE].reshape(-1, plan.BATCH_SIZE)

    def __len__(self) -> int:
        return len(self._data.x_train) // plan.BATCH_SIZE

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        batch = self.order[index]
        return self._data.x_train[batch].astype(np.float32), self._data.y_train[batch]


class _Resumption(keras.callbacks.BackupAndRestore):  # type: ignore[misc]
    """Keras's own, which keeps the weights, and keeps the scores of the epochs as well.

    Who has the result removes the folder of both.
    """

    def __init__(self, folder: Path, batches: Batches) -> None:
        # Two of them, since one that is killed while it writes leaves none that can be read.
        super().__init__(str(folder / "backup"), double_checkpoint=True, delete_checkpoint=False)
        self._folder, self._batches = folder, batches
        self.scores: list[dict[str, float]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        # Killed while it wrote the first weights, it begins anew, with the network as it is made.
        # Killed while it wrote the epoch, after the weights, it has the weights.
        with contextlib.suppress(OSError, json.JSONDecodeError):
            super().on_train_begin(logs)
        # Keras writes the weights, then the epoch, and may be killed in between. The weights know.
        epoch = int(self.model.optimizer.iterations.numpy()) // len(self._batches)
        self.model._initial_epoch = epoch
        self.scores = results.scores(self._folder)[:epoch]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()
        self._batches.begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        scores = {name: float(logs[key]) for name, key in SCORES.items()}
        self.scores.append(scores | {"seconds": time.perf_counter() - self._start})
        # Before the weights, so that there is no epoch without scores.
        report.put(self._folder / "scores.json", json.dumps(self.scores))
        super().on_epoch_end(epoch, logs)


def train(
    scale: plan.Scale, arm: str, seed: int, best: float | None, data: Data, work: Path
) -> dict[str, Any]:
    """Trains an arm with a seed, from where it was stopped, and returns what is kept of it.

    In the folder ``work`` is, while it trains, what a training that is stopped goes on from.
    """
    rate = scale.learning_rate(arm, best)
    # What was stopped with another backend or rate is not gone on with.
    made_with, file = f"{BACKEND}, {rate}", work / "made_with.txt"
    if not file.exists() or file.read_text(encoding="utf-8") != made_with:
        shutil.rmtree(work, ignore_errors=True)
        report.put(file, made_with)
    batches = Batches(data, seed)
    resumption = _Resumption(work, batches)
    network(rate, seed).fit(
        batches,
        shuffle=False,  # they are
        epochs=scale.epochs_of(arm),
        validation_data=(data.x_test.astype(np.float32), data.y_test),
        validation_batch_size=1000,
        callbacks=[resumption],
        verbose=0,
    )
    return {
        "seed": seed,
        **{name: [_kept(epoch[name]) for epoch in resumption.scores] for name in SCORES},
        **_made(sum(epoch["seconds"] for epoch in resumption.scores)),
    }


def range_test(scale: plan.Scale, data: Data) -> dict[str, Any]:
    """The package's range test on the network: what is kept of it."""
    start = time.perf_counter()
    low, high = plan.RANGE_TEST_BOUNDS
    result = clr.lr_range_test(
        network(low, seed=0),
        data.x_train,
        data.y_train,
        min_lr=low,
        max_lr=high,
        num_steps=max(2, scale.steps_of(plan.RANGE_TEST)),
        growth="linear",
        batch_size=plan.BATCH_SIZE,
        verbose=0,
    )
    suggestion = vars(result.suggest())
    curve = {"learning_rate": result.learning_rates, "loss": result.losses, **result.metrics}
    return {
        "seed": 0,
        "min_lr": low,
        "max_lr": high,
        "steps_taken": len(result.losses),
        "stop_reason": result.stop_reason,
        "suggestion": suggestion | {"reasons": dict(suggestion["reasons"])},
        "curve": {
            name: [_kept(part.mean()) for part in np.array_split(values, _POINTS) if len(part)]
            for name, values in curve.items()
        },
        **_made(time.perf_counter() - start),
    }


def _kept(value: float) -> float | None:
    """The number as it is kept; None where it is not finite, which JSON does not have."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _made(seconds: float) -> dict[str, Any]:
    """When something was made, in how long, and on what."""
    engine = importlib.import_module(BACKEND)
    versions = {m.__name__: str(m.__version__) for m in (keras, engine, np, clr)}
    return {
        "seconds": round(seconds, 1),
        "date": report.now(),
        "environment": {
            "backend": BACKEND,
            "loop": "`fit`",
            "device": _device(),
            "precision": keras.config.dtype_policy().name,
            "system": f"{platform.system()} {platform.machine()}",
            "versions": {"python": platform.python_version()} | versions,
        },
    }


def _device() -> str:
    """The accelerator, or the processor where there is none."""
    if BACKEND == "jax":
        device = importlib.import_module("jax").devices()[0]
        return report.cpu() if device.platform == "cpu" else str(device.device_kind)
    if BACKEND == "torch":
        cuda = importlib.import_module("torch").cuda
        return str(cuda.get_device_name()) if cuda.is_available() else report.cpu()
    config = importlib.import_module("tensorflow").config
    for gpu in config.list_physical_devices("GPU"):
        return str(config.experimental.get_device_details(gpu).get("device_name", "GPU"))
    return report.cpu()
