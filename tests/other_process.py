"""Runs code in a new Python, which can import the suite's helpers and knows nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run(code, **arguments):
    """Runs the code with these (JSON) variables set; returns what it printed last, as JSON."""
    preamble = f"import json\nglobals().update(json.loads({json.dumps(arguments)!r}))\n"
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", preamble + code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
