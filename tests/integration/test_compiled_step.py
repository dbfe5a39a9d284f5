"""What XLA makes of a train step: with a schedule no more than with a constant rate.

Counts, not times: they are the same on every machine.
"""

import functools
import re

import numpy as np
import pytest
from helpers import strategies
from helpers.keras_under_test import BACKEND, LEGACY, keras

import clr_schedules as clr

if BACKEND != "tensorflow":
    pytest.skip(f"about TensorFlow's programs; the backend is {BACKEND}", allow_module_level=True)

import tensorflow as tf

SCHEDULES = [
    clr.Triangular(1e-3, 6e-3, 2000),
    clr.Triangular(1e-3, 6e-3, 700, 2**33 + 1),
    clr.Triangular2(1e-3, 6e-3, 2000),
    clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994),
    clr.Cyclical(1e-3, 6e-3, 2000, wave="cosine"),
    clr.Cyclical(1e-3, 6e-3, 2000, 300, wave="cosine", scale_fn=strategies.harmonic),
    clr.OneCycle(6e-3, 2001),
    clr.OneCycle(6e-3, 2001, anneal="linear"),
    clr.OneCycle(6e-3, 2**33 + 1, pct_start=0.0),
    clr.OneCycle(6e-3, 2001, three_phase=True),
    clr.OneCycle(6e-3, 2**33 + 1, 0.123, anneal="linear", three_phase=True),
    clr.CosineRestarts(6e-3, 2000),
    clr.CosineRestarts(6e-3, 2000, 2.0, 0.5),
    clr.CosineRestarts(6e-3, 2000, 1.5),
    clr.CosineRestarts(6e-3, 2000, 0.9, 0.9, 1e-4),
    clr.Warmup(clr.Piecewise([6e-3, clr.OneCycle(6e-3, 2001)], [2000]), 300),
    clr.Piecewise([clr.Triangular(1e-3, 6e-3, 300), clr.CosineRestarts(6e-3, 100, 1.5)], [600]),
]
OPTIMIZERS = {
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
}

schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
# AdamW is Adam with a weight decay: one schedule of each kind of arithmetic is enough at first.
OF_ADAMW = (SCHEDULES[0], SCHEDULES[6], SCHEDULES[13])
updates = pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        pytest.param(
            optimizer,
            schedule,
            id=f"{optimizer}-{schedule!r}",
            marks=[pytest.mark.slow] * (optimizer == "AdamW" and schedule not in OF_ADAMW),
        )
        for optimizer in OPTIMIZERS
        for schedule in SCHEDULES
    ],
)

VARIABLES = 3
SHAPE = (256, 256)  # large enough to be worth a kernel


@functools.cache
def optimized_program(optimizer, rate, momentum=None):
    """The optimized HLO of one update of some variables."""
    variables = [tf.Variable(tf.zeros(SHAPE)) for _ in range(VARIABLES)]
    made = OPTIMIZERS[optimizer](rate)
    if momentum is not None:
        made = clr.schedule_hyperparameters(made, **{momentum: rate.momentum()})
    made.build(variables)

    @tf.function(jit_compile=True)
    def update(gradients):
        made.apply_gradients(zip(gradients, variables, strict=True))

    gradients = [tf.ones(SHAPE) for _ in variables]
    return update.experimental_get_compiler_ir(gradients)(stage="optimized_hlo")


def count(program, instruction):
    return len(re.findall(rf"= [^=]*? {instruction}\(", program))


def constant(optimizer):
    """The program of the same update with a constant rate."""
    return optimized_program(optimizer, 1e-3)


def copies_of_the_phase(program):
    """The number of computations over a whole variable that have float64 scalars of their own."""
    inner = [each for each in program.split("\n\n") if not each.startswith("ENTRY")]
    return sum("f64[]" in each and "[256,256]" in each for each in inner)


def grows_or_shrinks(schedule):
    """Whether it has restarts that are looked up in a table."""
    within = [*getattr(schedule, "schedules", [getattr(schedule, "schedule", None)])]
    return getattr(schedule, "cycle_mult", 1) != 1 or any(
        grows_or_shrinks(each) for each in within if each is not None
    )


def test_what_is_counted_is_there():
    assert count(constant("Adam"), "fusion") >= VARIABLES
    # SGD has no scalars of its own with which the rate could be computed.
    assert copies_of_the_phase(optimized_program("SGD", SCHEDULES[0])) == VARIABLES


@updates
def test_no_more_than_with_a_constant_rate(optimizer, schedule):
    """No fusion more in Adam; and in others that of a few scalars, which is fused with nothing."""
    program = optimized_program(optimizer, schedule)
    # The legacy Adam copies the rate into a variable of its own.
    more = 3 if LEGACY else 0 if optimizer == "Adam" else 2
    more += 1 if grows_or_shrinks(schedule) else 0
    assert count(program, "fusion") <= count(constant(optimizer), "fusion") + more
    for instruction in ("while", "conditional", "custom-call"):
        assert count(program, instruction) == count(constant(optimizer), instruction) == 0
    # Older compilers hand the loop over a large variable to their threads by a call.
    assert count(program, "call") == count(constant(optimizer), "call")


@schedules
def test_the_phase_is_computed_once(schedule):
    program = optimized_program("Adam", schedule)
    assert "f64[]" in program
    assert copies_of_the_phase(program) == 0
    periodic = re.search("Triangular|ExpRange|Cyclical", repr(schedule))
    alike = isinstance(schedule, clr.CosineRestarts) and schedule.cycle_mult == 1
    assert count(program, "remainder") == (1 if periodic or alike else 0)


@pytest.mark.parametrize(
    ("name", "scope"), [(None, "Triangular"), ("mine", "mine"), ("my own/rate", "my_own_rate")]
)
def test_the_name_is_in_the_graph(name, scope):
    schedule = clr.Triangular(1e-3, 6e-3, 2000, name=name)
    graph = tf.function(schedule.__call__).get_concrete_function(tf.TensorSpec((), tf.int64)).graph
    assert any(operation.name.startswith(f"{scope}/") for operation in graph.get_operations())


@pytest.mark.parametrize(
    ("of_layers", "jit_compile", "steps_per_execution"),
    [
        (False, False, 1),
        (False, True, 10),
        (True, False, 1),
        pytest.param(False, False, 10, marks=pytest.mark.slow),
        pytest.param(False, True, 1, marks=pytest.mark.slow),
        pytest.param(True, True, 10, marks=pytest.mark.slow),
    ],
)
def test_a_thousand_steps_trace_once(of_layers, jit_compile, steps_per_execution):
    """Whether the schedule is that of the rate, or that of the multipliers of a layer."""
    if of_layers and LEGACY:
        pytest.skip("scale_learning_rates needs Keras 3")

    traced = {"schedule": 0, "loss": 0}

    class Counted(clr.Triangular2):
        def __call__(self, step):
            traced["schedule"] += 1
            return super().__call__(step)

    def loss(y_true, y_pred):
        traced["loss"] += 1
        return keras.losses.mean_squared_error(y_true, y_pred)

    def compiled(optimizer):
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(
            optimizer,
            loss=loss,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        return model

    x = np.ones((1000, 4), np.float32)
    fit = {"x": x, "y": x[:, :1], "batch_size": 10, "verbose": 0}
    compiled(keras.optimizers.Adam(1e-3)).fit(**fit)
    with_a_constant_rate = traced["loss"]
    traced["loss"] = 0
    optimizer = keras.optimizers.Adam(1e-3 if of_layers else Counted(1e-3, 6e-3, 50))
    if of_layers:
        optimizer = clr.scale_learning_rates(optimizer, {".*kernel": Counted(0.0, 1.0, 50)})
    model = compiled(optimizer)
    model.fit(**fit)
    after_100_steps = dict(traced)
    model.fit(**fit, epochs=9)
    assert np.asarray(model.optimizer.iterations) == 1000
    assert traced == after_100_steps
    assert traced["loss"] == with_a_constant_rate
    assert 1 <= traced["schedule"] <= steps_per_execution + 2


@pytest.mark.skipif(LEGACY, reason="the hyperparameters of the legacy optimizers are not scheduled")
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_as_many_fusions_with_momentum_that_cycles_with_the_rate(optimizer):
    rate = clr.OneCycle(6e-3, 2001)
    momentum = "momentum" if optimizer == "SGD" else "beta_1"
    program = optimized_program(optimizer, rate, momentum)
    assert count(program, "fusion") == count(constant(optimizer), "fusion")


LAYERS = 12
SCALED = OPTIMIZERS | {
    "Lion": keras.optimizers.Lion,
    "RMSprop": keras.optimizers.RMSprop,
}
# The factors of two groups, of levels, and of levels that are unfrozen one after the other.
MULTIPLIERS = {
    "none": {},
    "halves": {"layer_[0-5]": 0.1},
    "unfrozen half": {"layer_[0-5]": clr.Piecewise([0.0, 0.1], [1000])},
    "levels": {f"layer_{i}": 0.75 ** (LAYERS - 1 - i) for i in range(LAYERS)},
    "unfrozen levels": {
        f"layer_{i}": clr.Piecewise([0.0, 0.75 ** (LAYERS - 1 - i)], [100 * (LAYERS - i)])
        for i in range(LAYERS)
    },
}
GROUPS = {"halves": 2, "unfrozen half": 2, "levels": LAYERS, "unfrozen levels": LAYERS}
# Enough at first.
OF_LAYERS = [("Adam", "levels"), ("Adam", "unfrozen levels"), ("SGD", "unfrozen levels")]


@functools.cache
def program_of_layers(optimizer, multipliers, rate=1e-3):
    """The optimized HLO of one update of variables with rates of their own."""
    variables = [
        keras.Variable(np.zeros(SHAPE, np.float32), name=f"layer_{i}") for i in range(LAYERS)
    ]
    made = SCALED[optimizer](rate)
    if MULTIPLIERS[multipliers]:
        made = clr.scale_learning_rates(made, MULTIPLIERS[multipliers])
    made.build(variables)
    update = tf.function(lambda *gradients: made.apply(gradients, variables), jit_compile=True)
    gradients = [tf.ones(SHAPE) for _ in variables]
    return update.experimental_get_compiler_ir(*gradients)(stage="optimized_hlo")


def fusions_of_variables(program):
    """The number of fusions that write a whole variable."""
    entry = program[program.index("ENTRY") :]
    return sum("[256,256]" in shape for shape in re.findall(r"= (\S+|\(.*?\)) fusion\(", entry))


@pytest.mark.skipif(LEGACY, reason="scale_learning_rates needs Keras 3")
@pytest.mark.parametrize(
    ("optimizer", "multipliers"),
    [
        pytest.param(
            optimizer,
            multipliers,
            marks=[pytest.mark.slow] * ((optimizer, multipliers) not in OF_LAYERS),
        )
        for optimizer in SCALED
        for multipliers in GROUPS
    ],
)
def test_rates_of_layers_add_a_scalar_for_each_group(optimizer, multipliers):
    """A fusion of a single number for each group; the updates of the variables are as many."""
    program, without = (program_of_layers(optimizer, name) for name in (multipliers, "none"))
    assert fusions_of_variables(program) == fusions_of_variables(without) >= LAYERS
    # The groups share the powers of Adam's betas, which therefore are a fusion of their own.
    more = GROUPS[multipliers] + (1 if "Adam" in optimizer else 0)
    assert count(program, "fusion") <= count(without, "fusion") + more
    for instruction in ("while", "conditional", "custom-call"):
        assert count(program, instruction) == 0
    if optimizer == "Adam":  # as in `test_the_phase_is_computed_once`
        assert copies_of_the_phase(program) == 0


def operations(schedule):
    """The number of operations that a graph has to compute for one step."""
    traced = tf.function(schedule.__call__, autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec((), tf.int64)).graph
    free = {"Const", "Placeholder", "Identity", "NoOp"}
    return sum(operation.type not in free for operation in graph.get_operations())


@pytest.mark.parametrize(
    ("schedule", "most"),
    [
        (clr.Triangular(1e-3, 6e-3, 2000), 8),
        (clr.Triangular(1e-3, 6e-3, 2000, 300), 9),
        (clr.Triangular2(1e-3, 6e-3, 2000), 12),
        (clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994), 11),
        (clr.Cyclical(1e-3, 6e-3, 2000, wave="cosine"), 10),
        (clr.OneCycle(6e-3, 2001), 14),
        (clr.OneCycle(6e-3, 2001, three_phase=True), 17),
        (clr.CosineRestarts(6e-3, 2000), 10),
        (clr.CosineRestarts(6e-3, 2000, 2.0), 13),
        (clr.CosineRestarts(6e-3, 2000, 1.5), 15),
    ],
    ids=repr,
)
def test_a_graph_has_few_operations(schedule, most):
    """Without XLA, an operation costs about as much as any other. Keras's CosineDecay has 11."""
    assert operations(schedule) <= most
