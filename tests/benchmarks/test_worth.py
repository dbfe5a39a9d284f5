"""What the benchmark of suggestions makes of scores."""

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, LEGACY

if LEGACY or BACKEND != "tensorflow":
    pytest.skip("the benchmarks are of Keras 3 on TensorFlow", allow_module_level=True)

from benchmarks import report, suggestions


def result(scores, grid):
    both = dict.fromkeys(suggestions.KINDS, grid)
    return {"grid": both, "scores": dict.fromkeys((*suggestions.SINGLE_RATES, "bounds"), scores)}


def test_the_regret_is_below_the_peak_that_is_best_in_the_mean():
    grid = [[90.0, 90.0, 99.0], [95.0, 96.0, 97.0], [10.0, 10.0, 10.0]]
    found = suggestions.regret(result([94.0, 96.0, 95.0], grid), "max_lr", percent=False)
    assert found["mean"] == pytest.approx(1)  # 1, 0 and 2 below the second peak
    assert found["error"] == pytest.approx(1 / 3**0.5)
    assert found["none"] == 0


def test_a_seed_without_a_rate_is_counted_and_left_out():
    grid = [[90.0, 95.0]]
    found = suggestions.regret(result([None, 94.0], grid), "max_lr", percent=False)
    assert (found["mean"], found["none"]) == (1, 1)
    found = suggestions.regret(result([None, None], grid), "max_lr", percent=False)
    assert (found["mean"], found["none"]) == (None, 2)


def test_the_regret_of_a_loss_is_in_percent():
    found = suggestions.regret(result([0.55, 0.5], [[0.5, 0.5], [1, 1]]), "max_lr", percent=True)
    assert found["mean"] == pytest.approx(5)


def test_the_floor_of_the_regret_is_that_of_the_peak_that_is_best_on_the_other_seeds():
    # In the mean, the second peak is the best; without the first seed, the third one is.
    grid = [[80.0, 80.0, 80.0], [96.0, 93.0, 93.0], [90.0, 94.0, 94.0]]
    assert suggestions.floor(result([], grid)) == pytest.approx((6 + 0 + 0) / 3)


def test_each_pass_over_the_data_is_a_new_order_of_all_samples():
    order = suggestions.batches(samples=10, batch_size=4, steps=5, seed=0).reshape(2, 10)
    assert np.array_equal(np.sort(order), [range(10)] * 2)
    assert not np.array_equal(*order)


def test_the_tasks_on_which_a_rule_is_judged_are_others():
    assert not {*suggestions.CHOSEN_ON} & {*suggestions.JUDGED_ON}
    measured = report.read("suggestions")
    assert set(measured) <= {task.name for task in (*suggestions.CHOSEN_ON, *suggestions.JUDGED_ON)}


@pytest.mark.slow
def test_a_task_is_measured():
    pytest.importorskip("sklearn")
    measured = suggestions.measure(suggestions.Task("wine", "dense", "SGD", 16), seeds=1)
    for kind in suggestions.KINDS:
        assert np.shape(measured["grid"][kind]) == (9, 1)
    best = max(measured["grid"][suggestions.ONE_CYCLE])
    assert best[0] > 90
    assert all(score is None or 0 <= score <= 100 for (score,) in measured["scores"].values())
