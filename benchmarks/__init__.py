"""Measurements of every claim about speed and accuracy, beside what else there is.

``make bench`` runs them all, in less than eight minutes on two cores, and writes
``results/latest.json``, the report ``results/latest.md`` from it, and ``docs/images/accuracy.png``;
``python -m benchmarks --only`` measures some again and keeps the others. ``make bench-quick`` takes
a minute or two and writes nothing. Three measurements need a machine or environments of their own,
and have files of their own: ``engines``, ``gpu`` and ``gpu_kernels``.

A benchmark is a module with ``measure(quick=False)``, which returns plain numbers for the JSON
file, and ``markdown(result)``, which tells them to a reader.

Harnesses such as asv, pyperf and pytest-benchmark time one program after another and compare what
they find; on a shared machine that differs by more than what is looked for here. So ``timing``
takes ratios of runs in turn, in one process. All else is left to NumPy and Matplotlib.
"""

import os

# An operation takes one thread: those of several would wait for each other, and for who else is on
# the machine, and that would be most of what is seen. To be set before TensorFlow and JAX start.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
