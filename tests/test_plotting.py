import subprocess
import sys

import numpy as np
import pytest

import clr_schedules as clr


@pytest.mark.parametrize("num_steps", [1, 2, 1000, 1_000_000])
def test_draws_the_values(figures, num_steps):
    schedule = clr.Triangular2(1e-3, 6e-3, step_size=100)
    ax = schedule.plot(num_steps)
    x, y = ax.lines[0].get_data()
    assert np.array_equal(y, schedule.values(x))
    assert x[0] == 0
    assert num_steps - x[-1] <= max(1, num_steps // 200_000)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "learning rate")
    ax.figure.canvas.draw()


def test_draws_on_the_given_axes_and_makes_no_figure(figures):
    _, (left, right) = figures.subplots(1, 2)
    assert clr.Triangular(1e-3, 6e-3, 5, name="mine").plot(20, ax=right) is right
    assert len(figures.get_fignums()) == 1
    assert not left.lines
    assert right.get_title() == right.lines[0].get_label() == "mine"


def test_bad_axes():
    with pytest.raises(TypeError, match=r"`ax` must be Matplotlib axes.*Received: ax=3"):
        clr.Triangular(1e-3, 6e-3, 5).plot(20, ax=3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True, "3", None, float("nan")])
def test_bad_number_of_steps(num_steps):
    with pytest.raises(
        (TypeError, ValueError), match=r"`num_steps` must be .*Received: num_steps="
    ):
        clr.Triangular(1e-3, 6e-3, 5).plot(num_steps)


def test_says_what_to_install_when_matplotlib_is_missing():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
import clr_schedules as clr
try:
    clr.Triangular(1e-3, 6e-3, 5).plot(20)
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "clr-schedules[plot]"' in run.stdout
