"""Whatever a config holds: a schedule within its bounds, or a ValueError or TypeError; no code."""

import base64
import contextlib
import marshal
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers.keras_under_test import LEGACY, MAX_STEP, compute, keras
from helpers.policies import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr

SCHEDULES = [*EXAMPLES, clr.migrate.AddonsCyclical(1e-3, 6e-3, 2.5)]
STEPS = np.array([0, 1, 2, 17, 1000, 2**31 - 2, 2**53 - 1])

TRAP = "CLR_SCHEDULES_TRAP"
# What code that should not run would do.
_CODE = f"__import__('os').environ.__setitem__('{TRAP}', 'sprung')"
_LAMBDA = base64.b64encode(marshal.dumps(compile(_CODE, "<config>", "eval"))).decode()
code_like = st.sampled_from(
    [
        _CODE,
        f"eval:{_CODE}",
        f"lambda x: {_CODE}",
        "!!python/object/apply:os.system ['false']",
        {"class_name": "__lambda__", "config": {"value": _LAMBDA, "defaults": None}},
        {
            "class_name": "function",
            "module": "builtins",
            "config": "eval",
            "registered_name": "eval",
        },
        {"class_name": "Lambda", "module": "keras.layers", "config": {"function": _CODE}},
        {"class_name": "Popen", "module": "subprocess", "config": {"args": ["false"]}},
        {"class_name": "putenv", "module": "os", "config": {"args": [TRAP, "sprung"]}},
    ]
)
numbers = (
    st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from([0, -0.0, 1, 2**31, 2**62, 2**63, 2**64, 1e-320, 1e308, 10**400])
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20) | code_like
serialized = st.sampled_from([keras.saving.serialize_keras_object(s) for s in SCHEDULES])
keys = st.text(max_size=8)
junk = st.recursive(
    scalars | serialized,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def configs(draw):
    """The config of a schedule in which some values, and perhaps keys, are anything."""
    schedule = draw(st.sampled_from(SCHEDULES))
    config = dict(schedule.get_config())
    for name in draw(st.lists(st.sampled_from(sorted(config)), max_size=3, unique=True)):
        config[name] = draw(junk | numbers)
    for name in draw(st.lists(keys, max_size=1)):
        config[name] = draw(junk)
    for name in draw(st.lists(st.sampled_from(sorted(config)), max_size=1)):
        del config[name]
    return type(schedule), config


def bounds(schedule):
    """What no rate may leave, as far as the schedule says; it may be a rate, or one of Keras."""
    fields = getattr(schedule, "__dict__", {})
    if isinstance(schedule, float):
        return schedule, schedule
    if isinstance(schedule, clr.Warmup):
        low, high = bounds(schedule.schedule)
        return min(low, schedule.start_lr), max(high, schedule.start_lr)
    if isinstance(schedule, clr.Piecewise):
        lows, highs = zip(*map(bounds, schedule.schedules), strict=True)
        return min(lows), max(highs)
    if isinstance(schedule, clr.migrate.AddonsCyclical):  # which takes reversed bounds too
        return -np.inf, np.inf
    for name in ("lr", "momentum"):
        if f"max_{name}" in fields:
            low = fields.get(f"base_{name}", fields.get(f"min_{name}", 0.0))
            return low, fields[f"max_{name}"]
    return 0.0, np.inf


# What Python tells when something is started, or the environment is written to.
TELLING = ("os.putenv", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")
_told, _listening = [], threading.Event()


def _listen(event, _):
    # The hook outlives the module: when Python ends, its names are None.
    if _listening is not None and _listening.is_set() and event in TELLING:
        _told.append(event)


sys.addaudithook(_listen)


@contextlib.contextmanager
def nothing_runs():
    """Fails if something in it starts anything."""
    _told.clear()
    _listening.set()
    try:
        yield
    finally:
        _listening.clear()
        assert not _told
        assert TRAP not in os.environ


def test_it_would_be_told():
    for start in (
        lambda: os.putenv(TRAP, "sprung"),
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: os.system("true"),
    ):
        with pytest.raises(AssertionError), nothing_runs():
            start()


@pytest.mark.slow
@settings(max_examples=10_000, deadline=20_000)  # none hangs
@given(configs())
def test_a_schedule_within_its_bounds_or_an_error_of_its_kind(drawn):
    cls, config = drawn
    saved = keras.saving.serialize_keras_object(SCHEDULES[0])
    saved |= {"class_name": cls.__name__, "registered_name": f"clr_schedules>{cls.__name__}"}
    saved |= {"module": cls.__module__, "config": config}
    ways = [lambda: cls.from_config(config), lambda: keras.saving.deserialize_keras_object(saved)]
    for way in ways:
        with nothing_runs():
            try:
                schedule = way()
            except (ValueError, TypeError):
                continue
        with nothing_runs():
            rates = schedule.values(STEPS)
            shown = compute("eager", schedule, STEPS[STEPS < MAX_STEP])
        low, high = bounds(schedule)
        assert np.all(np.isfinite(rates)), schedule
        assert np.all((rates >= low) & (rates <= high)), schedule
        assert np.all(np.isfinite(shown)), schedule
        assert type(schedule).from_config(schedule.get_config()) == schedule


@pytest.mark.skipif(LEGACY, reason="the safe mode of Keras 3")
def test_a_lambda_in_a_file_needs_the_consent_of_who_loads_it():
    config = clr.Cyclical(1e-3, 6e-3, 2000).get_config()
    with pytest.warns(UserWarning, match="unsafe"):
        config["scale_fn"] = keras.saving.serialize_keras_object(
            lambda cycle: os.environ.__setitem__(TRAP, "sprung") or 1.0
        )
    with pytest.raises(ValueError, match=r"unsafe|safe_mode"):
        clr.Cyclical.from_config(config)
    assert TRAP not in os.environ
