"""Trainings that end by an exception, and what their optimizer has done by then."""

import numpy as np
import pytest

EPOCH = 20


def fit_until_error(model, count, callbacks):
    """Trains in epochs of `EPOCH` batches of ones, until the data end after ``count`` batches."""
    with pytest.raises(Exception, match="no more"):
        model.fit(
            _batches(count),
            steps_per_epoch=EPOCH,
            epochs=5,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )


def _batches(count):
    for _ in range(count):
        yield np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
    raise OSError("no more")


def steps_taken(model):
    """The number of steps that the model's optimizer has counted."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return int(np.asarray(optimizer.iterations))
