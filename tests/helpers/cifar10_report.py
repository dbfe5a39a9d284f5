"""The report on CIFAR-10, for the tests of what cites it: its numbers, as they stand there."""

import re
from typing import NamedTuple

from helpers import ROOT

PATH = ROOT / "benchmarks" / "results" / "cifar10" / "report.md"


class End(NamedTuple):
    steps: str
    accuracy: str
    best: str


class Difference(NamedTuple):
    points: str
    low: str
    high: str
    words: str

    def unsigned(self):
        """Without a plus."""
        return self._replace(**{name: cell.lstrip("+") for name, cell in self._asdict().items()})


class Scale:
    """A section of the report; arms are named as there: "`constant`, first 50 epochs"."""

    def __init__(self, text):
        self.text = text

    def _row(self, *cells):
        row = r" \| ".join(cells)
        return re.search(rf"^\| {row} \|$", self.text, re.MULTILINE).groups()

    def end(self, arm):
        """What an arm comes to, and its best on the way, in percent."""
        number = r"(\d\d\.\d\d) %"
        return End(*self._row(arm, ".*?", r"([\d,]+)", r"\d", number, ".*?", number, ".*?"))

    def difference(self, arm, base):
        """The points between two arms, and Student's interval."""
        interval = r"(\S+) to (\S+)"
        return Difference(*self._row(arm, base, r"\d", r"(\S+)", r"\S+ to \S+", interval, "(.*)"))


def scales():
    """The post's, and a fifth of it."""
    large, small = PATH.read_text(encoding="utf-8").split("\n## CIFAR-10")[1:]
    return Scale(large), Scale(small)
