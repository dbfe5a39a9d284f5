"""The random state of a process: the states of Python, NumPy and all imported frameworks.

The framework that Keras runs on is not enough, because the data may come from another framework.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


def random_state() -> dict[str, Any]:
    """The states of the global generators of Python, NumPy and PyTorch."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - Keras shuffles with it
    }
    if torch := sys.modules.get("torch"):
        state["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - Keras shuffles with it
    if "torch" in state:
        sys.modules["torch"].set_rng_state(state["torch"])
    if "cuda" in state:
        sys.modules["torch"].cuda.set_rng_state_all(state["cuda"])


def is_generator(thing: Any) -> bool:
    """Whether this is a random generator of Python or NumPy."""
    return isinstance(thing, (random.Random, np.random.Generator, np.random.RandomState))


def remember_generator(generator: Any) -> Callable[[], None]:
    """Remembers the state of a generator, and returns a function that puts it back."""
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return partial(generator.set_state, generator.get_state(legacy=False))
    bits = generator.bit_generator
    return partial(setattr, bits, "state", copy.deepcopy(bits.state))


def same(a: Any, b: Any) -> bool:
    """Whether two random states, which are nested arrays and tensors, are equal."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return all(map(same, a, b))
    return np.array_equal(a, b) if hasattr(a, "shape") else bool(a == b)


def use_other_tensorflow_seeds() -> Callable[[], None]:
    """Gives TensorFlow other seeds, if TensorFlow is imported.

    TensorFlow keeps the positions of its eager random operations in a cache. The keys of the cache
    are the seeds, and the cache cannot be read. With other seeds, a training does not move the
    positions of the user's seeds.

    Returns:
        A function that puts the user's seeds back.
    """
    if "tensorflow" not in sys.modules:
        return lambda: None
    from tensorflow.python.eager import context
    from tensorflow.python.ops import stateful_random_ops

    attributes = vars(context.context())
    before = {name: attributes[name] for name in ("_seed", "_rng") if name in attributes}
    # The new seeds depend on the user's seed if there is one, so that the training can be repeated.
    seed = before["_seed"]
    seeded = None if seed is None else f"range test of {seed}, {before['_rng'].getstate()}"
    drawer = random.Random(seeded)
    attributes.update(_seed=drawer.getrandbits(31), _rng=drawer)
    generator = stateful_random_ops.global_generator
    position = None if generator is None else generator.state.numpy()

    def restore() -> None:
        del attributes["_rng"]  # it is absent until the user sets a seed
        attributes.update(before)
        if generator is not None:
            generator.reset(position)

    return restore
