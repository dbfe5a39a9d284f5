"""The modules of the package use each other in one direction, also inside functions."""

import ast
from pathlib import Path

import pytest

import clr_schedules

ROOT = Path(clr_schedules.__file__).parent
# Each layer may use those above it. A module that is not named belongs to the layer of its folder.
LAYERS = [
    ["_arguments", "reference"],
    ["planning", "range_test.batch_order", "_backend"],
    ["range_test.suggestions"],
    ["_serialization"],
    ["schedules.numerics"],
    ["schedules.base"],
    ["schedules.momentum", "schedules.compose"],
    ["schedules"],
    ["optimizers"],
    ["range_test", "callbacks", "migrate"],
    ["plotting"],
]
# The only lines that reach up: methods that draw what they belong to.
PLOT_METHODS = {"schedules.base", "range_test.result", "callbacks.step_log"}
# Those that use nothing of the package but the checks of arguments.
INDEPENDENT = ["reference", "planning", "range_test.batch_order"]

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}


def layer(module):
    """The number of the layer of a module, by the longest name that fits."""
    fits = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert fits, f"{module} has no layer"
    return max(fits)[1]


def imports(module):
    """The modules of the package that a module imports, anywhere in it."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clr_schedules"):
            base = node.module.removeprefix("clr_schedules").removeprefix(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(".")
                found.add(name if name in MODULES else base)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {
                name.removeprefix("clr_schedules.")
                for name in names
                if name.startswith("clr_schedules.")
            }
    return {name for name in found if name} - {module}


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module):
    for used in imports(module):
        if module in PLOT_METHODS and used == "plotting":
            continue
        same_folder = module.split(".")[0] == used.split(".")[0]
        assert layer(used) < layer(module) or (layer(used) == layer(module) and same_folder), (
            f"{module} must not import {used}, which is not below it"
        )


def test_there_are_no_circles():
    edges = {module: imports(module) for module in MODULES}
    for module in PLOT_METHODS & edges.keys():
        edges[module] -= {"plotting"}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for used in edges[module]:
                visit(used)
            done.add(path.pop())

    for module in edges:
        visit(module)


@pytest.mark.parametrize("module", INDEPENDENT)
def test_independent_modules_use_the_checks_of_arguments_alone(module):
    assert imports(module) <= {"_arguments"}


def test_suggestions_use_independent_modules_alone():
    assert imports("range_test.suggestions") <= {"_arguments", *INDEPENDENT}


def test_no_module_but_the_backend_asks_which_framework_runs():
    words = ("config.backend()", "os.environ", "import tensorflow", "import jax", "import torch")
    for module, path in MODULES.items():
        if not module.startswith("_backend"):
            text = path.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], module
