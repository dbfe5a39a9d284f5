"""What TensorFlow Addons 0.23 saved, loaded without it."""

import copy
import importlib.util
import itertools
import json
import math
import pickle
import shutil
import zipfile
from fractions import Fraction

import h5py
import mpmath
import numpy as np
import pytest
from helpers import ROOT, addons_models, exact, other_process, strategies
from helpers.keras_under_test import (
    DIFFERENT_ENGINES,
    ENGINES,
    LEGACY,
    MAX_STEP,
    compute,
    keras,
)
from helpers.properties import FLOAT64_ULPS, ULPS
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr
from clr_schedules import migrate

FOLDER = ROOT / "tests" / "golden" / "addons" / "0.23.0"
MODELS = json.loads((FOLDER / "models.json").read_text())
SCHEDULES = json.loads((FOLDER / "schedules.json").read_text())
OPTIMIZERS = json.loads((FOLDER / "optimizers.json").read_text())

PREFIX = "CyclicalLearningRate"
TRIANGULAR, TRIANGULAR2, EXPONENTIAL = (
    kind + PREFIX for kind in ("Triangular", "Triangular2", "Exponential")
)

engines = pytest.mark.parametrize("engine", ENGINES)

migrate.register_addons()


def load(name, config):
    """The schedule that Keras makes of a config of Addons."""
    return keras.optimizers.schedules.deserialize(
        {
            "module": "tensorflow_addons.optimizers.cyclical_learning_rate",
            "class_name": name,
            "config": config,
            "registered_name": f"Addons>{name}",
        }
    )


# The formula of Addons, letter for letter, in exact numbers


def cycle_and_triangle(step, step_size):
    cycle = math.floor(1 + Fraction(step) / (2 * step_size))
    x = abs(Fraction(step) / step_size - 2 * cycle + 1)
    return cycle, max(Fraction(0), 1 - x)


def exactly_at(step, low, high, step_size, scale, mode):
    """The rate of a step; `scale` takes and returns a number of mpmath."""
    cycle, triangle = cycle_and_triangle(step, Fraction(step_size))
    factor = scale(mpmath.mpf(cycle if mode == "cycle" else step))
    triangle = mpmath.mpf(triangle.numerator) / triangle.denominator
    low, high = mpmath.mpf(low), mpmath.mpf(high)
    return low + (high - low) * triangle * factor


def scale_of(name, config):
    """The scale function of a config of Addons."""
    if name == TRIANGULAR:
        return lambda x: mpmath.mpf(1)
    if name == TRIANGULAR2:
        return lambda x: mpmath.mpf(2) ** (1 - x)
    if name == EXPONENTIAL:
        gamma = mpmath.mpf(number(config["gamma"]))
        return lambda x: mpmath.mpf(1) if x == 0 else gamma**x
    text = json.dumps(config["scale_fn"])
    if "doubling" in text:
        return lambda x: x + 0.5
    return (lambda x: 1 / x) if "harmonic" in text else (lambda x: x**-0.5)


def number(value):
    return value["config"]["value"] if isinstance(value, dict) else value


# The values of Addons

RECORDS = SCHEDULES["schedules"]


def described(record):
    config = record["serialized"]["config"]
    parts = [record["serialized"]["class_name"].replace(PREFIX, ""), config["scale_mode"]]
    parts += [str(number(config[key])) for key in ("step_size", "gamma") if key in config]
    return "-".join(parts)


@pytest.mark.parametrize("record", RECORDS, ids=described)
def test_the_rates_are_those_that_addons_computed(record):
    name, config = (record["serialized"][key] for key in ("class_name", "config"))
    schedule = keras.optimizers.schedules.deserialize(copy.deepcopy(record["serialized"]))
    assert type(schedule).__module__.startswith("clr_schedules.")
    steps = np.array(SCHEDULES["steps"])
    addons = np.frombuffer(bytes.fromhex(record["float32"]), "<f4").astype(np.float64)

    low, high, step_size = (
        number(config[key])
        for key in ("initial_learning_rate", "maximal_learning_rate", "step_size")
    )
    mode = "cycle" if config["scale_mode"] == "cycle" else "iterations"
    scale = scale_of(name, config)
    exactly = [exactly_at(step, low, high, step_size, scale, mode) for step in steps.tolist()]
    rates = compute("eager", schedule, steps)
    rounding = np.spacing(np.abs(np.array(exactly, np.float64)).astype(np.float32)) / 2
    # Within the rounding and what float64 adds to it.
    slack = 1e-12 * max(low, high) * (1 + np.array([float(abs(scale(x + 1))) for x in steps]))
    assert np.all(np.abs(rates - np.array(exactly, np.float64)) <= rounding + slack)

    # And those of Addons within the rounding errors of the formula in float32: of `step /
    # step_size` and `2 * cycle`, of a step size and of a gamma that are no float32.
    eps = 2.0**-23
    cycles = 1 + steps // (2 * step_size)
    x = cycles if mode == "cycle" else steps
    factor = np.array([float(abs(scale(mpmath.mpf(int(n))))) for n in np.where(steps > 0, x, 1)])
    error = eps * (4 * cycles + 4)
    if name == EXPONENTIAL:
        error = error + eps * (x + 4)
    bound = abs(high - low) * factor * error + 2 * eps * np.abs(addons)
    assert np.all(np.abs(rates - addons) <= bound)


@pytest.mark.parametrize(
    "record", [record for record in RECORDS if record["legacy"]], ids=described
)
def test_the_older_form_of_a_config_is_the_same(record):
    schedules = [
        keras.optimizers.schedules.deserialize(copy.deepcopy(record[form]))
        for form in ("serialized", "legacy")
    ]
    assert schedules[0] == schedules[1]


def test_the_schedules_that_say_it_are_taken():
    plain = {"initial_learning_rate": 0.001, "maximal_learning_rate": 0.006, "step_size": 2000.0}
    bounds = "base_lr=0.001, max_lr=0.006, step_size=2000"
    addons = "initial_learning_rate=0.001, maximal_learning_rate=0.006, step_size"
    for name, more, expected in [
        (TRIANGULAR, {}, f"Triangular({bounds})"),
        (TRIANGULAR, {"scale_mode": "iterations"}, f"Triangular({bounds})"),
        (TRIANGULAR, {"name": "mine"}, f"Triangular({bounds}, name='mine')"),
        (TRIANGULAR, {"step_size": 781.25}, f"AddonsCyclical({addons}=781.25)"),
        (TRIANGULAR2, {}, f"Triangular2({bounds})"),
        (
            TRIANGULAR2,
            {"scale_mode": "iterations"},
            f"AddonsCyclical({addons}=2000, scale_fn=Power(gamma=0.5, start=1), "
            "scale_mode='iterations')",
        ),
        (EXPONENTIAL, {}, f"ExpRange({bounds}, gamma=1.0)"),
        (EXPONENTIAL, {"gamma": 0.9}, f"ExpRange({bounds}, gamma=0.9)"),
        (
            EXPONENTIAL,
            {"gamma": 0.9, "scale_mode": "cycle"},
            f"AddonsCyclical({addons}=2000, scale_fn=Power(gamma=0.9, start=0))",
        ),
        (
            EXPONENTIAL,
            {"gamma": 1.5},
            f"AddonsCyclical({addons}=2000, scale_fn=Power(gamma=1.5, start=0), "
            "scale_mode='iterations')",
        ),
        (PREFIX, {"scale_fn": "doubling"}, f"AddonsCyclical({addons}=2000, scale_fn=doubling)"),
    ]:
        assert repr(load(name, plain | more)) == expected


# Any config


@st.composite
def configs(draw):
    """A config of Addons, with the exact step size, and steps around the corners of its cycles."""
    name = draw(st.sampled_from([TRIANGULAR, TRIANGULAR2, EXPONENTIAL]))
    rates = st.floats(1e-4, 1.0)
    step_size = draw(
        st.integers(1, 10**5).map(Fraction)
        | st.integers(1, 2**40).map(Fraction)
        | st.builds(Fraction, st.integers(2**10, 10**6), st.integers(1, 2**9))
        | st.builds(Fraction, st.integers(2**12, 2**24), st.just(2**12))
    )
    mode = draw(st.sampled_from(["cycle", "iterations"]))
    config = {
        "initial_learning_rate": draw(rates),
        "maximal_learning_rate": draw(rates),
        "step_size": float(step_size),
        "scale_mode": mode,
    }
    if name == EXPONENTIAL:
        config["gamma"] = draw(st.floats(0.9, 1.0) | st.floats(0.0, 1.0))
    cycles = st.integers(0, int(MAX_STEP / (2 * step_size))) | st.integers(0, 3)
    corners = st.builds(
        lambda cycle, corner, off: math.floor((2 * cycle + corner) * step_size) + off,
        cycles,
        st.sampled_from([0, 1]),
        st.integers(-2, 2),
    ).map(lambda step: min(max(step, 0), MAX_STEP - 1))
    anywhere = st.integers(0, MAX_STEP - 1) | st.integers(0, 10**5)
    steps = draw(st.lists(anywhere | corners, min_size=16, max_size=16))
    return name, config, step_size, steps


@given(configs())
def test_correctly_rounded(drawn):
    name, config, step_size, steps = drawn
    schedule = load(name, config)
    low, high = config["initial_learning_rate"], config["maximal_learning_rate"]
    scale = scale_of(name, config)
    exactly = [
        exactly_at(step, low, high, step_size, scale, config["scale_mode"]) for step in steps
    ]
    for engine in DIFFERENT_ENGINES:
        assert exact.ulps(compute(engine, schedule, steps), exactly).max() <= ULPS
    # In float64, within the promised 16 units in the last place of the larger bound.
    errors = np.array([float(r - e) for r, e in zip(schedule.values(steps), exactly, strict=True)])
    assert np.abs(errors).max() <= FLOAT64_ULPS * np.spacing(max(low, high))


@given(st.floats(0.5, 1e9), st.lists(st.integers(0, 10**9), min_size=8, max_size=8), st.booleans())
def test_a_step_size_that_is_no_ratio_is_as_good_as_its_float32(step_size, steps, flip):
    low, high = (0.75, 0.25) if flip else (0.25, 0.75)
    rates = migrate.AddonsCyclical(low, high, step_size).values(steps)
    for step, rate in zip(steps, rates.tolist(), strict=True):
        exactly = exactly_at(step, low, high, step_size, lambda x: mpmath.mpf(1), "cycle")
        assert abs(rate - exactly) <= 0.5 * (step / step_size * 2.0**-31 + 2.0**-50)


def test_a_ratio_is_what_it_was_before_it_was_rounded():
    """At step 10^15 the float of 60000 / 7 alone would be wrong in the fifth digit."""
    schedule = migrate.AddonsCyclical(0.0, 1.0, 60_000 / 7)
    step = 120_000 * 10**10 + 1
    assert schedule.values(step) == pytest.approx(7 / 60_000, rel=1e-12)


@engines
@pytest.mark.parametrize("gamma", [1.5, -0.5, 0.0, 1e-300])
@pytest.mark.parametrize("mode", ["cycle", "iterations"])
def test_any_gamma_is_as_in_addons(engine, gamma, mode):
    config = {
        "initial_learning_rate": 0.5,
        "maximal_learning_rate": 1.0,
        "step_size": 2.5,
        "scale_mode": mode,
        "gamma": gamma,
    }
    steps = np.arange(60)
    scale = scale_of(EXPONENTIAL, config)
    exactly = [exactly_at(step, 0.5, 1.0, 2.5, scale, mode) for step in steps.tolist()]
    schedule = load(EXPONENTIAL, config)
    assert exact.ulps(compute(engine, schedule, steps), exactly).max() <= ULPS
    assert np.allclose(schedule.values(steps), np.array(exactly, np.float64), rtol=1e-13)


@engines
@pytest.mark.parametrize("n", [2, 49, 98, 103])
def test_the_lowest_rate_of_bounds_in_reverse_is_reached(engine, n):
    """`1 + (1e-9 - 1)` is wrong in the eighth digit."""
    schedule = migrate.AddonsCyclical(1.0, 1e-9, n)
    assert compute(engine, schedule, [n, 3 * n]).tolist() == [np.float32(1e-9)] * 2
    assert schedule.values([0, n, 2 * n, 3 * n]).tolist() == [1.0, 1e-9, 1.0, 1e-9]


@engines
def test_a_scale_beyond_all_numbers_leaves_the_ends_of_cycles_alone(engine):
    schedule = migrate.AddonsCyclical(0.5, 1.0, 2, migrate.Power(10.0), "iterations")
    steps = [0, 400, 4000, MAX_STEP - MAX_STEP % 4 - 4]
    assert np.all(compute(engine, schedule, steps) == 0.5)
    assert np.all(schedule.values(steps) == 0.5)


# The object


addons_cyclicals = st.builds(
    migrate.AddonsCyclical,
    st.floats(0.001, 1),
    st.floats(0.001, 1),
    st.floats(0.5, 1e6) | st.integers(1, 2**53),
    st.none()
    | st.builds(migrate.Power, st.floats(-1, 2), st.integers(0, 1))
    | st.just(strategies.harmonic),
    st.sampled_from(["cycle", "iterations"]),
    st.none() | st.just("mine"),
)


@given(addons_cyclicals)
@settings(max_examples=50)
def test_is_a_schedule_like_the_others(schedule):
    serialized = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    assert serialized["registered_name"] == "clr_schedules>AddonsCyclical"
    again = keras.optimizers.schedules.deserialize(serialized)
    names = {"Power": migrate.Power, "harmonic": strategies.harmonic}
    same = eval(repr(schedule), {"AddonsCyclical": migrate.AddonsCyclical} | names)
    for other in (again, same, copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert other == schedule
        assert hash(other) == hash(schedule)
    assert schedule != migrate.AddonsCyclical(0.0, 1.0, 3)
    with pytest.raises(AttributeError):
        schedule.step_size = 1
    with pytest.raises(ValueError, match=r"`AddonsCyclical`.*Received: 'gamma'"):
        migrate.AddonsCyclical.from_config(schedule.get_config() | {"gamma": 1})


def test_draws_itself(figures):
    ax = migrate.AddonsCyclical(0.1, 0.01, 7.5, name="mine").plot()
    assert ax.lines


@pytest.mark.parametrize("step_size", [0.5, 0.7, 2.5, 7, 60_000 / 7])
def test_a_cycle_ends_with_the_last_step_that_is_taken_in_it(step_size):
    schedule = migrate.AddonsCyclical(0.1, 0.2, step_size, scale_fn=migrate.Power(2.0))
    ends = schedule.cycle_ends(10**5)
    length = 2 * Fraction(step_size).limit_denominator(10**6)
    cycles = [step // length for step in range(10**5 + 1)]
    assert ends.tolist() == [
        step for step in range(1, 10**5 + 1) if cycles[step] > cycles[step - 1]
    ]
    assert schedule.cycle_ends(0).tolist() == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"initial_learning_rate": -0.1}, ValueError),
        ({"maximal_learning_rate": math.nan}, ValueError),
        ({"maximal_learning_rate": [0.1, 0.2]}, TypeError),
        ({"step_size": 0.4}, ValueError),
        ({"step_size": math.inf}, ValueError),
        ({"step_size": 2.0**54}, ValueError),
        ({"step_size": True}, TypeError),
        ({"scale_fn": 3}, TypeError),
        ({"scale_mode": "steps"}, ValueError),
        ({"name": ""}, ValueError),
    ],
)
def test_bad_arguments_are_named(change, error):
    good = {"initial_learning_rate": 0.1, "maximal_learning_rate": 1.0, "step_size": 2.5}
    (name,) = change
    with pytest.raises(error, match=rf"`{name}` must be .*Received: {name}="):
        migrate.AddonsCyclical(**good | change)


def test_a_function_without_a_name_trains_and_is_not_saved():
    with pytest.warns(UserWarning, match="`scale_fn` is not registered with Keras"):
        schedule = migrate.AddonsCyclical(0.1, 1.0, 2.5, scale_fn=lambda x: 1 / x)
    assert schedule.values(10) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="`scale_fn` must be a function registered"):
        schedule.get_config()


# What is wrong in a config


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TRIANGULAR, {"gamma": 1}, r"unknown 'gamma' in config="),
        (PREFIX, {}, r"must have the keys .*, scale_fn, and may .*missing 'scale_fn' in config="),
        (TRIANGULAR, {"step_size": 0}, r"`step_size` must be .* 1/2. Received: step_size=0"),
        (TRIANGULAR, {"initial_learning_rate": -1.0}, r"`initial_learning_rate` must be .*=-1"),
        (TRIANGULAR, {"maximal_learning_rate": "x"}, r"`maximal_learning_rate` must be .*='x'"),
        (EXPONENTIAL, {"gamma": math.nan}, r"`gamma` must be a finite number. .*=nan"),
        (
            TRIANGULAR,
            {"step_size": {"class_name": "__tensor__", "config": {"value": [1, 2]}}},
            r"`step_size` must be .*\[1, 2\]",
        ),
        (PREFIX, {"scale_fn": "absent"}, r"register.*\(package='my_project', name='absent'\)"),
        (PREFIX, {"scale_fn": "gone>absent"}, r"register.*\(package='gone', name='absent'\)"),
        (
            PREFIX,
            {"scale_fn": {"class_name": "Gone", "registered_name": "my>Gone", "config": {}}},
            r"register.*\(package='my', name='Gone'\)",
        ),
        (PREFIX, {"scale_fn": "<lambda>"}, r"A Python lambda cannot be loaded: .*='<lambda>'"),
        (PREFIX, {"scale_fn": 3}, r"`scale_fn` must be a function saved by Keras.*scale_fn=3"),
    ],
)
def test_what_is_wrong_in_a_config_is_named(name, change, message):
    config = {"initial_learning_rate": 0.1, "maximal_learning_rate": 1.0, "step_size": 2}
    before = copy.deepcopy(config | change)
    with pytest.raises((TypeError, ValueError), match=message):
        load(name, config | change)
    assert config | change == before


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="missing 'maximal_learning_rate', 'step_size' in config="):
        load(TRIANGULAR, {"initial_learning_rate": 0.1})


def test_a_function_may_come_from_a_scope_and_must_be_one():
    config = {
        "initial_learning_rate": 0.0,
        "maximal_learning_rate": 1.0,
        "step_size": 2,
        "scale_fn": {"module": "builtins", "class_name": "function", "config": "twice_there"},
    }
    for package in ("one", "two"):
        register = keras.saving.register_keras_serializable(package=package, name="twice_there")
        register(lambda x: x)
    with pytest.raises(ValueError, match="before the model is loaded; 2 functions are registered"):
        load(PREFIX, config)
    with keras.saving.custom_object_scope({"twice_there": strategies.harmonic}):
        assert load(PREFIX, config).scale_fn is strategies.harmonic


def test_numbers_of_a_schedule_in_memory_are_taken_too():
    """The config of an object of Addons, not serialized."""
    schedule = load(
        TRIANGULAR,
        {
            "initial_learning_rate": np.float32(0.25),
            "maximal_learning_rate": keras.backend.variable(0.5) if LEGACY else keras.Variable(0.5),
            "step_size": np.array(2.5),
        },
    )
    assert schedule == migrate.AddonsCyclical(0.25, 0.5, 2.5)


# Models

LOADED = {
    "triangular": "Triangular(base_lr=0.001, max_lr=0.06, step_size=4)",
    "triangular2": "AddonsCyclical(initial_learning_rate=0.001, maximal_learning_rate=0.06, "
    "step_size=1.75, scale_fn=Power(gamma=0.5, start=1))",
    "exponential": "ExpRange(base_lr=0.001, max_lr=0.06, step_size=4, gamma=0.9)",
    "exponential_cycle": "AddonsCyclical(initial_learning_rate=0.001, maximal_learning_rate=0.06, "
    "step_size=2, scale_fn=Power(gamma=0.9, start=0))",
    "cyclical": "AddonsCyclical(initial_learning_rate=0.001, maximal_learning_rate=0.06, "
    "step_size=2, scale_fn=harmonic)",
    "cyclical_object": "AddonsCyclical(initial_learning_rate=0.001, maximal_learning_rate=0.06, "
    "step_size=2, scale_fn=Root())",
    "tensor": "AddonsCyclical(initial_learning_rate=0.0010000000474974513, "
    "maximal_learning_rate=0.05999999865889549, step_size=2.5)",
}

# Said by Keras 3 of the model's first layer.
old_layers = pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning")

# Keras 3 loads neither a SavedModel as a model nor a .keras file of Keras 2.
FORMS = ["h5", "keras", "zip"] if LEGACY else ["h5"]
# Where Keras itself starts with a new optimizer, whatever is in the file.
LEGACY_OPTIMIZERS = ("exponential", "cyclical_object")


@old_layers
@pytest.mark.filterwarnings("ignore:Argument `decay` is no longer supported:UserWarning")
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_models_load_and_are_ones_of_this_package_from_then_on(tmp_path):
    """One process goes on with all of them, since most of the time goes into starting it."""
    assert importlib.util.find_spec("tensorflow_addons") is None
    migrate.register_addons()  # once more, which changes nothing
    files, all_loaded, all_natives = [], [], []
    for form, name in itertools.product(FORMS, LOADED):
        if form not in MODELS[name]["formats"]:
            continue
        natives = [str(tmp_path / f"{name}-{form}.keras")]
        if LEGACY:
            natives += [str(tmp_path / f"{name}-{form}.h5")]
            if name in LEGACY_OPTIMIZERS:  # whose state its Keras loads from such a file alone
                del natives[0]
        model = keras.models.load_model(extracted(FOLDER / f"{name}.{form}", tmp_path))
        files.append((form, name))
        all_loaded.append(addons_models.convert(model, natives))
        all_natives.append(natives)

    all_went_on = other_process.run(
        """
from helpers.addons_models import go_on
print(json.dumps([[go_on(path) for path in natives] for natives in all_natives]))
""",
        all_natives=all_natives,
    )
    for (form, name), loaded, went_on in zip(files, all_loaded, all_went_on, strict=True):
        saved = MODELS[name]
        starts_anew = form == "zip" or (form == "keras" and name in LEGACY_OPTIMIZERS)
        iterations = 0 if starts_anew else saved["iterations"]
        assert loaded["schedule"] == LOADED[name]
        assert loaded["weights"] == saved["weights"]
        assert loaded["iterations"] == iterations
        whole = LEGACY and not starts_anew
        assert all(slot in loaded["variables"] for slot in saved["slots"]) == whole

        for there in went_on:
            before, after = there["before"], there["after"]
            assert before["schedule"] == LOADED[name]
            assert before["weights"] == saved["weights"]
            assert (before["iterations"], after["iterations"]) == (iterations, iterations + 1)
            # With its momenta, the step that Addons took; without, one with the rate of this step.
            expected = saved["sixth_step"] if whole else there["constant"]["weights"]
            assert all(slot in before["variables"] for slot in saved["slots"]) == whole
            for weight, value in zip(after["weights"], expected, strict=True):
                np.testing.assert_allclose(weight, value, rtol=1e-6, atol=1e-8)


def extracted(path, folder):
    """The file; or the folder that it is an archive of."""
    if path.suffix != ".zip":
        return path
    zipfile.ZipFile(path).extractall(folder / path.stem)
    return folder / path.stem


@old_layers
@pytest.mark.parametrize("form", FORMS)
def test_a_lambda_cannot_be_loaded_and_what_to_do_is_said(form, tmp_path):
    path = extracted(FOLDER / f"lambda.{form}", tmp_path)
    message = "A Python lambda cannot be loaded: load the model with `compile=False`.*Received: "
    with pytest.raises(ValueError, match=message):
        keras.models.load_model(path)

    # And that works.
    model = keras.models.load_model(path, compile=False)
    rate = clr.Cyclical(1e-3, 6e-2, 2, scale_fn=strategies.harmonic)
    model.compile(keras.optimizers.SGD(rate), "mean_squared_error")
    model.train_on_batch(np.ones((3, 2)), np.ones((3, 1)))
    assert int(np.asarray(model.optimizer.iterations)) == 1


@old_layers
@pytest.mark.parametrize("name", ["AdamW", "SGDW", "Lookahead"])
def test_an_optimizer_of_addons_is_refused_with_what_it_was(name, tmp_path):
    """Keras 3 would load the first as `AdamW(0.001)`, without a word."""
    path = tmp_path / "model.h5"
    shutil.copy(FOLDER / "triangular.h5", path)
    with h5py.File(path, "a") as file:
        saved = json.loads(file.attrs["training_config"])
        rate = saved["optimizer_config"]["config"]["learning_rate"]
        config = {"name": name, "learning_rate": rate, "weight_decay": 1e-4, "beta_1": 0.9}
        if name == "Lookahead":
            config = {"name": name, "optimizer": saved["optimizer_config"], "sync_period": 6}
        saved["optimizer_config"] = {"class_name": f"Addons>{name}", "config": config}
        file.attrs["training_config"] = json.dumps(saved)
    what = rf"`{name}` of TensorFlow Addons cannot be loaded.*`compile=False`.*Received: "
    if name != "Lookahead":
        what += r"learning_rate=Triangular\(base_lr=0.001.*, weight_decay=0.0001"
    with pytest.raises(ValueError, match=what) as error:
        keras.models.load_model(path)
    assert len(str(error.value)) < 500
    assert keras.models.load_model(path, compile=False).count_params()


@old_layers
def test_a_function_may_come_from_the_custom_objects(tmp_path):
    """It is preferred to what is registered; but the model cannot be saved with it."""

    def harmonic(x):
        return 1 / x

    path = FOLDER / "cyclical.h5"
    with pytest.warns(UserWarning, match="`scale_fn` is not registered with Keras"):
        model = keras.models.load_model(path, custom_objects={"harmonic": harmonic})
    assert model.optimizer._learning_rate.scale_fn is harmonic


@pytest.mark.skipif(LEGACY, reason="the legacy Keras knows its optimizers")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keras_3_finds_the_optimizers_of_keras_2(name):
    saved = OPTIMIZERS[name]
    optimizer = keras.optimizers.deserialize(copy.deepcopy(saved))
    assert isinstance(optimizer, getattr(keras.optimizers, name))
    assert repr(optimizer._learning_rate) == LOADED["triangular"]
    config = optimizer.get_config()
    for key, value in saved["config"].items():
        if key not in ("learning_rate", "jit_compile", "is_legacy_optimizer"):
            assert config[key] == value, key
    # And they are saved as what they are.
    assert keras.saving.get_registered_name(type(optimizer)) == name


@pytest.mark.skipif(LEGACY, reason="about Keras 3")
def test_an_optimizer_of_ones_own_stays_the_one_that_is_found():
    registered = keras.saving.get_custom_objects()
    before = registered["Custom>Adam"]
    try:

        @keras.saving.register_keras_serializable()
        class Adam(keras.optimizers.SGD):
            pass

        migrate.register_addons()
        assert keras.saving.get_registered_object("Custom>Adam") is Adam
    finally:
        registered["Custom>Adam"] = before
