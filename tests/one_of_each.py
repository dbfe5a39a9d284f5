"""A schedule of each class, for tests of what all of them must do."""

import strategies
from small_training import STEPS

import clr_schedules as clr

SCHEDULES = [
    clr.Triangular(1e-3, 6e-2, 7),
    clr.Triangular2(1e-3, 6e-2, 3, 5),
    clr.ExpRange(1e-3, 6e-2, 7, gamma=0.99),
    clr.Cyclical(1e-3, 6e-2, 4, wave="cosine", scale_fn=strategies.harmonic, name="mine"),
    clr.OneCycle(6e-2, 2 * STEPS - 1, three_phase=True),
    clr.CosineRestarts(6e-2, 7, 1.5, 0.9, 1e-3),
    clr.Warmup(clr.Piecewise([6e-2, clr.Triangular(1e-3, 6e-2, 7)], [20]), 10),
]
