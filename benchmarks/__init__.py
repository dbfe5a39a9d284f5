"""Measurements of accuracy, step time, import time and range test, beside what else there is.

``python -m benchmarks`` runs them all, in about twelve minutes, and writes ``results/latest.json``
and ``results/latest.md`` beside this file; ``--only`` measures some again and keeps the others.
``python -m benchmarks.accuracy``, ``.step_time``, ``.import_time`` and ``.range_test`` each run one
and print it.

A benchmark is a module with ``measure()``, which returns plain numbers for the JSON file, and
``markdown(result)``, which tells them to a reader.
"""
