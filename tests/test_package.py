"""What importing the package brings, and what it leaves alone."""

from pathlib import Path

import pytest
from helpers import other_process
from helpers.keras_under_test import BACKEND

import clr_schedules as clr


def test_public_names():
    assert all(hasattr(clr, name) for name in clr.__all__)
    assert all(getattr(clr, name).__doc__ for name in clr.__all__)
    assert clr.__version__.count(".") == 2


def test_is_typed():
    assert Path(clr.__file__).with_name("py.typed").exists()


# What a framework refuses as soon as its devices are in use.
CONFIGURE_DEVICES = {
    "tensorflow": """
import tensorflow as tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
""",
    "jax": """
import jax
jax.config.update("jax_num_cpu_devices", 2)
""",
    "torch": """
import torch
assert not torch.cuda.is_initialized()
""",
}


@pytest.fixture(scope="module")
def imported():
    """What a new process finds when it imports the package, and makes a schedule."""
    code = """
import sys
import keras
before = set(sys.modules)
import clr_schedules as clr
added = {name.partition(".")[0] for name in set(sys.modules) - before}
early = "clr_schedules.range_test" in sys.modules
listed = "lr_range_test" in dir(clr)
from clr_schedules import *
from clr_schedules.range_test import RangeTestResult as same
from clr_schedules._backend import backend, keras
function = lambda cycle: (1 - backend.cast(cycle, "float32")) ** 2
function.__name__ = "function"
function = keras.saving.register_keras_serializable(package="tests")(function)
clr.Cyclical(1e-3, 6e-3, 4, scale_fn=function)
try:
    exec(configure_devices)
    configured = "yes"
except RuntimeError as error:
    configured = str(error)
print(json.dumps({
    "added": sorted(added),
    "tensorflow": "tensorflow" in sys.modules,
    "range test": [early, listed, callable(lr_range_test)],
    "devices configured": configured,
    "same": RangeTestResult is clr.RangeTestResult is same,
}))
"""
    return other_process.run(code, configure_devices=CONFIGURE_DEVICES[BACKEND])


def test_import_brings_nothing_but_itself(imported):
    assert "clr_schedules" in imported["added"]
    assert not {"matplotlib", "scipy", "pandas", "rich"} & set(imported["added"])
    assert imported["tensorflow"] == (BACKEND == "tensorflow")


def test_a_program_can_configure_its_devices_after_it_has_made_a_schedule(imported):
    """A scale function is tried when its schedule is made, on no device."""
    assert imported["devices configured"] == "yes"


def test_the_range_test_is_imported_when_it_is_asked_for(imported):
    assert imported["range test"] == [False, True, True]
    assert imported["same"]
    with pytest.raises(AttributeError, match="has no attribute 'lr_range'"):
        _ = clr.lr_range


def test_reference_needs_no_keras():
    """The reference runs from its file alone."""
    path = Path(clr.__file__).with_name("reference.py")
    code = """
import runpy, sys
module = runpy.run_path(path)
triangular = module["triangular"](2, 0.0, 1.0, 2)
print(json.dumps([triangular, *({"keras", "clr_schedules"} & set(sys.modules))]))
"""
    assert other_process.run(code, path=str(path)) == [1.0]
