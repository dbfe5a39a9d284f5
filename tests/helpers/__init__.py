"""What the tests share: examples of every schedule, exact formulas, models, and other processes."""

from pathlib import Path

# The folder of the repository.
ROOT = Path(__file__).parents[2]
