"""The framework that Keras runs on. This folder holds all code that differs between frameworks.

The class `base.Backend` documents the operations that a framework must offer, and each of the other
modules implements them for one framework. The rest of the package uses `backend`, which is the
implementation for the running framework, and never asks which framework it is.

The legacy Keras (``tf_keras``) is used if TensorFlow itself would use it: if the environment
variable ``TF_USE_LEGACY_KERAS`` is ``1``, ``true`` or ``True``.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from clr_schedules._backend.base import FINITE_WEIGHTS as FINITE_WEIGHTS
from clr_schedules._backend.base import ScalarWriter as ScalarWriter

if TYPE_CHECKING:
    from clr_schedules._backend.base import Backend as Backend

_CLASSES = {"tensorflow": "TensorFlow", "tf_keras": "TFKeras", "jax": "JAX", "torch": "Torch"}


def _running_framework() -> str:
    """The name of the module in this folder that belongs to the running Keras."""
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        return "tf_keras"
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "jax", "torch"):
            raise
        raise ModuleNotFoundError(
            f"Keras is set to run on {error.name}, which is not installed. Install a framework for "
            'Keras, for instance TensorFlow with: pip install "clr-schedules[tensorflow]"; or set '
            "the environment variable KERAS_BACKEND to the framework that is installed: "
            "tensorflow, jax or torch.",
            name=error.name,
        ) from error
    return str(keras.config.backend())


_framework = _running_framework()
_module = importlib.import_module(f"{__name__}.{_framework}")
backend: Backend = getattr(_module, _CLASSES[_framework])()
keras: Any = backend.keras

if TYPE_CHECKING:

    class LearningRateSchedule:
        """The base class of schedules, for type checkers, because Keras has no type annotations."""

        def __call__(self, step: Any) -> Any: ...
        def get_config(self) -> dict[str, Any]: ...

else:
    LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule
