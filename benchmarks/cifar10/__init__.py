"""The blog post's comparison on CIFAR-10, with seeds, an interval and fair baselines.

The post trains one small CNN with Adam, at a constant rate for 150 epochs and at a triangular one
for 50, once each. Here each is an arm of several seeds, beside the paper's other policies, one
cycle, and the constant rates that the post leaves out. ``python -m benchmarks.cifar10 --help``
says how to run it.

``plan`` says what is trained, ``data`` reads the images, ``training`` trains on them, ``workers``
does many trainings side by side, ``results`` keeps what they came to, ``report`` and ``pictures``
show it.
"""

import os

# Several processes share a GPU: none of them may take all of its memory. Read when JAX and
# TensorFlow start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
