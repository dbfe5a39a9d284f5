"""The images, as uint8 in memory: Keras's own copy of CIFAR-10, or a folder of images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPE = (32, 32, 3)
KERAS = "keras"


class Data(NamedTuple):
    """Images of 32 by 32 pixels with three colours, and the index of the class of each."""

    label: str
    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int32]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int32]


def load(place: str) -> Data:
    """Reads the images.

    Args:
        place: ``"keras"``, or a folder with ``train/airplane/*.jpg``, ``test/airplane/*.jpg`` and
            so on for all ten classes (or ``*.png``).

    Raises:
        OSError: If there are no images, or one cannot be read.
        ValueError: If a class is unknown, or an image is not of 32 by 32 pixels.
    """
    if place == KERAS:
        import keras

        (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
        y_train, y_test = (y.ravel().astype(np.int32) for y in (y_train, y_test))
        return Data("CIFAR-10", x_train, y_train, x_test, y_test)
    arrays: list[Any] = []
    for part in ("train", "test"):
        files = sorted((Path(place) / part).glob("*/*.[jp]*g"))
        if not files:
            raise FileNotFoundError(
                "Argument `data` must be 'keras' or a folder with `train` and `test`, and all ten "
                f"classes in each. Received: no images (jpg or png) in {Path(place) / part}"
            )
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(_read, files))
        labels = [CLASSES.index(file.parent.name) for file in files]
        arrays += [np.stack(images), np.array(labels, np.int32)]
    # JPEG images are not quite those of CIFAR-10; PNG images are.
    return Data("CIFAR-10" if files[0].suffix == ".png" else "CIFAR-10 (JPEG)", *arrays)


def _read(file: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != SHAPE:
        raise ValueError(f"Images of `data` must be of 32 by 32 pixels. Received: {file}")
    return pixels
