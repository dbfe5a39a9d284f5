"""Optimizers of Keras by their names, and separate ones for the layers of a model."""

import re

import pytest

from helpers.keras_under_test import keras
from helpers.own_optimizer import OwnSGD

optimizers = keras.optimizers


def make(name, arguments, rate):
    """An optimizer of this name; the test is skipped where the running Keras has none."""
    if name == "OwnSGD":
        return OwnSGD(rate, **arguments)
    if name == "LossScaleOptimizer":
        return optimizers.LossScaleOptimizer(optimizers.SGD(rate, **arguments))
    if not hasattr(optimizers, name):
        pytest.skip(f"Keras {keras.__version__} has no {name}")
    return getattr(optimizers, name)(rate, **arguments)


class Times(optimizers.schedules.LearningRateSchedule):
    """A rate times a factor, each a number or a schedule."""

    def __init__(self, rate, factor):
        self.rate, self.factor = rate, factor

    def __call__(self, step):
        rate, factor = (each(step) if callable(each) else each for each in (self.rate, self.factor))
        return rate * factor

    def get_config(self):
        return {}


def multiplier_of(path, multipliers):
    """The multiplier of a variable, by patterns of which no two match the same variable."""
    found = [value for pattern, value in multipliers.items() if re.fullmatch(pattern, path)]
    assert len(found) <= 1
    return found[0] if found else 1.0


class Separate(optimizers.Optimizer):
    """Trains the variables of each multiplier with an optimizer of their own.

    Variables with the multiplier 0 have no optimizer. Where a schedule is 0, the variables are put
    back after the step of their optimizer.

    Args:
        make: Makes an optimizer, from the multiplier and the variables.
        multipliers: The multipliers by pattern.
        global_clipnorm: The norm to which the gradients of all optimizers together are clipped.
        loss_scale_factor: That of the optimizers.
    """

    def __init__(self, make, multipliers, global_clipnorm=None, loss_scale_factor=None):
        super().__init__(0.0, loss_scale_factor=loss_scale_factor)
        # Written into the dictionary, since Keras would track them.
        vars(self).update(make=make, multipliers=multipliers, parts=[], clip_to=global_clipnorm)

    def build(self, variables):
        super().build(variables)
        indices = {}
        for index, variable in enumerate(variables):
            multiplier = multiplier_of(variable.path, self.multipliers)
            indices.setdefault(
                multiplier if callable(multiplier) else float(multiplier), []
            ).append(index)
        for multiplier, group in indices.items():
            if multiplier != 0.0:
                of_group = [variables[index] for index in group]
                optimizer = self.make(multiplier, of_group)
                optimizer.build(of_group)
                self.parts.append((optimizer, multiplier, group))

    @property
    def variables(self):
        return [*self._variables, *(v for part in self.parts for v in part[0].variables)]

    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        if not self.built:
            self.build(variables)
        if self.clip_to is not None:
            norm = keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(g)) for g in grads))
            grads = [g * self.clip_to / keras.ops.maximum(norm, self.clip_to) for g in grads]
        for optimizer, multiplier, group in self.parts:
            of_group = [variables[index] for index in group]
            before = [keras.ops.copy(v) for v in of_group] if callable(multiplier) else []
            frozen = multiplier(self._iterations) == 0 if callable(multiplier) else None
            optimizer.apply([grads[index] for index in group], of_group)
            for variable, value in zip(of_group, before, strict=bool(before)):
                now = keras.ops.convert_to_tensor(variable)
                variable.assign(keras.ops.where(frozen, value, now))
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list):
        for optimizer, _, group in self.parts:
            optimizer.finalize_variable_values([var_list[index] for index in group])
