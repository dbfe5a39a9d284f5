"""The report: a section for each data set and scale, from whatever results there are."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics as stdlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import report as shared
from benchmarks.cifar10 import pictures, plan, statistics
from benchmarks.cifar10.plan import CONSTANT, CONSTANT_BEST, Scale
from benchmarks.cifar10.runs import half_of_bound

if TYPE_CHECKING:
    from benchmarks.cifar10.statistics import Difference, Interval, Reached

NAME = "report.md"
THE_POSTS, ONE_CYCLE = "triangular", "one_cycle"


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

    def accuracies(self, arm: str) -> dict[Pair, list[float]]:
        """For each run of an arm the test accuracy in % after each epoch."""
        return {
            (seed, run["environment"]["backend"]): [100 * a for a in run["test_accuracy"]]
            for seed, run in sorted(self.runs.get(arm, {}).items())
        }

    def final(self, entry: Entry) -> dict[Pair, float]:
        """For each run the test accuracy in % after the last step."""
        return {
            pair: accuracies[entry.epochs - 1]
            for pair, accuracies in self.accuracies(entry.arm).items()
        }

    def difference(self, entry: Entry, other: Entry) -> Difference | None:
        """How far an entry ends above another."""
        return statistics.paired(self.final(entry), self.final(other))

    def reached(self, arm: str) -> Reached | None:
        """When an arm is as good as the best that the post's constant rate ever is."""
        steps = self.scale.steps_per_epoch
        return statistics.reached(self.accuracies(arm), self.accuracies(CONSTANT), steps)

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
            pictures.range_test(section, folder / f"{slug}_range-test.png")
        texts.append(markdown(section))
    shared.put(folder / NAME, "\n".join(texts))


_HEADING = f"""# Cyclical rates on CIFAR-10

The blog post trains a small CNN with Adam, batches of {plan.BATCH_SIZE}, at a constant rate of
{plan.BASE_LR} for 150 epochs and at a triangular one from {plan.BASE_LR} to {plan.MAX_LR} for 50,
once each, and finds the latter better by 1.6 points. Here:

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
- Intervals are of the mean difference. A percentile bootstrap over the seeds is too narrow where
  seeds are few (meant for 95 %, of normal differences it covers some 75 % with three seeds, 84 %
  with five); Student's makes up for that. So "better" and "worse" take both intervals without 0,
  and sentences cite Student's. With fewer than {statistics.FEWEST} seeds there is none.
- The comparisons of a section are not corrected for their number: of arms that do not differ, up to
  one comparison in twenty would tell them apart.

Made by `python -m benchmarks.cifar10`, from the JSON files beside this page; `--report` writes it
again.
"""


def markdown(section: Section) -> str:
    """A section in Markdown."""
    scale = section.scale
    parts = [f"## {scale}\n"]
    if section.runs:
        parts += [
            f"{verdict(section)}\n",
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
                f"That is the best of {scale.epochs} noisy tests; the cyclical arms have "
                f"{scale.cyclical_epochs} to come to it. The median counts a run that never is as "
                "longer than any.\n",
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
    """What becomes of the post's claim, in bold, and a list of the numbers that say so."""
    scale = section.scale
    none = "**No verdict on the post's claim:"
    for arm in (THE_POSTS, CONSTANT):
        if arm not in section.runs:
            return f"{none} there is no run of `{arm}` yet.**"
    whole = Entry(CONSTANT, scale.epochs)
    full = section.difference(Entry(THE_POSTS, scale.cyclical_epochs), whole)
    if full is None:
        return f"{none} no seed has `{THE_POSTS}` and `{CONSTANT}` both, on one backend.**"
    if full.bootstrap is None:
        return (
            f"{none} with {_seeds(full.seeds)} no interval is possible** (`{THE_POSTS}` ends "
            f"{full.mean:+.2f} points from {_after(whole, scale)})."
        )
    sentences = [f"**{_conclusion(section, full)}**", _stopped_early(section, full)]
    sentences.append(_one_cycle(section))
    return " ".join(filter(None, sentences)) + f"\n\n{_numbers(section)}"


def _early(scale: Scale) -> Entry:
    """The post's constant rate after as many steps as the cycles take."""
    return Entry(CONSTANT, scale.cyclical_epochs, scale.cyclical_epochs < scale.epochs)


def _is(section: Section, entry: Entry, what: str, other: Entry) -> bool:
    found = section.difference(entry, other)
    return found is not None and found.verdict == what


def _is_weak(section: Section) -> bool:
    """Whether the half of the bound ends below the post's rate, and tells little."""
    epochs = section.scale.epochs
    return _is(section, Entry(CONSTANT_BEST, epochs), "worse", Entry(CONSTANT, epochs))


def _conclusion(section: Section, full: Difference) -> str:
    """What the differences to the constant rates come to."""
    scale = section.scale
    cyclical, whole = Entry(THE_POSTS, scale.cyclical_epochs), Entry(CONSTANT, scale.epochs)
    after = f"after {cyclical.epochs * scale.steps_per_epoch:,} steps, `{THE_POSTS}` is"
    faster = " faster" if _early(scale).is_part else ""
    claim = f'The post\'s "better results{faster}"'
    if full.verdict != "better":
        what = "does not hold" if full.verdict == "worse" else "is not confirmed"
        return f"{claim} {what} here: {after} {_in_words(full)} {_after(whole, scale)}."
    rivals: dict[str, list[str]] = {}
    for entry in section.baselines:
        if entry != whole and not (entry.arm == CONSTANT_BEST and _is_weak(section)):
            found = section.difference(cyclical, entry)
            if found is not None:
                rivals.setdefault(_in_words(found), []).append(_after(entry, scale))
    beaten = rivals.pop(_BETTER, [])
    end = f", and than {_listing(beaten)}." if beaten else "."
    if rivals:
        but = " and ".join(f"{how} {_listing(entries)}" for how, entries in rivals.items())
        end = f", but {but}: the cycle need not be the reason."
    return f"A{after[1:]} better than {_after(whole, scale)}, as the post says{end}"


def _stopped_early(section: Section, full: Difference) -> str:
    """Whether the constant rate, too, gains by fewer steps; where the cycles are better at all."""
    early, whole = _early(section.scale), Entry(CONSTANT, section.scale.epochs)
    own = section.difference(early, whole)
    if full.verdict != "better" or not early.is_part or own is None:
        return ""
    itself = f"`{CONSTANT}` itself"
    if own.verdict == "better":
        is_less = _is(section, Entry(THE_POSTS, early.epochs), "better", early)
        return (
            f"{itself} is better after as few steps than at its end: this network overfits, and "
            f"stopping early alone gives {'a part of that' if is_less else 'as much'}."
        )
    return f"{itself} is no worse after as few steps than at its end." if own.mean >= 0 else ""


def _one_cycle(section: Section) -> str:
    """What of the post's constant rate one cycle is better than."""
    scale = section.scale
    one = Entry(ONE_CYCLE, scale.cyclical_epochs)
    others = dict.fromkeys((Entry(CONSTANT, scale.epochs), _early(scale)))
    beaten = [
        f"{other.epochs * scale.steps_per_epoch:,}"
        for other in others
        if _is(section, one, "better", other)
    ]
    if not beaten:
        return ""
    return f"`{ONE_CYCLE}` is better than `{CONSTANT}` after {_listing(beaten)} steps."


def _numbers(section: Section) -> str:
    """The numbers behind a verdict, as a list."""
    scale = section.scale
    whole, best = Entry(CONSTANT, scale.epochs), Entry(CONSTANT_BEST, scale.epochs)
    early = _early(scale)
    posts, one = (Entry(arm, scale.cyclical_epochs) for arm in (THE_POSTS, ONE_CYCLE))
    pairs = [(posts, whole), (posts, early), (early, whole), (one, whole), (one, early)]
    # A weak baseline is told of once.
    pairs.append((best, whole) if _is_weak(section) else (posts, best))
    lines = [
        f"{_after(entry, scale)} is {_in_words(found)} {_after(other, scale)}: "
        f"{_interval(found)}" + ", a weak baseline" * (entry == best)
        for entry, other in dict.fromkeys(pairs)
        if entry != other and (found := section.difference(entry, other)) is not None
    ]
    counts = [
        f"`{arm}` in {reached.times} of {_seeds(len(reached.steps))}"
        for arm in (THE_POSTS, ONE_CYCLE)
        if (reached := section.reached(arm)) is not None
    ]
    lines.append(
        f"By the paper's measure, the best accuracy of `{CONSTANT}` is reached by "
        f"{_listing(counts)}"
    )
    lines += _overfitting(section)
    return "\n".join(f"- {line}" for line in lines)


def _overfitting(section: Section) -> list[str]:
    """How the test loss of the constant rate rises while its train loss falls, if so."""
    runs = section.runs[CONSTANT].values()
    test, train = (
        np.mean([np.array(run[name], float) for run in runs], axis=0)
        for name in ("test_loss", "train_loss")
    )
    # What was not finite is not kept, and says nothing here.
    if not (np.isfinite(test).all() and np.isfinite(train).all()):
        return []
    at = int(test.argmin())
    if not (test[-1] > test[at] and train[-1] < train[at]):
        return []
    return [
        f"The mean test loss of `{CONSTANT}` rises from {test[at]:.2f} at step "
        f"{(at + 1) * section.scale.steps_per_epoch:,} to {test[-1]:.2f} at its end, while its "
        f"train loss falls from {train[at]:.2f} to {train[-1]:.2f}"
    ]


def _after(entry: Entry, scale: Scale) -> str:
    return f"`{entry.arm}` after {entry.epochs * scale.steps_per_epoch:,} steps"


_BETTER = "better than"


def _in_words(difference: Difference) -> str:
    return {
        "better": _BETTER,
        "worse": "worse than",
        "level": "not distinguishable from",
        "open": "not to be compared with",
    }[difference.verdict]


def _interval(difference: Difference) -> str:
    """A difference with its interval, for a sentence."""
    found = f"{difference.mean:+.2f} points"
    if difference.student is None:
        return f"{found} ({_seeds(difference.seeds)})"
    return f"{found} (95 % interval {_span(difference.student)}, {_seeds(difference.seeds)})"


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
    short = (re.sub(r"\d\.\d{7,}", lambda found: f"{float(found[0]):.6g}", r) for r in sorted(kept))
    return ", ".join(f"`{rate}`" for rate in short)


def _differences(section: Section) -> str:
    rows = []
    for entry in section.entries:
        for other in section.baselines:
            if entry.arm == other.arm:
                is_compared = entry.is_part and not other.is_part
            elif entry.arm in plan.CONSTANTS:
                # With the same steps, and once.
                is_compared = other.arm == CONSTANT and other.epochs == entry.epochs
            else:
                is_compared = True
            if not is_compared:
                continue
            found = section.difference(entry, other)
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
    header = ["arm", "compared with", "n", "points", "bootstrap", "Student's, 95 %", "in words"]
    return shared.table(header, rows)


def _reached(section: Section) -> str:
    rows = []
    for arm in section.runs:
        found = section.reached(arm)
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
    best = half_of_bound(found)

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
    reasons = "".join(
        f"\n- No `{name}`: {why}\n"
        for name, why in suggestion["reasons"].items()
        if name in ("base_lr", "max_lr")
    )
    return (
        f"![The range test]({section.scale.slug}_range-test.png)\n\n"
        f"{section.scale}: {found['steps']:,} steps from {found['min_lr']:g} to "
        f"{found['max_lr']:g}, linear, seed {found['seed']}; {found['stop_reason']}. Accuracy and "
        "loss are of the training batches.\n\n"
        f"{shared.table(['bounds', 'base_lr', 'max_lr', 'constant rate'], rows)}\n{reasons}"
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
