"""The report: a section for each data set and scale, from whatever results there are."""

from __future__ import annotations

import dataclasses
import math
import statistics as stdlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import report as shared
from benchmarks.cifar10 import pictures, plan, statistics
from benchmarks.cifar10.plan import CONSTANT, CONSTANT_BEST, Scale
from benchmarks.cifar10.runs import best_rate

if TYPE_CHECKING:
    from benchmarks.cifar10.statistics import Difference, Interval

NAME = "report.md"
THE_POSTS = "triangular"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of a table: an arm, after all of its epochs or the first of them."""

    arm: str
    epochs: int
    is_part: bool = False

    def __str__(self) -> str:
        return f"`{self.arm}`" + (f", first {self.epochs} epochs" if self.is_part else "")


class Section:
    """All results of a data set at a scale.

    Args:
        scale: The scale.
        results: What was found, one a run; the range test may be among them.
    """

    def __init__(self, scale: Scale, results: Iterable[dict[str, Any]]) -> None:
        self.scale = scale
        self.range_test: dict[str, Any] | None = None
        self.runs: dict[str, dict[int, dict[str, Any]]] = {}
        for result in results:
            if result["arm"] == "range_test":
                self.range_test = result
            else:
                self.runs.setdefault(result["arm"], {})[result["seed"]] = result
        self.runs = {arm: self.runs[arm] for arm in plan.ARMS if arm in self.runs}

    def accuracies(self, arm: str) -> dict[int, list[float]]:
        """For each seed of an arm the test accuracy in % after each epoch."""
        return {
            seed: [100 * accuracy for accuracy in run["test_accuracy"]]
            for seed, run in sorted(self.runs.get(arm, {}).items())
        }

    def final(self, entry: Entry) -> dict[int, float]:
        """For each seed the test accuracy in % after the last step."""
        return {
            seed: accuracies[entry.epochs - 1]
            for seed, accuracies in self.accuracies(entry.arm).items()
        }

    @property
    def entries(self) -> list[Entry]:
        """What there are results of; of constant rates also the part as long as the others."""
        found = []
        for arm in self.runs:
            found.append(Entry(arm, self.scale.epochs_of(arm)))
            if arm in plan.CONSTANTS and self.scale.cyclical_epochs < self.scale.epochs:
                found.append(Entry(arm, self.scale.cyclical_epochs, is_part=True))
        return found

    @property
    def baselines(self) -> list[Entry]:
        """The entries that the others are compared with."""
        return [entry for entry in self.entries if entry.arm in plan.CONSTANTS]


def sections(results: Iterable[dict[str, Any]]) -> list[Section]:
    """The results by data set and scale, the largest scale first."""
    found: dict[Scale, list[dict[str, Any]]] = {}
    for result in results:
        budget = Fraction(result["budget"])
        sizes = result["steps_per_epoch"], result["batch_size"]
        found.setdefault(Scale(result["data"], result["epochs"], budget, *sizes), []).append(result)
    by_size = sorted(found, key=lambda s: (-s.epochs * s.steps_per_epoch, s.data, s.budget))
    return [Section(scale, found[scale]) for scale in by_size]


def write(folder: Path, results: Iterable[dict[str, Any]]) -> None:
    """Writes the report and its pictures.

    Args:
        folder: Where to.
        results: All results that there are.
    """
    texts = [_HEADING]
    for section in sections(results):
        slug = section.scale.slug
        if section.runs:
            pictures.accuracies(section, folder / f"{slug}.png")
        if section.range_test:
            best = best_rate(folder, section.scale)
            pictures.range_test(section, best, folder / f"{slug}_range-test.png")
        texts.append(markdown(section))
    beside = folder / f"{NAME}.new"
    beside.write_text("\n".join(texts), encoding="utf-8")
    beside.replace(folder / NAME)


_HEADING = f"""# Cyclical rates on CIFAR-10

The blog post trains a small CNN with Adam, batches of {plan.BATCH_SIZE}, at a constant rate of
{plan.BASE_LR} for 150 epochs and at a triangular one from {plan.BASE_LR} to {plan.MAX_LR} for 50,
once each, and finds the latter better by 1.6 points. Here:

- All arms of a seed begin with the same weights and see the same batches, so differences are taken
  seed by seed.
- A constant rate does not know how long it will run. So what it comes to after as many steps as the
  others take is read from its long run, and is no run of its own.
- `{CONSTANT_BEST}` has half of the upper bound that the range test suggests: by the rule of thumb
  that the paper cites (section 3.3), the best rate is within a factor of two of the largest that
  trains, and the lower end of that suits a rate that has to do to the end.
- The cyclical arms go from {plan.BASE_LR} to {plan.MAX_LR}, the post's choice, and have
  {plan.CYCLES} cycles at any scale; at the post's, a half-cycle is its {plan.STEP_SIZE:,} steps.
  The amplitude of `exp_range` is multiplied by {plan.GAMMA} a step there (the paper's), and falls
  as far in all at other scales. `one_cycle` rises to {plan.MAX_LR} and takes the whole training.
- The accuracy is the one on the test images after the last step. The best along the way is chosen
  with the help of these very images; it is shown, since the paper counts the steps to it.
- Intervals are of the mean difference, by a percentile bootstrap over the seeds, which is too
  narrow where seeds are few (of normal differences it covers some 75 % with three seeds, 84 % with
  five). Student's, beside it, makes up for that. With fewer than {statistics.FEWEST} seeds there
  is none.

Made by `python -m benchmarks.cifar10`, from the JSON files beside this page; `--report` writes it
again.
"""


def markdown(section: Section) -> str:
    """A section in Markdown."""
    scale = section.scale
    parts = [f"## {scale}\n"]
    if section.runs:
        parts += [
            f"**{verdict(section)}**\n",
            f"![Test accuracy against steps]({scale.slug}.png)\n",
            f"{scale}: mean of the seeds, and a band from the worst to the best. "
            f"{_setting(section)}\n",
            f"### Accuracy after the last step ({scale})\n",
            _finals(section) + "\n",
        ]
        if missing := [f"`{arm}`" for arm in plan.ARMS if arm not in section.runs]:
            parts.append(f"No run yet of {', '.join(missing)}.\n")
        if differences := _differences(section):
            parts += [f"### Differences, seed by seed ({scale})\n", differences + "\n"]
        if CONSTANT in section.runs:
            parts += [
                f"### Steps to the best accuracy of `{CONSTANT}` ({scale})\n",
                "The paper's measure: after how many steps an arm is for the first time as good as "
                f"the best that the `{CONSTANT}` run of the same seed ever is, in all its epochs. "
                "The median counts a run that never is as longer than any.\n",
                _reached(section) + "\n",
            ]
    parts += [f"### Range test ({scale})\n", _range_test(section)]
    parts.append(_made_on(section))
    return "\n".join(parts)


def _setting(section: Section) -> str:
    scale = section.scale
    steps = scale.steps_per_epoch
    is_part = scale.cyclical_epochs < scale.epochs
    line = "; the vertical line is where these end" if is_part else ""
    return (
        f"Constant rates take {scale.epochs * steps:,} steps, the others "
        f"{scale.cyclical_epochs * steps:,} ({scale.cyclical_epochs} epochs) in half-cycles of "
        f"{scale.step_size:,}{line}."
    )


# The verdict --------------------------------------------------------------------------------------


def verdict(section: Section) -> str:
    """One sentence on the post's claim, which follows from the intervals."""
    scale = section.scale
    for arm in (THE_POSTS, CONSTANT):
        if arm not in section.runs:
            return f"No verdict on the post's claim: there is no run of `{arm}` yet."
    cyclical = Entry(THE_POSTS, scale.cyclical_epochs)
    found = {
        entry: statistics.paired(section.final(cyclical), section.final(entry))
        for entry in section.baselines
    }
    compared = {entry: difference for entry, difference in found.items() if difference}
    full = compared.get(Entry(CONSTANT, scale.epochs))
    if full is None:
        return f"No verdict on the post's claim: no seed has `{THE_POSTS}` and `{CONSTANT}` both."
    steps = scale.cyclical_epochs * scale.steps_per_epoch
    if full.bootstrap is None:
        return (
            f"No verdict on the post's claim: with {_seeds(full.seeds)} no interval is possible "
            f"(`{THE_POSTS}` after {steps:,} steps is {full.mean:+.2f} points from `{CONSTANT}` "
            f"after {scale.epochs * scale.steps_per_epoch:,})."
        )
    words = [
        f"{_in_words(difference)} {_baseline(entry, scale)} ({_interval(difference)})"
        for entry, difference in compared.items()
    ]
    return (
        f"After {steps:,} steps, `{THE_POSTS}` is {_listing(words)}: "
        f"{_conclusion(full, compared, cyclical)}"
    )


def _conclusion(full: Difference, compared: dict[Entry, Difference], cyclical: Entry) -> str:
    """What the differences to the baselines come to."""
    claim = 'the post\'s "better results faster"'
    if full.verdict == "worse":
        return f"{claim} does not hold here."
    fair = {
        entry: difference
        for entry, difference in compared.items()
        if entry.epochs == cyclical.epochs or entry.arm != CONSTANT
    }
    not_beaten = [str(entry) for entry, found in fair.items() if found.verdict != "better"]
    if full.verdict == "level":
        return f"better results are not shown here, so {claim} is not confirmed."
    if not_beaten:
        return (
            f"{claim} holds against the post's own baseline, but nothing is shown against "
            f"{_listing(not_beaten)}, so the cycle need not be the reason."
        )
    return f"{claim} holds here, against every baseline that was measured."


def _baseline(entry: Entry, scale: Scale) -> str:
    after = f"after {entry.epochs * scale.steps_per_epoch:,} steps"
    return f"`{entry.arm}` {after}"


def _in_words(difference: Difference) -> str:
    return {
        "better": "better than",
        "worse": "worse than",
        "level": "not distinguishable from",
        "open": "not to be compared with",
    }[difference.verdict]


def _interval(difference: Difference) -> str:
    """A difference with its interval, for a sentence."""
    found = f"{difference.mean:+.2f} points"
    if difference.bootstrap is None:
        return f"{found}, {_seeds(difference.seeds)}"
    return f"{found}, 95 % interval {_span(difference.bootstrap)}, {_seeds(difference.seeds)}"


def _seeds(count: int) -> str:
    return f"{count} seed" + ("s" if count != 1 else "")


def _span(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def _listing(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " * (len(words) > 1) + words[-1]


# Tables -------------------------------------------------------------------------------------------


def _finals(section: Section) -> str:
    rows = []
    for entry in section.entries:
        final = list(section.final(entry).values())
        parts = [curve[: entry.epochs] for curve in section.accuracies(entry.arm).values()]
        bests = [max(part) for part in parts]
        when = [part.index(best) + 1 for part, best in zip(parts, bests, strict=True)]
        steps = section.scale.steps_per_epoch
        rows.append(
            [
                str(entry),
                _rates(section, entry.arm),
                f"{entry.epochs * steps:,}",
                str(len(final)),
                f"{stdlib.mean(final):.2f} %",
                f"{stdlib.stdev(final):.2f}" if len(final) > 1 else "",
                f"{stdlib.mean(bests):.2f} %",
                f"{stdlib.median_low(when) * steps:,}",
            ]
        )
    header = ["arm", "rate", "steps", "n", "accuracy, mean", "standard deviation"]
    return shared.table([*header, "best along the way, mean", "at step, median"], rows)


def _rates(section: Section, arm: str) -> str:
    """The rate of an arm, as short as it can be told."""
    if arm in plan.CONSTANTS:
        rates = sorted({run["rates"][0] for run in section.runs[arm].values()})
        return ", ".join(f"{rate:g}" for rate in rates)
    kept = {run["learning_rate"] for run in section.runs[arm].values()}
    return ", ".join(f"`{rate}`" for rate in sorted(kept))


def _differences(section: Section) -> str:
    rows = []
    entries = [entry for entry in section.entries if entry.arm != CONSTANT]
    for entry in entries:
        for other in section.baselines:
            # Parts of long runs are compared with parts.
            alike = other.epochs == entry.epochs or entry.arm not in plan.CONSTANTS
            if other.arm == entry.arm or not alike:
                continue
            found = statistics.paired(section.final(entry), section.final(other))
            if found is None:
                continue
            rows.append(
                [
                    str(entry),
                    str(other),
                    str(found.seeds),
                    f"{found.mean:+.2f}",
                    _span(found.bootstrap) or "none",
                    _span(found.student) or "none",
                    {"level": "not distinguishable", "open": "too few seeds"}.get(
                        found.verdict, found.verdict
                    ),
                ]
            )
    if not rows:
        return ""
    header = ["arm", "compared with", "n", "points", "95 % interval", "Student's", "in words"]
    return shared.table(header, rows)


def _reached(section: Section) -> str:
    rows = []
    steps = section.scale.steps_per_epoch
    constant = section.accuracies(CONSTANT)
    for arm in section.runs:
        found = statistics.reached(section.accuracies(arm), constant, steps)
        if found is None:
            continue
        row = [f"`{arm}`", f"{found.times} of {len(found.steps)}"]
        row.append(f"{found.median:,.0f}" if math.isfinite(found.median) else "never")
        each = (f"{s:,.0f}" if math.isfinite(s) else "never" for s in found.steps)
        rows.append([*row, "; ".join(each)])
    return shared.table(["arm", "seeds that reach it", "steps, median", "steps, each seed"], rows)


def _range_test(section: Section) -> str:
    found = section.range_test
    if found is None:
        return "Not run yet.\n"
    suggestion = found["suggestion"]
    best = None if suggestion["max_lr"] is None else suggestion["max_lr"] / 2

    def rate(name: str) -> str:
        value = suggestion[name]
        return "none" if value is None else f"{value:.2g}"

    rows = [
        ["the post", f"{plan.BASE_LR:g}", f"{plan.MAX_LR:g}", f"{plan.BASE_LR:g}"],
        [
            "suggested",
            rate("base_lr"),
            rate("max_lr"),
            "none" if best is None else f"{best:.3g}",
        ],
    ]
    reasons = "".join(f"\n- No `{name}`: {why}" for name, why in suggestion["reasons"].items())
    others = ", ".join(f"`{name}` {rate(name)}" for name in ("steepest", "valley", "minimum"))
    return (
        f"![The range test]({section.scale.slug}_range-test.png)\n\n"
        f"{section.scale}: {found['steps']:,} steps from {found['min_lr']:g} to "
        f"{found['max_lr']:g}, linear, seed {found['seed']}; {found['stop_reason']}.\n\n"
        f"{shared.table(['bounds', 'base_lr', 'max_lr', 'constant rate'], rows)}\n\n"
        f"Single rates by other rules: {others}.{reasons and chr(10)}{reasons}\n"
    )


def _made_on(section: Section) -> str:
    """What the results were made with, and how long that took."""
    results = [run for arm in section.runs.values() for run in arm.values()]
    results += [section.range_test] if section.range_test else []
    kinds: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        environment = result["environment"]
        versions = environment["versions"].items()
        parts = [
            f"{environment['device']} ({environment['system']})",
            ", ".join(f"{name} {version}" for name, version in versions),
            environment["precision"],
        ]
        kinds.setdefault("; ".join(parts), []).append(result)
    lines = []
    for told, made in kinds.items():
        hours = sum(result["seconds"] for result in made) / 3600
        dates = sorted(result["date"][:10] for result in made)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        files = f"{len(made)} result" + ("s" if len(made) != 1 else "")
        lines.append(f"{files}, {when}, {hours:.2f} hours in all, on {told}.\n")
    return "\n".join(lines)
