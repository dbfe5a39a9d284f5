"""The kernels of an update on an H100, counted on a machine without one.

XLA compiles for a GPU that it is only told of, through JAX's CUDA plugin, for which ``make
bench-gpu-kernels`` builds the environment. The updates are those of real Keras optimizers, of ten
arrays of a million numbers. What comes out are kernels and code, no times.

Run as ``python -m benchmarks.gpu_kernels``, it writes ``results/gpu_kernels.json``, from which the
report is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from benchmarks import policies, report

ARRAYS, SIZE = 10, 1_000_000
# As many levels of layers with rates of their own, with two arrays each.
LEVELS = 12
CONSTANT = "constant"
ONE_RATE = "one rate for all"
# What a schedule may add; see `policies.kernels_allowed` for restarts that grow or shrink.
EXPECTED = {"Adam": 0, "AdamW": 1, "SGD with momentum": 1, "Lion": 1}

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def measure() -> dict[str, Any]:
    """The kernels of every optimizer and rate, and whether the schedule is in those of weights."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # so that no GPU is looked for
    import keras
    from jax.experimental import topologies

    import clr_schedules as clr

    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])
    rates = {
        CONSTANT: 1e-3,
        "Keras `CosineDecay`": keras.optimizers.schedules.CosineDecay(6e-3, 10**6),
    } | policies.all_rates(1e-3, 6e-3)

    def kernels(optimizer: Any, names: Sequence[str] = ("array",) * ARRAYS) -> dict[str, Any]:
        variables = [keras.Variable(keras.ops.zeros(SIZE), name=name) for name in names]
        optimizer.build(variables)

        def step(state: Any, weights: Any, gradients: Any) -> Any:
            weights, state = optimizer.stateless_apply(state, gradients, weights)
            return state, weights  # in the order of what is donated

        def shapes(of: Any) -> Any:
            return [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=sharding) for v in of]

        weights = [v.value for v in variables]
        state = shapes([v.value for v in optimizer.variables])
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(
            state, shapes(weights), shapes(weights)
        )
        return _count(lowered.compile().as_text())

    def of_layers(optimizer: Any, multipliers: dict[str, Any]) -> dict[str, Any]:
        if multipliers:
            optimizer = clr.scale_learning_rates(optimizer, multipliers)
        return kernels(optimizer, [f"level_{i // 2}" for i in range(2 * LEVELS)])

    counts: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    for kind, (make, hyperparameter) in policies.optimizers().items():
        counts[kind] = {name: kernels(make(rate)) for name, rate in rates.items()}
        for name in ("OneCycle", "CosineRestarts by 1.5"):
            both = clr.schedule_hyperparameters(
                make(rates[name]), **{hyperparameter: rates["OneCycle"].momentum()}
            )
            counts[kind][f"{name}, and OneCycle of `{hyperparameter}`"] = kernels(both)
        layers[kind] = {
            name: {of: of_layers(make(rates[name]), them) for of, them in _multipliers().items()}
            for name in (CONSTANT, "OneCycle")
        }
    return {
        "date": report.now(),
        "versions": {module.__name__: module.__version__ for module in (jax, keras, clr)},
        "counts": counts,
        "layers": layers,
    }


def _multipliers() -> dict[str, dict[str, Any]]:
    """The multipliers of layers that are counted, by what a row of the table calls them."""
    import clr_schedules as clr

    half = f"level_[0-{LEVELS // 2 - 1}]"
    decay = {f"level_{i}": 0.75 ** (LEVELS - 1 - i) for i in range(LEVELS)}
    return {
        ONE_RATE: {},
        "a number for half of the levels": {half: 0.1},
        "a number for each level": decay,
        "half of the levels unfrozen": {half: clr.Piecewise([0.0, 0.1], [1000])},
        "half of the levels follow OneCycle": {half: clr.OneCycle(1.0, 10**6)},
        "each level unfrozen": {
            name: clr.Piecewise([0.0, factor], [1000 * (LEVELS - i)])
            for i, (name, factor) in enumerate(decay.items())
        },
    }


def _count(program: str) -> dict[str, Any]:
    """The kernels and copies that a program starts, and whether weights meet 64-bit numbers.

    Nothing in an update is of 64 bits but a schedule.
    """
    entry = program[program.index("ENTRY") :]
    started = re.findall(r" = (\S+|\(.*?\)) (fusion|copy|custom-call|while|conditional)\(", entry)
    inside = False
    for computation in re.split(r"\n(?=%|ENTRY)", program):
        if computation.startswith("%") and f"f32[{SIZE}]" in computation:
            inside = inside or bool(re.search(r" = [fsu]64\[", computation))
    kernels = [shape for shape, kind in started if kind != "copy"]
    return {
        "kernels": len(kernels),
        "scalar": sum(f"[{SIZE}]" not in shape for shape in kernels),
        "copies": len(started) - len(kernels),
        "inside": inside,
    }


def markdown(result: dict[str, Any] | None) -> str:
    """The result as a sentence and a table."""
    title = "## Kernels on a GPU\n\n"
    if result is None:
        return title + "Not counted: `make bench-gpu-kernels` does.\n"
    counts = result["counts"]
    names = list(dict.fromkeys(name for of in counts.values() for name in of))
    rows = [
        [name, *(_cell(of[name], of[CONSTANT]) if name in of else "" for of in counts.values())]
        for name in names
    ]
    alone = {
        kind: max(_more(of, c) for name, c in of.items() if not _special(name))
        for kind, of in counts.items()
    }
    most = ", ".join(f"{kind} {more or 'none'}" for kind, more in alone.items())
    special = max(_more(of, c) for of in counts.values() for c in of.values())
    inside = ", ".join(
        f"{kind} with {name}"
        for kind, of in counts.items()
        for name, c in of.items()
        if c["inside"]
    )
    scalars = "all" if _all_more_are_scalar(counts) else "**not all**"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    text = f"""No schedule is computed in a kernel that writes
weights{f", but in {inside}" if inside else ""}. What a schedule
adds at most: {most}; with restarts that grow or shrink, or where a
hyperparameter is cycled too, up to {special}. Of these kernels {scalars} compute a single number.

The kernels that XLA makes of an update of {ARRAYS} arrays of {SIZE:,} numbers each by real
optimizers of
Keras; in brackets what a constant rate has not. A copy is one of the iteration, of four bytes, and
no kernel. Recorded by `make bench-gpu-kernels`, which compiles for an NVIDIA H100 on a machine
without one, {result["date"][:10]}; {versions}.

{report.table(["learning rate", *counts], report.grouped(rows))}"""
    layers = report.part("kernels of layers on a GPU", _of_layers(result["layers"]))
    return f"{title}{report.part('kernels on a GPU', text)}\n\n{layers}\n"


def _of_layers(layers: dict[str, Any]) -> str:
    """What a rate for every layer adds, as a sentence and a table."""
    rows = [
        [rate, name, *(_cell(of[rate][name], of[rate][ONE_RATE]) for of in layers.values())]
        for rate in (CONSTANT, "OneCycle")
        for name in next(iter(layers.values()))[rate]
    ]
    counts = [count for of in layers.values() for those in of.values() for count in those.values()]
    of_arrays = {count["kernels"] - count["scalar"] for count in counts}
    alike = of_arrays == {2 * LEVELS} and not any(count["inside"] for count in counts)
    return f"""With `scale_learning_rates` {
        "every array still has one kernel, which takes the rate of its layer as a number"
        if alike
        else "**not every array has one kernel that takes the rate of its layer as a number**"
    }. What is more are kernels of a single number: at most {most_a_group(layers, "number")} a
group of layers where the multipliers are numbers, and {most_a_group(layers, "unfrozen")} where each
is a schedule.

The same for {2 * LEVELS} arrays, two for each of {LEVELS} levels; in brackets what is more than
without multipliers. Of half of the levels there are two groups, and else {LEVELS}.

{report.table(["learning rate", "multipliers", *layers], rows)}"""


def most_a_group(layers: dict[str, Any], multipliers: str) -> str:
    """The most kernels more for each group of layers, with multipliers whose name has this word."""
    most = max(
        (count["kernels"] - counts[ONE_RATE]["kernels"]) / (2 if "half" in name else LEVELS)
        for of in layers.values()
        for counts in of.values()
        for name, count in counts.items()
        if multipliers in name
    )
    return f"{most:.1f}"


def _special(name: str) -> bool:
    return "CosineRestarts by" in name or " and OneCycle of " in name


def _more(of: dict[str, Any], count: dict[str, Any]) -> int:
    return int(count["kernels"] - of[CONSTANT]["kernels"])


def _all_more_are_scalar(counts: dict[str, Any]) -> bool:
    return all(
        count["scalar"] - of[CONSTANT]["scalar"] == _more(of, count)
        for of in counts.values()
        for count in of.values()
    )


def _cell(count: dict[str, Any], constant: dict[str, Any]) -> str:
    more = [
        f"{count[what] - constant[what]:+d}{name}"
        for what, name in (("kernels", ""), ("copies", " copy"))
        if count[what] != constant[what]
    ]
    return f"{count['kernels']} ({', '.join(more)})" if more else str(count["kernels"])


if __name__ == "__main__":
    found = measure()
    report.write(found, "gpu_kernels")
    print(markdown(found), end="")
