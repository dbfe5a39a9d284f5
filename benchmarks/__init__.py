"""Measurements of accuracy, step time and import time, beside what else there is.

``python -m benchmarks`` runs them all, in about four minutes, and writes ``results/latest.json``
and ``results/latest.md`` beside this file; ``python -m benchmarks.accuracy``, ``.step_time`` and
``.import_time`` each run one and print it.

A benchmark is a module with ``measure()``, which returns plain numbers for the JSON file, and
``markdown(result)``, which tells them to a reader.
"""
