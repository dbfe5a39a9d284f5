"""How far a rate is from the formula in real numbers, on each engine that Keras runs on.

``python -m benchmarks.engines`` measures the engine at hand (``KERAS_BACKEND=jax`` and ``torch``,
``TF_USE_LEGACY_KERAS=1`` for ``tf_keras``) and puts its columns into ``results/engines.json``,
beside those that are there; the report is made from it. A word as argument goes into the columns'
names: ``python -m benchmarks.engines oldest``. It needs Keras, one engine and mpmath, and takes
less than a minute. On JAX, the device is the one that JAX takes, and the column is named after it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import report

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")
BASE_LR, MAX_LR = 1e-3, 6e-3
# Counters of 32 bits go as far as the first; TensorFlow's have 64.
LIMIT, FAR = 2**31, 2**62
SAMPLES, FEW = 200_000, 4_000
SEED = 20_150_603
BOUND = 0.502
SHORT = {
    "far": "float32 below 2^62, where the engine counts so far",
    "bfloat16": "`floatx` bfloat16",
    "float16": "`floatx` float16",
}

Steps = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]
Compute = Callable[[Any, Steps], Any]


def schedules() -> dict[str, Any]:
    """One of each policy, with each of its waves."""
    import clr_schedules as clr
    from benchmarks import policies

    one_cycle = clr.OneCycle(MAX_LR, 10**6)
    steep = clr.OneCycle(MAX_LR, 10**6, anneal="linear", three_phase=True)
    return policies.cyclical(BASE_LR, MAX_LR) | {
        "Triangular2, from 0": clr.Triangular2(0.0, MAX_LR, policies.STEP_SIZE),
        "ExpRange, from 0": clr.ExpRange(0.0, MAX_LR, policies.STEP_SIZE, gamma=policies.GAMMA),
        "OneCycle": one_cycle,
        "OneCycle, three phases": clr.OneCycle(MAX_LR, 10**6, three_phase=True),
        "OneCycle, linear, three phases": steep,
        "its momentum, cosine": one_cycle.momentum(),
        "its momentum, linear": steep.momentum(),
        "CosineRestarts": clr.CosineRestarts(MAX_LR, 1000),
        "CosineRestarts, growing by 2": clr.CosineRestarts(MAX_LR, 1000, 2.0, min_lr=1e-9),
        "CosineRestarts, by 1.5": clr.CosineRestarts(MAX_LR, 1000, 1.5, 0.9, BASE_LR),
        "Warmup, Sequence": clr.Warmup(clr.Sequence([MAX_LR, one_cycle], [10**5]), 1000, 1e-6),
    }


def measure() -> dict[str, Any]:
    """The worst errors on the engine at hand: a column for each way in which it computes."""
    # The truth in more digits than float64 has is the suite's.
    path = Path(__file__).parents[1] / "tests" / "exact.py"
    spec = importlib.util.spec_from_file_location("exact", path)
    assert spec is not None
    assert spec.loader is not None
    exact = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exact)

    ways, versions = _engine()
    near, far = sample(LIMIT, SAMPLES), sample(FAR, SAMPLES)
    few = sample(LIMIT, FEW)
    found: dict[str, dict[str, dict[str, float]]] = {
        name: {table: {} for table in ("float32", *SHORT, "float64")} for name in ways
    }
    for policy, schedule in schedules().items():
        truth, true_far = schedule.values(near), schedule.values(far)
        in_full = exact.in_two_floats([exact.of(schedule, step) for step in few.tolist()])
        for name, (compute, counts_to, wide) in ways.items():
            worst = found[name]
            worst["float32"][policy] = exact.ulps(compute(schedule, near), truth).max().item()
            if counts_to == FAR:
                rates = compute(schedule, far)
                worst["far"][policy] = exact.ulps(rates, true_far).max().item()
            for floatx in ("bfloat16", "float16"):
                if LEGACY and floatx == "bfloat16":  # which it has not
                    continue
                with _floatx(floatx):
                    rates = compute(schedule, near)
                worst[floatx][policy] = exact.ulps(rates, truth, dtype=floatx).max().item()
            with _floatx("float64"), wide():
                rates = compute(schedule, few)
            worst["float64"][policy] = exact.ulps(rates, *in_full, "float64").max().item()
    return {
        name: {"date": report.now(), "versions": versions, "worst": worst}
        for name, worst in found.items()
    }


def sample(limit: int, count: int) -> Steps:
    """Steps of every magnitude below the limit, and those at the turns of cycles and restarts."""
    random = np.random.default_rng(SEED)
    limits = [2**k for k in range(10, limit.bit_length())]
    steps = [random.integers(0, one, count // len(limits), dtype=np.int64) for one in limits]
    edges = np.array([one // 1000 * 1000 for one in limits], np.int64)
    turns = edges[:, None] - 1000 * np.arange(5) + np.array([-1, 0, 1])[:, None, None]
    powers = np.array(limits)[:, None] - np.arange(3)
    found = np.concatenate([*steps, turns.ravel(), powers.ravel()])
    return np.unique(found[(found >= 0) & (found < limit)])


def _keras() -> Any:
    return importlib.import_module("tf_keras" if LEGACY else "keras")


def _engine() -> tuple[dict[str, tuple[Compute, int, Callable[[], Any]]], dict[str, str]]:
    """The ways to compute here, by column: what computes, how far it counts, what widens it."""
    keras = _keras()
    backend = "tensorflow" if LEGACY else keras.config.backend()

    import clr_schedules

    modules = [keras, np, clr_schedules]
    ways: dict[str, tuple[Compute, int, Callable[[], Any]]]
    if backend == "tensorflow":
        import tensorflow as tf

        modules.insert(0, tf)

        def eager(schedule: Any, steps: Steps) -> Any:
            return schedule(tf.constant(steps)).numpy()

        def xla(schedule: Any, steps: Steps) -> Any:
            # By a function of its own each time, since `floatx()` is read when it is traced.
            compiled = tf.function(lambda step: schedule(step), autograph=False, jit_compile=True)
            return compiled(tf.constant(steps)).numpy()

        name = "tf_keras" if LEGACY else "TensorFlow"
        none = contextlib.nullcontext
        ways = {f"{name}, eager": (eager, FAR, none), f"{name}, XLA": (xla, FAR, none)}
    elif backend == "jax":
        import jax

        modules.insert(0, jax)
        # Which moved there in version 0.8.
        enable_x64 = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64

        def jit(schedule: Any, steps: Steps) -> Any:
            compiled = jax.jit(lambda step: schedule(step))
            return np.asarray(compiled(jax.numpy.asarray(steps.astype(np.int32))))

        device = jax.devices()[0]
        kind = "CPU" if device.platform == "cpu" else device.device_kind
        ways = {f"JAX, {kind}": (jit, LIMIT, lambda: enable_x64(True))}
    else:
        import torch

        modules.insert(0, torch)

        def run(schedule: Any, steps: Steps) -> Any:
            return keras.ops.convert_to_numpy(schedule(keras.ops.convert_to_tensor(steps)))

        on_gpu = torch.cuda.is_available()
        kind = torch.cuda.get_device_name() if on_gpu else "CPU"
        ways = {f"PyTorch, {kind}": (run, LIMIT, contextlib.nullcontext)}
    return ways, {module.__name__: module.__version__ for module in modules}


@contextlib.contextmanager
def _floatx(name: str) -> Iterator[None]:
    """Sets Keras's `floatx()` for a while."""
    keras = _keras()
    before = keras.backend.floatx()
    keras.backend.set_floatx(name)
    try:
        yield
    finally:
        keras.backend.set_floatx(before)


def markdown(result: dict[str, Any] | None) -> str:
    """The result as Markdown tables."""
    title = "## Accuracy on each engine\n\n"
    if result is None:
        return title + "Not measured: `python -m benchmarks.engines` does.\n"
    worst = {name: one["worst"] for name, one in result.items()}
    highest = max(max(one["float32"].values()) for one in worst.values())
    policies = list(next(iter(worst.values()))["float32"])
    measured = [
        f"- {name}, {one['date']}: "
        + ", ".join(f"{module} {version}" for module, version in one["versions"].items())
        for name, one in result.items()
    ]

    def table(kind: str) -> str:
        rows = (
            [policy, *(f"{one[kind][policy]:.4f}" for one in worst.values())] for policy in policies
        )
        return report.table(["policy", *worst], rows)

    def at_worst(errors: dict[str, float]) -> str:
        return f"{max(errors.values()):.4f}" if errors else "none"

    short = (
        [words, *(at_worst(one[kind]) for one in worst.values())] for kind, words in SHORT.items()
    )
    return f"""{title}The worst error of a rate in units of the last place (ulp). The steps are of
every magnitude below the limit, and those at the turns of cycles, at restarts and at powers of two;
rates from {BASE_LR} to {MAX_LR}, or from 0 where it is said. The best that a rounding can be is
0.5 ulp.

In float32, over {len(sample(LIMIT, SAMPLES)):,} steps below 2^31, held against the formulas in
float64. {BOUND} is promised on TensorFlow, 2 on the others, and 4 there with a power or a cosine;
the worst on any is {highest:.4f}.

{table("float32")}

The worst of all these policies; a counter has 64 bits on TensorFlow, 32 on the others, and
`tf_keras` knows no bfloat16 as `floatx`:

{report.table(["", *worst], short)}

With `floatx` float64 (on JAX by `jax_enable_x64`, without which it is float32), in units of
float64, over {len(sample(LIMIT, FEW)):,} steps below 2^31, held against exact arithmetic:

{table("float64")}

{chr(10).join(measured)}
"""


def main() -> None:
    """Measures, and puts the columns into the results beside those of the other engines."""
    columns = measure()
    if sys.argv[1:]:
        columns = {f"{name}, {' '.join(sys.argv[1:])}": one for name, one in columns.items()}
    results = (report.read("engines") or {}) | columns
    report.write({name: results[name] for name in sorted(results, key=_order)}, "engines")
    print(markdown(columns), end="")


def _order(name: str) -> tuple[int, str]:
    engines = ("TensorFlow", "JAX", "PyTorch", "tf_keras")
    return engines.index(name.split(",")[0]), name


if __name__ == "__main__":
    main()
