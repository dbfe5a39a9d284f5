"""Writes the golden files of this version: `python tests/golden/make.py`, once a release.

A golden file is what users have on their disks. Files of past releases are never written again;
`tests/test_golden.py` loads them all, for ever.
"""

import json
from pathlib import Path

import keras
import numpy as np

import clr_schedules as clr

SCHEDULES = {
    "triangular": clr.Triangular(1e-3, 6e-3, 2000),
    "triangular_asymmetric": clr.Triangular(0.0, 0.1, 300, 2**33 + 1, name="slow_fall"),
    "triangular2": clr.Triangular2(1e-3, 6e-3, 2000),
    "exp_range": clr.ExpRange(1e-3, 6e-3, 2000, gamma=0.99994),
    "cyclical_cosine": clr.Cyclical(1e-3, 6e-3, 2000, 500, wave="cosine"),
}
STEPS = [0, 1, 299, 300, 1999, 2000, 2001, 4000, 123_456, 10**7 + 1, 10**9 + 7, 2**31 - 1]


def main() -> None:
    """Writes one saved model and one JSON a schedule."""
    folder = Path(__file__).parent / clr.__version__
    folder.mkdir(exist_ok=True)
    for name, schedule in SCHEDULES.items():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(schedule), loss="mse")
        x = np.ones((15, 2), "float32")
        model.fit(x, x[:, :1], batch_size=5, verbose=0)
        model.save(folder / f"{name}.keras")
        record = {
            "keras": keras.__version__,
            "config": keras.optimizers.schedules.serialize(schedule),
            "repr": repr(schedule),
            "steps": STEPS,
            "float32": [float(rate).hex() for rate in np.asarray(schedule(STEPS))],
        }
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
