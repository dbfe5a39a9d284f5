"""What the benchmarks make of numbers; the numbers are theirs."""

import re

import mpmath
import numpy as np
import pytest
from helpers import exact
from helpers.keras_under_test import BACKEND, LEGACY

if LEGACY or BACKEND != "tensorflow":
    pytest.skip("the benchmarks are of Keras 3 on TensorFlow", allow_module_level=True)

from benchmarks import __main__ as benchmarks
from benchmarks import (
    gpu_kernels,
    policies,
    report,
    step_time,
    structure,
    timing,
    truth,
    without_xla,
)

FORMULAS = policies.all_rates(1e-3, 6e-3) | policies.all_momenta(1e-3, 6e-3)


def test_the_report_is_what_the_results_say():
    assert benchmarks.document(report.read()) == (report.RESULTS / "latest.md").read_text()


def test_all_was_measured():
    results = report.read()
    assert list(results) == list(benchmarks.SECTIONS)
    assert report.read("gpu_kernels") is not None
    assert all(results[name]["environment"]["machine"]["cores"] > 0 for name in results)


def test_every_claim_of_the_report_that_counts_holds():
    """What is timed may fall short on a day; what is counted may not."""
    text = (report.RESULTS / "latest.md").read_text()
    for claim in ("0.502 ulp", "as many fusions", "Kernels on a GPU, by"):
        (row,) = re.findall(rf"^\| [^|]*{re.escape(claim)}.*$", text, re.MULTILINE)
        assert row.split(" | ")[2] == "yes"


def test_arms_run_in_turn_with_the_base():
    order = []

    def arm(name, seconds):
        def run():
            order.append(name)
            return seconds

        return run

    taken, ratios = timing.interleaved(
        arm("base", 2.0), {"a": arm("a", 1.0), "b": arm("b", 4.0)}, blocks=2
    )
    assert "".join(name[0] for name in order) == "baabbbbbbbaab"
    assert taken == [2.0] * 5
    assert ratios == {"a": [0.5, 0.5], "b": [2.0, 2.0]}


def test_a_slow_drift_cancels():
    clock = iter(1.01**n for n in range(1000))
    _, ratios = timing.interleaved(lambda: next(clock), {"a": lambda: next(clock)}, blocks=50)
    np.testing.assert_allclose(ratios["a"], 1)


def test_intervals_have_the_median_inside_and_cover():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        summary = timing.summary(np.exp(0.02 * random.standard_normal(25)))
        assert summary["low"] <= summary["ratio"] <= summary["high"]
        covered += summary["low"] <= 1 <= summary["high"]
    assert covered > 180


@pytest.mark.parametrize(
    "sizes", [{"base": 6, "a": 1, "b": 1}, {"base": 16, "a": 3, "b": 3}], ids=["single", "several"]
)
def test_intervals_of_contrasts_cover_the_true_ratio_in_95_of_100(sizes):
    """Also where models are less alike than what is looked for."""
    random = np.random.default_rng(0)
    true = {"base": 1.0, "a": 1.02, "b": 1.0, "both": 1.02**0.5, timing.CONTROL: 1.0}
    covered = dict.fromkeys(true, 0)
    del covered["base"]
    for _ in range(1000):
        models = {
            name: 70.0 * true[name] * np.exp(0.02 * random.standard_normal(size))
            for name, size in sizes.items()
        }
        groups = {"a": ["a"], "b": ["b"], "both": ["a", "b"]}
        found = timing.contrasts(models, "base", groups)
        for name, ratio in found.items():
            assert ratio["low"] < ratio["ratio"] < ratio["high"]
            covered[name] += ratio["low"] <= true[name] <= ratio["high"]
    assert all(926 <= n <= 974 for n in covered.values()), covered


def test_contrasts_are_of_geometric_means():
    models = {"base": [1.0, 4.0], "a": [2.0, 8.0], "b": [8.0]}
    found = timing.contrasts(models, "base", {"a": ["a"], "all": ["a", "b"]})
    assert found["a"]["ratio"] == pytest.approx(2)
    assert found["all"]["ratio"] == pytest.approx(128 ** (1 / 3) / 2)
    assert found["all"]["n"] == 3
    assert found[timing.CONTROL]["ratio"] == pytest.approx(4)


@pytest.mark.parametrize(
    ("low", "ratio", "high", "noise", "words"),
    [
        (0.99, 1.0, 1.005, 0.009, "≤ 1.01"),
        (0.99, 1.0, 1.005, 0.02, "not distinguishable from noise of ±2.0 %"),
        (0.99, 1.0, 1.02, 0.009, "not distinguishable from noise of ±0.9 %"),
        (1.03, 1.05, 1.07, 0.009, "slower by 5.0 % (noise ±0.9 %)"),
        (0.93, 0.95, 0.97, 0.02, "faster by 5.0 % (noise ±2.0 %)"),
        (0.93, 0.95, 0.97, 0.009, "≤ 1.01"),
    ],
)
def test_no_more_is_said_than_the_interval_does(low, ratio, high, noise, words):
    found = {"low": low, "ratio": ratio, "high": high}
    assert timing.verdict(found, noise, 1.01) == words


@pytest.mark.parametrize(
    ("ratio", "control", "words"),
    [
        ((0.992, 1.0, 1.008), (0.985, 1.0, 1.015), "≤ 1.01"),
        ((0.992, 1.0, 1.012), (0.985, 1.0, 1.015), "not distinguishable from noise of ±1.2 %"),
        ((0.992, 1.0, 1.008), (1.001, 1.01, 1.02), "not to be told, since the control is not 1"),
        ((1.002, 1.006, 1.011), (0.9, 1.0, 1.1), "slower by 0.6 %"),
        ((0.98, 0.99, 0.999), (0.9, 1.0, 1.1), "≤ 1.01"),
    ],
)
def test_of_models_no_more_is_said_than_the_intervals_do(ratio, control, words):
    keys = ("low", "ratio", "high")
    ratios = {"a": dict(zip(keys, ratio, strict=True))}
    ratios[timing.CONTROL] = dict(zip(keys, control, strict=True))
    assert timing.verdict_of_models(ratios, "a", 1.01) == words


@pytest.mark.parametrize("name", FORMULAS)
def test_the_truth_is_the_suite_s_to_a_hundredth_of_a_float64_s_last_place(name):
    random = np.random.default_rng(0)
    steps = np.unique([random.integers(0, 2**k, 3) for k in range(2, 54)])
    for step, rate in zip(steps.tolist(), truth.rates(FORMULAS[name], steps), strict=True):
        right = exact.of(FORMULAS[name], step)
        got = mpmath.mpf(np.format_float_scientific(rate, precision=25))
        assert abs(got - right) <= right / 2**59 + 1e-300


def test_the_distance_from_the_truth_is_in_units_of_the_last_place():
    third = np.array([1 / np.longdouble(3)])
    assert truth.ulps([1 / 3], third, "float64") == pytest.approx(1 / 3, rel=1e-3)
    assert truth.ulps(np.float32([1 / 3]), third) == pytest.approx(1 / 3, rel=1e-6)
    assert truth.ulps(np.float32([0.0]), np.array([np.longdouble(2.0**-130)])) == 0


def test_operations_are_those_that_are_started():
    assert without_xla.operations(lambda step: 1.0) == 0
    assert without_xla.operations(lambda step: step * 2 + 1) == 2


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(1.3, 1.5, "yes"), (1.4, 1.6, "not to be told"), (1.51, 1.6, "**no**")],
)
def test_of_a_bound_no_more_is_said_than_the_interval_does(low, high, words):
    assert without_xla.within({"low": low, "high": high}, 1.5) == words


def test_kernels_are_told_apart():
    program = """HloModule step

%fused (p: f32[1000000]) -> f32[1000000] {
  ROOT %m = f32[1000000]{0} multiply(%p, %p)
}

%rate (s: s32[]) -> f32[] {
  %w = s64[] convert(%s)
  ROOT %r = f32[] convert(%w)
}

ENTRY %main (a: s32[], b: f32[1000000]) -> (f32[], f32[1000000]) {
  %copy.1 = s32[] copy(%a)
  %rate.1 = f32[] fusion(%copy.1), kind=kLoop, calls=%rate
  ROOT %update = f32[1000000]{0} fusion(%b), kind=kLoop, calls=%fused
}
"""
    counted = {"kernels": 2, "scalar": 1, "copies": 1, "inside": False}
    assert gpu_kernels._count(program) == counted
    within = program.replace("  ROOT %m", "  %d = f64[] constant(1)\n  ROOT %m")
    assert gpu_kernels._count(within) == counted | {"inside": True}


def test_a_constant_rate_has_no_phase():
    import keras

    constant = structure._instructions(keras.optimizers.Adam(0.1))
    schedule = structure._instructions(keras.optimizers.Adam(step_time.rates()["Triangular"]))
    assert constant["remainder"] == 0
    assert schedule["remainder"] == 1
    assert constant["fusion"] == schedule["fusion"] > 0


@pytest.mark.slow
def test_they_run(monkeypatch, capsys):
    sections = [
        "step_time",
        "without_xla",
        "structure",
        "memory",
        "scaling",
        "import_time",
        "accuracy",
    ]
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick", "--only", *sections])
    before = (report.RESULTS / "latest.json").read_bytes()
    benchmarks.main()
    text = capsys.readouterr().out
    assert text.count("\n## ") == len(sections) + 1 + len(benchmarks.APART)
    assert "nan" not in text
    assert (report.RESULTS / "latest.json").read_bytes() == before
