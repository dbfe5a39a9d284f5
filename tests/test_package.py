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


@pytest.fixture(scope="module")
def imported():
    """What a new process finds when it imports the package."""
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
print(json.dumps({
    "added": sorted(added),
    "tensorflow": "tensorflow" in sys.modules,
    "range test": [early, listed, callable(lr_range_test)],
    "same": RangeTestResult is clr.RangeTestResult is same,
}))
"""
    return other_process.run(code)


def test_import_brings_nothing_but_itself(imported):
    assert "clr_schedules" in imported["added"]
    assert not {"matplotlib", "scipy", "pandas", "rich"} & set(imported["added"])
    assert imported["tensorflow"] == (BACKEND == "tensorflow")


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
