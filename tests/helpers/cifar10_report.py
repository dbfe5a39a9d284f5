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
        tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        self._ends, self._differences = map(_cells, tables)

    def end(self, arm):
        """What an arm comes to, and its best on the way, in percent."""
        row = self._ends[arm]
        return End(row["steps"], row["mean"], row["best along the way"])

    @property
    def arms(self):
        """The arms, those of the first epochs among them."""
        return list(self._ends)

    def reached(self, arm):
        """In how many seeds an arm comes to the best of the constant rate: "1 of 5"."""
        return self._ends[arm]["reach the best of `constant`"].split(" (")[0]

    def difference(self, arm, base):
        """The points between two arms, and the interval; bold if it does not hold 0."""
        cell = self._differences[arm][base]
        points, low, high = re.fullmatch(r"\**(\S+?)\** \((\S+) to (\S+)\)", cell).groups()
        told = "better" if points[0] == "+" else "worse"
        return Difference(points, low, high, told if "**" in cell else "not distinguishable")


def _cells(table):
    """The cells of a table by row and column."""
    header, _, *rows = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()
    )
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def scales():
    """The post's, and a fifth of it."""
    large, small = PATH.read_text(encoding="utf-8").split("\n## CIFAR-10")[1:]
    return Scale(large), Scale(small)
