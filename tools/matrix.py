"""Runs the suite in each environment that the package supports, and prints one table.

``make matrix`` builds the environments and calls this with their names; it needs the standard
library alone. The table is also left in ``build/matrix/table.md``. The examples in docstrings and
README are for Keras 3 on TensorFlow, and ``make test`` runs them.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "matrix"

# The variables that choose Keras and its framework.
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "newest": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"},
    "legacy": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1"},
    "oldest": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"},
    "jax": {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "0"},
    "torch": {"KERAS_BACKEND": "torch", "TF_USE_LEGACY_KERAS": "0"},
}
TITLES = {
    "newest": "Keras 3 on TensorFlow",
    "legacy": "`tf_keras`",
    "oldest": "the oldest supported",
    "jax": "Keras 3 on JAX",
    "torch": "Keras 3 on PyTorch",
}
_VERSIONS = """
import importlib.metadata as m, json, platform
names = ("tensorflow", "tensorflow-cpu", "keras", "tf_keras", "jax", "torch", "numpy")
found = {"python": platform.python_version()}
for name in names:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def main() -> int:
    """Runs the suites, and returns 1 if a test of any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=ENVIRONMENTS, metavar="NAME")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=ROOT / ".venvs",
        help="where `matrix-NAME` is, for each name (default: %(default)s)",
    )
    parser.add_argument(
        "--pytest", default="-n 2 -q", help="arguments of pytest (default: %(default)s)"
    )
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in args.names:
        print(f"== {name}: {TITLES[name]}", flush=True)
        found[name] = run(
            name, args.venvs / f"matrix-{name}" / "bin" / "python", shlex.split(args.pytest)
        )
        text = table(found)  # after each suite, so that an interruption loses no result
        (BUILD / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return int(any(result["code"] or not result["passed"] for result in found.values()))


def run(name: str, python: Path, arguments: list[str]) -> dict:
    """Runs the suite in one environment, and counts."""
    environment = os.environ | ENVIRONMENTS[name]
    versions = subprocess.run(
        [python, "-c", _VERSIONS], check=True, stdout=subprocess.PIPE, text=True
    )
    report = BUILD / f"{name}.xml"
    report.unlink(missing_ok=True)
    start = time.monotonic()
    ended = subprocess.run(
        [python, "-m", "pytest", f"--junitxml={report}", "tests", *arguments],
        cwd=ROOT,
        env=environment,
        check=False,
    )
    return (
        {"versions": json.loads(versions.stdout), "code": ended.returncode}
        | counts(report)
        | {"minutes": (time.monotonic() - start) / 60}
    )


def counts(report: Path) -> dict:
    """How many tests of a JUnit file passed, failed or were skipped, and why those were skipped."""
    passed = failed = 0
    reasons: collections.Counter[str] = collections.Counter()
    for case in ET.parse(report).getroot().iter("testcase"):
        outcomes = {child.tag: child for child in case}
        if "failure" in outcomes or "error" in outcomes:
            failed += 1
        elif (skipped := outcomes.get("skipped")) is not None:
            message = skipped.get("message", "")
            if message == "collection skipped":  # a whole file; the reason is in the text
                message = ast.literal_eval(skipped.text or "")[2].removeprefix("Skipped: ")
            reasons[message] += 1
        else:
            passed += 1
    return {"passed": passed, "failed": failed, "skipped": dict(reasons.most_common())}


def table(found: dict[str, dict]) -> str:
    """The Markdown table of all environments, and a list of the tests that they skipped."""
    lines = [
        "| environment | versions | passed | failed | skipped | minutes |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, result in found.items():
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        skipped = sum(result["skipped"].values())
        lines.append(
            f"| {TITLES[name]} | {versions} | {result['passed']:,} | {result['failed']:,} | "
            f"{skipped:,} | {result['minutes']:.1f} |"
        )
    for name, result in found.items():
        if result["skipped"]:
            lines += ["", f"Skipped on {TITLES[name]}:", ""]
            lines += [f"- {count}: {reason}" for reason, count in result["skipped"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
