"""The time of a step on a GPU, with each schedule and with a constant rate, if there is a GPU.

Run as ``KERAS_BACKEND=jax python -m benchmarks.gpu`` where JAX finds one, it writes
``results/gpu.json``, from which the report is made. It needs Keras and JAX alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks import policies, report, timing

CONSTANT, CONTROL = "constant", "constant again"
PARAMETERS = (10**5, 10**7, 10**8)
ARRAYS = 10
BLOCKS = 15
SECONDS = 0.05
# Steps of a call. One step takes less time than Python takes to start it, which would be all that
# is seen of a small model.
LOOP = 100


def measure() -> dict[str, Any]:
    """The microseconds of an update by Adam with a constant rate, and the ratios of the others.

    Raises:
        RuntimeError: If JAX finds no GPU.
    """
    import jax
    import keras

    import clr_schedules as clr

    device = jax.devices("gpu")[0]
    rates = {CONSTANT: 1e-9, CONTROL: 1e-9} | policies.all_kinds(1e-9, 6e-9)

    def arm(rate: Any, parameters: int) -> Callable[[int], float]:
        weights = [keras.ops.zeros(parameters // ARRAYS) for _ in range(ARRAYS)]
        variables = [keras.Variable(w) for w in weights]
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(variables)

        def loop(state: Any, weights: Any, gradients: Any) -> Any:
            def step(_: Any, both: Any) -> Any:
                state, weights = both
                weights, state = optimizer.stateless_apply(state, gradients, weights)
                return state, weights

            return jax.lax.fori_loop(0, LOOP, step, (state, weights))

        compiled = jax.jit(loop, donate_argnums=(0, 1))
        held = [[v.value + 0 for v in optimizer.variables], [w + 0 for w in weights]]

        def run(calls: int) -> float:
            def take() -> None:
                for _ in range(calls):
                    held[:] = compiled(*held, weights)
                jax.block_until_ready(held)

            return timing.seconds(take)

        return run

    found = {}
    for parameters in PARAMETERS:
        runs = {name: arm(rate, parameters) for name, rate in rates.items()}
        for run in runs.values():
            run(1)
        calls = timing.steps_for(runs[CONSTANT], 1, SECONDS)

        def times(name: str, calls: int = calls, runs: Any = runs) -> Callable[[], float]:
            return lambda: runs[name](calls)

        arms = {name: times(name) for name in runs if name != CONSTANT}
        taken, ratios = timing.interleaved(times(CONSTANT), arms, BLOCKS)
        found[str(parameters)] = {
            "microseconds": 1e6 * statistics.median(taken) / (calls * LOOP),
            "ratios": {name: timing.summary(r) for name, r in ratios.items()},
        }
    return {
        "date": report.now(),
        "device": device.device_kind,
        "versions": {module.__name__: module.__version__ for module in (jax, keras, clr)},
        "n": BLOCKS,
        "steps a call": LOOP,
        "parameters": found,
    }


def markdown(result: dict[str, Any] | None) -> str:
    """The result as a sentence and a table."""
    if result is None:
        return "## Step time on a GPU\n\nNot measured: no GPU was at hand.\n"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    sizes = {int(parameters): found for parameters, found in result["parameters"].items()}
    lines, most = [], {}
    for parameters, found in sizes.items():
        ours = {name: ratio for name, ratio in found["ratios"].items() if name != CONTROL}
        most[parameters] = max(ours.values(), key=lambda ratio: ratio["ratio"])["ratio"] - 1
        noise = timing.percent(timing.noise(found["ratios"][CONTROL]))
        lines.append(f"{found['microseconds']:.0f} µs and ±{noise} with {parameters:,} parameters")
    names = next(iter(sizes.values()))["ratios"]
    rows = [[name, *(timing.cell(of["ratios"][name]) for of in sizes.values())] for name in names]
    header = ["learning rate", *(f"{parameters:,} parameters" for parameters in sizes)]
    text = f"""On a GPU a schedule can be seen in the clock only where a step is very short:
{", ".join(f"up to {timing.percent(m)} with {p:,} parameters" for p, m in most.items())}.

The time of an update by Adam, {result["steps a call"]} a call, through JAX, by that with a
constant rate; n = {result["n"]}
ratios. The time with a constant rate, and the noise: {"; ".join(lines)}. Recorded by `python -m
benchmarks.gpu` on an {result["device"]}, {result["date"][:10]}; {versions}.

{report.table(header, rows)}"""
    return f"## Step time on a GPU\n\n{report.part('step time on a GPU', text)}\n"


if __name__ == "__main__":
    measured = measure()
    report.write(measured, "gpu")
    print(markdown(measured), end="")
