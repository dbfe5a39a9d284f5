"""The pages of the site, as far as it takes no Sphinx; `make docs` builds them."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import clr_schedules as clr

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
if not (DOCS / "index.md").exists() or not (DOCS / "examples").exists():
    pytest.skip("the pages are not here", allow_module_level=True)

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
MODULES = (
    "callbacks",
    "hyperparameters",
    "migrate",
    "planning",
    "plotting",
    "range_test",
    "reference",
)


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
    # What all schedules have is described once, under the name of their base.
    assert documented - {"clr_schedules.schedules.base.Schedule"} == set(public())


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


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patch")
def test_the_policy_of_the_contributing_page_works(tmp_path):
    """Its tests pass, in a copy of the repository, and so do the others that it comes into."""
    leave = shutil.ignore_patterns("__pycache__", "gallery", "golden")
    for folder in ("clr_schedules", "tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    patch = tmp_path / "docs" / "contributing.patch"
    subprocess.run(["git", "apply", str(patch)], check=True, cwd=tmp_path)
    files = [
        "tests/schedules/test_parabolic.py",
        "tests/schedules/test_base.py",
        "tests/schedules/test_precision.py",
        "tests/integration/test_saving.py",
        "tests/test_site.py",
        "tests/test_comparison.py",
        "clr_schedules/reference.py",
        "clr_schedules/schedules/cyclical.py",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    run = subprocess.run(
        [*command, "-k", "parabolic or public_name or what_there_is_here", *files],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": "few"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
