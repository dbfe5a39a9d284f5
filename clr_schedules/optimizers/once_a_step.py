"""An optimizer that asks for its learning rate once a step."""

from __future__ import annotations

from typing import Any

# Kept past Keras, which would track what is set on an optimizer.
_RATE = "_clr_schedules_rate"


class RateOnceAStep:
    """Extends the class of an optimizer of Keras 3: each step computes the learning rate once.

    Keras computes the rate in every place where a step uses it: for the update, for the weight
    decay, and on TensorFlow for the weight decay of each variable. Here these places get the tensor
    that was computed when the step began. Outside of a step nothing is kept.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes a step at the rate of its iteration."""
        vars(self)[_RATE] = self._get_current_learning_rate()
        try:
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        finally:
            # The replicas of a `MirroredStrategy` share the optimizer, and the rate of the replica
            # that begins first. They wait for each other wherever a step uses the rate, so that
            # the first to end may take it away.
            vars(self).pop(_RATE, None)

    def _get_current_learning_rate(self) -> Any:
        """The rate of the step; Keras asks here for all its uses of the rate."""
        if _RATE in vars(self):
            return vars(self)[_RATE]
        return super()._get_current_learning_rate()  # type: ignore[misc]
