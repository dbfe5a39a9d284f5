"""The report: what to take from it, then a section for each scale, then how it was done."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats  # type: ignore[import-untyped]

from benchmarks import report as shared
from benchmarks.cifar10 import pictures, plan, results
from benchmarks.cifar10.plan import CONSTANT, CONSTANT_BEST, CYCLICAL, Scale

NAME = "report.md"
FEWEST = 3
_LEVEL = 0.95
# The loss of a network that gives each class the same part.
GUESSING = math.log(10)

# What runs have in common that can be compared: the seed, and the backend, which makes of it other
# first weights than another.
Pair = tuple[int, str]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of a table: an arm, after all of its epochs or the first of them."""

    arm: str
    epochs: int
    is_part: bool = False

    def __str__(self) -> str:
        return f"`{self.arm}`" + f", first {self.epochs} epochs" * self.is_part


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far an entry ends above another, in points, over the seeds that both have.

    Attributes:
        mean: The mean of the differences.
        seeds: How many there are.
        reach: From the mean to each end of Student's interval; infinite for fewer than three.
    """

    mean: float
    seeds: int
    reach: float

    @property
    def sign(self) -> int:
        """Above (1) or below (-1), or not to be told (0)."""
        return int(math.copysign(1, self.mean)) if abs(self.mean) > self.reach else 0

    @property
    def numbers(self) -> str:
        """The numbers for a sentence."""
        span = f"{self.mean - self.reach:+.2f} to {self.mean + self.reach:+.2f}"
        span = f"no interval, {self.seeds} seeds" if math.isinf(self.reach) else span
        return f"{self.mean:+.2f} points, {span}"

    @property
    def cell(self) -> str:
        """The numbers for a table, with the mean in bold if it can be told from 0."""
        mean, span = self.numbers.split(" points, ")
        return f"**{mean}** ({span})" if self.sign else f"{mean} ({span})"

    def __str__(self) -> str:
        words = {1: "better than", -1: "worse than", 0: "not distinguishable from"}
        return words[self.sign]


class Section:
    """All results at a scale, by their arms; the range test, if there is one, is apart."""

    def __init__(self, scale: Scale, contents: Iterable[dict[str, Any]]) -> None:
        self.scale = scale
        found = {content["arm"]: content for content in contents}
        self.range_test: dict[str, Any] | None = found.get(plan.RANGE_TEST)
        self.arms = {arm: found[arm] for arm in plan.ARMS if arm in found}
        length = scale.epochs_of(CYCLICAL[0])
        self.early = Entry(CONSTANT, length, length < scale.epochs)

    def whole(self, arm: str) -> Entry:
        """An arm after its last epoch."""
        return Entry(arm, self.scale.epochs_of(arm))

    def after(self, entry: Entry) -> str:
        """An entry for a sentence."""
        return f"`{entry.arm}` after {entry.epochs * self.scale.steps_per_epoch:,} steps"

    def curves(self, arm: str) -> dict[Pair, list[float]]:
        """For each run of an arm the test accuracy in % after each epoch."""
        runs = self.arms[arm]["runs"] if arm in self.arms else []
        return {
            (run["seed"], run["environment"]["backend"]): [100 * a for a in run["test_accuracy"]]
            for run in runs
        }

    def difference(self, entry: Entry, other: Entry) -> Difference | None:
        """How an entry differs from another, seed by seed; None if no seed is in both."""
        ends, bases = self.curves(entry.arm), self.curves(other.arm)
        pairs = ends.keys() & bases.keys()
        if not pairs or entry == other:
            return None
        differences = [ends[p][entry.epochs - 1] - bases[p][other.epochs - 1] for p in pairs]
        n, reach = len(differences), math.inf
        if n >= FEWEST:
            spread = statistics.stdev(differences) / math.sqrt(n)
            reach = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, n - 1)) * spread
        return Difference(statistics.fmean(differences), n, reach)

    @property
    def entries(self) -> list[Entry]:
        """What there are results of; of constant rates also the part as long as the others."""
        found = []
        for arm in self.arms:
            found.append(self.whole(arm))
            if arm in plan.CONSTANTS and self.early.is_part:
                found.append(Entry(arm, self.early.epochs, is_part=True))
        return found


def read_all(folder: Path) -> list[Section]:
    """All results of a folder, the largest scale first.

    Raises:
        ValueError: If there are none, or a file is something else.
    """
    found: dict[Scale, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        content = results.read(file)
        found.setdefault(results.scale_of(content), []).append(content)
    if not found:
        raise ValueError(f"There are no results yet. Received: {folder}")
    by_size = sorted(found, key=lambda s: (-s.steps_of(CONSTANT), s.data, s.budget))
    return [Section(scale, found[scale]) for scale in by_size]


def write(folder: Path) -> Path:
    """Writes the report of a folder and its pictures; returns where it is."""
    sections = read_all(folder)
    for section in sections:
        if section.arms:
            pictures.accuracies(section, folder / f"{section.scale.slug}.png")
        if section.range_test:
            pictures.range_test(section, folder / f"{section.scale.slug}_range-test.png")
    short = "\n".join(f"- {section.scale}: {conclusion(section)}" for section in sections)
    shared.put(
        folder / NAME, "\n".join([_HEADING + short, _RULE, *map(_markdown, sections), _METHOD])
    )
    return folder / NAME


_HEADING = f"""# Cyclical rates on CIFAR-10

The blog post trains a small CNN with Adam, batches of {plan.BATCH_SIZE}, at a constant rate of
{plan.BASE_LR} for 150 epochs and at a triangular one from {plan.BASE_LR} to {plan.MAX_LR} for 50,
once each, and finds the latter better by 1.6 points of test accuracy. Here are several seeds, and
the constant rate is also looked at when it has taken as many steps as the cycles. What to take from
it, at each scale (the budget is the part of the epochs that the cycles get):

"""
_RULE = """
"Better" and "worse" are said where the 95 % interval of the difference, seed by seed, does not hold
0; all else is "not distinguishable". It is one network on one data set.
[How it was done](#how-it-was-done) stands at the end.
"""

_METHOD = f"""## How it was done

- All arms of a seed begin with the same weights and see the same batches, so differences are taken
  seed by seed; on another backend a seed is another, and not compared.
- A constant rate does not know how long it will run. So what it comes to after as many steps as the
  others take is read from its long run, and is no run of its own.
- `{CONSTANT_BEST}` has half of the upper bound that the range test suggests, which is where the
  accuracy slows. That is our choice, not a search: another rate may be better.
- The cyclical arms go from {plan.BASE_LR} to {plan.MAX_LR}, the post's choice, and have
  {plan.CYCLES} cycles at any scale; at the post's, a half-cycle is its {plan.STEP_SIZE:,} steps.
  The amplitude of `exp_range` is multiplied by {plan.GAMMA} a step there (the paper's), and falls
  as far in all at other scales. `one_cycle` rises to {plan.MAX_LR} and takes the whole training.
- The accuracy is the one on the test images after the last step. The best along the way is chosen
  with the help of these very images; it is shown, since the paper counts the steps to it. It is the
  largest of as many noisy tests as there are epochs, so the longer run has the advantage.
- Intervals are Student's, of the mean difference. With fewer than {FEWEST} seeds there is none.
  They are not corrected for their number: of arms that do not differ, up to one comparison in
  twenty would tell them apart.
- A run has not converged if its last train loss is not below that of guessing, {GUESSING:.2f}.
- Trainings are Keras's `fit`. What says otherwise is of an earlier loop of this program, with the
  same network, weights, batches and steps.

Made by `python -m benchmarks.cifar10`, from the JSON files beside this page, one an arm; `--report`
writes it again.
"""


# What to take from it -----------------------------------------------------------------------------


def conclusion(section: Section) -> str:
    """What becomes of the post's claim, in bold, and of one cycle."""
    triangular, constant = section.whole("triangular"), section.whole(CONSTANT)
    full = section.difference(triangular, constant)
    if full is None or math.isinf(full.reach):
        return f"**No verdict on the post's claim, which takes {FEWEST} seeds of both its arms.**"
    said = _sentence(section, triangular, [constant])
    if full.sign < 1:
        what = "does not hold" if full.sign else "is not confirmed"
        claim = f"**The post's claim {what} here.** {said}"
    else:
        # A rate that ends below the post's is no rival.
        best = section.difference(section.whole(CONSTANT_BEST), constant)
        rivals = [section.early] if section.early.is_part else []
        rivals += [section.whole(CONSTANT_BEST)] if best and best.sign >= 0 else []
        found = [section.difference(triangular, rival) for rival in rivals]
        is_alone = all(difference is None or difference.sign == 1 for difference in found)
        why = "" if is_alone else ", but the cycle need not be the reason"
        claim = f"**The post's claim holds here{why}.** {said}"
        claim += f" {_sentence(section, triangular, rivals)}"
    early = _sentence(section, section.early, [constant]) if section.early.is_part else ""
    one_cycle = _sentence(section, section.whole("one_cycle"), [constant, section.early])
    return " ".join(filter(None, (claim, early, one_cycle)))


def _sentence(section: Section, entry: Entry, others: list[Entry]) -> str:
    """How an entry compares with some others."""
    found = {other: section.difference(entry, other) for other in others}
    said = [f"{d} {section.after(o)} ({d.numbers})" for o, d in found.items() if d]
    return f"{section.after(entry)} is {' and '.join(said)}." if said else ""


def _notes(section: Section) -> Iterator[str]:
    """What else a reader should know: of the constant rates, and of what is missing or failed."""
    if best := _sentence(section, section.whole(CONSTANT_BEST), [section.whole(CONSTANT)]):
        yield f"{best} Its rate is half of the bound that the range test suggests."
    if CONSTANT in section.arms:
        runs = section.arms[CONSTANT]["runs"]
        # What was not finite is not kept, and is none here.
        test, train = (
            np.mean([np.array(run[name], float) for run in runs], axis=0)
            for name in ("test_loss", "train_loss")
        )
        at = int(test.argmin())
        if test[-1] > test[at] and train[-1] < train[at]:
            step = (at + 1) * section.scale.steps_per_epoch
            yield (
                f"`{CONSTANT}` overfits: its mean test loss rises from {test[at]:.2f} at step "
                f"{step:,} to {test[-1]:.2f} at its end, while its train loss falls from "
                f"{train[at]:.2f} to {train[-1]:.2f}."
            )
    seeds = {arm: {seed for seed, _ in section.curves(arm)} for arm in plan.ARMS}
    every = set().union(*seeds.values())
    missing = [f"`{arm}` with {s}" for arm in plan.ARMS for s in sorted(every - seeds[arm])]
    yield f"Seeds: {_listing(every)}. Not trained, or not to the end: {_listing(missing)}."
    failed = [
        f"`{arm}` with {run['seed']}"
        for arm, content in section.arms.items()
        for run in content["runs"]
        if None in run["train_loss"] or run["train_loss"][-1] >= GUESSING
    ]
    yield f"Not converged (which stays in the means): {_listing(failed)}."


def _listing(items: Iterable[Any]) -> str:
    return ", ".join(map(str, items)) or "none"


# The section --------------------------------------------------------------------------------------


def _markdown(section: Section) -> str:
    scale = section.scale
    parts = [f"## {scale}\n"]
    if section.arms:
        parts += [
            f"![Test accuracy against steps]({scale.slug}.png)\n",
            "Lines are means of the seeds, bands go from the worst to the best"
            + "; the vertical line is where the cycles end" * section.early.is_part
            + ".\n",
            "\n".join(f"- {note}" for note in _notes(section)) + "\n",
            "The accuracy after the last step, in %. The last column is the paper's measure: after "
            f"how many steps an arm is for the first time as good as the best that `{CONSTANT}` "
            f"with the same seed ever is, which is the best of {scale.epochs} noisy tests.\n",
            _ends(section) + "\n",
            "Differences of these accuracies in points, row minus column, seed by seed, with 95 % "
            "intervals; in bold where the interval does not hold 0.\n",
            _differences(section) + "\n",
        ]
    return "\n".join([*parts, _range_test(section), _made_on(section)])


def _ends(section: Section) -> str:
    rows = []
    steps = section.scale.steps_per_epoch
    constant = section.curves(CONSTANT)
    for entry in section.entries:
        curves = section.curves(entry.arm)
        parts = [curve[: entry.epochs] for curve in curves.values()]
        final, bests = [part[-1] for part in parts], [max(part) for part in parts]
        when = [part.index(best) + 1 for part, best in zip(parts, bests, strict=True)]
        common = [] if entry.is_part else [pair for pair in curves if pair in constant]
        reached = [
            next(epoch for epoch, value in enumerate(curves[pair], 1) if value >= best)
            for pair in common
            if max(curves[pair]) >= (best := max(constant[pair]))
        ]
        at = f" (at {'; '.join(f'{epoch * steps:,}' for epoch in reached)})" if reached else ""
        rate = re.sub(  # as short as it can be told
            r"\d\.\d{7,}",
            lambda found: f"{float(found[0]):.6g}",
            section.arms[entry.arm]["learning_rate"],
        )
        rows.append(
            [
                *(str(entry), f"`{rate}`", f"{entry.epochs * steps:,}", str(len(final))),
                f"{statistics.mean(final):.2f}",
                f"{statistics.stdev(final):.2f}" if len(final) > 1 else "",
                *(f"{statistics.mean(bests):.2f}", f"{statistics.median_low(when) * steps:,}"),
                f"{len(reached)} of {len(common)}{at}" if common else "",
            ]
        )
    header = ["arm", "rate", "steps", "seeds", "mean", "standard deviation", "best along the way"]
    return shared.table([*header, "at step, median", f"reach the best of `{CONSTANT}`"], rows)


def _differences(section: Section) -> str:
    bases = [entry for entry in section.entries if entry.arm in plan.CONSTANTS]
    rows = []
    for entry in section.entries:
        cells = []
        for base in bases:
            # Of the constant rates, those of one rate or of one length, and once.
            is_part = entry.arm == base.arm and entry.is_part
            is_other = (entry.arm, base.arm) == (CONSTANT_BEST, CONSTANT)
            is_compared = is_part or (is_other and entry.epochs == base.epochs)
            found = section.difference(entry, base)
            cells.append(found.cell if found and (is_compared or entry.arm in CYCLICAL) else "")
        if any(cells):
            rows.append([str(entry), *cells])
    return shared.table(["arm", *map(str, bases)], rows)


def _range_test(section: Section) -> str:
    if section.range_test is None:
        return "There is no range test yet.\n"
    (found,) = section.range_test["runs"]
    suggestion, best = found["suggestion"], plan.constant_best(found)
    bounds = {
        name: f"none, since {suggestion['reasons'].get(name)}"
        if suggestion[name] is None
        else f"{suggestion[name]:.2g}"
        for name in ("base_lr", "max_lr")
    }
    return (
        f"![The range test]({section.scale.slug}_range-test.png)\n\n"
        f"The range test, from {found['min_lr']:g} to {found['max_lr']:g} linearly with seed "
        f"{found['seed']}, took {found['steps_taken']:,} of {section.range_test['steps']:,} steps "
        f"({found['stop_reason']}). Accuracy and loss are of the training batches. It suggests:\n\n"
        f"- `base_lr`: {bounds['base_lr']}; the post's is {plan.BASE_LR:g}\n"
        f"- `max_lr`: {bounds['max_lr']}; the post's is {plan.MAX_LR:g}\n"
        f"- so the rate of `{CONSTANT_BEST}`: {'none' if best is None else f'{best:.3g}'}\n"
    )


def _made_on(section: Section) -> str:
    """What the results were made with, and how long that took."""
    files = [*section.arms.values(), *filter(None, [section.range_test])]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for run in (run for content in files for run in content["runs"]):
        on = run["environment"]
        versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
        where = f"{on['device']} ({on['system']}); {versions}; {on['precision']}"
        kinds.setdefault(f"{where}; trained by {on['loop']}", []).append(run)
    lines = []
    for told, runs in kinds.items():
        hours = sum(run["seconds"] for run in runs) / 3600
        dates = sorted(run["date"][:10] for run in runs)
        when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        lines.append(f"{len(runs)} results, {when}, {hours:.2f} hours in all, on {told}.\n")
    return "\n".join(lines)
