"""Runs code in new Python processes, which can import the helpers of the suite."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def start(code, **arguments):
    """Starts a process that runs the code with these (JSON) variables set."""
    preamble = f"import json\nglobals().update(json.loads({json.dumps(arguments)!r}))\n"
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", preamble + code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code, **arguments):
    """Runs the code with these (JSON) variables set; returns what it printed last, as JSON."""
    (found,) = results([start(code, **arguments)])
    return found


def results(processes, timeout=600):
    """What each process printed last, as JSON. Waits until all have ended, and kills the rest."""
    # All are read from at once: a process whose output is not read stops when the pipe is full, and
    # the others would wait for it.
    with ThreadPoolExecutor(len(processes)) as pool:
        try:
            outputs = list(pool.map(lambda p: p.communicate(timeout=timeout), processes))
        finally:
            stop(processes)
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def stop(processes):
    """Kills the processes that are still running."""
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


def free_ports(count):
    """Ports on which nothing listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
