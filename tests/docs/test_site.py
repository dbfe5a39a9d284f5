"""The pages of the site, as far as it takes no Sphinx; `make docs` builds them."""

import doctest
import importlib
import inspect
import re

import mpmath
import numpy as np
import pytest
from helpers import ROOT
from helpers.keras_under_test import ENGINES, compute

import clr_schedules as clr

DOCS = ROOT / "docs"
if not (DOCS / "index.md").exists() or not (DOCS / "examples").exists():
    pytest.skip("the pages are not here", allow_module_level=True)

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
# Those with public names that `clr_schedules` itself does not have.
MODULES = ("migrate", "plotting", "reference", "schedules.momentum")
# Described on the page under their own names, and not what a module is about.
OTHERS = {
    "clr_schedules.schedules.base.Schedule",
    "clr_schedules.optimizers.hyperparameters.scheduled",
    "clr_schedules.callbacks.snapshots.Snapshot",
}


def public():
    """Every public function and class by its full name; what the package has, by its short one."""
    found = {f"clr_schedules.{name}": getattr(clr, name) for name in clr.__all__}
    for name in MODULES:
        module = importlib.import_module(f"clr_schedules.{name}")
        for short, thing in vars(module).items():
            here = getattr(thing, "__module__", None) == module.__name__
            if here and not short.startswith("_") and short not in clr.__all__:
                found[f"{module.__name__}.{short}"] = thing
    return found


def test_every_public_name_is_on_the_api_page():
    documented = set(re.findall(r"^\.\. auto(?:class|function):: ([\w.]+)", PAGES["api"], re.M))
    for module, members in re.findall(
        r"^\.\. automodule:: ([\w.]+)\n   :members:(.*)", PAGES["api"], re.M
    ):
        names = re.findall(r"\w+", members)
        documented |= {f"{module}.{name}" for name in names}
        if not names:  # all of them
            documented |= {name for name in public() if name.rpartition(".")[0] == module}
    assert documented - OTHERS == set(public())


def test_every_public_name_has_an_example():
    assert [name for name, thing in public().items() if ">>>" not in inspect.getdoc(thing)] == []


def test_every_page_is_in_the_contents():
    trees = [
        block
        for text in PAGES.values()
        for block in re.findall(r"^```+\{toctree\}\n(.*?)^```", text, re.M | re.S)
    ]
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*PAGES, "gallery/index"} - {"index"}


def slugs(path):
    """The anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    words = [heading.lower() for heading in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in words}


LINKING = [*sorted(DOCS.glob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    links += [link for link in re.findall(r"href=\"([^\"]+)", text) if "explore/" not in link]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), link


def test_every_example_has_its_place_in_the_gallery():
    names = {path.name for path in (DOCS / "examples").glob("*.py")}
    assert set(re.findall(r'^ +"(\w+\.py)",$', (DOCS / "conf.py").read_text(), re.M)) == names


def test_the_policy_of_the_contributing_page_works():
    """The class that the page shows is as exact as those of the package, and its examples hold."""
    page = PAGES["contributing"]
    (code,) = re.findall(r"^```\{testcode\} half_sine\n(.*?)^```", page, re.M | re.S)
    (examples,) = re.findall(r"^```\{doctest\} half_sine\n(.*?)^```", page, re.M | re.S)
    names = {"__name__": "contributing"}
    exec(code, names)
    test = doctest.DocTestParser().get_doctest(examples, names, "contributing", None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0

    schedule = names["HalfSine"](1e-3, 6e-3, step_size=2000, step_size_down=700)
    steps = [0, 1, 1999, 2000, 2001, 2699, 2700, 10**6 + 7, 2**31 - 1]
    computed = [compute(engine, schedule, steps) for engine in ENGINES]
    for step, values, *rates in zip(steps, schedule.values(steps), *computed, strict=True):
        position = step % 2700
        triangle = min(mpmath.mpf(position) / 2000, mpmath.mpf(2700 - position) / 700)
        low, high = mpmath.mpf(1e-3), mpmath.mpf(6e-3)
        truth = low + (high - low) * mpmath.sin(mpmath.pi / 2 * triangle)
        for rate in rates:
            assert abs(float(rate) - truth) <= 0.502 * float(np.spacing(np.float32(truth))), step
        assert abs(float(values) - truth) <= 16 * float(np.spacing(float(truth))), step
