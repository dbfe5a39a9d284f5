"""Momentum and its like that follow schedules, against loops that set the attribute by hand."""

import functools
import json
import operator
import pickle
import re

import numpy as np
import pytest
from helpers import keras_optimizers
from helpers.keras_under_test import BACKEND, LEGACY, keras, needs_tensorflow
from helpers.small_training import BATCH, STEPS, batches

import clr_schedules as clr
from clr_schedules._backend import backend
from clr_schedules.optimizers.hyperparameters import ScheduledOptimizer, _ScheduledValue

optimizers = keras.optimizers
RATE = clr.OneCycle(0.05, 2 * STEPS)
MOMENTUM = RATE.momentum()
NEXT_TO_1 = clr.Triangular(0.99, 0.9999, 5)
FROM_0 = clr.Triangular(0.0, 0.1, 5)
# It is 0 at some steps, and begins there.
ALSO_0 = clr.Triangular(0.0, 0.9, 6)
OF_KERAS = optimizers.schedules.PolynomialDecay(0.999, STEPS, end_learning_rate=0.8)

if LEGACY:

    def test_the_legacy_keras_is_refused():
        optimizer = optimizers.SGD(0.1, momentum=0.9)
        with pytest.raises(ValueError, match=r"an optimizer of Keras 3.*Received: optimizer="):
            clr.schedule_hyperparameters(optimizer, momentum=MOMENTUM)

    pytest.skip("the hyperparameters of Keras 3", allow_module_level=True)


class Unregistered(optimizers.schedules.LearningRateSchedule):
    """A rate that is loaded by who tells of it."""

    def __call__(self, step):
        return 0.05

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable(package="tests")
class Started(optimizers.SGD):
    """An optimizer that reads one hyperparameter when it is built, and has another hidden."""

    def __init__(self, learning_rate, start=0.5, damp=0.1, push=0.2, pull=0.3, **arguments):
        super().__init__(learning_rate, **arguments)
        self.start, self._damp, self.push, self.pull = start, damp, push, pull

    @property
    def damp(self):
        return self._damp

    @property
    def total(self):
        return self.push + getattr(self, "pull")  # noqa: B009 - it is found by its name alone

    def build(self, variables):
        super().build(variables)
        self.started = [float(self.start) for _ in variables]

    def get_config(self):
        hyperparameters = {"start": self.start, "damp": self.damp}
        return super().get_config() | hyperparameters | {"push": self.push, "pull": self.pull}


# The optimizer, its arguments, and what is scheduled. The mechanism has four kinds: a constant of 0
# or not, a slot or not, a value that is a tensor or a float, an optimizer that is wrapped or not.
DAILY = [
    ("SGD", {}, {"momentum": ALSO_0}),
    ("SGD", {"momentum": 0.9, "nesterov": True}, {"momentum": MOMENTUM}),
    ("Adam", {"amsgrad": True}, {"beta_1": MOMENTUM, "beta_2": NEXT_TO_1}),
    ("AdamW", {}, {"weight_decay": FROM_0}),
    ("RMSprop", {"epsilon": 1e-3}, {"rho": OF_KERAS, "momentum": MOMENTUM}),
    ("LossScaleOptimizer", {}, {"momentum": ALSO_0}),
    ("OwnSGD", {}, {"momentum": ALSO_0}),
]
SLOW = [
    ("SGD", {"momentum": 0.9}, {"momentum": MOMENTUM}),
    ("SGD", {"momentum": 0.5}, {"weight_decay": FROM_0}),
    ("Adam", {}, {"beta_1": MOMENTUM}),
    ("Adam", {}, {"beta_2": NEXT_TO_1}),
    ("Adam", {}, {"epsilon": clr.Triangular(1e-7, 1e-3, 5), "weight_decay": FROM_0}),
    ("Nadam", {}, {"beta_1": MOMENTUM}),
    ("RMSprop", {}, {"rho": clr.Triangular(0.8, 0.999, 7)}),
    ("RMSprop", {"centered": True, "momentum": 0.5}, {"momentum": MOMENTUM}),
    ("Lion", {}, {"beta_1": MOMENTUM}),
    ("Adafactor", {}, {"clip_threshold": clr.Triangular(0.5, 1.0, 5)}),
    ("Adamax", {}, {"beta_1": MOMENTUM, "beta_2": NEXT_TO_1}),
    ("Adadelta", {}, {"rho": clr.Triangular(0.8, 0.999, 7)}),
    ("Lamb", {}, {"beta_1": MOMENTUM}),
    ("Adagrad", {}, {"weight_decay": FROM_0}),
    ("Ftrl", {}, {"l2_regularization_strength": FROM_0}),
    ("Muon", {}, {"momentum": MOMENTUM, "adam_beta_1": MOMENTUM}),
]


def case(jit_compile, name, arguments, schedules):
    """A case by its name. One of each kind is for every day, compiled where that is possible."""
    every_day = (name, arguments, schedules) in DAILY
    compiled = BACKEND != "torch" and (name, arguments) != ("SGD", {})
    daily = every_day and jit_compile == compiled
    return pytest.param(
        *(name, arguments, schedules, jit_compile),
        id="-".join([name, *arguments, *schedules, "jit" if jit_compile else "no_jit"]),
        marks=[] if daily else [pytest.mark.slow],
    )


cases = pytest.mark.parametrize(
    ("name", "arguments", "schedules", "jit_compile"),
    [case(jit_compile, *each) for jit_compile in (False, True) for each in DAILY + SLOW],
)


def make(name, arguments, rate=RATE):
    return keras_optimizers.make(name, arguments, rate)


def compiled(optimizer, **arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", **arguments)
    return model


X, Y = map(np.concatenate, zip(*batches(), strict=True))
X, Y = X[:, :4], Y


def fit(model, epochs=1, **arguments):
    model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **arguments)


def weights(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def values_of(schedule, step):
    """The value of a schedule, also of one of Keras's, as a float."""
    ours = hasattr(schedule, "values")
    return float(schedule.values(step)) if ours else float(np.asarray(schedule(step)))


def by_hand(name, arguments, schedules):
    """The weights after an epoch, run eagerly, with the attributes set before every step."""
    # Neither a class of one's own nor the loss times a power of 2 changes the numbers.
    name = {"OwnSGD": "SGD", "LossScaleOptimizer": "SGD"}.get(name, name)
    return _by_hand(name, tuple(arguments.items()), tuple(schedules.items()))


@functools.cache
def _by_hand(name, arguments, schedules):
    arguments, schedules = dict(arguments), dict(schedules)
    if "momentum" in schedules and not arguments.get("momentum"):
        arguments["momentum"] = 0.5  # so that it has slots
    optimizer = make(name, arguments)
    model = compiled(optimizer, run_eagerly=True)
    for step in range(STEPS):
        for attribute, schedule in schedules.items():
            # The smallest normal number is 0 to all but the question whether it is.
            setattr(optimizer, attribute, max(values_of(schedule, step), 2.0**-126))
        batch = slice(step * BATCH, (step + 1) * BATCH)
        model.train_on_batch(X[batch], Y[batch])
    optimizer.finalize_variable_values(model.trainable_variables)  # as `fit` does
    return weights(model)


def variables(count):
    return [keras.Variable(np.ones(3, np.float32)) for _ in range(count)]


def stepped(optimizer, steps=3):
    """Two variables after eager steps with an optimizer."""
    owned = variables(2)
    optimizer.build(owned)
    for step in range(steps):
        optimizer.apply([keras.ops.full((3,), scale) for scale in (1.0, 0.1 * step)], owned)
    return np.array([keras.ops.convert_to_numpy(variable) for variable in owned])


def difference(some, others):
    """Of weights, by the largest."""
    return np.abs(some - others).max() / np.abs(others).max()


@functools.cache
def compiled_from_eager(name, arguments, jit_compile):
    """How far a training that is compiled comes out from one that is not, all constant."""
    model = compiled(make(name, dict(arguments)), jit_compile=jit_compile)
    fit(model)
    return difference(weights(model), by_hand(name, dict(arguments), {}))


@cases
def test_a_step_is_what_it_is_with_the_attribute_set_by_hand(
    name, arguments, schedules, jit_compile
):
    if BACKEND == "torch" and jit_compile:
        pytest.skip("torch.compile needs a C++ compiler")
    optimizer = make(name, arguments)
    kind = type(optimizer)
    scheduled = clr.schedule_hyperparameters(optimizer, **schedules)
    assert isinstance(scheduled, kind)
    model = compiled(scheduled, jit_compile=jit_compile)
    fit(model)
    expected = by_hand(name, arguments, schedules)
    allowed = 2.4e-6
    if name in ("RMSprop", "Muon", "Ftrl") and "epsilon" not in arguments:
        # They magnify roundings.
        constants = {attribute: s.values(STEPS // 2).item() for attribute, s in schedules.items()}
        allowed += 3 * compiled_from_eager(
            name, tuple((arguments | constants).items()), jit_compile
        )
    assert difference(weights(model), expected) <= allowed
    # The given one is as it was, and the other's attributes are the constants again.
    assert not getattr(optimizer, "inner_optimizer", optimizer).built
    inner, given = (getattr(o, "inner_optimizer", o) for o in (scheduled, optimizer))
    for attribute in schedules:
        assert getattr(inner, attribute) == getattr(given, attribute)


def test_with_what_else_an_optimizer_can_do():
    options = {"gradient_accumulation_steps": 2, "use_ema": True}
    schedules = {"momentum": clr.Warmup(0.9, STEPS)}
    model = compiled(clr.schedule_hyperparameters(make("SGD", options), **schedules))
    fit(model)
    assert difference(weights(model), by_hand("SGD", options, schedules)) <= 2.4e-6


def test_more_can_be_added_and_exclusions_are_kept():
    optimizer = make("AdamW", {})
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    once = clr.schedule_hyperparameters(optimizer, beta_1=MOMENTUM)
    twice = clr.schedule_hyperparameters(once, weight_decay=FROM_0)
    assert twice.get_config()["hyperparameter_schedules"].keys() == {"beta_1", "weight_decay"}
    assert once.get_config()["hyperparameter_schedules"].keys() == {"beta_1"}
    kernel, bias = (keras.Variable(np.ones(3, np.float32), name=n) for n in ("kernel", "bias"))
    for _ in range(3):
        twice.apply([keras.ops.zeros(3)] * 2, [kernel, bias])
    assert np.all(keras.ops.convert_to_numpy(kernel) < 1)
    assert np.all(keras.ops.convert_to_numpy(bias) == 1)


def test_a_config_makes_the_same_optimizer():
    scheduled = clr.schedule_hyperparameters(make("SGD", {"nesterov": True}), momentum=MOMENTUM)
    config = json.loads(json.dumps(optimizers.serialize(scheduled)))
    again = optimizers.deserialize(config)
    assert type(again) is type(scheduled)
    assert again.get_config() == scheduled.get_config()
    assert type(scheduled).from_config(scheduled.get_config()).nesterov is True


@pytest.mark.parametrize("name", ["SGD", "LossScaleOptimizer"])
def test_rates_that_cannot_be_saved_can_be_trained_with(name):
    with pytest.warns(UserWarning, match="`scale_fn` is not registered"):
        rate = clr.Cyclical(0.01, 0.1, 4, scale_fn=lambda cycle: 1.0)
    with pytest.warns(UserWarning, match="`scale_fn` is not registered"):
        constant = clr.Cyclical(0.9, 0.9, 4, scale_fn=lambda cycle: 1.0)
    optimizer = clr.schedule_hyperparameters(make(name, {}, rate), momentum=constant)
    optimizer = clr.schedule_hyperparameters(optimizer, weight_decay=FROM_0)
    fit(compiled(optimizer))
    with pytest.raises(ValueError, match="`scale_fn` must be a function registered"):
        optimizer.get_config()


def test_a_rate_that_must_be_told_of_to_be_loaded_is_saved(tmp_path):
    model = compiled(
        clr.schedule_hyperparameters(make("SGD", {}, Unregistered()), momentum=MOMENTUM)
    )
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    custom = {"Unregistered": Unregistered}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=custom)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_a_config_of_something_else_is_refused():
    scheduled = clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM)
    with pytest.raises(ValueError, match=r"must have the keys 'scheduled_class' and 'hyperparam"):
        type(scheduled).from_config(optimizers.SGD().get_config())
    with pytest.raises(ValueError, match=r"not recognized.*rate_of_learning"):
        type(scheduled).from_config(scheduled.get_config() | {"rate_of_learning": 0.5})


def test_a_config_has_the_arguments_of_the_optimizer():
    scheduled = clr.schedule_hyperparameters(make("SGD", {}, 0.5), momentum=MOMENTUM)
    config = scheduled.get_config()
    assert config["learning_rate"] == 0.5
    again = type(scheduled).from_config(config | {"learning_rate": 0.25})
    assert float(np.asarray(again.learning_rate)) == 0.25
    assert again.get_config() == config | {"learning_rate": 0.25}


def test_it_pickles_as_others_do():
    scheduled = clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM)
    again = pickle.loads(pickle.dumps(scheduled))
    assert type(again) is type(scheduled)
    assert again.get_config() == scheduled.get_config()


def test_what_follows_a_schedule_is_not_set():
    scheduled = clr.schedule_hyperparameters(make("SGD", {"momentum": 0.3}), momentum=MOMENTUM)
    with pytest.raises(
        TypeError, match=r"`momentum` .*follows a schedule.*Received: momentum=0\.7"
    ):
        scheduled.momentum = 0.7
    assert scheduled.momentum == 0.3
    scheduled.nesterov = True


def test_the_class_alone_has_no_schedules():
    kind = type(clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM))
    plain, made = (stepped(each(0.1, momentum=0.5)) for each in (optimizers.SGD, kind))
    assert np.array_equal(made, plain)


def test_only_what_is_read_in_every_step_can_be_scheduled():
    listed = r"`Started` that can follow a schedule are: weight_decay, momentum, push, pull\. Rec"
    for name in ("start", "damp", "nesterov", "anything"):
        with pytest.raises(ValueError, match=rf"`{name}` must be a hyperparameter.*{listed}"):
            clr.schedule_hyperparameters(Started(0.1), **{name: MOMENTUM})
    scheduled = clr.schedule_hyperparameters(Started(0.1), push=MOMENTUM, pull=MOMENTUM)
    assert scheduled.total == 0.5
    stepped(scheduled)


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        ("Ftrl", ["beta", "learning_rate_power"]),
        ("ScheduleFreeAdamW", ["beta_1", "warmup_steps"]),
    ],
)
def test_what_the_variables_of_an_optimizer_were_computed_with_stays_constant(name, constant):
    if not hasattr(optimizers, name):
        pytest.skip(f"Keras {keras.__version__} has no {name}")
    kind = getattr(optimizers, name)
    for optimizer in (kind(0.1), type("Mine", (kind,), {})(0.1)):
        for each in constant:
            with pytest.raises(ValueError, match=f"`{each}` must stay constant.*Received: {each}="):
                clr.schedule_hyperparameters(optimizer, **{each: MOMENTUM})
        with pytest.raises(ValueError, match="needs at least one schedule") as error:
            clr.schedule_hyperparameters(optimizer)
        listed = re.findall(r"\w+", str(error.value).partition("are: ")[2])
        assert "weight_decay" in listed
        assert not set(listed) & set(constant)


@pytest.mark.skipif(BACKEND != "torch", reason="elsewhere, hyperparameters are tensors")
def test_on_pytorch_a_step_waits_once_and_is_not_compiled_anew():
    import torch
    from torch._dynamo.testing import CompileCounter
    from torch.utils._python_dispatch import TorchDispatchMode

    class Waits(TorchDispatchMode):
        """Counts how often Python reads a value from the device."""

        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **kwargs or {})

    gradients = [torch.ones(3)]

    def ready(**schedules):
        optimizer = clr.schedule_hyperparameters(optimizers.AdamW(RATE), **schedules)
        variables = [keras.Variable(np.ones(3, np.float32))]
        optimizer.build(variables)

        def step():
            with torch.no_grad():
                optimizer.apply(gradients, variables)

        return step

    waits = {}
    for names in (["beta_1"], ["beta_1", "beta_2", "weight_decay"]):
        step = ready(**dict.fromkeys(names, MOMENTUM))
        with Waits() as counted:
            step()
        waits[len(names)] = counted.count
    assert waits == {1: 1, 3: 1}

    counter = CompileCounter()

    def whole_step(x):
        y = x + 1
        step()
        return y + 1

    compiled = torch.compile(whole_step, backend=counter)
    for _ in range(12):
        compiled(torch.ones(3))
    assert counter.frame_count == 2  # what is before the update, and what is after it


@pytest.mark.parametrize("name", ["Adagrad", "Ftrl"])
def test_an_initial_value_cannot_be_scheduled(name):
    with pytest.raises(ValueError, match="`initial_accumulator_value` must be a hyperparameter"):
        clr.schedule_hyperparameters(make(name, {}), initial_accumulator_value=MOMENTUM)


def test_the_range_test_leaves_it_as_it_was():
    model = compiled(clr.schedule_hyperparameters(make("SGD", {}, 0.1), momentum=MOMENTUM))
    result = clr.lr_range_test(model, X, Y, batch_size=BATCH, num_steps=20, verbose=0)
    assert len(result.losses) > 2
    fit(model)
    other = compiled(clr.schedule_hyperparameters(make("SGD", {}, 0.1), momentum=MOMENTUM))
    fit(other)
    assert np.array_equal(weights(model), weights(other))


def test_what_is_scheduled_is_logged_and_a_metric_keeps_its_name(tmp_path):
    schedules = {"rho": NEXT_TO_1, "momentum": MOMENTUM, "weight_decay": FROM_0}
    scheduled = clr.schedule_hyperparameters(make("RMSprop", {}), **schedules)
    metric = keras.metrics.SparseCategoricalAccuracy(name="rho")
    logger = clr.LearningRateLogger()
    model = compiled(scheduled, metrics=[metric])
    fit(model, epochs=2, callbacks=[logger, keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    assert set(logger.history) == {"iteration", "learning_rate", *schedules}
    for name, schedule in schedules.items():
        expected = schedule.values(range(2 * STEPS)).astype(np.float32)
        assert logger.history[name] == expected.astype(float).tolist()
        if name != "rho":
            assert [log[name] for log in logger.epochs] == expected[[STEPS - 1, -1]].tolist()
            assert model.history.history[name] == expected[[STEPS - 1, -1]].tolist()
    assert model.history.history["rho"][-1] == float(metric.result())
    assert "momentum" in (tmp_path / "log.csv").read_text().splitlines()[0]
    # A training with another optimizer, which has no such schedules.
    fit(compiled(make("SGD", {})), callbacks=[logger])
    assert {len(values) for values in logger.history.values()} == {3 * STEPS}
    assert np.isnan(logger.history["momentum"][-STEPS:]).all()


LISTED = "of `Adam` that can follow a schedule are: weight_decay, beta_1, beta_2, epsilon"


@pytest.mark.parametrize(
    ("schedules", "error", "message"),
    [
        ({}, ValueError, f"needs at least one schedule.*{LISTED}"),
        ({"momentum": MOMENTUM}, ValueError, f"`momentum` must be a hyper.*{LISTED}.*momentum="),
        ({"clipnorm": MOMENTUM}, ValueError, f"`clipnorm` must be a hyper.*{LISTED}"),
        ({"ema_momentum": MOMENTUM}, ValueError, f"`ema_momentum` must be a hyper.*{LISTED}"),
        ({"amsgrad": MOMENTUM}, ValueError, f"`amsgrad` must be a hyper.*{LISTED}"),
        ({"gradient_accumulation_steps": RATE}, ValueError, f"`gradient_acc.*{LISTED}"),
        ({"learning_rate": RATE}, ValueError, f"`learning_rate` must be given to.*{LISTED}"),
        ({"beta_1": 0.9}, TypeError, "`beta_1` must be a schedule of Keras. Received: beta_1=0.9"),
        ({"beta_1": lambda step: 0.9}, TypeError, "`beta_1` must be a schedule of Keras"),
        ({"beta_1": True}, TypeError, "`beta_1` must be a schedule of Keras"),
    ],
)
def test_bad_arguments_are_named(schedules, error, message):
    with pytest.raises(error, match=message):
        clr.schedule_hyperparameters(optimizers.Adam(RATE), **schedules)


def test_no_optimizer_and_a_built_one_are_refused():
    with pytest.raises(TypeError, match=r"`optimizer` must be an optimizer of Keras.*='adam'"):
        clr.schedule_hyperparameters("adam", beta_1=MOMENTUM)
    if hasattr(optimizers, "MultiOptimizer"):
        several = optimizers.MultiOptimizer({".*": optimizers.SGD(0.1)})
        with pytest.raises(
            TypeError, match=r"`optimizer` must be .*of a `MultiOptimizer`, its opt"
        ):
            clr.schedule_hyperparameters(several, momentum=MOMENTUM)
    optimizer = optimizers.Adam(RATE)
    optimizer.build([keras.Variable(np.zeros(3, np.float32))])
    for each in (optimizer, optimizers.LossScaleOptimizer(optimizer)):
        with pytest.raises(
            ValueError, match=r"`optimizer` must not be built yet, since its var.*Rec"
        ):
            clr.schedule_hyperparameters(each, beta_1=MOMENTUM)


def test_the_inner_optimizer_of_the_given_one_stays():
    optimizer = make("LossScaleOptimizer", {})
    inner = optimizer.inner_optimizer
    assert clr.schedule_hyperparameters(optimizer, momentum=MOMENTUM).inner_optimizer is not inner
    assert optimizer.inner_optimizer is inner


def test_a_first_step_builds_the_optimizer():
    optimizer = clr.schedule_hyperparameters(make("SGD", {}, 0.5), momentum=MOMENTUM)
    variable = keras.Variable(np.ones(2, np.float32))
    optimizer.apply([keras.ops.ones(2)], [variable])
    assert keras.ops.convert_to_numpy(variable).tolist() == [0.5, 0.5]


def test_files_name_the_class_that_every_process_has():
    kind = type("New", (optimizers.SGD,), {})  # so that its class with schedules is made here
    scheduled = clr.schedule_hyperparameters(kind(RATE), momentum=MOMENTUM)
    name = "clr_schedules>ScheduledOptimizer"
    assert optimizers.serialize(scheduled)["registered_name"] == name
    assert keras.saving.get_registered_object(name) is ScheduledOptimizer
    # What is needed to find the optimizer's own class is there, its config is not there twice.
    plain = optimizers.serialize(kind(RATE))
    assert scheduled.get_config()["scheduled_class"] == {
        k: plain[k] for k in plain if k != "config"
    }


def test_a_config_is_read_with_custom_objects():
    scheduled = clr.schedule_hyperparameters(make("SGD", {}, Unregistered()), momentum=MOMENTUM)
    config = scheduled.get_config()
    custom = {"Unregistered": Unregistered}
    assert type(scheduled).from_config(config, custom_objects=custom).get_config() == config


@pytest.mark.parametrize("missing", ["scheduled_class", "hyperparameter_schedules"])
def test_a_config_without_a_key_is_refused(missing):
    config = clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM).get_config()
    del config[missing]
    with pytest.raises(ValueError, match=r"must have the keys 'scheduled_class' and 'hyperparam"):
        ScheduledOptimizer.from_config(config)


# ---- The values that a step finds in the attributes

needs_tensors = pytest.mark.skipif(BACKEND == "torch", reason="its hyperparameters are floats")


def scheduled_value(number):
    with backend.wide_types():
        return _ScheduledValue(backend.cast(np.array(number), "float64"))


def test_a_scheduled_value_counts_as_set():
    for value in map(scheduled_value, (0.0, 0.5)):
        assert value
        assert value is not None
        assert value != 0
        assert not operator.eq(value, 0.0)
        assert value > 0
        assert operator.lt(0, value)
        assert len({value, value}) == 1


@pytest.mark.parametrize("name", ["eq", "ne", "gt", "ge", "lt", "le"])
def test_a_comparison_that_has_no_answer_in_a_compiled_step_is_refused(name):
    compare = getattr(operator, name)
    for numbers in [(scheduled_value(0.5), 0.9), (0.9, scheduled_value(0.5))]:
        with pytest.raises(TypeError, match=r"not supported between|no value .*hyperparameter =="):
            compare(*numbers)


OPERATIONS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__)
def test_a_scheduled_value_calculates_in_float64(operation):
    """Each result is what Python makes of the numbers, rounded once."""
    x, y = 0.999, 0.3
    a, b = map(scheduled_value, (x, y))
    for got in (operation(a, y), operation(x, b), operation(a, b)):
        assert isinstance(got, _ScheduledValue)
        assert backend.to_numpy(got._rounded()) == np.float32(operation(x, y))
    assert backend.to_numpy((-a)._rounded()) == np.float32(-x)


@needs_tensors
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__)
def test_a_scheduled_value_calculates_with_tensors_in_their_type(operation):
    x, y = 0.999, 0.3
    a = scheduled_value(x)
    variable = keras.Variable(np.float32(y), trainable=False)
    for other in (variable, keras.ops.convert_to_tensor(variable)):
        results = {(x, y): operation(a, other), (y, x): operation(other, a)}
        for numbers, got in results.items():
            np.testing.assert_allclose(np.asarray(got), operation(*numbers), rtol=1e-6)
            assert keras.backend.standardize_dtype(got.dtype) == "float32"


def test_what_is_left_of_a_beta_next_to_1_keeps_its_digits():
    assert backend.to_numpy((1 - scheduled_value(0.999))._rounded()) == np.float32(1 - 0.999)


@needs_tensorflow
def test_a_scheduled_value_has_the_type_that_tensorflow_asks_for():
    import tensorflow as tf

    value = scheduled_value(0.3)
    assert float(tf.convert_to_tensor(value, "float64")) == 0.3
    assert tf.convert_to_tensor(value, "float16").dtype == "float16"
    assert tf.convert_to_tensor(value).dtype == "float32"


class Noting(optimizers.SGD):
    """An optimizer that notes the momentum of each step."""

    def update_step(self, gradient, variable, learning_rate):
        value = getattr(self.momentum, "_float64", self.momentum)
        vars(self).setdefault("noted", []).append(float(value))
        super().update_step(gradient, variable, learning_rate)


def test_a_step_finds_the_values_in_float64():
    optimizer = clr.schedule_hyperparameters(Noting(0.1), momentum=NEXT_TO_1)
    fit(compiled(optimizer, run_eagerly=True))
    found = optimizer.noted[:: len(optimizer.noted) // STEPS]
    assert found == pytest.approx(NEXT_TO_1.values(range(STEPS)).tolist(), rel=1e-15, abs=0)


# ---- Dynamic subclasses, as wrappers for distributed training make them


def counting(kind, **namespace):
    """A class of this name and kind that counts the calls of its `apply`."""

    def apply(self, grads, trainable_variables=None):
        vars(self)["applied"] = vars(self).get("applied", 0) + 1
        super(made, self).apply(grads, trainable_variables)

    made = type("Distributed", (kind,), {"apply": apply, **namespace})
    return made


@pytest.mark.parametrize("name", ["SGD", "AdamW", "OwnSGD"])
def test_a_dynamic_subclass_follows_the_schedules(name):
    attribute = "beta_1" if name == "AdamW" else "momentum"
    scheduled = clr.schedule_hyperparameters(make(name, {}), **{attribute: ALSO_0})
    expected = stepped(type(scheduled).from_config(scheduled.get_config()), STEPS)
    for kind in (type("Distributed", (type(scheduled),), {}), counting(type(scheduled))):
        wrapped = kind.from_config(scheduled.get_config())
        assert type(wrapped) is kind
        assert isinstance(wrapped, type(make(name, {})))
        assert wrapped.get_config() == scheduled.get_config()
        assert np.array_equal(stepped(wrapped, STEPS), expected)
        assert vars(wrapped).get("applied", STEPS) == STEPS
    assert not np.allclose(stepped(make(name, {}), STEPS), expected)


def test_a_dynamic_subclass_is_compiled_saved_and_loaded(tmp_path):
    scheduled = clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM)

    def init(self, factor=1.0, **arguments):
        super(kind, self).__init__(**arguments)
        vars(self)["factor"] = factor

    def get_config(self):
        return super(kind, self).get_config() | {"factor": self.factor}

    kind = counting(type(scheduled), __init__=init, get_config=get_config)
    wrapped = kind.from_config(scheduled.get_config() | {"factor": 2.0})
    model = compiled(wrapped)
    fit(model)
    model.save(tmp_path / "model.keras")
    custom = {"Distributed": kind}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=custom)
    assert type(loaded.optimizer) is kind
    assert loaded.optimizer.factor == 2.0
    assert loaded.optimizer.get_config() == wrapped.get_config()
    for each in (model, loaded):
        fit(each)
    assert np.array_equal(weights(loaded), weights(model))


def test_a_registered_dynamic_subclass_is_kept_within_another_optimizer_and_by_pickle():
    scheduled = clr.schedule_hyperparameters(make("SGD", {}), momentum=MOMENTUM)
    kind = keras.saving.register_keras_serializable("tests")(counting(type(scheduled)))
    wrapped = kind.from_config(scheduled.get_config())
    outer = optimizers.LossScaleOptimizer(wrapped)
    for again in (
        optimizers.LossScaleOptimizer.from_config(outer.get_config()).inner_optimizer,
        type("Outer", (type(outer),), {}).from_config(outer.get_config()).inner_optimizer,
        pickle.loads(pickle.dumps(wrapped)),
        optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(wrapped)))),
    ):
        assert type(again) is kind
        assert again.get_config() == wrapped.get_config()


def test_a_dynamic_subclass_can_get_more_schedules():
    scheduled = clr.schedule_hyperparameters(make("AdamW", {}), beta_1=MOMENTUM)
    wrapped = counting(type(scheduled)).from_config(scheduled.get_config())
    more = clr.schedule_hyperparameters(wrapped, weight_decay=FROM_0)
    assert type(more) is type(wrapped)
    stepped(more)
    assert more.applied == 3
    # The other way round: an optimizer that is a dynamic subclass before it gets a schedule.
    first = counting(type(make("AdamW", {}))).from_config(make("AdamW", {}).get_config())
    then = clr.schedule_hyperparameters(first, beta_1=MOMENTUM)
    stepped(then)
    assert then.applied == 3


# ---- The rate, once a step


class Counted(optimizers.schedules.LearningRateSchedule):
    """A rate that counts how often it is asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return 0.01 * keras.ops.cos(keras.ops.cast(step, "float32"))

    def get_config(self):
        return {}


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"use_ema": True}])
def test_the_rate_is_asked_for_once_a_step(options):
    """By AdamW, whose weight decay takes it too, for every variable."""
    rate = Counted()
    optimizer = clr.schedule_hyperparameters(make("AdamW", options, rate), beta_1=MOMENTUM)
    weights = variables(3)
    optimizer.build(weights)
    for step in range(1, 3):
        optimizer.apply([keras.ops.ones(3)] * 3, weights)
        assert rate.calls == step
    # Outside of a step, it is the rate of the next one.
    assert float(np.asarray(optimizer.learning_rate)) == pytest.approx(0.01 * np.cos(2), rel=1e-6)
    assert rate.calls == 3


@needs_tensorflow
@pytest.mark.parametrize("loss_scale", [False, True])
def test_the_graph_of_a_step_has_one_rate(loss_scale):
    import tensorflow as tf

    count = 3

    def operations(optimizer, kind):
        weights = variables(count)
        outer = optimizers.LossScaleOptimizer(optimizer) if loss_scale else optimizer
        outer.build(weights)

        @tf.function
        def step():
            outer.apply([tf.ones(3)] * count, weights)

        graph = step.get_concrete_function().graph.as_graph_def()
        functions = [function.node_def for function in graph.library.function]
        return sum(node.op == kind for nodes in [graph.node, *functions] for node in nodes)

    def scheduled(rate):
        return clr.schedule_hyperparameters(make("AdamW", {}, rate), beta_1=NEXT_TO_1)

    rate = Counted()
    assert operations(scheduled(rate), "Cos") == 1
    assert rate.calls == 1
    # Keras's own AdamW asks once for each variable, and once more: what this is about.
    assert operations(make("AdamW", {}, rate := Counted()), "Cos") == rate.calls == count + 1
    # Of this package's schedules, that of the rate and that of beta_1 have one remainder each.
    assert operations(scheduled(clr.Triangular(0.01, 0.1, 5)), "FloorMod") == 2


@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
def test_a_stateless_step_has_one_rate():
    count, rate = 3, Counted()
    optimizer = clr.schedule_hyperparameters(make("AdamW", {}, rate), beta_1=MOMENTUM)
    weights = variables(count)
    optimizer.build(weights)
    values = [variable.value for variable in optimizer.variables]
    arguments = (values, [np.ones(3, np.float32)] * count, [v.value for v in weights])

    import jax

    program = str(jax.make_jaxpr(optimizer.stateless_apply)(*arguments))
    assert rate.calls == 1
    assert program.count(" cos ") == 1
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
