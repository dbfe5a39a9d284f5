"""The site: ``make docs`` builds it into build/docs, and takes a warning for an error."""

import os
import re
import sys
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx_gallery.sorting import ExplicitOrder

# Less noise, in digits and messages, of what the pages run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import clr_schedules

sys.path.insert(0, str(Path(__file__).parent))  # for `_gallery`

project = "clr-schedules"
author = copyright = "The clr-schedules maintainers"  # noqa: A001
version = release = clr_schedules.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples/*"]

html_theme = "furo"
html_title = "clr-schedules"
html_extra_path = ["explorer"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_favicon = "_static/wave.svg"
html_theme_options = {"light_logo": "wave.svg", "dark_logo": "wave-dark.svg"}

# The anchors that GitHub gives the headings of a page.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# Names in docstrings, `Triangular` say, lead to their place on the API page.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "References")]
toc_object_entries = False
# The examples of docstrings are run by `make test`, each by itself.
doctest_test_doctest_blocks = ""

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": ExplicitOrder(
        [
            "policies.py",
            "range_test.py",
            "digits.py",
            "history.py",
            "one_cycle.py",
            "fine_tuning.py",
            "snapshots.py",
            "custom_scale.py",
            "custom_loop.py",
            "jax_backend.py",
        ]
    ),
    "reset_modules": ("matplotlib", "_gallery.reset"),
    "reset_modules_order": "both",
    "capture_repr": (),
    "abort_on_example_error": True,
    "min_reported_time": 1,
    "show_memory": False,
    "show_signature": False,
    # Its page of times would load a table from elsewhere.
    "write_computation_times": False,
}

# Markdown of the repository that has a page here, by how the pages link to it.
PAGES = {
    "../README.md": "index.md",
    "../benchmarks/results/latest.md": "benchmarks.md",
    "../benchmarks/results/cifar10/report.md": "cifar10.md",
}


def link_to_pages(_app, _docname, source):
    """Has links that lead GitHub's readers to a file lead to the page that shows it.

    Other Markdown files of the repository are for downloading, as its Python files are.
    """

    def page(match):
        return f"]({PAGES.get(match[1], f'path:{match[1]}')}{match[2]}"

    text = re.sub(r"\]\((\.\./[^)#]*\.md)([#)])", page, source[0])
    source[0] = re.sub(r"\]\(examples/(\w+)\.py\)", r"](gallery/\1.rst)", text)


def look_for_requests(app, exception):
    """Raises if a page would load anything from elsewhere."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        loads = r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^>]*>"
        if found := re.search(loads, path.read_text(encoding="utf-8")):
            raise ExtensionError(f"{path} loads from elsewhere: {found[0]}")


def setup(app):
    """What Sphinx calls."""
    app.connect("source-read", link_to_pages)
    app.connect("build-finished", look_for_requests)
