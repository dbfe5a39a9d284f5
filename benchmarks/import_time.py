"""How long ``import clr_schedules`` takes once Keras is there, and what else it imports."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report

PACKAGE, CONTROL = "clr_schedules", "an_empty_module"
RUNS, QUICK_RUNS = 5, 1
TARGET_MS = 15.0

_TIME = """
import time
import keras
start = time.perf_counter()
import {module}
print(1e3 * (time.perf_counter() - start))
"""

# Keras may have loaded a package already that this one would load; so look at who asks for what.
_IMPORTS = """
import builtins, json, sys
import keras
loaded, wanted, original = set(sys.modules), set(), builtins.__import__
def spy(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {{}}).get("__name__", "").partition(".")[0] == "{module}":
        wanted.add(name.partition(".")[0])
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = spy
import {module}
builtins.__import__ = original
new = {{name.partition(".")[0] for name in set(sys.modules) - loaded}}
own = set(sys.stdlib_module_names) | {{"{module}"}}
print(json.dumps([sorted(wanted - own), sorted(new - own)]))
"""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """The times of fresh processes, the package's and an empty module's in turn.

    Args:
        quick: whether to start few.
    """
    runs = QUICK_RUNS if quick else RUNS
    times: dict[str, list[float]] = {CONTROL: [], PACKAGE: []}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{CONTROL}.py").touch()
        # This also fills the caches of bytecode and files.
        imported, loaded = json.loads(_run(_IMPORTS.format(module=PACKAGE), folder))
        _run(_TIME.format(module=CONTROL), folder)
        for _ in range(runs):
            for module, milliseconds in times.items():
                milliseconds.append(float(_run(_TIME.format(module=module), folder)))
    return {
        "n": runs,
        "milliseconds": {
            module: {"median": statistics.median(ms), "min": min(ms), "max": max(ms), "all": ms}
            for module, ms in times.items()
        },
        "imported": imported,
        "loaded": loaded,
    }


def _run(code: str, folder: str) -> str:
    """The last line that a fresh process prints, which finds modules in the folder too."""
    paths = [folder, os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # that of a module is written once
    output = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    return output.splitlines()[-1]


def markdown(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    labels = {PACKAGE: f"`import {PACKAGE}`", CONTROL: "an empty module"}
    rows = (
        [label, *(f"{result['milliseconds'][module][k]:.2f}" for k in ("median", "min", "max"))]
        for module, label in labels.items()
    )
    median = result["milliseconds"][PACKAGE]["median"]
    verdict = "within" if median <= TARGET_MS else "**above**"
    imported, loaded = (
        ", ".join(f"`{name}`" for name in result[key]) or "none" for key in ("imported", "loaded")
    )
    return f"""## Import time

Milliseconds after `import keras`, each in a fresh process (n = {result["n"]}), in turn with an
empty module.

{report.table(["", "median", "min", "max"], rows)}

The median is {verdict} the target of {TARGET_MS:.0f} ms. Third-party packages that the modules of
`{PACKAGE}` import: {imported}; of these and theirs not yet loaded by Keras: {loaded}.
"""


if __name__ == "__main__":
    print(markdown(measure()), end="")
