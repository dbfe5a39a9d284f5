"""The images, as uint8 in memory: Keras's own copy of CIFAR-10, or a folder of images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SHAPE = (32, 32, 3)
KERAS = "keras"
_PARTS = ("train", "test")
_SUFFIXES = (".jpg", ".jpeg", ".png")

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Data:
    """Images of 32 by 32 pixels with three colours, and the index of the class of each."""

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels


class Source:
    """Where the images come from, looked at but not yet read.

    Args:
        place: ``"keras"``, or a folder with ``train/airplane/*.jpg``, ``test/airplane/*.jpg`` and
            so on for all ten classes, or one that holds such a folder as ``cifar10``.

    Attributes:
        label: What the data set is called.
        train: The number of train images.
        test: The number of test images.

    Raises:
        FileNotFoundError: If the folder, a part of it or a class is missing or empty.
    """

    def __init__(self, place: str) -> None:
        self._files: dict[str, list[list[Path]]] = {}
        if place == KERAS:
            self.label, self.train, self.test = "CIFAR-10", 50_000, 10_000
            return
        folder = Path(place)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"Argument `data` must be 'keras' or a folder of images. Received: {place}, "
                "which is no folder"
            )
        if not (folder / "train").is_dir() and (folder / "cifar10" / "train").is_dir():
            folder /= "cifar10"
        for part in _PARTS:
            self._files[part] = _listed(folder, part)
        suffixes = {
            file.suffix.lower()
            for classes in self._files.values()
            for of_class in classes
            for file in of_class
        }
        # JPEG images are not quite those of CIFAR-10; PNG images are.
        self.label = "CIFAR-10" if ".png" in suffixes else "CIFAR-10 (JPEG)"
        self.train, self.test = (sum(map(len, self._files[part])) for part in _PARTS)

    def load(self) -> Data:
        """Reads the images.

        Raises:
            OSError: If Keras cannot download its copy.
            ValueError: If an image cannot be read, or is not of 32 by 32 pixels.
        """
        if not self._files:
            import keras

            try:
                (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
            except Exception as error:  # Keras raises no narrower one when it cannot download.
                raise OSError(
                    "Argument `data` must not be 'keras' where that cannot be downloaded; give a "
                    f"folder with --data. Received: keras ({error})"
                ) from error
            return Data(
                np.asarray(x_train, np.uint8),
                np.asarray(y_train, np.int32).reshape(-1),
                np.asarray(x_test, np.uint8),
                np.asarray(y_test, np.int32).reshape(-1),
            )
        found: list[Any] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for part in _PARTS:
                classes = self._files[part]
                files = [file for of_class in classes for file in of_class]
                images = np.empty((len(files), *SHAPE), np.uint8)
                # Many at once: one file is read in less time than a thread takes to be told to.
                starts = range(0, len(files), 500)
                list(pool.map(lambda i, f=files, to=images: _read(f, to, i), starts))
                labels = np.repeat(np.arange(len(classes), dtype=np.int32), list(map(len, classes)))
                found += [images, labels]
        return Data(*found)


def _listed(folder: Path, part: str) -> list[list[Path]]:
    """The images of each class, sorted."""
    rule = "Argument `data` must be a folder with `train` and `test`, and all ten classes in each."
    if not (folder / part).is_dir():
        raise FileNotFoundError(f"{rule} Received: {folder}, without {part}")
    files = [sorted(_images(folder / part / name)) for name in CLASSES]
    missing = [name for name, of_class in zip(CLASSES, files, strict=True) if not of_class]
    if missing:
        raise FileNotFoundError(
            f"{rule} Received: {folder / part}, without images (jpg or png) of {', '.join(missing)}"
        )
    return files


def _images(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _read(files: list[Path], to: Images, start: int) -> None:
    """Reads some images into their places."""
    from PIL import Image

    for at, file in enumerate(files[start : start + 500], start):
        try:
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"Cannot read the image {file}: {error}") from error
        if pixels.shape != SHAPE:
            height, width, _ = pixels.shape
            raise ValueError(
                "Every image of `data` must be of 32 by 32 pixels. "
                f"Received: {file} of {width} by {height}"
            )
        to[at] = pixels
