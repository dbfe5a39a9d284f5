"""Whether what would be released is right; ``make release-check`` calls this.

It builds the sdist and the wheel twice, looks at what is in them, installs the wheel where nothing
else is, and prints one table, which it also leaves in ``build/release/table.md``. What passed is
in ``dist/``. It exits with 1 if a check failed. Its arguments are the tests to run on the wheel.

With a ``TAG`` in the environment, the tree must be what was committed, and the changelog must have
a section with a date for the version that the tag names.
"""

from __future__ import annotations

import ast
import configparser
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.metadata import Metadata
from trove_classifiers import classifiers as known_classifiers

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "release"
# The sdist without the package, so that what is imported there is the installed wheel.
ELSEWHERE = BUILD / "elsewhere"

SDIST_LIMIT = 3_000_000  # bytes; the pictures of README, site and results are two thirds of it
# Installed and run below. Of the rest, some are gigabytes, and others are for developers, whose
# targets of the Makefile install them.
INSTALLED = ("cpu", "plot", "tensorboard", "test")
NOT_IN_SDIST = re.compile(r"\.ci/|\.git")
GENERATED = re.compile(r"PKG-INFO|clr_schedules\.egg-info/.*")
# Without git: 2020. A zip file knows no time before 1980.
SOME_DATE = 1_577_836_800


def main(tests: list[str]) -> int:
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    resolved = [extra for extra in extras() if extra not in INSTALLED]
    checks: list[tuple[str, Callable[[], str]]] = [
        ("the tree", the_tree),
        ("built in two folders: the same bytes", built_twice),
        ("wheel of the sdist: the same bytes", built_from_the_sdist),
        ("twine check --strict", twine),
        ("wheel: the package and nothing else", in_the_wheel),
        ("sdist: what git tracks", in_the_sdist),
        ("sdist: size", sdist_size),
        ("one version", one_version),
        ("metadata", right_metadata),
        ("without an engine: says what to install", without_an_engine),
        ("on JAX, without extras", on_jax),
        ("extra plot", extra_plot),
        ("extra tensorboard", extra_tensorboard),
        ("extra cpu: quickstart as a script", quickstart),
        ("extra test: the sdist's tests, collected", partial(collected, "tests")),
        ("extra test: README and saving", partial(tested, *tests)),
        *(
            (f"extra {extra}: resolved, not installed", partial(resolves, extra))
            for extra in resolved
        ),
    ]
    rows = ["| check | result | figure |", "| --- | --- | --- |"]
    failed = 0
    for name, check in checks:
        start = time.monotonic()
        try:
            result, figure = "passed", check().strip()
        except Exception as error:
            failed += 1
            result, figure = "FAILED", f"{type(error).__name__}: {error}"
        rows.append("| {} | {} | {} |".format(name, result, " ".join(figure.split())))
        print(f"{result:8}{name} ({time.monotonic() - start:.0f} s): {figure}", flush=True)
        if failed and check is built_twice:
            break  # nothing to look at
    text = "\n".join(rows) + "\n"
    (BUILD / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    if failed:
        print(f"{failed} failed", file=sys.stderr)
        return 1
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    shutil.copytree(BUILD / "dist", ROOT / "dist")
    return 0


# The tree, and building.


def tracked() -> list[str]:
    """The files of the project: those that git tracks, or without git all but what is made."""
    if (ROOT / ".git").exists():
        names = git("ls-files", "-z").split("\0")
        return sorted(name for name in names if name and (ROOT / name).exists())
    made = re.compile(
        r"(.*/)?(\.venvs|build|dist|\.?\w+_cache|__pycache__|[^/]*\.egg-info)/.*|PKG-INFO"
    )
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
    return sorted(name for name in names if not made.fullmatch(name))


def date() -> int:
    """What the files of a release say when they are from: the time of the last commit."""
    if (ROOT / ".git").exists():
        return int(git("log", "-1", "--format=%ct"))
    return SOME_DATE


def the_tree() -> str:
    assert sys.version_info >= (3, 11), "JAX with what the package needs has no Python below 3.11"
    if not (ROOT / ".git").exists():
        return "no git"
    changed = git("status", "--porcelain").splitlines()
    commit = git("rev-parse", "--short", "HEAD").strip()
    if tag := os.environ.get("TAG"):
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        assert tag == f"v{version()}", f"the tag is {tag}, the version {version()}"
        assert not changed, f"changed since {commit}: {changed}"
        heading = rf"^## \[?{re.escape(version())}\]? - \d{{4}}-\d\d-\d\d$"
        assert re.search(heading, changelog, re.MULTILINE), (
            f"CHANGELOG.md has no {version()} with a date"
        )
    return f"{commit}, " + (f"changed since: {len(changed)}" if changed else "as committed")


def copy(to: Path, modified: float) -> Path:
    """Copies the project, with the modes that git knows, whatever those of the checkout are."""
    for name in tracked():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        target.chmod(0o755 if os.access(ROOT / name, os.X_OK) else 0o644)
        os.utime(target, (modified, modified))
    return to


def build(source: Path, to: Path, *what: str, zone: str = "UTC") -> None:
    environment = {"SOURCE_DATE_EPOCH": str(date()), "TZ": zone}
    run(sys.executable, "-m", "build", *what, "--outdir", to, source, **environment)
    for sdist in to.glob("*.tar.gz"):
        normalize(sdist)


def normalize(sdist: Path) -> None:
    """Writes an sdist again, with nothing of when and by whom it was built.

    Setuptools puts the time of the build into the header of gzip, and times and owner of each file
    into the archive; unlike its wheels, its sdists do not heed SOURCE_DATE_EPOCH
    (https://github.com/pypa/setuptools/issues/2133).
    """
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        files = {m.name: archive.extractfile(m) for m in members if m.isfile()}
        with (
            (sdist.with_suffix(".part")).open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=date()) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as again,
        ):
            for member in members:
                new = tarfile.TarInfo(member.name)
                new.type, new.size, new.mtime = member.type, member.size, date()
                new.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                again.addfile(new, files.get(member.name))
    sdist.with_suffix(".part").replace(sdist)


def built_twice() -> str:
    now = time.time()
    build(copy(BUILD / "one", now), BUILD / "dist", "--sdist", "--wheel")
    another = copy(BUILD / "another" / "folder", now - 100_000)
    build(another, BUILD / "dist2", "--sdist", "--wheel", zone="Pacific/Kiritimati")
    for first in (wheel(), sdist()):
        same(first, BUILD / "dist2" / first.name)
    generator = re.search("^Generator: (.*)$", in_dist_info("WHEEL"), re.MULTILINE)
    assert generator
    digests = [f"{f.name} sha256 {digest(f)[:16]}…" for f in (wheel(), sdist())]
    return ", ".join([*digests, generator[1]])


def built_from_the_sdist() -> str:
    with tarfile.open(sdist()) as archive:
        archive.extractall(BUILD / "unpacked", filter="data")
    (folder,) = (BUILD / "unpacked").iterdir()
    build(folder, BUILD / "dist3", "--wheel")
    shutil.copytree(folder, ELSEWHERE, ignore=shutil.ignore_patterns("clr_schedules*", "build"))
    same(wheel(), BUILD / "dist3" / wheel().name)
    return wheel().name


def same(one: Path, other: Path) -> None:
    if digest(one) == digest(other):
        return
    kinds = {".whl": in_zip, ".gz": in_tar}
    a, b = (kinds[one.suffix](path) for path in (one, other))
    differing = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    raise AssertionError(f"{one.name} differs in {differing[:5] or 'what the format adds'}")


def in_zip(path: Path) -> dict[str, tuple]:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: (i.CRC, i.date_time, i.external_attr) for i in archive.infolist()}


def in_tar(path: Path) -> dict[str, tuple]:
    with tarfile.open(path) as archive:
        return {m.name: (m.size, m.mtime, m.mode, m.uid, m.uname) for m in archive.getmembers()}


# What is in them.


def twine() -> str:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel(), sdist())
    return "the description renders"


def in_the_wheel() -> str:
    package = BUILD / "one" / "clr_schedules"
    checker = Path(sys.executable).with_name("check-wheel-contents")
    run(checker, "--no-config", "--toplevel", "clr_schedules", "--package", package, wheel())
    names = list(in_zip(wheel()))
    allowed = re.compile(r"clr_schedules/([a-z_]+/)*\w+\.py|[^/]+\.dist-info/.+")
    others = {name for name in names if not allowed.fullmatch(name)}
    data = {"clr_schedules/py.typed", "clr_schedules/range_test/README.md"}
    assert others == data, f"neither code nor metadata: {others}, expected: {data}"
    modules = {name for name in names if name.startswith("clr_schedules/")} - data
    source = {path.relative_to(BUILD / "one").as_posix() for path in package.rglob("*.py")}
    assert modules == source, f"not in both wheel and source: {sorted(modules ^ source)}"
    return f"{len(modules)} modules, and {' and '.join(sorted(data))}"


def in_the_sdist() -> str:
    (top,) = {name.partition("/")[0] for name in in_tar(sdist())}
    with tarfile.open(sdist()) as archive:
        names = {m.name.removeprefix(f"{top}/") for m in archive.getmembers() if m.isfile()}
    expected = {name for name in tracked() if not NOT_IN_SDIST.match(name)}
    found = {name for name in names if name in expected or not GENERATED.fullmatch(name)}
    missing, added = sorted(expected - found), sorted(found - expected)
    assert not missing, f"{len(missing)} files are missing: {missing[:5]}"
    assert not added, f"{len(added)} files that git does not track: {added[:5]}"
    return f"{len(found)} files: the package, tests, benchmarks, docs, Makefile; no settings of CI"


def sdist_size() -> str:
    found = sdist().stat().st_size
    assert found < SDIST_LIMIT, f"{found:,} bytes; less than {SDIST_LIMIT:,} were wanted"
    return f"{found:,} bytes; limit {SDIST_LIMIT:,}"


def one_version() -> str:
    said = re.compile(rf"version[\W_]+{re.escape(version())}\b")
    code = [name for name in tracked() if name.endswith((".py", ".cfg", ".toml", ".cff", ".yml"))]
    places = {name for name in code if said.search((ROOT / name).read_text(encoding="utf-8"))}
    assert places == {"clr_schedules/__init__.py", "CITATION.cff"}, f"the version is in {places}"
    assert metadata().version.public == version(), f"the metadata have {metadata().version}"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## \[?(.*?)\]?( - .*)?$", changelog, re.MULTILINE)
    assert heading, "CHANGELOG.md has no section"
    assert heading[1] in (version(), "Unreleased"), f"CHANGELOG.md begins with {heading[1]}"
    return f"{version()} in clr_schedules and, tested, in CITATION.cff; CHANGELOG.md: {heading[1]}"


def right_metadata() -> str:
    found = metadata()
    assert found.license_expression == "Apache-2.0", f"license: {found.license_expression!r}"
    assert found.license_files == ["LICENSE"], f"license files: {found.license_files}"
    assert found.requires_python, "no python_requires"
    unknown = set(found.classifiers or ()) - known_classifiers
    assert not unknown, f"no classifiers that there are: {unknown}"
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(found.classifiers or ()))
    lowest = found.requires_python.filter([f"3.{minor}" for minor in range(20)])
    assert said[0] == next(iter(lowest)), (
        f"classifiers from {said[0]}, python {found.requires_python}"
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (found.description or "").strip() == readme.strip(), (
        "the page for PyPI is not the README"
    )
    loose = [str(r) for r in requirements() if not re.search(">=|==", str(r.specifier))]
    assert not loose, f"without a lower bound: {loose}"
    assert set(found.provides_extra or ()) == set(extras()), f"extras: {found.provides_extra}"
    return (
        f"Python {found.requires_python}, {said[0]} to {said[-1]} in the classifiers; "
        f"{found.license_expression}; {len(extras())} extras, each requirement with a lower bound"
    )


# Installed where nothing else is.

TRAINS = """
import importlib.util, keras, numpy as np, clr_schedules as clr
from clr_schedules import planning, plotting, reference
assert "site-packages" in clr.__file__, clr.__file__
lr = clr.Triangular(1e-3, 6e-3, step_size=10)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(lr), loss="mse")
x = np.ones((64, 4), "float32")
def fit(**arguments):
    logger = clr.LearningRateLogger(**arguments)
    model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[logger])
    return logger.history["learning_rate"]
"""
# Each with what the one before had, beside the extra that it is about.
WITHOUT_EXTRAS = """
assert importlib.util.find_spec("matplotlib") is None
assert importlib.util.find_spec("tensorboard") is None
assert fit() == lr.values(range(8)).astype("float32").tolist()
assert reference.triangular(range(8), 1e-3, 6e-3, 10).tolist() == lr.values(range(8)).tolist()
assert planning.step_size(50_000, 100) == 2000
for call, extra in (lambda: lr.plot(10), "plot"), (lambda: fit(log_dir="logs"), "tensorboard"):
    try:
        call()
    except ImportError as error:
        assert f"clr-schedules[{extra}]" in str(error), error
    else:
        raise AssertionError(f"nothing said that the extra {extra} is missing")
print("Keras", keras.version(), "on", keras.backend.backend())
"""
WITH_PLOT = """
assert importlib.util.find_spec("tensorboard") is None
lr.plot(100).figure.savefig("plot.png")
plotting.plot_schedules([lr, clr.Triangular2(1e-3, 6e-3, step_size=10)], 100)
clr.lr_range_test(model, x, x[:, :1], batch_size=8, num_steps=20, verbose=0).plot()
import matplotlib, pathlib
size = pathlib.Path("plot.png").stat().st_size
print("Matplotlib", matplotlib.__version__, "drew", size, "bytes")
"""
WITH_TENSORBOARD = """
rates = fit(log_dir="logs")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("logs").Reload()
(tag,) = events.Tags()["tensors"] or events.Tags()["scalars"]
assert "learning_rate" in tag, tag
print(len(rates), "steps in the log, tag", tag)
"""


def without_an_engine() -> str:
    environment("bare", wheel())
    run(python("bare"), "-m", "pip", "check")
    error = run(python("bare"), "-c", "import clr_schedules", fails=True).strip().splitlines()[-1]
    assert "clr-schedules[tensorflow]" in error, f"no word of what to install: {error}"
    return error


def on_jax() -> str:
    install("bare", "jax>=0.7.2")
    return run(python("bare"), "-c", TRAINS + WITHOUT_EXTRAS, KERAS_BACKEND="jax")


def extra_plot() -> str:
    install("bare", f"{wheel()}[plot]")
    return run(python("bare"), "-c", TRAINS + WITH_PLOT, KERAS_BACKEND="jax")


def extra_tensorboard() -> str:
    install("bare", f"{wheel()}[tensorboard]")
    return run(python("bare"), "-c", TRAINS + WITH_TENSORBOARD, KERAS_BACKEND="jax")


def quickstart() -> str:
    page = (ELSEWHERE / "docs" / "quickstart.md").read_text(encoding="utf-8")
    said = re.search(r"pip install \"?(?:clr-schedules|\.)\[([\w,]+)\]\"?((?: [\w-]+)*)", page)
    assert said, "docs/quickstart.md does not say what to install"
    # The other wheels of TensorFlow are the same framework in gigabytes.
    wanted = re.sub("tensorflow|cuda", "cpu", said[1])
    environment("cpu", f"{wheel()}[{wanted}]", *said[2].split())
    # What is shown and hidden, as a script; the site's doctests see what it prints.
    block = r"^```\{testcode\}.*?\n(?::hide:\n)?(.*?)^```$"
    blocks = re.findall(block, page, re.MULTILINE | re.DOTALL)
    assert blocks, "docs/quickstart.md shows no code that runs"
    script = ELSEWHERE / "quickstart.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    run(python("cpu"), script)
    return f"{len(blocks)} blocks with [{wanted}] and what else the page installs"


def collected(*tests: str) -> str:
    install("cpu", f"{wheel()}[cpu,test]")
    output = run(python("cpu"), "-m", "pytest", "--collect-only", "-q", *tests)
    return output.strip().splitlines()[-1]


def tested(*tests: str) -> str:
    output = run(python("cpu"), "-m", "pytest", "-n", "2", "-m", "not slow", "-q", *tests)
    return output.strip().splitlines()[-1].strip("= ")


def resolves(extra: str) -> str:
    report = BUILD / f"{extra}.json"
    options = ("--dry-run", "--ignore-installed", "--only-binary=:all:", "--report", report)
    run(python("bare"), "-m", "pip", "install", "--quiet", *options, f"{wheel()}[{extra}]")
    found = {
        entry["metadata"]["name"].lower(): entry["metadata"]["version"]
        for entry in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    wanted = {
        r.name.lower(): found[r.name.lower()]
        for r in requirements()
        if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
    }
    return f"{len(found)} packages, {', '.join(' '.join(pair) for pair in wanted.items())}"


# Helpers.


def run(*command: str | Path, fails: bool = False, **variables: str) -> str:
    """Runs a command with nothing set, and returns what it printed; or raises with its end."""
    mine = ("PYTHONPATH", "PYTHONHOME", "KERAS_BACKEND", "TF_USE_LEGACY_KERAS")
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    environment |= {"KERAS_HOME": str(BUILD / "keras"), "MPLBACKEND": "Agg"} | variables
    ended = subprocess.run(
        command,
        cwd=ELSEWHERE if ELSEWHERE.exists() else ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )
    output = ended.stdout + (ended.stderr if fails or ended.returncode else "")
    if fails != bool(ended.returncode):
        end = "\n".join(output.strip().splitlines()[-15:])
        raise RuntimeError(
            f"{Path(command[0]).name} {command[1:4]} exits {ended.returncode}: {end}"
        )
    return output


def git(*arguments: str) -> str:
    return run("git", "-C", ROOT, *arguments)


def environment(name: str, *wanted: str | Path) -> None:
    run(sys.executable, "-m", "venv", "--clear", BUILD / "venvs" / name)
    run(python(name), "-m", "pip", "install", "--quiet", "--upgrade", "pip")
    install(name, *wanted)


def install(name: str, *wanted: str | Path) -> None:
    run(python(name), "-m", "pip", "install", "--quiet", *wanted)


def python(name: str) -> Path:
    return BUILD / "venvs" / name / "bin" / "python"


def wheel() -> Path:
    (path,) = (BUILD / "dist").glob("*.whl")
    return path


def sdist() -> Path:
    (path,) = (BUILD / "dist").glob("*.tar.gz")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_dist_info(name: str) -> str:
    with zipfile.ZipFile(wheel()) as archive:
        (path,) = (p for p in archive.namelist() if re.fullmatch(rf"[^/]+\.dist-info/{name}", p))
        return archive.read(path).decode()


def metadata() -> Metadata:
    return Metadata.from_email(in_dist_info("METADATA"))


def requirements() -> list[Requirement]:
    return metadata().requires_dist or []


def extras() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return list(setup["options.extras_require"])


def version() -> str:
    """That of the package, read as setuptools reads it."""
    source = (ROOT / "clr_schedules" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r"^__version__ = (.*)$", source, re.MULTILINE)
    assert found
    return ast.literal_eval(found[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
