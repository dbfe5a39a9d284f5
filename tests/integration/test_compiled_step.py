"""What XLA makes of a train step: with a schedule no more than with a constant rate.

Counts, not times: they are the same on every machine.
"""

import re

import numpy as np
import pytest
import strategies
from keras_under_test import BACKEND, LEGACY, keras

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
    clr.Warmup(clr.Sequence([6e-3, clr.OneCycle(6e-3, 2001)], [2000]), 300),
    clr.Sequence([clr.Triangular(1e-3, 6e-3, 300), clr.CosineRestarts(6e-3, 100, 1.5)], [600]),
]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def optimized_program(optimizer, num_variables=6):
    """The optimized HLO of one update, of variables large enough to be worth a kernel."""
    variables = [tf.Variable(tf.zeros((256, 256))) for _ in range(num_variables)]
    optimizer.build(variables)

    @tf.function(jit_compile=True)
    def update(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    gradients = [tf.ones((256, 256)) for _ in variables]
    return update.experimental_get_compiler_ir(gradients)(stage="optimized_hlo")


def count(program, instruction):
    return len(re.findall(rf"= [^=]*? {instruction}\(", program))


OPTIMIZERS = {
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
}


@pytest.fixture(scope="module")
def constant():
    return {name: optimized_program(make(1e-3)) for name, make in OPTIMIZERS.items()}


def test_the_count_counts(constant):
    assert count(constant["Adam"], "fusion") >= 6


@pytest.mark.skipif(LEGACY, reason="the legacy Adam copies the rate into a variable of its own")
@schedules
def test_as_many_fusions_as_with_a_constant_rate(schedule, constant):
    program = optimized_program(keras.optimizers.Adam(schedule))
    assert count(program, "fusion") == count(constant["Adam"], "fusion")


@schedules
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_never_more_than_a_few_scalar_fusions(schedule, optimizer, constant):
    """Where an optimizer computes on few scalars itself, the rate has nothing to be fused with."""
    program = optimized_program(OPTIMIZERS[optimizer](schedule))
    more = 3 if LEGACY else 2
    assert count(program, "fusion") <= count(constant[optimizer], "fusion") + more


@schedules
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_no_control_flow_and_no_calls(schedule, optimizer, constant):
    program = optimized_program(OPTIMIZERS[optimizer](schedule))
    for instruction in ("while", "conditional", "custom-call"):
        assert count(program, instruction) == count(constant[optimizer], instruction) == 0
    # Older compilers hand the loop over a large variable to their threads by a call.
    assert count(program, "call") == count(constant[optimizer], "call")


@pytest.mark.parametrize(
    ("name", "scope"), [(None, "Triangular"), ("mine", "mine"), ("my own/rate", "my_own_rate")]
)
def test_the_name_is_in_the_graph(name, scope):
    schedule = clr.Triangular(1e-3, 6e-3, 2000, name=name)
    graph = tf.function(schedule.__call__).get_concrete_function(tf.TensorSpec((), tf.int64)).graph
    assert any(operation.name.startswith(f"{scope}/") for operation in graph.get_operations())


@schedules
def test_the_phase_is_computed_once(schedule):
    """It was not copied into the update of every variable."""
    programs = [optimized_program(keras.optimizers.Adam(schedule), n) for n in (2, 6)]
    few, many = (len(re.findall(r"= f64\[\] ", program)) for program in programs)
    assert many == few > 0
    periodic = re.search("Triangular|ExpRange|Cyclical", repr(schedule))
    alike = isinstance(schedule, clr.CosineRestarts) and schedule.cycle_mult == 1
    assert count(programs[-1], "remainder") == (1 if periodic or alike else 0)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 10])
def test_a_thousand_steps_trace_once(jit_compile, steps_per_execution):
    traced = {"schedule": 0, "loss": 0}

    class Counted(clr.Triangular2):
        def __call__(self, step):
            traced["schedule"] += 1
            return super().__call__(step)

    def loss(y_true, y_pred):
        traced["loss"] += 1
        return keras.losses.mean_squared_error(y_true, y_pred)

    def compiled(learning_rate):
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(
            keras.optimizers.Adam(learning_rate),
            loss=loss,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        return model

    x = np.ones((1000, 4), np.float32)
    fit = {"x": x, "y": x[:, :1], "batch_size": 10, "verbose": 0}
    compiled(1e-3).fit(**fit, epochs=10)
    with_a_constant_rate = traced["loss"]
    traced["loss"] = 0
    model = compiled(Counted(1e-3, 6e-3, 50))
    model.fit(**fit, epochs=1)
    after_100_steps = dict(traced)
    model.fit(**fit, epochs=9)
    assert np.asarray(model.optimizer.iterations) == 1000
    assert traced == after_100_steps
    assert traced["loss"] == with_a_constant_rate
    assert 1 <= traced["schedule"] <= steps_per_execution + 2


@pytest.mark.skipif(LEGACY, reason="the hyperparameters of the legacy optimizers are not scheduled")
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_as_many_fusions_with_momentum_that_cycles_with_the_rate(optimizer, constant):
    rate = clr.OneCycle(6e-3, 2001)
    momentum = "momentum" if optimizer == "SGD" else "beta_1"
    scheduled = clr.schedule_hyperparameters(
        OPTIMIZERS[optimizer](rate), **{momentum: rate.momentum()}
    )
    program = optimized_program(scheduled)
    assert count(program, "fusion") == count(constant[optimizer], "fusion")
