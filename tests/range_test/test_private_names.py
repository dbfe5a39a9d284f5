"""The private names of Keras and TensorFlow that the package relies on are all there."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from helpers import model_zoo
from helpers.keras_under_test import BACKEND, LEGACY, keras

import clr_schedules as clr

PACKAGE = Path(clr.__file__).parent
README = (PACKAGE / "range_test" / "README.md").read_text(encoding="utf-8")
# The columns of the table: the name, where it is there, the files that use it.
ROWS = [
    (name, there, re.findall("`(.*?)`", files))
    for name, there, files in re.findall(r"^\| `(.*?)` \| (.*?) \| (.*?) \| .*\|$", README, re.M)
    if there != "what it does"
]
RUNNING = {
    "all": True,
    "Keras 3": not LEGACY,
    "Keras 3 on JAX": BACKEND == "jax",
    "Keras 3 on PyTorch": BACKEND == "torch",
    "TensorFlow": BACKEND == "tensorflow",
    "tf_keras": LEGACY,
}


@pytest.fixture(scope="module")
def objects():
    """Real objects of the running Keras, by the names that the table has for them."""
    keras.utils.set_random_seed(0)
    model = model_zoo.make(model_zoo.plain)
    model.fit(model_zoo.X, model_zoo.Y, validation_data=(model_zoo.X, model_zoo.Y), verbose=0)
    found = {
        "keras.Model": model,
        "keras.optimizers.Optimizer": model.optimizer,
        "keras.Variable": model.weights[0],
    }
    if not LEGACY:
        found["keras.optimizers.Nadam"] = keras.optimizers.Nadam()
    if LEGACY:
        found["keras.src.backend.RandomGenerator"] = keras.src.backend.RandomGenerator(seed=1)
        scheduled = model_zoo.make(model_zoo.scheduled)
        scheduled.fit(model_zoo.X, model_zoo.Y, verbose=0)
        found["keras.optimizers.Optimizer"] = scheduled.optimizer
        older = model_zoo.make(model_zoo.older)
        older.fit(model_zoo.X, model_zoo.Y, verbose=0)
        found["keras.optimizers.legacy.Optimizer"] = older.optimizer
    return found


def owner(path, objects):
    """The object, class or module that has the last name of a path."""
    for name in sorted(objects, key=len, reverse=True):
        if path.startswith(f"{name}."):
            return follow(objects[name], path[len(name) + 1 :].split(".")[:-1])
    parts = re.sub(r"^keras\b", keras.__name__, path).split(".")[:-1]
    for end in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return follow(module, parts[end:])
    raise AssertionError(f"no module of {path}")


def follow(thing, names):
    for name in names:
        thing = getattr(thing, name.removesuffix("()"))
        thing = thing() if name.endswith("()") else thing
    return thing


def is_there(thing, name):
    """Whether an object has a name, or its classes speak of it, or one that begins with it.

    Keras sets and deletes some attributes within `fit`, so that an object at rest has none of them.
    """
    if hasattr(thing, name) or any(each.startswith(name) for each in dir(thing)):
        return True
    modules = {inspect.getmodule(kind) for kind in type(thing).__mro__} - {None}
    sources = [inspect.getsource(module) for module in modules if hasattr(module, "__file__")]
    return any(re.search(rf"\b{name}", source) for source in sources)


def test_the_table_is_read():
    assert len(ROWS) > 20
    assert {there for _, there, _ in ROWS} == set(RUNNING)
    names = [name for name, _, _ in ROWS]
    assert len(set(names)) == len(names)


def test_all_names_are_there(objects):
    missing = [
        path
        for path, there, _ in ROWS
        if RUNNING[there] and not is_there(owner(path, objects), path.rpartition(".")[2])
    ]
    assert missing == [], "the running Keras lacks what range_test/README.md lists"


def test_a_name_that_is_not_there_is_noticed(objects):
    for path in "keras.Model", "keras.optimizers.Optimizer", "keras.src.backend":
        assert not is_there(owner(f"{path}._no_such_name", objects), "_no_such_name")


@pytest.mark.parametrize(("path", "files"), [(path, files) for path, _, files in ROWS])
def test_names_are_used_where_the_table_says(path, files):
    name = path.rpartition(".")[2]
    assert files
    for file in files:
        assert re.search(rf"\b{name}", (PACKAGE / file).read_text(encoding="utf-8")), file


def own_names(trees):
    """The names that the package itself defines, as far as they can be told from Keras's."""
    names = set()
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return names


def names_in(tree):
    """The names in some code: attributes, strings, and what is imported from within Keras."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.isidentifier():
                yield node.value
        elif isinstance(node, ast.ImportFrom) and re.search(r"\.(src|python)\b", node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_all_names_that_are_used_are_in_the_table():
    trees = {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }
    known = own_names(trees) | {part for path, _, _ in ROWS for part in re.split(r"[.()]+", path)}
    unlisted = set()
    for file, tree in trees.items():
        for name in names_in(tree):
            if "." in name:
                listed = any(f"{path}.".startswith(name.removeprefix("tf_")) for path, _, _ in ROWS)
            else:
                private = re.match(r"_[a-z_]*[a-zA-Z]", name) and not name.startswith("__")
                listed = not private or name in known or name.startswith("_clr_schedules")
            if not listed:
                unlisted.add(f"{name} ({file})")
    assert unlisted == set(), "list them in range_test/README.md"
