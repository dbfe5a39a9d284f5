"""Mutation testing: `make mutation` runs mutmut as it is set here, and prints the score.

    python tools/mutation.py [mutants ...]     all mutants without a result yet, or these
    python tools/mutation.py --report          the score and what survived

Mutants are named by patterns: `python tools/mutation.py 'clr_schedules.optimizers*'` tests those of
the optimizers, and tests again those that have a result. The settings of mutmut are in
`pyproject.toml`; its results are kept in `mutants/`. The environment variable `WORKERS` says how
many mutants are tested at a time: 2, if it is not set.

The rest of this file adapts mutmut 3.8.1: it collects the tests once and not for each mutant,
mutates decorated functions too, and leaves the sentences of errors alone.
"""

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

# The pairs of a function and a test that has killed a mutant of it.
KILLERS = Path("mutants/killers.txt").absolute()


# A plugin of pytest, for each of mutmut's processes.


def pytest_configure(config):
    """The same examples in every run, and no search for the smallest example that fails."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutation",
        settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "few")),
        phases=[Phase.explicit, Phase.generate],
        derandomize=True,
        report_multiple_bugs=False,
        database=None,
    )
    settings.load_profile("mutation")


def pytest_runtest_logreport(report):
    """Shows what fails without a mutant: mutmut says only that something did."""
    if report.failed and os.environ.get("MUTANT_UNDER_TEST") in ("", "stats"):
        print(f"\n{report.nodeid}\n{report.longreprtext}", file=sys.__stderr__)


# What runs mutmut.


def adapt():
    """Has mutmut mutate decorated functions too, and only strings of one word."""
    import libcst as cst
    from mutmut.mutation import file_mutation, mutators

    # The wording of errors is not promised. (That they name the argument is, and is tested.)
    strings = mutators.operator_string

    def one_word(node):
        return [] if " " in getattr(node, "value", "") else strings(node)

    mutators.mutation_operators[:] = [
        (kind, one_word if operator is strings else operator)
        for kind, operator in mutators.mutation_operators
    ]

    # Mutmut leaves out functions with decorators, since each of their copies would be decorated.
    skips = file_mutation.MutationVisitor._skip_node_and_children
    arrange = file_mutation.function_trampoline_arrangement
    own = ("staticmethod", "classmethod")

    def decorated(node):
        decorators = [getattr(d.decorator, "value", None) for d in node.decorators]
        return decorators and not any(name in own for name in decorators)

    def skip(visitor, node):
        if isinstance(node, cst.FunctionDef) and decorated(node):
            return False
        return skips(visitor, node)

    def arranged(function, mutants, class_name):
        if not decorated(function):
            return arrange(function, mutants, class_name)
        parts = arrange(function.with_changes(decorators=[]), mutants, class_name)
        first, *copies = parts[1]
        first = first.with_changes(decorators=[*function.decorators, *first.decorators])
        return parts[0], [first, *copies], *parts[2:]

    file_mutation.MutationVisitor._skip_node_and_children = skip
    file_mutation.function_trampoline_arrangement = arranged


def warm_runner():
    """A runner that collects the tests once; each mutant is tested in a fork of it."""
    import gc

    from _pytest.config import _prepareconfig
    from _pytest.main import Session
    from mutmut.configuration import config as settings
    from mutmut.runners.harness import PytestRunner
    from mutmut.state import state
    from mutmut.utils.file_utils import change_cwd

    class WarmRunner(PytestRunner):
        def warm_up(self):
            ours = settings()
            self.output = sys.stdout  # mutmut's; dropping the last reference to it gives a warning
            with change_cwd("mutants"):
                config = _prepareconfig(
                    [
                        *("--rootdir=.", "--capture=no", "--tb=line", "-x", "-q"),
                        *ours.pytest_add_cli_args,
                        *ours.pytest_add_cli_args_test_selection,
                    ]
                )
                config._do_configure()
                self.session = Session.from_config(config)
                config.hook.pytest_sessionstart(session=self.session)
                config.hook.pytest_collection(session=self.session)
                gc.collect()
                gc.freeze()

        def run_tests(self, *, mutant_name, tests):
            if not hasattr(self, "session"):
                self.warm_up()
            tests, durations = set(tests), state().duration_by_test
            items = [i for i in self.session.items if i.nodeid in tests or not tests]
            assert len(items) >= len(tests)
            # Trainings are slow, and seldom notice what is wrong in a schedule.
            if mutant_name and "optimizers" not in mutant_name:
                items = [i for i in items if "hyperparameters" not in i.nodeid]
            # The run ends with the first test that fails. So the tests that have killed other
            # mutants of this function come first, and then the quick ones.
            function = mutant_name.rpartition("__mutmut_")[0] if mutant_name else None
            killed = [line.split("\t") for line in KILLERS.read_text().splitlines()]
            killers = Counter(test for killed_in, test in killed if killed_in == function)
            items.sort(key=lambda item: (-killers[item.nodeid], durations.get(item.nodeid, 0.0)))
            self.session.items = items
            with change_cwd("mutants"), contextlib.suppress(Session.Failed, Session.Interrupted):
                self.session.config.hook.pytest_runtestloop(session=self.session)
            if function and self.session.testsfailed:
                reporter = self.session.config.pluginmanager.getplugin("terminalreporter")
                failed = reporter.getreports("failed") + reporter.getreports("error")
                with KILLERS.open("a") as file:
                    file.write("".join(f"{function}\t{each.nodeid}\n" for each in failed))
            return int(self.session.testsfailed > 0)

    return WarmRunner


def report():
    """Prints the score of each module, and every mutant that survived as a change of its source."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    survivors, total = [], Counter()
    print("module                                       mutants  killed  timeout  survived  score")
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        statuses = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
        counts = Counter(status for status in statuses.values() if status != "not checked")
        print_row(path, counts)
        total += counts
        survivors += [(name, path, s) for name, s in statuses.items() if s not in NO_SURVIVOR]
    print_row("all", total)
    for name, path, status in survivors:
        changed = [
            line
            for line in get_diff_for_mutant(name, path=path).splitlines()
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        print(f"\n{name}  ({status})", *changed, sep="\n")


NO_SURVIVOR = ("killed", "segfault", "timeout", "not checked")


def print_row(name, counts):
    if total := counts.total():
        killed, timeout = counts["killed"] + counts["segfault"], counts["timeout"]
        score = f"{100 * (killed + timeout) / total:.1f} %"
        survived = total - killed - timeout
        print(f"{name!s:43} {total:8} {killed:7} {timeout:8} {survived:9}  {score}")


if __name__ == "__main__":
    adapt()
    if sys.argv[1:] != ["--report"]:
        from mutmut.__main__ import _run
        from mutmut.workers import isolation

        isolation.PytestRunner = warm_runner()
        KILLERS.parent.mkdir(exist_ok=True)
        KILLERS.touch()

        _run(sys.argv[1:], max_children=int(os.environ.get("WORKERS", "2")))
    report()
