"""The site: ``make docs`` builds it into build/docs, and takes a warning for an error."""

import os

# Less noise, in digits and messages, of what the pages run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import clr_schedules

project = "clr-schedules"
author = copyright = "The clr-schedules maintainers"  # noqa: A001
version = release = clr_schedules.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.coverage",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples/*"]
nitpicky = False

html_theme = "furo"
html_title = "clr-schedules"
html_extra_path = ["explorer"]

# The anchors that GitHub gives the headings of a page.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "min_reported_time": 1,
    "show_memory": False,
}
