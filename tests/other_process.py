"""Runs code in a new Python, which knows nothing but what it is told."""

import json
import subprocess
import sys


def run(code, **arguments):
    """Runs the code with these (JSON) variables set; returns what it printed, as JSON."""
    preamble = f"import json\nglobals().update(json.loads({json.dumps(arguments)!r}))\n"
    done = subprocess.run(
        [sys.executable, "-c", preamble + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
