"""The program that `docs/how_it_works.md` shows is the one that XLA makes."""

import re
from collections import Counter

import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import BACKEND, LEGACY, keras

import clr_schedules as clr

if BACKEND != "tensorflow" or LEGACY:
    pytest.skip("about Keras 3 on TensorFlow", allow_module_level=True)

import tensorflow as tf

PAGE = ROOT / "docs" / "how_it_works.md"


class Counting(keras.optimizers.schedules.LearningRateSchedule):
    calls = 0

    def __call__(self, step):
        self.calls += 1
        return 1e-3

    def get_config(self):
        return {}


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "SGD", "RMSprop"])
def test_weight_decay_computes_the_rate_once_more_for_every_variable(kind):
    variables = [keras.Variable(np.ones(2, np.float32)) for _ in range(20)]
    made = {}
    for name in ("of Keras", "of schedule_hyperparameters"):
        optimizer = getattr(keras.optimizers, kind)(Counting(), weight_decay=0.01)
        if name != "of Keras":
            decay = clr.Piecewise([0.01], boundaries=[])
            optimizer = clr.schedule_hyperparameters(optimizer, weight_decay=decay)
        optimizer.build(variables)
        schedule = optimizer._learning_rate
        schedule.calls = 0
        optimizer.apply([tf.ones(2) for _ in variables])
        made[name] = schedule.calls
    assert made == {"of Keras": 21, "of schedule_hyperparameters": 1}


@pytest.mark.skipif(not tf.__version__.startswith("2.21."), reason="what 2.21 makes is shown")
def test_the_instructions_shown_are_those_of_the_compiled_step():
    optimizer = keras.optimizers.Adam(clr.Triangular(1e-3, 6e-3, 2000))
    weights = [keras.Variable(np.zeros((256, 256), np.float32))]
    optimizer.build(weights)

    @tf.function(jit_compile=True, autograph=False)
    def update(gradient):
        optimizer.apply([gradient], weights)

    program = update.experimental_get_compiler_ir(tf.ones((256, 256)))(stage="optimized_hlo")
    (fusion,) = (part for part in program.split("\n\n") if " = f64[" in part)
    instruction = re.compile(r"= (\S+\[\]) (\w+)\(")
    made = Counter(instruction.findall(fusion))
    block = re.search(r"```\n(position = .*?)```", PAGE.read_text(), re.DOTALL).group(1)
    shown = Counter(instruction.findall(block))
    assert sum(shown.values()) == len(block.splitlines()) == 8
    assert shown <= made
    wide = [kind for kind in made if kind[0] == "f64[]" and kind[1] != "constant"]
    assert all(shown[kind] == made[kind] for kind in wide)  # none left out
    for constant in re.findall(r"(?<=[ (])\d[\d.e-]*(?=[,)])", block):
        assert f"constant({constant})" in fusion
