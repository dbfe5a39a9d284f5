"""A part of the table of false alarms and misses of a range test's reasons, from fewer seeds."""

import pytest
from helpers.keras_under_test import BACKEND, LEGACY

if LEGACY or BACKEND != "tensorflow":
    pytest.skip("the benchmarks are of Keras 3 on TensorFlow", allow_module_level=True)

from benchmarks import range_test_reasons as reasons


@pytest.mark.parametrize("order", ["shuffled", "fixed"])
def test_a_random_order_is_no_order(order):
    given, bounds = reasons.count(reasons.ORDER, reasons.Situation(order=order), 50)
    assert given <= 1
    assert bounds >= 49


def test_an_order_by_class_is_found():
    given, bounds = reasons.count(reasons.ORDER, reasons.Situation(order="class"), 50)
    assert given >= 45
    assert bounds <= 2


def test_dead_units_get_no_bounds():
    dead = reasons.Situation(dead=True, bias=1.0)
    given, bounds = reasons.count(reasons.CHANCE, dead, 50)
    assert given >= 25  # in others the loss does not fall by more than its noise
    assert bounds <= 2
