"""A base class for optimizers that compute their learning rate once a step."""

from __future__ import annotations

from typing import Any

# The name of the rate in the optimizer's dictionary. The rate is written there directly, because
# Keras's `__setattr__` would track it.
_RATE = "_clr_schedules_rate"


class RateOnceAStep:
    """Extends the class of a Keras 3 optimizer, so that each step computes the learning rate once.

    Keras computes the rate at every place where a step uses the rate: for the update, for the
    weight decay, and on TensorFlow for the weight decay of each variable. With this class, all
    these places get the same tensor, which is computed when the step begins. The tensor is dropped
    when the step ends.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes a step at the rate of its iteration."""
        vars(self)[_RATE] = self._get_current_learning_rate()
        try:
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        finally:
            # The replicas of a `MirroredStrategy` share the optimizer and its kept rate. They wait
            # for each other wherever a step uses the rate. So when the first replica ends its
            # step, no replica needs the rate any more, and it can be removed.
            vars(self).pop(_RATE, None)

    def _get_current_learning_rate(self) -> Any:
        """The rate of the step. Keras calls this method at every place where it uses the rate."""
        if _RATE in vars(self):
            return vars(self)[_RATE]
        return super()._get_current_learning_rate()  # type: ignore[misc]
