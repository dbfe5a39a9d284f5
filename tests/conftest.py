"""Settings of the suite."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Compilations on the two halves of a small machine must not fight for its cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# An example may compile a program; a slow one is no failure.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=80,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("few", settings.get_profile("default"), max_examples=10)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def figures():
    """Closes the figures that a test drew."""
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def set_floatx():
    """Sets Keras's `floatx()` for a test."""
    from helpers.keras_under_test import keras

    before = keras.backend.floatx()
    yield keras.backend.set_floatx
    keras.backend.set_floatx(before)


# Imported by name: to collect them would import them a second time.
collect_ignore = ["helpers"]
