"""The report: what to take from it, then a section for each scale, then how it was done."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats  # type: ignore[import-untyped]

from benchmarks import report as shared
from benchmarks.cifar10 import pictures, plan, results

NAME = "report.md"
TEMPLATE = Path(__file__).with_name("report_template.md")
FEWEST = 3
# The loss of a network that gives each class the same part.
GUESSING = math.log(10)

# For each run of an arm the test accuracy in % after each epoch. Runs are compared that have the
# seed in common, and the backend, which makes of a seed other first weights than another.
Curves = dict[tuple[int, str], list[float]]


class Difference(NamedTuple):
    """How many points a row of the tables ends above another: the mean, and its interval."""

    mean: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """What the interval says."""
        if self.low > 0:
            return "better than"
        return "worse than" if self.high < 0 else "not distinguishable from"

    def __str__(self) -> str:
        """The mean, in bold if the interval does not hold 0, and the interval if there is one."""
        bold = "" if self.low <= 0 <= self.high else "**"
        span = f"{self.low:+.2f} to {self.high:+.2f}" if math.isfinite(self.low) else "no interval"
        return f"{bold}{self.mean:+.2f}{bold} ({span})"


def difference(curves: Curves, base: Curves) -> Difference | None:
    """How the last accuracies differ, seed by seed; None if no run is in both."""
    common = curves.keys() & base.keys()
    ends, bases = ([of[run][-1] for run in common] for of in (curves, base))
    if not common:
        return None
    mean = statistics.fmean(ends) - statistics.fmean(bases)
    if len(common) < FEWEST:
        return Difference(mean, -math.inf, math.inf)
    interval = scipy.stats.ttest_rel(ends, bases).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))


class Section:
    """All results at a scale.

    Attributes:
        scale: The scale.
        arms: The file of each arm.
        range_test: The file of the range test, if there is one.
        early: What the row of the constant rate is called that ends with the cycles.
        rows: The rows of the tables: each arm, and the constant rates also after as many epochs as
            the cycles have.
    """

    def __init__(self, scale: plan.Scale, files: dict[str, dict[str, Any]]) -> None:
        self.scale = scale
        self.arms = {arm: files[arm] for arm in plan.ARMS if arm in files}
        self.range_test = files.get(plan.RANGE_TEST)
        length = scale.epochs_of("triangular")
        first = f", first {length} epochs"
        self.early = f"`constant`{first}"
        self.rows: dict[str, Curves] = {}
        for arm, file in self.arms.items():
            self.rows[f"`{arm}`"] = curves = {
                (run["seed"], run["environment"]["backend"]): [
                    100 * a for a in run["test_accuracy"]
                ]
                for run in file["runs"]
            }
            if arm in plan.CONSTANTS and length < scale.epochs:
                self.rows[f"`{arm}`{first}"] = {run: c[:length] for run, c in curves.items()}

    def difference(self, row: str, base: str) -> Difference | None:
        """How a row differs from another; None if nothing of both can be compared."""
        return difference(self.rows.get(row, {}), self.rows.get(base, {}))


def read_all(folder: Path) -> list[Section]:
    """All results of a folder, the largest scale first.

    Raises:
        ValueError: If no arm has any.
    """
    found: dict[plan.Scale, dict[str, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        content = results.read(file)
        found.setdefault(results.scale_of(content), {})[content["arm"]] = content
    by_size = sorted(found, key=lambda scale: scale.steps_of("constant"), reverse=True)
    sections = [Section(scale, found[scale]) for scale in by_size if {*found[scale]} & {*plan.ARMS}]
    if not sections:
        raise ValueError(f"There are no results yet. Received: {folder}")
    return sections


def write(folder: Path) -> Path:
    """Writes the report of a folder and its pictures; returns where it is."""
    sections = read_all(folder)
    for section in sections:
        pictures.accuracies(section, folder / f"{section.scale.slug}.png")
        if section.range_test:
            pictures.range_test(section, folder / f"{section.scale.slug}_range-test.png")
    text = TEMPLATE.read_text(encoding="utf-8").format(
        summary="\n".join(map(_summary, sections)),
        sections="\n".join(map(_markdown, sections)),
        **vars(plan),
    )
    shared.put(folder / NAME, text)
    return folder / NAME


# What to take from it -----------------------------------------------------------------------------


def verdict(section: Section) -> str:
    """What becomes of the post's claim."""
    claim = section.difference("`triangular`", "`constant`")
    if claim is None or math.isinf(claim.low):
        return f"No verdict on the post's claim, which takes {FEWEST} seeds of both its arms."
    if claim.high < 0:
        return "The post's claim does not hold here."
    if claim.low <= 0:
        return "The post's claim is not confirmed here."
    constants = [row for row in section.rows if row.startswith("`constant")]
    rivals = filter(None, (section.difference("`triangular`", row) for row in constants))
    if all(rival.low > 0 for rival in rivals):
        return "The post's claim holds here."
    return "The post's claim holds here, but the cycle need not be the reason."


def _summary(section: Section) -> str:
    lines = [f"- {section.scale}: **{verdict(section)}**"]
    for row, base in (
        ("`triangular`", "`constant`"),
        ("`triangular`", section.early),
        (section.early, "`constant`"),
        ("`one_cycle`", "`constant`"),
        ("`one_cycle`", section.early),
        ("`constant_best`", "`constant`"),
    ):
        if found := section.difference(row, base):
            lines.append(f"  - {row} is {found.words} {base}: {found}")
    return "\n".join(lines)


# The section --------------------------------------------------------------------------------------


def _markdown(section: Section) -> str:
    slug = section.scale.slug
    return f"""## {section.scale}

![Test accuracy against steps]({slug}.png)

Lines are means of the seeds, bands go from the worst to the best; the vertical line is where the
cycles end.

The accuracy after the last step, in %, and the best along the way. The last column is the paper's
measure: after how many steps an arm is for the first time as good as the best that `constant` with
the same seed ever is, which is the best of {section.scale.epochs} noisy tests. An arm without a row
and a seed that an arm lacks are not trained to the end. Runs that did not converge stay in the
means.

{_ends(section)}

Differences of the last accuracies in points, row minus column, seed by seed, with 95 % intervals;
in bold where the interval does not hold 0.

{_differences(section)}

{_overfitting(section)}

{_range_test(section)}

{_made_on(section)}
"""


def _ends(section: Section) -> str:
    steps = section.scale.steps_per_epoch
    constant = section.rows.get("`constant`", {})
    rows = []
    for row, curves in section.rows.items():
        ends, bests = [c[-1] for c in curves.values()], [max(c) for c in curves.values()]
        when = [c.index(best) + 1 for c, best in zip(curves.values(), bests, strict=True)]
        common = [run for run in curves if run in constant]
        reached = [
            next(epoch for epoch, value in enumerate(curves[run], 1) if value >= best)
            for run in common
            if max(curves[run]) >= (best := max(constant[run]))
        ]
        at = f" (at {'; '.join(f'{epoch * steps:,}' for epoch in reached)})" if reached else ""
        file = section.arms[row.split("`")[1]]
        losses = [run["train_loss"] for run in file["runs"]]
        converged = [None not in loss and loss[-1] < GUESSING for loss in losses]
        cells = {
            "arm": row,
            "rate": f"`{file['learning_rate']}`",
            "steps": f"{steps * len(next(iter(curves.values()))):,}",
            "seeds": ", ".join(str(seed) for seed, _ in curves),
            "converged": f"{sum(converged)} of {len(converged)}",
            "mean": f"{statistics.mean(ends):.2f}",
            "standard deviation": f"{statistics.stdev(ends):.2f}" if len(ends) > 1 else "",
            "best along the way": f"{statistics.mean(bests):.2f}",
            "at step, median": f"{statistics.median_low(when) * steps:,}",
            "reach the best of `constant`": f"{len(reached)} of {len(common)}{at}",
        }
        rows.append(cells)
    return shared.table(list(rows[0]), [list(cells.values()) for cells in rows])


def _differences(section: Section) -> str:
    names = list(section.rows)
    bases = [name for name in names if name.startswith("`constant")]
    rows = []
    for i, name in enumerate(names[1:], 1):
        # Each pair once.
        found = [section.difference(name, base) if base in names[:i] else None for base in bases]
        rows.append([name, *(str(cell or "") for cell in found)])
    return shared.table(["arm", *bases], rows)


def _overfitting(section: Section) -> str:
    """How the test loss of the constant rate goes."""
    if "constant" not in section.arms:
        return "`constant` is not trained yet."
    runs = section.arms["constant"]["runs"]
    # What was not finite is not kept, and is none here.
    loss = np.mean([np.array(run["test_loss"], float) for run in runs], axis=0)
    step = (int(loss.argmin()) + 1) * section.scale.steps_per_epoch
    return (
        f"The mean test loss of `constant` is lowest after step {step:,}, at {loss.min():.2f}, and "
        f"{loss[-1]:.2f} at its end."
    )


def _range_test(section: Section) -> str:
    if section.range_test is None:
        return "There is no range test yet."
    (found,) = section.range_test["runs"]
    suggestion, best = found["suggestion"], plan.constant_best(found)

    def bound(name: str) -> str:
        rate = suggestion[name]
        return f"none, since {suggestion['reasons'][name]}" if rate is None else f"{rate:.2g}"

    return f"""![The range test]({section.scale.slug}_range-test.png)

The range test, from {found["min_lr"]:g} to {found["max_lr"]:g} linearly with seed {found["seed"]},
took {found["steps_taken"]:,} of {section.range_test["steps"]:,} steps ({found["stop_reason"]}).
Accuracy and loss are of the training batches. It suggests:

- `base_lr`: {bound("base_lr")}; the post's is {plan.BASE_LR:g}
- `max_lr`: {bound("max_lr")}; the post's is {plan.MAX_LR:g}
- so the rate of `constant_best`: {"none" if best is None else f"{best:g}"}"""


def _made_on(section: Section) -> str:
    """What the results were made with, and how long that took."""
    files = [*section.arms.values(), *filter(None, [section.range_test])]
    runs = [run for file in files for run in file["runs"]]
    lines = [
        f"{len(runs)} results, {sum(run['seconds'] for run in runs) / 3600:.2f} hours in all:\n"
    ]
    for run in runs:
        on = run["environment"]
        versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
        lines.append(
            f"- {run['date'][:10]} on {on['device']} ({on['system']}); {versions}; "
            f"{on['precision']}; trained by {on['loop']}"
        )
    return "\n".join(dict.fromkeys(lines))
