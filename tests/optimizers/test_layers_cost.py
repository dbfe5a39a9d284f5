"""What a rate for every layer costs: how often schedules are evaluated, and nothing else moves."""

import inspect
import itertools

import numpy as np
import pytest
from helpers.keras_under_test import LEGACY, keras, needs_tensorflow

import clr_schedules as clr

if LEGACY:
    pytest.skip("scale_learning_rates needs Keras 3", allow_module_level=True)

# Those that `scale_learning_rates` refuses, or that take numbers alone.
OTHERS = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Ftrl", "ScheduleFreeAdamW"}
KINDS = {
    name: kind
    for name, kind in vars(keras.optimizers).items()
    if inspect.isclass(kind) and issubclass(kind, keras.optimizers.Optimizer) and name not in OTHERS
}
WITH_VELOCITY = {
    "SGD, momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "SGD, Nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "RMSprop, momentum": lambda rate: keras.optimizers.RMSprop(rate, momentum=0.9),
    "AdamW, decay": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
    "SGD, scheduled": lambda rate: clr.schedule_hyperparameters(
        keras.optimizers.SGD(rate, momentum=0.9), momentum=clr.Piecewise([0.9, 0.8], [2])
    ),
}


class OwnVelocity(keras.optimizers.Optimizer):
    """An optimizer of a user's, whose velocity has a name of its own."""

    def build(self, variables):
        super().build(variables)
        self.speeds = self.add_optimizer_variables(variables, "speed")

    def update_step(self, gradient, variable, learning_rate):
        speed = self.speeds[self._get_variable_index(variable)]
        self.assign(speed, keras.ops.multiply(speed, 0.9) - learning_rate * gradient)
        self.assign_add(variable, speed)

    def add_optimizer_variables(self, variables, name):
        return [self.add_variable_from_reference(variable, name) for variable in variables]


def value(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def variables_named(*names):
    return [keras.Variable(np.ones((4, 4), np.float32), name=name) for name in names]


@pytest.mark.parametrize(
    "make",
    [*KINDS.values(), *WITH_VELOCITY.values(), OwnVelocity],
    ids=[*KINDS, *WITH_VELOCITY, "own"],
)
def test_where_a_factor_becomes_0_no_optimizer_moves_the_variable(make):
    optimizer = clr.scale_learning_rates(make(0.1), {"trunk": clr.Piecewise([1.0, 0.0], [3])})
    trunk, head = variables_named("trunk", "head")
    optimizer.build([trunk, head])
    gradients = [keras.ops.ones((4, 4))] * 2
    values = [(value(trunk), value(head))]
    for _ in range(6):
        optimizer.apply(gradients, [trunk, head])
        values.append((value(trunk), value(head)))
    steps = itertools.pairwise(values)
    for step, ((trunk_before, head_before), (trunk_after, head_after)) in enumerate(steps):
        assert (head_after != head_before).all()
        assert (
            (trunk_after != trunk_before).all() if step < 3 else (trunk_after == trunk_before).all()
        )


@pytest.mark.parametrize("accumulation", [None, 2])
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_each_schedule_is_evaluated_once_a_step(kind, accumulation):
    asked = []

    class Counted(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, name):
            self.name = name

        def __call__(self, step):
            asked.append(self.name)
            return keras.ops.convert_to_tensor(0.5, "float32")

        def get_config(self):
            return {"name": self.name}

    variables = variables_named(*(f"layer_{i}" for i in range(9)))
    plain = getattr(keras.optimizers, kind)(
        Counted("rate"), weight_decay=0.1, gradient_accumulation_steps=accumulation
    )
    multipliers = {"layer_[0-2]": Counted("a"), "layer_[3-5]": Counted("b"), "layer_6": 0.1}
    optimizer = clr.scale_learning_rates(plain, multipliers)
    optimizer.build(variables)
    gradients = [keras.ops.ones((4, 4))] * len(variables)
    for _ in range(4):
        asked.clear()
        optimizer.apply(gradients, variables)
        assert sorted(asked) == ["a", "b", "rate"]


@needs_tensorflow
def test_a_step_without_xla_has_no_more_operations_than_with_a_constant_rate():
    """Keras's AdamW computes the rate again for every variable."""
    import tensorflow as tf

    count, one_cycle = 60, clr.OneCycle(1e-3, 1000)
    decay = {f"level_{level}": 0.75 ** (11 - level) for level in range(12)}
    unfrozen = {"level_[0-5]": clr.Piecewise([0.0, 0.1], boundaries=[1000])}

    def operations(optimizer):
        variables = [keras.Variable(np.zeros(3), name=f"level_{i % 12}") for i in range(count)]
        optimizer.build(variables)
        gradients = [tf.ones(3)] * count
        step = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)
        nodes = step.get_concrete_function().graph.as_graph_def().node
        return sum(node.op not in ("Const", "Placeholder", "NoOp", "Identity") for node in nodes)

    constant = operations(keras.optimizers.AdamW(1e-3))
    assert operations(keras.optimizers.AdamW(one_cycle)) > 1.2 * constant
    for multipliers in (decay, unfrozen):
        scaled = clr.scale_learning_rates(keras.optimizers.AdamW(one_cycle), multipliers)
        assert operations(scaled) <= 1.1 * constant
