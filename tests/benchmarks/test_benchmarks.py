"""What the benchmarks make of numbers; the numbers are theirs."""

import re

import mpmath
import numpy as np
import pytest
from helpers import ROOT, exact
from helpers.keras_under_test import BACKEND, LEGACY

if LEGACY or BACKEND != "tensorflow":
    pytest.skip("the benchmarks are of Keras 3 on TensorFlow", allow_module_level=True)

from benchmarks import __main__ as benchmarks
from benchmarks import accuracy, cost, engines, gpu_kernels, policies, report, timing, truth

FORMULAS = policies.all_rates(1e-3, 6e-3) | policies.all_momenta(1e-3, 6e-3)


def test_the_report_is_what_the_results_say():
    assert benchmarks.document(report.read()) == (report.RESULTS / "latest.md").read_text()


def test_all_was_measured():
    results = report.read()
    assert list(results) == list(benchmarks.SECTIONS)
    assert sorted(benchmarks.ORDER) == sorted({**benchmarks.SECTIONS, **benchmarks.APART})
    assert all(report.read(name) for name in benchmarks.APART)
    assert all(results[name]["environment"]["machine"]["cores"] > 0 for name in results)


def test_what_is_included_in_the_docs_is_in_the_report():
    text = (report.RESULTS / "latest.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        for mark in re.findall(r'(?:start-after|end-before): "(<!-- .*? -->)"', page.read_text()):
            assert text.count(mark) == 1, mark


def test_the_results_keep_the_promises_that_are_counted():
    """What is timed may fall short on a day; what is counted may not."""
    results = report.read()
    assert accuracy.worst(results["accuracy"], "2^53")["ulp"] <= engines.BOUND
    worst = [one["worst"] for one in report.read("engines").values()]
    assert all(error <= engines.BOUND for of in worst for error in of["float32"].values())
    assert all(error <= engines.WIDE_BOUND for of in worst for error in of["float64"].values())
    adam = results["cost"]["counts"]["Adam"]
    for name, count in adam.items():
        more = count["fusion"] - adam[cost.CONSTANT]["fusion"]
        assert more <= policies.kernels_allowed(name), name
    assert results["cost"]["evaluations"]["AdamW"] == [1 + cost.VARIABLES, 1]
    for kind, of in report.read("gpu_kernels")["counts"].items():
        for name, count in of.items():
            allowed = gpu_kernels.EXPECTED[kind] + policies.kernels_allowed(name)
            allowed += name.count(" and OneCycle of ")
            assert count["kernels"] - of[gpu_kernels.CONSTANT]["kernels"] <= allowed, (kind, name)
            assert not count["inside"], (kind, name)
    layers = report.read("gpu_kernels")["layers"]
    for of in layers.values():
        for count in (count for counts in of.values() for count in counts.values()):
            assert count["kernels"] - count["scalar"] == 2 * gpu_kernels.LEVELS
            assert not count["inside"]
    assert float(gpu_kernels.most_a_group(layers, "number")) <= 1
    assert float(gpu_kernels.most_a_group(layers, "level")) <= 2


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
    ("low", "ratio", "high", "noise", "hidden"),
    [
        (0.99, 1.0, 1.005, 0.009, True),
        (1.003, 1.01, 1.02, 0.02, True),
        (0.93, 0.95, 0.97, 0.06, True),
        (1.03, 1.05, 1.07, 0.009, False),
        (0.93, 0.95, 0.97, 0.02, False),
    ],
)
def test_no_more_is_said_than_the_interval_and_the_noise_let_see(low, ratio, high, noise, hidden):
    found = {"low": low, "ratio": ratio, "high": high}
    assert timing.hidden(found, noise) is hidden
    assert timing.in_words({"a": found}, noise).startswith("none of 1" if hidden else "a ")


def test_rows_that_differ_in_nothing_but_their_name_are_one():
    rows = [["a", "1"], ["b", "2"], ["c", "1"]]
    assert report.grouped(rows) == [["a; c", "1"], ["b", "2"]]


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
    assert cost.operations(lambda step: 1.0) == 0
    assert cost.operations(lambda step: step * 2 + 1) == 2


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

    constant = cost.instructions(keras.optimizers.Adam(0.1))
    schedule = cost.instructions(keras.optimizers.Adam(FORMULAS["Triangular"]))
    assert constant["remainder"] == 0
    assert schedule["remainder"] == 1
    assert constant["fusion"] == schedule["fusion"] > 0


@pytest.mark.slow
def test_they_run(monkeypatch, capsys):
    sections = ["accuracy", "cost", "fit"]
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick", "--only", *sections])
    before = (report.RESULTS / "latest.json").read_bytes()
    benchmarks.main()
    text = capsys.readouterr().out
    # The suggestions have their own file, with the date of their measurement.
    assert text.count("\nMeasured on") == len(sections) + 1
    assert "nan" not in text
    assert (report.RESULTS / "latest.json").read_bytes() == before
