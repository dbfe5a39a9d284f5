"""What happens before and after each example; sphinx-gallery runs all of them in one process."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

BACKEND = os.environ.get("KERAS_BACKEND")


def reset(gallery_conf: dict[str, Any], example: str, when: str) -> None:
    """Has each example begin with a Keras that is not imported yet, and without files of others.

    An example may set ``KERAS_BACKEND``, which Keras reads when it is imported.
    """
    if BACKEND is None:
        os.environ.pop("KERAS_BACKEND", None)
    else:
        os.environ["KERAS_BACKEND"] = BACKEND
    for name in list(sys.modules):
        if name.partition(".")[0] in ("keras", "clr_schedules"):
            del sys.modules[name]
    # Examples save their pictures where they run.
    shutil.rmtree(Path(gallery_conf["src_dir"], "examples", "results"), ignore_errors=True)
