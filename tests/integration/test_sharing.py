"""One schedule used by several: threads, copies, pickles, other processes."""

import copy
import multiprocessing
import pickle
import threading

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, keras
from helpers.policies import EXAMPLES
from helpers.small_training import make, state, train

STEPS = np.arange(500)


def test_a_copy_is_the_same_schedule():
    for schedule in EXAMPLES:
        pickled = pickle.loads(pickle.dumps(schedule))
        for twin in (copy.copy(schedule), copy.deepcopy(schedule), pickled):
            assert (repr(twin), hash(twin)) == (repr(schedule), hash(schedule))
            np.testing.assert_array_equal(twin.values(STEPS), schedule.values(STEPS))


def values(schedule):
    return schedule.values(STEPS)


@pytest.mark.slow
def test_spawned_processes_get_it():
    """Data loaders and searches for hyperparameters pass schedules on like this."""
    # The spawned processes do not know the suite's scale function.
    passed = [s for s in EXAMPLES if getattr(s, "scale_fn", None) is None]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for schedule, found in zip(passed, pool.map(values, passed), strict=True):
            np.testing.assert_array_equal(found, schedule.values(STEPS))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch does not train in threads")
def test_two_threads_train_two_models_with_one_schedule():
    schedule = EXAMPLES[0]
    expected = state(train(make(keras, schedule)))
    models = [make(keras, schedule) for _ in range(2)]
    threads = [threading.Thread(target=train, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [state(model) for model in models] == [expected] * 2


def test_many_threads_ask_it_at_once():
    schedule = EXAMPLES[-1]
    expected = schedule.values(STEPS)
    found, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        found.append((schedule.values(STEPS), np.asarray(schedule(STEPS))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for values_, rates in found:
        np.testing.assert_array_equal(values_, expected)
        np.testing.assert_array_equal(rates, found[0][1])
