"""The framework that Keras runs on. Everything that differs between frameworks is in this package.

`base` documents what a framework must offer, and each module beside it offers that for one
framework. The rest of the package uses `backend`, the one that is running, and has no condition on
which one it is.

The legacy Keras (``tf_keras``) runs where TensorFlow itself would choose it: with the environment
variable ``TF_USE_LEGACY_KERAS`` set to ``1``, ``true`` or ``True``.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from clr_schedules._backend.base import ScalarWriter as ScalarWriter

if TYPE_CHECKING:
    from clr_schedules._backend.base import Backend as Backend

_CLASSES = {"tensorflow": "TensorFlow", "tf_keras": "TFKeras", "jax": "JAX", "torch": "Torch"}


def _running_framework() -> str:
    """The name of the module in this package that fits the running Keras."""
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
        """What a schedule must offer to Keras; Keras itself carries no types."""

        def __call__(self, step: Any) -> Any: ...
        def get_config(self) -> dict[str, Any]: ...

else:
    LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule
