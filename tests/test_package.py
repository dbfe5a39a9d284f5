"""What importing the package brings, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import other_process
from helpers.keras_under_test import BACKEND

import clr_schedules as clr


def in_a_new_process(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_public_names():
    assert all(hasattr(clr, name) for name in clr.__all__)
    assert all(getattr(clr, name).__doc__ for name in clr.__all__)
    assert clr.__version__.count(".") == 2


def test_is_typed():
    assert Path(clr.__file__).with_name("py.typed").exists()


def test_import_brings_nothing_but_itself():
    added = in_a_new_process(
        "import keras, sys; before = set(sys.modules); import clr_schedules;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    assert "clr_schedules" in added
    assert not {"matplotlib", "scipy", "pandas", "rich"} & set(added)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="the backend is TensorFlow")
def test_import_brings_no_tensorflow_on_another_backend():
    assert in_a_new_process("import sys, clr_schedules; print('tensorflow' in sys.modules)") == [
        "False"
    ]


def test_reference_needs_no_keras():
    """The reference runs from its file alone."""
    path = Path(clr.__file__).with_name("reference.py")
    code = f"""
import runpy, sys
module = runpy.run_path({str(path)!r})
print(module["triangular"](2, 0.0, 1.0, 2), *({{"keras", "clr_schedules"}} & set(sys.modules)))
"""
    assert in_a_new_process(code) == ["1.0"]


def test_the_range_test_is_imported_when_it_is_asked_for():
    code = """
import sys
import clr_schedules as clr
early = "clr_schedules.range_test" in sys.modules
assert "lr_range_test" in dir(clr)
from clr_schedules import *
from clr_schedules.range_test import RangeTestResult as same
print(json.dumps([early, callable(lr_range_test), RangeTestResult is clr.RangeTestResult is same]))
"""
    assert other_process.run(code) == [False, True, True]
    with pytest.raises(AttributeError, match="has no attribute 'lr_range'"):
        _ = clr.lr_range
