"""The object: config, equality, repr, immutability, and what it says to bad arguments."""

import copy
import dataclasses
import html
import inspect
import json
import math
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers import exact, strategies
from helpers.keras_under_test import ENGINES, MAX_STEP, as_tensor, compute, keras
from helpers.policies import (
    ARGUMENTS,
    CYCLICAL,
    POLICIES,
    WITH_MOMENTUM,
    cyclical_policies,
    policies,
)
from helpers.properties import ULPS
from hypothesis import given
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules._backend import backend
from clr_schedules.schedules.base import _SameObject
from clr_schedules.schedules.momentum import MirroredMomentum

BAD = [0, -1, math.nan, math.inf, -math.inf, True, "3", None, [1], object(), 1j, 2.5]


TRIANGULAR = {"base_lr": 1e-3, "max_lr": 6e-3, "step_size": 2000}


def policy_of(make):
    return next(policy for policy in POLICIES if policy.make is make)


def good(make, **changes):
    return policy_of(make).good(**changes)


@policies
def test_signatures(policy):
    """The names and their order, and the base class, are what other people's code relies on."""
    signature = inspect.signature(policy.make)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({policy.signature})"
    assert issubclass(policy.make, keras.optimizers.schedules.LearningRateSchedule)


@policies
def test_bad_arguments_are_refused_by_name(policy):
    for name in policy.names:
        if name in ("schedules", "boundaries"):  # lists; see the tests of Piecewise
            continue
        for value in BAD:
            fine = ARGUMENTS[name].fine
            if policy.make is MirroredMomentum and name == "schedule":
                fine = ()  # a constant rate has no momentum
            if any(type(value) is type(each) and value == each for each in fine):
                policy.good(**{name: value})
                continue
            with pytest.raises((TypeError, ValueError)) as error:
                policy.good(**{name: value})
            message = str(error.value)
            if "must not be above" in message:  # two arguments are to blame, and both are named
                assert f"`{name}`" in message
                assert re.search(rf"Received: .*{name}={value!r}", message)
            else:
                assert re.search(rf"`{name}` must be (?!None)", message), message
                assert f"Received: {name}={value!r}" in message


@policies
def test_differs_when_an_argument_differs(policy):
    schedule = policy.good()
    assert schedule == policy.good()
    for name in policy.names:
        changed = ARGUMENTS[name].other
        if policy.make is MirroredMomentum and name == "base_momentum":
            changed = 0.25
        assert schedule != policy.good(**{name: changed}), name
    assert all(schedule != other.good() for other in POLICIES if other is not policy)
    assert schedule != schedule.get_config()


@policies
def test_immutable(policy):
    schedule = policy.good()
    for name in [*schedule.get_config(), "something_new"]:
        with pytest.raises(AttributeError):
            setattr(schedule, name, 1)
    with pytest.raises(AttributeError):
        del schedule.name
    assert schedule == policy.good()


def by_repr(schedule):
    functions = {name: getattr(strategies, name) for name in ("harmonic", "slow_decay", "wild")}
    names = {policy.make.__name__: policy.make for policy in POLICIES}
    return eval(repr(schedule), names | functions)


def by_config(schedule):
    config = json.loads(json.dumps(schedule.get_config()))
    before = copy.deepcopy(config)
    again = type(schedule).from_config(config)
    assert config == before  # not changed by loading
    return again


def by_keras(schedule):
    config = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    assert config["registered_name"] == f"clr_schedules>{type(schedule).__name__}"
    return keras.optimizers.schedules.deserialize(config)


# By which a schedule goes elsewhere, or comes back.
WAYS = [
    by_config,
    by_keras,
    by_repr,
    copy.copy,
    copy.deepcopy,
    lambda schedule: pickle.loads(pickle.dumps(schedule)),
]


@policies
@given(st.data())
def test_comes_back_equal_and_is_shown_as_its_call(policy, data):
    schedule = data.draw(strategies.of(policy.make))
    for way in WAYS:
        again = way(schedule)
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert again.get_config() == schedule.get_config()
    shown = schedule._repr_html_()
    assert html.escape(repr(schedule)) in shown
    assert re.search(r'<svg .*<polyline points="[0-9., ]+"', shown)


@policies
def test_the_config_of_an_optimizer_holds_it(policy):
    optimizer = keras.optimizers.SGD(learning_rate=policy.example)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert again._learning_rate == policy.example


def test_repr_leaves_defaults_out():
    assert repr(clr.Triangular(0.001, 0.006, 2000)) == (
        "Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)"
    )
    assert repr(clr.ExpRange(0, 1, np.int64(20), 3, name="decay", gamma=np.float64(0.9))) == (
        "ExpRange(base_lr=0.0, max_lr=1.0, step_size=20, step_size_down=3, name='decay', gamma=0.9)"
    )


def test_hashes_tell_schedules_apart():
    alike = [good(policy) for policy in (clr.Triangular, clr.Triangular2, clr.Cyclical)]
    names = ("base_lr", "max_lr", "step_size")
    others = [good(clr.Triangular, **{name: ARGUMENTS[name].other}) for name in names]
    assert len({hash(schedule) for schedule in alike + others}) == len(alike + others)


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
    plain = policy.good(name="mine")
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(policy.make)}
    schedule = policy.make(**{name: of_numpy(value) for name, value in fields.items()})
    assert schedule == plain
    assert types_of(schedule) == types_of(plain)
    assert types_of(schedule).keys() == fields.keys()


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        *((policy.make, "base_lr") for policy in CYCLICAL),
        (MirroredMomentum, "base_momentum"),
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
    config = policy.good().get_config() | {"stepsize": 3, "mode": "x"}
    with pytest.raises(
        ValueError, match=f"`{policy.make.__name__}`.*Received: 'mode', 'stepsize' in"
    ):
        policy.make.from_config(config)


def test_unknown_keys_may_be_of_any_kind():
    with pytest.raises(ValueError, match="Received: 'mode', 3 in"):
        clr.Triangular.from_config(TRIANGULAR | {3: 1, "mode": "x"})


def test_a_subclass_that_takes_any_argument():
    class Tolerant(clr.Triangular):
        def __init__(self, **arguments):
            super().__init__(*(arguments[name] for name in TRIANGULAR))

    schedule = Tolerant.from_config(TRIANGULAR | {"mode": "x"})
    assert schedule.get_config() == good(clr.Triangular).get_config()


def test_a_config_may_hold_the_objects_themselves():
    inner = good(clr.Triangular)
    for schedule in (
        good(clr.Cyclical, scale_fn=strategies.harmonic),
        good(clr.Warmup, schedule=inner),
        good(clr.Piecewise, schedules=[inner, 0.1]),
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
    schedule = policy.good(base_lr=0.5, max_lr=0.5)
    assert np.all(backend.to_numpy(schedule(list(range(100)))) == 0.5)


@policies
def test_any_name_works_in_a_graph(policy):
    for name in (None, "plain", "with space", "a/b", "_ü~", "9"):
        schedule = policy.good(name=name)
        for engine in set(ENGINES) - {"xla"}:
            assert compute(engine, schedule, [0])[0] == np.float32(schedule.values(0))


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            clr.Triangular,
            {"base_lr": 2.0, "max_lr": 1.0},
            "`base_lr` must not be above `max_lr`.*base_lr=2.0, max_lr=1.0",
        ),
        (clr.Triangular, {"base_lr": 1e-39}, "`base_lr` must be .* from 1.2e-38"),
        (clr.Triangular, {"max_lr": 3.5e38}, "`max_lr` must be .* to 3.4e\\+38"),
        (clr.Triangular, {"max_lr": 10**400}, "`max_lr` must be a finite number"),
        (clr.Triangular, {"base_lr": np.array([0.1])}, "`base_lr` must be a finite number"),
        (clr.Triangular, {"step_size": 2**53 + 1}, "`step_size` must be .* at most 2\\*\\*53"),
        *(
            (clr.Triangular, {"step_size": count}, "`step_size` must be a whole number")
            for count in (
                0.5,
                np.bool_(True),
                np.timedelta64(3, "s"),
                Fraction(7, 2),
                Decimal("sNaN"),
            )
        ),
        (clr.Triangular, {"name": ""}, "`name` must be a non-empty string"),
        *(
            (clr.ExpRange, {"gamma": gamma}, "`gamma` must be above 0 and at most 1. Received: ga")
            for gamma in (1.0 + 1e-9, 0.0, -0.5)
        ),
        (
            clr.CosineRestarts,
            {"peak_mult": 1.0 + 1e-9},
            "`peak_mult` must be above 0 and at most 1. Received",
        ),
        (
            clr.Cyclical,
            {"wave": "cycles"},
            "`wave` must be one of 'linear', 'cosine'. Received: wave='cycles'",
        ),
        (
            clr.Cyclical,
            {"scale_mode": "cycles"},
            "`scale_mode` must be one of 'cycle', 'iterations'. Received: scale_mode='cycles'",
        ),
        (
            MirroredMomentum,
            {"max_momentum": 1.0},
            "`max_momentum` must be a number of at least 0 and below 1",
        ),
        # Adam divides by `1 - beta_1`.
        (MirroredMomentum, {"max_momentum": 1 - 1e-8}, "`max_momentum` must be .* also in float32"),
        (
            MirroredMomentum,
            {"base_momentum": -0.1},
            "`base_momentum` must be a number of at least 0 and below 1",
        ),
        (
            MirroredMomentum,
            {"max_momentum": 0.5, "base_momentum": 0.6},
            "`base_momentum` must not be above `max_m",
        ),
        *(
            (MirroredMomentum, {"schedule": wrong}, "`schedule` must be a OneCycle or a cyclical")
            for wrong in (0.1, clr.CosineRestarts(0.1, 10), clr.OneCycle)
        ),
    ],
    ids=repr,
)
def test_bad_arguments(make, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        good(make, **changes)


def test_a_gamma_of_1_is_no_decay():
    assert good(clr.ExpRange, gamma=1).values(2000) == 6e-3


def test_gamma_is_required():
    with pytest.raises(TypeError, match="gamma"):
        clr.ExpRange(1e-3, 6e-3, 2000)


@pytest.mark.parametrize("function", [lambda cycle: 1 / cycle, lambda cycle: cycle * 0.0])
def test_a_lambda_warns_when_the_schedule_is_made_and_is_refused_when_it_is_saved(function):
    says = (
        r"`scale_fn` is not registered.*`peak_mult=0.5` says .*`.*lambda x: 1 / 2.0 \*\* \(x - 1\)`"
    )
    with pytest.warns(UserWarning, match=says) as warned:
        schedule = clr.Cyclical(1e-3, 6e-3, 2000, scale_fn=function)
    assert [warning.filename for warning in warned] == [__file__]  # where the schedule is made
    # A warning is an error in tests: none of this warns again.
    optimizer = keras.optimizers.SGD(clr.Warmup(schedule, 10), momentum=0.9)
    assert schedule == copy.copy(schedule) == copy.deepcopy(schedule)
    assert schedule.momentum()._repr_html_()
    if backend.settable_hyperparameters:
        clr.schedule_hyperparameters(optimizer, momentum=schedule.momentum())
    assert np.isfinite(float(schedule(2000)))
    message = "`scale_fn` must be a function registered .*Received: scale_fn=<function"
    with pytest.raises(ValueError, match=message):
        schedule.get_config()
    with pytest.raises(ValueError, match=message):
        keras.optimizers.schedules.serialize(schedule)


def test_a_function_that_is_registered_anew_is_the_newest_as_with_layers(tmp_path):
    """A cell of a notebook that registers a function is run again, and then the model is saved."""

    def cell(power):
        @keras.saving.register_keras_serializable(package="tests")
        def decay(cycle):
            return 1 / cycle**power

        return decay

    first, same, other = (clr.Cyclical(1e-3, 6e-3, 2, scale_fn=cell(p)) for p in (1, 1, 2))
    assert first != same  # its name may be that of another function by now
    for schedule in (first, same, other):
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(schedule), "mse")
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras").optimizer.get_config()
        assert keras.saving.deserialize_keras_object(loaded["learning_rate"]) == other


@pytest.mark.filterwarnings("ignore:Argument `scale_fn` is not registered")
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


# ---- What every schedule computes


@policies
def test_every_engine_computes_its_values(policy):
    """Each correctly rounded, one by one or in an array of any shape, within the bounds."""
    for schedule in (policy.good(), policy.example):
        steps = np.append(np.arange(0, 70), [1999, 2000, 2001, 10**6 + 1, MAX_STEP - 2**10])
        values = schedule.values(steps.reshape(3, 25))
        assert (type(values), values.dtype, values.shape) == (np.ndarray, np.float64, (3, 25))
        values = values.ravel()
        low, high = exact.bounds(schedule)
        assert np.all((low <= values) & (values <= high))
        for engine in ENGINES:
            rates = compute(engine, schedule, steps)
            assert rates.dtype == np.float32
            assert exact.ulps(rates, values).max() <= ULPS, engine
        for i in (0, 3, 74):
            assert schedule.values(int(steps[i])) == values[i]
            rate = backend.to_numpy(schedule(as_tensor(steps[i])))
            assert rate.shape == ()
            assert exact.ulps(rate, values[i]) <= ULPS


@pytest.mark.parametrize("policy", WITH_MOMENTUM, ids=lambda policy: policy.make.__name__)
def test_momentum_mirrors_the_rate(policy):
    for schedule in (policy.good(), policy.example):
        momentum = schedule.momentum(0.9, 0.5)
        for way in WAYS:
            assert way(momentum) == momentum
        assert momentum != schedule.momentum(0.9, 0.6)
        assert momentum.cycle_ends(100).tolist() == schedule.cycle_ends(100).tolist()
        steps = np.arange(0, 4100, 3)
        rates, values = schedule.values(steps), momentum.values(steps)
        assert (values[0], values.max()) == (0.9, 0.9)
        assert values.min() >= 0.5
        assert np.all(np.diff(values) * np.diff(rates) <= 1e-18)  # one falls as the other rises
        if policy in CYCLICAL:
            share = (rates - schedule.base_lr) / (schedule.max_lr - schedule.base_lr)
            np.testing.assert_allclose(values, 0.9 - 0.4 * share, rtol=1e-12)
        for engine in ENGINES:
            assert exact.ulps(compute(engine, momentum, steps), values).max() <= ULPS, engine


@policies
def test_the_plot_is_of_the_values(policy, figures):
    x, y = policy.example.plot(120).lines[0].get_data()
    assert np.array_equal(y, policy.example.values(x))
    assert (x[0], x[-1]) == (0, 119)


# ---- What every schedule can tell of itself


@policies
@given(st.data(), st.integers(0, 300))
def test_cycle_ends_are_where_counting_finds_them(policy, data, num_steps):
    schedule = data.draw(strategies.of(policy.make) | st.just(policy.example))
    ends = schedule.cycle_ends(num_steps)
    assert ends.dtype == np.int64
    assert ends.tolist() == exact.cycle_ends(schedule, num_steps)


_SHORT = st.integers(1, 40)


@given(
    st.sampled_from([1.0, 2.0, 1.5, 0.75, 0.9]),
    _SHORT,
    _SHORT,
    st.integers(-40, 40),
    st.sets(st.integers(0, 200), min_size=2, max_size=2).map(sorted),
)
def test_cycle_ends_of_short_cycles(mult, first, other, steps, boundaries):
    """Drawn schedules have few cycles as short as these."""
    restarts, cycle = clr.CosineRestarts(0.1, first, mult), clr.Triangular(0.1, 0.2, other, first)
    for schedule in (
        restarts,
        cycle,
        cycle.momentum(),
        clr.OneCycle(0.1, first + other),
        clr.Warmup(restarts, other),
        clr.Shifted(restarts, steps),
        clr.Piecewise([cycle, restarts, clr.OneCycle(0.1, other)], boundaries),
        clr.Warmup(clr.Piecewise([0.1, clr.Shifted(cycle, steps), restarts], boundaries), first),
    ):
        assert schedule.cycle_ends(300).tolist() == exact.cycle_ends(schedule, 300), schedule


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        (clr.Triangular(0.1, 0.2, 30, 20), 150),
        (clr.OneCycle(0.1, 77), 77),
        (clr.OneCycle(0.1, 77).momentum(), 77),
        (clr.CosineRestarts(0.1, 10), 30),
        (clr.CosineRestarts(0.1, 10, 2), 70),
        (clr.CosineRestarts(0.1, 8, 0.5), 14),
        (clr.CosineRestarts(0.1, 1, 0.5), 1),
        (clr.Warmup(clr.OneCycle(0.1, 77), 23), 100),
        (clr.Shifted(clr.OneCycle(0.1, 77), -70), 77),
        (clr.Shifted(clr.Triangular(0.1, 1.0, 2), -12), 12),
        (clr.Warmup(keras.optimizers.schedules.ExponentialDecay(0.1, 0.5, 0.9), 0), 1),
        (clr.Piecewise([0.1, clr.OneCycle(0.1, 77)], [23]), 100),
        (clr.Piecewise([0.1, clr.OneCycle(0.1, 50), clr.OneCycle(0.1, 77)], [10, 23]), 100),
        (clr.Piecewise([clr.OneCycle(0.1, 77)], []), 77),
        (clr.Warmup(keras.optimizers.schedules.CosineDecay(0.1, 500), 100), 600),
        (clr.Warmup(0.1, 100), 1100),
    ],
    ids=repr,
)
def test_a_picture_shows_the_natural_length(schedule, length):
    assert schedule._natural_length() == length
    assert f"{length:,} iterations" in schedule._repr_html_()


def test_what_a_notebook_shows_is_escaped():
    shown = clr.Triangular(0.1, 0.2, 3, name="<b>&")._repr_html_()
    assert "&lt;b&gt;&amp;" in shown
    assert "<b>" not in shown


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (clr.Triangular(0.1, 0.2, 50), np.arange(300)),
        (clr.Triangular(0.1, 0.2, 200), np.append(np.arange(0, 1200, 2), 1199)),
        (clr.OneCycle(0.1, 2), np.arange(2)),
        (clr.Triangular(0.1, 0.1, 1), np.arange(6)),
    ],
)
def test_a_curve_fills_its_picture(schedule, steps):
    points = re.search(r'points="([^"]*)"', schedule._repr_html_())[1].split()
    x, y = np.array([point.split(",") for point in points], float).T
    rates = schedule.values(steps)
    height = np.ptp(rates) or 1.0
    np.testing.assert_allclose(x, 2 + 296 * steps / steps[-1], atol=0.06)
    np.testing.assert_allclose(y, 58 - 56 * (rates - rates.min()) / height, atol=0.06)


def test_a_cycle_that_has_ended_before_does_not_end_again():
    lr = clr.OneCycle(0.1, 77)
    assert lr.cycle_ends(77).tolist() == [77]
    assert clr.Shifted(lr, -76).cycle_ends(100).tolist() == [1]
    assert clr.Shifted(lr, -77).cycle_ends(100).tolist() == []
    with pytest.raises(ValueError, match="`num_steps` must be"):
        lr.cycle_ends(-1)


def test_a_schedule_of_another_package_is_the_same_while_its_attributes_are():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
    key = _SameObject(schedule)
    assert key == _SameObject(schedule)
    assert hash(key) == hash(_SameObject(schedule)) != hash(_SameObject(lr := 0.5))
    assert key != _SameObject(lr)
    assert key != lr
    assert key != _SameObject(copy.copy(schedule))
    schedule.decay_rate = 0.8
    assert key != _SameObject(schedule)
    key = _SameObject(schedule)
    schedule.more = 1
    assert key != _SameObject(schedule)


@keras.saving.register_keras_serializable(package="tests")
def twice_the_scale(cycle):
    return cycle * 0 + 2.0


def test_the_momentum_stays_between_its_bounds_whatever_the_scale():
    lr = clr.Cyclical(0.1, 0.2, 4, scale_fn=twice_the_scale)
    assert "scale_fn=twice_the_scale" in repr(lr)
    assert lr.values(range(9)).max() == pytest.approx(0.2)
    expected = [0.9, 0.85, 0.8, 0.8, 0.8, 0.8, 0.8, 0.85, 0.9]
    assert lr.momentum(0.9, 0.8).values(range(9)).tolist() == pytest.approx(expected)


def test_the_largest_momentum_is_below_1_in_float32():
    lr, most = clr.Triangular(0.1, 0.2, 4), 1 - 2.0**-24
    assert lr.momentum(most).max_momentum == most
    with pytest.raises(ValueError, match="`max_momentum` must be a number of at least 0 and below"):
        lr.momentum(math.nextafter(most, 1.0))


# ---- Whole numbers


def test_counts_are_whole_numbers_of_any_kind():
    variable = keras.optimizers.SGD(0.1).iterations
    variable.assign(7)
    for count in (
        np.int32(7),
        np.uint8(7),
        7.0,
        np.float32(7),
        Fraction(14, 2),
        Decimal(7),
        np.array(7),
        np.array(7.0),
        as_tensor(np.array(7)),
        as_tensor(np.array(7.0)),
        variable,
    ):
        assert type(clr.Triangular(0.1, 0.2, count).step_size) is int, repr(count)
        for schedule in (
            clr.Triangular(0.1, 0.2, count),
            clr.Warmup(0.1, count),
            clr.Piecewise([0.1, 0.2], [count]),
        ):
            assert 7 in [getattr(schedule, n, None) for n in ("step_size", "warmup_steps")] or (
                schedule.boundaries == (7,)
            )
    assert clr.Triangular(0.1, 0.2, Fraction(2**52 + 1)).step_size == 2**52 + 1


def test_rates_are_real_numbers_of_any_kind():
    """The rates that schedules and optimizers give are taken again."""
    lr = clr.Triangular(0.5, 1.0, 4)
    rates = [
        lr.values(0),
        lr(0),
        keras.optimizers.SGD(0.5).learning_rate,
        Decimal("0.5"),
        np.half(0.5),
    ]
    rates.append(backend.cast(0.5, "bfloat16"))
    for rate in rates:
        assert clr.Warmup(lr, 100, start_lr=rate) == clr.Warmup(lr, 100, start_lr=0.5), repr(rate)
        assert type(clr.Warmup(rate, 100).schedule) is float
    assert clr.OneCycle(0.1, 100, pct_start=np.array(0.5)).pct_start == 0.5
    for wrong in ("bool", "complex", "m8[ns]", "M8[ns]", "U1"):
        with pytest.raises(TypeError, match="`start_lr` must be a finite number"):
            clr.Warmup(lr, 100, start_lr=np.zeros((), wrong))


def test_a_rate_that_no_range_test_has_shown_is_none_and_the_error_says_where_its_reason_is():
    for make in (
        lambda: clr.OneCycle(None, 100),
        lambda: clr.Triangular(1e-3, None, 100),
        lambda: clr.CosineRestarts(None, 100),
        lambda: clr.Warmup(0.1, 100, start_lr=None),
    ):
        with pytest.raises(TypeError, match=r"`(max|start)_lr` must.*None.*`suggestion.reasons`"):
            make()


def test_a_fraction_is_an_error_that_offers_the_rounded_number():
    for count in (2.6, Fraction(13, 5), np.float64(2.6)):
        with pytest.raises(ValueError, match=r"`total_steps` must be .*Received: .*nearest is 3"):
            clr.OneCycle(0.1, count)
    with pytest.raises(ValueError, match="The nearest is 1"):
        clr.OneCycle(0.1, 0.3)


@pytest.mark.parametrize("count", [-1, -2, np.int64(-2), -1.0])
def test_a_negative_count_may_be_that_of_a_dataset_of_unknown_length(count):
    with pytest.raises(ValueError, match=r"Received: total_steps=.*cardinality.*unknown"):
        clr.OneCycle(0.1, count)
    with pytest.raises(ValueError, match="cardinality"):
        clr.Warmup(0.1, count)


# ---- A schedule in a wrong place


def test_a_schedule_is_no_callback_and_no_number(tmp_path):
    lr = clr.Triangular(1e-3, 6e-3, 4)
    x = np.ones((4, 2))

    def train(optimizer="sgd", callbacks=()):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        model.fit(x, x, verbose=0, callbacks=callbacks)

    scheduler = keras.callbacks.LearningRateScheduler
    for callbacks in (lr, [lr], [keras.callbacks.History(), lr], [scheduler(lr)]):
        with pytest.raises((TypeError, ValueError), match=r"goes into the optimizer.*Adam\(learn"):
            train(callbacks=callbacks)
    with pytest.raises(AttributeError, match="'Triangular' object has no attribute 'lr'"):
        _ = lr.lr
    with pytest.raises(TypeError, match=r"not a number.*`clr_schedules.schedule_hyperparameters"):
        float(lr)
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(
            TypeError, match=r"not a number.*`clr_schedules.schedule_hyperparameter"
        ):
            train(keras.optimizers.AdamW(1e-3, weight_decay=lr))
