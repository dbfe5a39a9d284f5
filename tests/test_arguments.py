"""The errors of everything that is made or called: short, on one line, with the argument's name."""

import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers.keras_under_test import as_tensor, keras
from helpers.policies import ARGUMENTS, POLICIES
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import _arguments, migrate
from clr_schedules._backend import backend

# A paragraph of a terminal. The longest error is that of a scale function that raises an error.
LONGEST = 500

LR = clr.Triangular(1e-3, 6e-3, 2000)


class Rude:
    """An object that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("This object has no repr.")


class Wordy:
    """An object that has much to say, on many lines."""

    def __repr__(self):
        return "a line\n" * 1000


class Frame:
    """What a table of pandas has of an array: a shape, but no type."""

    shape = (1000, 3)

    def __repr__(self):
        return "  0  1  2\n" * 1000


def raising(x):
    raise ValueError("a line\n" * 1000)


THINGS = [
    None,
    True,
    -1,
    0.5,
    10**400,
    10**5000,
    float("nan"),
    float("-inf"),
    1j,
    Fraction(7, 2),
    Decimal("NaN"),
    "linear",
    "a\nb" * 1000,
    b"bytes",
    range(10**6),
    list(range(100_000)),
    [[0.0] * 1000] * 1000,
    {"config": {str(i): [i] * 100 for i in range(1000)}},
    {1, 2},
    np.zeros((1000, 1000)),
    np.array([7]),
    np.array(True),
    np.array("2020-01-01", "M8[ns]"),
    np.timedelta64(3, "s"),
    np.ma.masked,
    [np.zeros(1000)] * 100,
    as_tensor(np.zeros((100, 100), np.float32)),
    [as_tensor(np.zeros(1000, np.float32))],
    keras.optimizers.SGD(0.1),
    keras.layers.Dense(1),
    LR,
    clr.Piecewise([LR] * 100, range(0, 990, 10)),
    clr.Triangular,
    raising,
    Rude(),
    Wordy(),
    Frame(),
    object(),
]
anything = st.one_of(
    st.sampled_from(THINGS),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
)

ADDONS = {"initial_learning_rate": 1e-3, "maximal_learning_rate": 6e-3, "step_size": 2.5}
# What is called, and its arguments.
CALLS = [
    *((policy.good, name) for policy in POLICIES for name in policy.names if name in ARGUMENTS),
    *((lambda **a: migrate.AddonsCyclical(**ADDONS | a), name) for name in (*ADDONS, "scale_fn")),
    (lambda **a: clr.step_size(**{"data": 100} | a), "data"),
    (lambda **a: clr.step_size(**{"data": 100} | a), "batch_size"),
    (lambda **a: clr.step_size(**{"data": 100} | a), "epochs"),
    (lambda **a: clr.steps_per_epoch(**{"data": 100} | a), "data"),
    (lambda steps: LR.values(steps), "steps"),
    (LR.cycle_ends, "num_steps"),
    (LR.momentum, "max_momentum"),
    (LR.momentum, "base_momentum"),
    *(
        (lambda **a: clr.schedule_hyperparameters(keras.optimizers.Adam(LR), **a), name)
        for name in ("beta_1", "clipnorm", "learning_rate", "no_such_name")
        if backend.settable_hyperparameters
    ),
]


@pytest.mark.filterwarnings("ignore:Argument `scale_fn` is not registered")
@given(st.sampled_from(CALLS), anything)
def test_an_error_is_one_short_line_with_the_argument_and_what_was_received(call, value):
    function, name = call
    try:
        function(**{name: value})
    except (TypeError, ValueError) as error:
        message = str(error)
        assert len(message.splitlines()) == 1
        assert len(message) <= LONGEST
        assert re.search(rf"`{name}(\[\d+\])?`", message)
        assert "Received: " in message


@given(anything)
def test_what_is_shown_is_one_short_line(value):
    shown = _arguments.shown(value)
    assert len(shown) <= 90
    assert shown == " ".join(shown.split())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1, "0.1"),
        ("3", "'3'"),
        (LR, repr(LR)),
        ([1, 2], "[1, 2]"),
        (list(range(10**6)), "[0, 1, 2, 3, 4, 5, ...]"),
        (np.zeros((1000, 28)), "<ndarray of shape (1000, 28) and dtype float64>"),
        ([np.zeros(3, np.int8)], "[<ndarray of shape (3,) and dtype int8>]"),
        (Frame(), "<Frame of shape (1000, 3)>"),
        ("a" * 1000, f"'{'a' * 86}..."),
        (Wordy(), f"{'a line ' * 12}a l..."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_shown(value, shown):
    assert _arguments.shown(value) == shown
