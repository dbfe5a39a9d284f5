"""The object: config, equality, repr, immutability, and what it says to bad arguments."""

import copy
import dataclasses
import json
import math
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import strategies
from hypothesis import given
from keras_under_test import keras

import clr_schedules as clr
from clr_schedules import _keras
from clr_schedules.schedules.one_cycle import OneCycleMomentum

GOOD = {
    clr.Triangular: {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 2000},
    clr.Triangular2: {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 2000},
    clr.ExpRange: {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 2000, "gamma": 0.99994},
    clr.Cyclical: {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 2000},
    clr.OneCycle: {"max_lr": 6e-3, "total_steps": 2000},
    OneCycleMomentum: {"total_steps": 2000},
    clr.CosineRestarts: {"max_lr": 6e-3, "first_cycle_steps": 2000},
    clr.Warmup: {"schedule": clr.Triangular2(1e-3, 6e-3, 2000), "warmup_steps": 300},
    clr.Sequence: {"schedules": [0.1, clr.OneCycle(6e-3, 2000)], "boundaries": [500]},
}
POLICIES = list(GOOD)
policies = pytest.mark.parametrize("policy", POLICIES)
CYCLICAL = [policy for policy in POLICIES if "base_lr" in GOOD[policy]]
cyclical_policies = pytest.mark.parametrize("policy", CYCLICAL)
# For each argument another value than the one above.
CHANGES = {
    "base_lr": 0.0,
    "max_lr": 1.0,
    "step_size": 1,
    "step_size_down": 3,
    "name": "x",
    "gamma": 0.9,
    "wave": "cosine",
    "scale_fn": strategies.harmonic,
    "scale_mode": "iterations",
    "total_steps": 1,
    "pct_start": 0.5,
    "div_factor": 2,
    "final_div_factor": 2,
    "anneal": "linear",
    "three_phase": True,
    "max_momentum": 0.9,
    "base_momentum": 0.5,
    "first_cycle_steps": 1,
    "cycle_mult": 2,
    "peak_mult": 0.5,
    "min_lr": 1e-4,
    "schedule": 0.1,
    "warmup_steps": 1,
    "start_lr": 1e-6,
    "schedules": [0.1, 0.2],
    "boundaries": [1],
}


def good(policy, **changes):
    return policy(**GOOD[policy] | changes)


@given(strategies.all_schedules)
def test_config_round_trip(schedule):
    config = schedule.get_config()
    again = type(schedule).from_config(json.loads(json.dumps(config)))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.get_config() == config


@given(strategies.all_schedules)
def test_keras_serialization_round_trip(schedule):
    schedules = keras.optimizers.schedules
    config = json.loads(json.dumps(schedules.serialize(schedule)))
    assert config["registered_name"] == f"clr_schedules>{type(schedule).__name__}"
    assert schedules.deserialize(config) == schedule
    optimizer = keras.optimizers.SGD(learning_rate=schedule)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert again._learning_rate == schedule


@given(strategies.all_schedules)
def test_repr_is_the_call(schedule):
    functions = {name: getattr(strategies, name) for name in ("harmonic", "slow_decay", "wild")}
    names = {policy.__name__: policy for policy in POLICIES}
    assert eval(repr(schedule), names | functions) == schedule


def test_repr_leaves_defaults_out():
    assert repr(clr.Triangular(0.001, 0.006, 2000)) == (
        "Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)"
    )
    assert repr(clr.ExpRange(0, 1, np.int64(20), 3, name="decay", gamma=np.float64(0.9))) == (
        "ExpRange(base_lr=0.0, max_lr=1.0, step_size=20, step_size_down=3, name='decay', gamma=0.9)"
    )


@given(strategies.all_schedules)
def test_copies_are_equal(schedule):
    assert copy.copy(schedule) == schedule
    assert copy.deepcopy(schedule) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@policies
def test_differs_when_an_argument_differs(policy):
    schedule = good(policy)
    assert schedule == good(policy)
    for field in dataclasses.fields(policy):
        assert schedule != good(policy, **{field.name: CHANGES[field.name]})
    assert all(schedule != good(other) for other in POLICIES if other is not policy)
    assert schedule != schedule.get_config()


def test_hashes_tell_schedules_apart():
    triangular = GOOD[clr.Triangular]
    alike = [policy(**triangular) for policy in (clr.Triangular, clr.Triangular2, clr.Cyclical)]
    others = [clr.Triangular(**triangular | {name: CHANGES[name]}) for name in triangular]
    assert len({hash(schedule) for schedule in alike + others}) == len(alike + others)


@policies
def test_immutable(policy):
    schedule = good(policy)
    for name in [*schedule.get_config(), "something_new"]:
        with pytest.raises(AttributeError):
            setattr(schedule, name, 1)
    with pytest.raises(AttributeError):
        del schedule.max_lr
    assert schedule == good(policy)


@cyclical_policies
def test_arguments_become_plain_python_numbers(policy):
    schedule = good(
        policy,
        base_lr=-0.0,
        max_lr=np.float64(1),
        step_size=np.int32(7),
        step_size_down=3.0,
        name=np.str_("mine"),
    )
    assert math.copysign(1, schedule.base_lr) == 1
    assert good(policy, step_size=Fraction(2**61 + 1)).step_size == 2**61 + 1
    types = {name: type(value) for name, value in schedule.get_config().items()}
    assert types["base_lr"] is types["max_lr"] is float
    assert types["step_size"] is types["step_size_down"] is int
    assert types["name"] is str


def of_numpy(value):
    """The value as NumPy has it."""
    if isinstance(value, (list, tuple)):
        return [of_numpy(each) for each in value]
    types = {bool: np.bool_, int: np.int64, float: np.float64, str: np.str_}
    return types.get(type(value), lambda same: same)(value)


def types_of(schedule):
    """The types of all attributes, and of what is in them."""
    return {
        name: [type(each) for each in value] if isinstance(value, tuple) else type(value)
        for name, value in vars(schedule).items()
    }


@policies
def test_every_argument_becomes_a_plain_python_value(policy):
    plain = good(policy, name="mine")
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(policy)}
    schedule = policy(**{name: of_numpy(value) for name, value in fields.items()})
    assert schedule == plain
    assert types_of(schedule) == types_of(plain)
    assert types_of(schedule).keys() == fields.keys()


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (OneCycleMomentum, "base_momentum"),
        (OneCycleMomentum, "pct_start"),
        (clr.OneCycle, "pct_start"),
        (clr.CosineRestarts, "min_lr"),
        (clr.Warmup, "start_lr"),
        (clr.Warmup, "schedule"),
    ],
)
def test_minus_0_is_0(policy, name):
    assert math.copysign(1, getattr(good(policy, **{name: -0.0}), name)) == 1


@policies
def test_unknown_keys_of_a_config_are_named(policy):
    config = good(policy).get_config() | {"stepsize": 3, "mode": "x"}
    with pytest.raises(ValueError, match=f"`{policy.__name__}`.*Received: 'mode', 'stepsize' in"):
        policy.from_config(config)


@pytest.mark.parametrize(
    "schedule", [good(clr.ExpRange), good(clr.Cyclical, scale_fn=strategies.harmonic)]
)
def test_the_config_is_not_changed_by_loading(schedule):
    policy = type(schedule)
    config = schedule.get_config()
    before = copy.deepcopy(config)
    policy.from_config(config)
    assert config == before


def test_unknown_keys_may_be_of_any_kind():
    with pytest.raises(ValueError, match="Received: 'mode', 3 in"):
        clr.Triangular.from_config(GOOD[clr.Triangular] | {3: 1, "mode": "x"})


def test_a_subclass_that_takes_any_argument():
    class Tolerant(clr.Triangular):
        def __init__(self, **arguments):
            super().__init__(*(arguments[name] for name in GOOD[clr.Triangular]))

    schedule = Tolerant.from_config(GOOD[clr.Triangular] | {"mode": "x"})
    assert schedule.get_config() == good(clr.Triangular).get_config()


def test_a_config_may_hold_the_objects_themselves():
    inner = good(clr.Triangular)
    for schedule in (
        good(clr.Cyclical, scale_fn=strategies.harmonic),
        good(clr.Warmup, schedule=inner),
        good(clr.Sequence, schedules=[inner, 0.1]),
    ):
        fields = dataclasses.fields(schedule)
        config = {field.name: getattr(schedule, field.name) for field in fields}
        assert type(schedule).from_config(config) == schedule


def test_a_subclass_with_arguments_of_its_own():
    @keras.saving.register_keras_serializable(package="tests")
    class OfPeak(clr.Triangular):
        def __init__(self, peak):
            super().__init__(peak / 10, peak, 100)
            object.__setattr__(self, "peak", peak)

        def get_config(self):
            return {"peak": self.peak}

    schedule = OfPeak(1.0)
    config = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    assert keras.optimizers.schedules.deserialize(config) == schedule
    assert schedule != OfPeak(0.5)
    with pytest.raises(ValueError, match=r"`OfPeak` .* its arguments \(peak\).*'base_lr'"):
        OfPeak.from_config({"base_lr": 1.0})


def test_a_schedule_is_itself_without_a_look_at_its_config():
    """TensorFlow asks in every call of a function; with a sequence of 100 parts that was 4 ms."""

    class Silent(clr.Triangular):
        def get_config(self):
            raise AssertionError

    schedule = Silent(0.1, 0.2, 3)
    assert schedule == schedule


@cyclical_policies
def test_equal_bounds_are_a_constant_rate(policy):
    schedule = good(policy, base_lr=0.5, max_lr=0.5)
    assert np.all(_keras.to_numpy(schedule(list(range(100)))) == 0.5)


@policies
def test_is_a_schedule_of_the_running_keras(policy):
    assert issubclass(policy, keras.optimizers.schedules.LearningRateSchedule)


def test_signatures():
    """The names and their order are what other people's code calls."""
    shared = ["base_lr", "max_lr", "step_size", "step_size_down"]
    names = {policy: [field.name for field in dataclasses.fields(policy)] for policy in POLICIES}
    assert names[clr.Triangular] == names[clr.Triangular2] == [*shared, "name"]
    assert names[clr.ExpRange] == [*shared, "name", "gamma"]
    assert names[clr.Cyclical] == [*shared, "wave", "scale_fn", "scale_mode", "name"]
    factors = ["pct_start", "div_factor", "final_div_factor"]
    steps = ["max_lr", "total_steps"]
    assert names[clr.OneCycle] == [*steps, *factors, "anneal", "three_phase", "name"]
    mults = ["cycle_mult", "peak_mult", "min_lr", "name"]
    assert names[clr.CosineRestarts] == ["max_lr", "first_cycle_steps", *mults]
    assert names[clr.Warmup] == ["schedule", "warmup_steps", "start_lr", "name"]
    assert names[clr.Sequence] == ["schedules", "boundaries", "name"]


@pytest.mark.parametrize("name", [None, "plain", "with space", "a/b", "_ü~", "9"])
@policies
def test_any_name_works_in_a_graph(policy, name):
    schedule = good(policy, name=name)
    assert float(schedule(0)) == np.float32(schedule.values(0))


BAD = [0, -1, math.nan, math.inf, -math.inf, True, "3", None, [1], object(), 1j, 2.5]
# What makes sense for an argument after all, or is its default.
FINE = {
    "base_lr": [0],
    "max_lr": [2.5],
    "step_size_down": [None],
    "scale_fn": [None],
    "name": ["3", None],
    "pct_start": [0],
    "div_factor": [2.5],
    "final_div_factor": [2.5],
    "max_momentum": [0],
    "base_momentum": [0],
    "cycle_mult": [2.5],
    "min_lr": [0],
    "schedule": [0, 2.5],
    "start_lr": [0, 2.5],
}
ARGUMENTS = [
    (policy, field.name, value)
    for policy in POLICIES
    if policy is not clr.Sequence  # whose arguments are lists; see its own tests
    for field in dataclasses.fields(policy)
    for value in BAD
    if not any(value is fine or value == fine for fine in FINE.get(field.name, []))
    or isinstance(value, bool)
    if not (isinstance(value, bool) and field.name == "three_phase")
]


@pytest.mark.parametrize(("policy", "name", "value"), ARGUMENTS)
def test_bad_arguments_are_refused_by_name(policy, name, value):
    with pytest.raises((TypeError, ValueError)) as error:
        good(policy, **{name: value})
    message = str(error.value)
    if name in ("base_lr", "min_lr") and value == 2.5:
        assert f"`{name}` must not be above `max_lr`" in message
    else:
        assert re.search(rf"`{name}` must be (?!None)", message)
    assert f"Received: {name}={value!r}" in message


@cyclical_policies
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_lr": 2.0, "max_lr": 1.0},
            "`base_lr` must not be above `max_lr`.*base_lr=2.0, max_lr=1.0",
        ),
        ({"base_lr": 1e-39}, "`base_lr` must be .* from 1.2e-38"),
        ({"max_lr": 3.5e38}, "`max_lr` must be .* to 3.4e\\+38"),
        ({"max_lr": 10**400}, "`max_lr` must be a finite number"),
        ({"step_size": 2**62}, "`step_size` must be .* below 2\\*\\*62"),
        ({"step_size": 0.5}, "`step_size` must be a whole number"),
        ({"step_size": np.bool_(True)}, "`step_size` must be a whole number"),
        ({"base_lr": np.array([0.1])}, "`base_lr` must be a finite number"),
        ({"name": ""}, "`name` must be a non-empty string"),
        ({"step_size": np.timedelta64(3, "s")}, "`step_size` must be a whole number"),
        ({"step_size": Fraction(7, 2)}, "`step_size` must be a whole number"),
        ({"step_size": Decimal(7)}, "`step_size` must be a whole number"),
    ],
)
def test_more_bad_arguments(policy, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        good(policy, **changes)


@pytest.mark.parametrize("gamma", [1.0 + 1e-9, 0.0, -0.5])
def test_gamma_is_above_0_and_at_most_1(gamma):
    with pytest.raises(
        ValueError, match=r"`gamma` must be above 0 and at most 1. Received: gamma="
    ):
        good(clr.ExpRange, gamma=gamma)
    assert good(clr.ExpRange, gamma=1).values(2000) == 6e-3


def test_the_peaks_of_restarts_do_not_grow():
    with pytest.raises(ValueError, match=r"`peak_mult` must be above 0 and at most 1. Received"):
        good(clr.CosineRestarts, peak_mult=1.0 + 1e-9)


def test_gamma_is_required():
    with pytest.raises(TypeError, match="gamma"):
        clr.ExpRange(1e-3, 6e-3, 2000)


@pytest.mark.parametrize(
    ("argument", "choices"),
    [("wave", "'linear', 'cosine'"), ("scale_mode", "'cycle', 'iterations'")],
)
def test_choices_are_listed(argument, choices):
    with pytest.raises(
        ValueError, match=f"`{argument}` must be one of {choices}. Received: {argument}='cycles'"
    ):
        good(clr.Cyclical, **{argument: "cycles"})


def test_a_lambda_is_refused_when_it_is_saved_not_before():
    schedule = good(clr.Cyclical, scale_fn=lambda cycle: 1 / cycle)
    assert float(schedule(2000)) == np.float32(6e-3)
    message = "`scale_fn` must be a function registered .*Received: scale_fn=<function"
    with pytest.raises(ValueError, match=message):
        schedule.get_config()
    with pytest.raises(ValueError, match=message):
        keras.optimizers.schedules.serialize(schedule)


def test_a_function_whose_name_was_registered_anew_is_not_found_and_so_refused():
    def twice(cycle):
        return 1 / cycle

    first = keras.saving.register_keras_serializable(package="tests")(twice)
    schedule = good(clr.Cyclical, scale_fn=first)
    assert schedule == clr.Cyclical.from_config(schedule.get_config())

    def twice(cycle):
        return 1 / cycle**2

    keras.saving.register_keras_serializable(package="tests")(twice)
    with pytest.raises(ValueError, match=r"`scale_fn` must be .* registered anew"):
        schedule.get_config()
    assert schedule == good(clr.Cyclical, scale_fn=first)
    assert schedule != good(clr.Cyclical, scale_fn=twice)


def test_a_function_lent_by_a_scope_is_refused():
    """It would be saved, and not be found on loading once the scope has ended."""

    def lent(cycle):
        return 1 / cycle

    schedule = good(clr.Cyclical, scale_fn=lent)
    with (
        keras.utils.custom_object_scope({"lent": lent}),
        pytest.raises(ValueError, match="`scale_fn` must be a function registered"),
    ):
        schedule.get_config()


@keras.saving.register_keras_serializable(package="tests")
class Decay:
    """A scale function with a parameter: an object that Keras can save."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, cycle):
        return self.rate ** (cycle - 1)

    def get_config(self):
        return {"rate": self.rate}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_a_registered_object_may_be_the_scale_function():
    schedule = good(clr.Cyclical, scale_fn=Decay(0.5))
    again = clr.Cyclical.from_config(json.loads(json.dumps(schedule.get_config())))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again != good(clr.Cyclical, scale_fn=Decay(0.25))
    assert again.scale_fn.rate == 0.5
    assert np.array_equal(again.values(range(9000)), schedule.values(range(9000)))
