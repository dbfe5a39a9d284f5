"""An optimizer of a user's own, registered for files: a process that loads one imports this."""

from helpers.keras_under_test import keras


@keras.saving.register_keras_serializable(package="tests")
class OwnSGD(keras.optimizers.SGD):
    """An optimizer that is not of Keras."""
