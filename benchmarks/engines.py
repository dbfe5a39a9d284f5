"""How far a rate is from the formula in real numbers, on each engine that Keras runs on.

``python -m benchmarks.engines`` measures the engine at hand (``KERAS_BACKEND=jax`` and ``torch``,
``TF_USE_LEGACY_KERAS=1`` for ``tf_keras``) and puts its columns into ``results/engines.json``,
beside those that are there; the report is made from it. A word as argument goes into the columns'
names: ``python -m benchmarks.engines oldest``. It needs Keras and one engine, and takes less than a
minute. On JAX and PyTorch, the device is the one that they take, and the column is named after it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import report, truth

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")
BASE_LR, MAX_LR = 1e-3, 6e-3
# Keras's counter has 32 bits on JAX and PyTorch. TensorFlow's has 64, and the package counts to the
# second of these.
LIMIT, FAR = 2**31, truth.FAR
SAMPLES = 200_000
SEED = 20_150_603
BOUND, WIDE_BOUND = 0.502, 16.0
SHORT = ("bfloat16", "float16")
FORMATS = ("float32", *SHORT, "float64")

Steps = npt.NDArray[np.int64]
Compute = Callable[[Any, Steps], Any]


def measure() -> dict[str, Any]:
    """The worst errors on the engine at hand: a column for each way in which it computes."""
    from benchmarks import policies

    ways, versions, limit, wide_types = _engine()
    steps = sample(limit, SAMPLES)
    found: dict[str, dict[str, dict[str, float]]] = {
        name: {format_: {} for format_ in FORMATS} for name in ways
    }
    bounds = (BASE_LR, MAX_LR)
    schedules = policies.all_rates(*bounds) | policies.all_momenta(*bounds)
    for policy, schedule in schedules.items():
        true = truth.rates(schedule, steps)
        for name, compute in ways.items():
            for format_ in FORMATS:
                if LEGACY and format_ == "bfloat16":  # which it does not have
                    continue
                wide = wide_types if format_ == "float64" else contextlib.nullcontext
                with _floatx(format_), wide():
                    rates = compute(schedule, steps)
                worst = truth.ulps(rates, true, format_).max()
                found[name][format_][policy] = float(worst)
    return {
        name: {"date": report.now(), "versions": versions}
        | {"steps": len(steps), "limit": limit, "worst": worst}
        for name, worst in found.items()
    }


def sample(limit: int, count: int) -> Steps:
    """Steps of every magnitude below the limit, and those at the turns of cycles and restarts."""
    from benchmarks import policies

    random = np.random.default_rng(SEED)
    limits = [2**k for k in range(10, limit.bit_length())]
    steps = [random.integers(0, one, count // len(limits), dtype=np.int64) for one in limits]
    edges = np.array([one // 1000 * 1000 for one in limits], np.int64)
    turns = (edges[:, None] - 500 * np.arange(10)).ravel()
    starts = [
        truth.restarts(one, limit)
        for one in policies.all_rates(BASE_LR, MAX_LR).values()
        if type(one).__name__ == "CosineRestarts"
    ]
    exact = np.concatenate([turns, *starts, np.array(limits)])
    around = (exact[:, None] + np.array([-2, -1, 0, 1])).ravel()
    found = np.concatenate([*steps, around])
    return np.unique(found[(found >= 0) & (found < limit)])


def _keras() -> Any:
    return importlib.import_module("tf_keras" if LEGACY else "keras")


def _engine() -> tuple[dict[str, Compute], dict[str, str], int, Callable[[], Any]]:
    """What is here: ways to compute, by column; versions; how far it counts; what widens it."""
    keras = _keras()
    backend = "tensorflow" if LEGACY else keras.config.backend()

    import clr_schedules

    ways: dict[str, Compute]
    limit, wide_types = LIMIT, contextlib.nullcontext
    # Each call compiles anew, since `floatx()` is read when a schedule is traced.
    if backend == "tensorflow":
        import tensorflow as engine

        # It takes the functions of several schedules for one that is traced again.
        engine.get_logger().setLevel("ERROR")

        def eager(schedule: Any, steps: Steps) -> Any:
            return schedule(engine.constant(steps)).numpy()

        def compiled(schedule: Any, steps: Steps, *, jit_compile: bool) -> Any:
            rate = engine.function(
                lambda step: schedule(step), autograph=False, jit_compile=jit_compile
            )
            return rate(engine.constant(steps)).numpy()

        name, limit = "tf_keras" if LEGACY else "TensorFlow", FAR
        ways = {
            f"{name}, eager": eager,
            f"{name}, graph": functools.partial(compiled, jit_compile=False),
            f"{name}, XLA": functools.partial(compiled, jit_compile=True),
        }
    elif backend == "jax":
        import jax as engine

        def call(schedule: Any, steps: Steps) -> Any:
            return np.asarray(schedule(engine.numpy.asarray(steps.astype(np.int32))))

        def jit(schedule: Any, steps: Steps) -> Any:
            rate = engine.jit(lambda step: schedule(step))
            return np.asarray(rate(engine.numpy.asarray(steps.astype(np.int32))))

        device = engine.devices()[0]
        kind = "CPU" if device.platform == "cpu" else device.device_kind
        ways = {f"JAX, eager, {kind}": call, f"JAX, XLA, {kind}": jit}
        # Which moved in version 0.8.
        enable_x64 = (engine if hasattr(engine, "enable_x64") else engine.experimental).enable_x64
        wide_types = functools.partial(enable_x64, True)
    else:
        import torch as engine

        def run(schedule: Any, steps: Steps) -> Any:
            rates = schedule(keras.ops.convert_to_tensor(steps.astype(np.int32)))
            return rates.double().cpu().numpy()  # every format fits, which NumPy may not have

        on_gpu = engine.cuda.is_available()
        kind = engine.cuda.get_device_name() if on_gpu else "CPU"
        ways = {f"PyTorch, {kind}": run}
    modules = (engine, keras, np, clr_schedules)
    return ways, {module.__name__: module.__version__ for module in modules}, limit, wide_types


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
    """The result as a sentence and a table."""
    title = "## Accuracy on each engine\n\n"
    if not result:
        return title + "Not measured: `python -m benchmarks.engines` does.\n"
    worst = {
        name: {
            format_: max(errors.values(), default=None) for format_, errors in one["worst"].items()
        }
        for name, one in result.items()
    }
    rows = [
        [
            name,
            *("none" if of[format_] is None else f"{of[format_]:.4f}" for format_ in FORMATS[:-1]),
            f"{of['float64']:.1f}",
            f"{result[name]['steps']:,} below 2^{result[name]['limit'].bit_length() - 1}",
            result[name]["date"][:10],
        ]
        for name, of in worst.items()
    ]
    highest, wide = (max(of[f] for of in worst.values()) for f in ("float32", "float64"))
    count = len(next(iter(result.values()))["worst"]["float32"])
    versions = dict.fromkeys(
        ", ".join(f"{module} {n}" for module, n in one["versions"].items())
        for one in result.values()
    )
    header = ["", *(f"`{name}`" for name in FORMATS), "steps", "date"]
    text = f"""It is the same on every engine that Keras runs on: a rate in float32 is off by at
most {highest:.4f}
ulp, where {BOUND} is promised, and with `floatx` float64 by {wide:.1f}, where {WIDE_BOUND:.0f}
is promised.

The worst of {count} schedules and momenta, in units of the last place of each `floatx`, over
steps of
every magnitude that the engine's counter holds, the turns of cycles, the restarts and the powers of
two among them; rates from {BASE_LR} to {MAX_LR}, or from 0. On JAX float64 takes `jax_enable_x64`;
`tf_keras` knows no bfloat16. Recorded by `python -m benchmarks.engines`; each schedule by itself is
in `engines.json`.

{report.table(header, rows)}

With {"; ".join(versions)}."""
    return title + report.part("engines", text) + "\n"


def main() -> None:
    """Measures, and puts the columns into the results beside those of the other engines."""
    columns = measure()
    if sys.argv[1:]:
        columns = {f"{name}, {' '.join(sys.argv[1:])}": one for name, one in columns.items()}
    policies = next(iter(columns.values()))["worst"]["float32"].keys()
    # What was measured of other policies fits into no table with these.
    kept = {
        name: one
        for name, one in (report.read("engines") or {}).items()
        if one["worst"]["float32"].keys() == policies
    }
    results = kept | columns
    report.write({name: results[name] for name in sorted(results, key=_order)}, "engines")
    print(markdown(columns), end="")


def _order(name: str) -> tuple[int, str]:
    engines = ("TensorFlow", "JAX", "PyTorch", "tf_keras")
    return engines.index(name.split(",")[0]), name


if __name__ == "__main__":
    main()
