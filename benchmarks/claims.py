"""What README and docs claim, beside what was measured: the first table of the report."""

from __future__ import annotations

from typing import Any

from benchmarks import (
    gpu,
    gpu_kernels,
    import_time,
    logger,
    policies,
    range_test,
    report,
    step_time,
    timing,
    without_xla,
)

HOLDS, SHORT = "yes", "**no**"


def markdown(results: dict[str, Any], apart: dict[str, Any]) -> str:
    """A table of the claims that these results can speak of.

    Args:
        results: those of the sections, by name.
        apart: those that are measured apart, by name; None where one is not.
    """
    rows: list[list[str]] = []
    if "accuracy" in results:
        rows.append(_accuracy(results["accuracy"]))
    if "step_time" in results:
        rows += _step_time(results["step_time"])
    if "without_xla" in results:
        rows.append(_without_xla(results["without_xla"]))
    if "structure" in results:
        rows.append(_structure(results["structure"]))
    if apart.get("gpu_kernels"):
        rows.append(_kernels(apart["gpu_kernels"]))
    if apart.get("gpu"):
        rows += _gpu(apart["gpu"])
    if "range_test" in results:
        rows.append(_range_test(results["range_test"]))
    if "logger" in results:
        rows.append(_logger(results["logger"]))
    if "import_time" in results:
        median = results["import_time"]["milliseconds"][import_time.PACKAGE]["median"]
        rows.append(
            [
                f"The import takes at most {import_time.TARGET_MS:.0f} ms",
                f"{median:.1f} ms",
                HOLDS if median <= import_time.TARGET_MS else SHORT,
                "Import time",
            ]
        )
    if "memory" in results:
        kept = results["memory"]["kept"]
        more = max(0.0, kept["Triangular2"]["python"] - kept["constant rate"]["python"])
        rows.append(
            [
                "A training with a schedule keeps no memory",
                f"{more:.2f} bytes a step more than with a constant rate",
                HOLDS if more < 1 else SHORT,
                "Memory",
            ]
        )
    header = ["claim", "measured", "holds", "section"]
    return f"""## Claims

{report.table(header, rows)}
"""


def _accuracy(result: dict[str, Any]) -> list[str]:
    peers = ("float32 formula", "Keras cosine")
    worst = max(
        error["ulp"]
        for table in (result["rates"], result["more"])
        for name, column in table.items()
        if name not in peers
        for error in column.values()
    )
    return [
        "Every rate is within 0.502 ulp of the formula, at every step below 2^53",
        f"{worst:.4f} ulp",
        HOLDS if worst <= 0.502 else SHORT,
        "Accuracy",
    ]


def _step_time(result: dict[str, Any]) -> list[list[str]]:
    rows = [
        [
            f"An update takes at most {step_time.TARGET} of that with a constant rate: "
            f"{update['network']}",
            *_of_models(update),
            "Step time, the update alone",
        ]
        for update in result["update"]
    ]
    compiled = result["alone"][0]
    ours = [n for name, n in compiled["schedules"].items() if name in step_time.rates()]
    least, most = (100 * ns / compiled["update"] for ns in (min(ours), max(ours)))
    rows.append(
        [
            "Compiled by XLA, a schedule by itself takes at most 1 % of the smaller update",
            f"{least:.1f} to {most:.1f} %",
            HOLDS if most <= 1 else SHORT,
            "Step time, a schedule alone",
        ]
    )
    rows += [
        [
            f"A step of `fit` takes at most {step_time.TARGET} of that with a constant rate: "
            f"{setting['network']}, `jit_compile={setting['jit_compile']}`, "
            f"`steps_per_execution={setting['steps_per_execution']}`",
            *_of_models(setting),
            "Step time, `model.fit`",
        ]
        for setting in result["fit"]
    ]
    for network in step_time.NETWORKS:
        if network not in result["right"]:
            continue
        ratios = result["right"][network]["ratios"]
        found = {name: ratios[name] for name in step_time.callbacks()}
        least = min(found.values(), key=lambda ratio: ratio["ratio"])
        rows.append(
            [
                f"A callback takes at least {step_time.CALLBACK_TARGET:.0f} times as long per step "
                f"as a schedule with {step_time.RIGHT_STEPS} steps a call: {network}",
                ", ".join(f"{name} {ratio['ratio']:.1f}" for name, ratio in found.items()),
                HOLDS if least["low"] >= step_time.CALLBACK_TARGET else SHORT,
                "Step time, a rate that is right in every step",
            ]
        )
    return rows


def _ratio(ratio: dict[str, Any], words: str) -> list[str]:
    return [
        f"{ratio['ratio']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})",
        HOLDS if words.startswith("≤") else words,
    ]


def _of_models(setting: dict[str, Any]) -> list[str]:
    return _ratio(setting["ratios"][step_time.OURS], step_time.words(setting))


def _without_xla(result: dict[str, Any]) -> list[str]:
    ratios = result["evaluation"]["ratios"]
    bounds = {name: bound for name, (_, bound) in without_xla.schedules().items() if bound}
    beyond = [
        f"{name} {ratios[name]['ratio']:.2f} (at most {bound:g})"
        for name, bound in bounds.items()
        if without_xla.within(ratios[name], bound) != "yes"
    ]
    return [
        "Without XLA a schedule takes at most 1.5 of Keras's `CosineDecay`, 1.7 with a decay, "
        "one-cycle 2, restarts that grow 4",
        f"not within: {', '.join(beyond) or f'none of {len(bounds)}'}",
        SHORT if beyond else HOLDS,
        "Without XLA",
    ]


def _structure(result: dict[str, Any]) -> list[str]:
    counts = result["counts"]["Adam"]
    constant = counts[step_time.CONSTANT]["fusion"]
    more = {name: n for name, of in counts.items() if (n := of["fusion"] - constant) > 0}
    beyond = any(n > policies.kernels_allowed(name) for name, n in more.items())
    added = ", ".join(f"{name} {n:+d}" for name, n in more.items())
    return [
        "On the CPU an update by Adam has as many fusions as with a constant rate, also with "
        "`beta_1` cycled; 1 more with restarts that grow or shrink",
        f"more: {added or f'none of {len(counts) - 1}'}",
        SHORT if beyond else HOLDS,
        "The program of an update",
    ]


def _kernels(result: dict[str, Any]) -> list[str]:
    counts = result["counts"]
    beyond = [
        f"{kind} with {name} {more:+d}"
        for kind, of in counts.items()
        for name, count in of.items()
        if (more := count["kernels"] - of[gpu_kernels.CONSTANT]["kernels"])
        > gpu_kernels.EXPECTED[kind]
        + name.count(" and OneCycle of ")
        + policies.kernels_allowed(name)
    ]
    inside = any(count["inside"] for of in counts.values() for count in of.values())
    most = ", ".join(f"{kind} at most {more:+d}" for kind, more in gpu_kernels.EXPECTED.items())
    measured = f"beyond that: {', '.join(beyond) or 'none'}"
    if inside:
        measured += "; a schedule is in a kernel that writes weights"
    return [
        f"Kernels on a GPU, by those with a constant rate: {most}, one for each hyperparameter "
        "that is cycled, and up to 3 for restarts that grow or shrink; no schedule in a kernel "
        "that writes weights",
        measured,
        SHORT if beyond or inside else HOLDS,
        "Kernels on a GPU",
    ]


def _gpu(result: dict[str, Any]) -> list[list[str]]:
    rows = []
    for parameters, found in result["parameters"].items():
        ratios = {name: r for name, r in found["ratios"].items() if name != gpu.CONTROL}
        least, most = (of(r["ratio"] for r in ratios.values()) for of in (min, max))
        above = [name for name, r in ratios.items() if r["low"] > gpu.TARGET]
        rows.append(
            [
                f"An update takes at most {gpu.TARGET} of that with a constant rate: "
                f"{result['device']}, {int(parameters):,} parameters, "
                f"{found['microseconds']:.0f} µs",
                f"{least:.3f} to {most:.3f}",
                f"{len(above)} of {len(ratios)} are slower" if above else HOLDS,
                "Step time on a GPU",
            ]
        )
    return rows


def _range_test(result: dict[str, Any]) -> list[str]:
    found = [
        cell["ratios"][name]
        for cell in result["times"]
        for name in (range_test.DEFAULT, range_test.LIKE_FIT)
    ]
    ratios = [ratio["ratio"] for ratio in found]
    beyond = sum(ratio["high"] > range_test.TARGET for ratio in found)
    holds = f"{beyond} of {len(found)} intervals reach above" if beyond else HOLDS
    return [
        f"A range test takes at most {range_test.TARGET} of `fit`",
        f"{len(ratios)} of them: {min(ratios):.2f} to {max(ratios):.2f}",
        holds if max(ratios) <= range_test.TARGET else SHORT,
        "Range test, time against `fit`",
    ]


def _logger(result: dict[str, Any]) -> list[str]:
    name = logger.TYPICAL
    noise = timing.noise(result["ratios"][logger.CONTROL])
    found = result["ratios"][name]
    ratio, holds = _ratio(found, timing.verdict(found, noise, logger.TARGET))
    return [
        "The logger costs nothing that shows",
        f"{ratio}; its own time {100 * result['shares'][name]:.2f} %",
        holds,
        "Callbacks",
    ]
