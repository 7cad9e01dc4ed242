"""Runs the tests of a module against each of its mutants: each in a fork of a process that has collected the tests.

The fork gives the function the mutant's code. The tests that reached the changed lines run until one fails.
"""

import ctypes
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import coverage
import pytest

from tests.mutants.changes import Mutant, mutants_of

# A test, and all tests of a mutant, fail after so many times the seconds that they take without a change, and more.
TIMES, MORE = 6, 20
PR_SET_PDEATHSIG = 1  # prctl(2)
OPTIONS = ("-n0", "-p", "no:randomly", "-p", "no:cacheprovider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Functions, classes and constants of a module, and the tests that should notice each change of them."""

    module: str
    names: Sequence[str]
    tests: Sequence[str]


class Verdict(NamedTuple):
    """What became of a mutant: `killed`, `hung`, `survived`, or `broken` if its process ended too early."""

    module: str
    name: str
    line: int
    before: str
    after: str
    end: str
    status: int | None = 0


@dataclass(slots=True, eq=False)
class Fork:
    """A process that does some work, and writes its result to a file. It has a folder for its temporary files.

    `late` says that it was ended because its time was over. `status` is its exit status, or minus a signal.
    """

    work: Callable[[], object]
    until: float = float("inf")
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mutant-")))
    pid: int = 0
    late: bool = False
    status: int | None = None

    def start(self) -> "Fork":
        """Start the process, in a session of its own, so that it can be ended with all that it started.

        It also ends with the process that started it.
        """
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.setsid()
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                nothing = os.open(os.devnull, os.O_RDWR)
                for stream in range(3):
                    os.dup2(nothing, stream)
                os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(self.folder)
                (self.folder / "result.json").write_text(json.dumps(self.work()), "utf-8")
                status = 0
            finally:
                os._exit(status)
        return self

    def ended(self) -> bool:
        """Return whether the process has ended, or has been ended because its time is over."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() <= self.until:
                return False
            self.late = True
        self.stop()
        return True

    def stop(self) -> None:
        """End the process and all that it started, while its ID is still its own."""
        if self.pid and self.status is None:
            for kill in (os.killpg, os.kill):  # it may not have a session yet
                with suppress(ProcessLookupError):
                    kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def result(self) -> Any:
        """Return the result. None without a result."""
        try:
            return json.loads((self.folder / "result.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def close(self) -> None:
        """End the process, and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, failed: Sequence[str] | None) -> str:
        """Return what became of the mutant whose tests ran here, of which these failed."""
        if failed is None:
            return "hung" if self.late else "broken"
        return "killed" if failed else "survived"


def finished(fork: Fork) -> Any:
    """Wait for a fork, and return its result."""
    try:
        fork.start()
        while not fork.ended():
            time.sleep(0.05)
        return fork.result()
    finally:
        fork.close()


def functions_of(module: ModuleType) -> dict[str, list[FunctionType]]:
    """Return the functions and methods of a module by name, also those behind decorators."""
    functions: dict[str, list[FunctionType]] = {}
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
            functions.setdefault(function.__code__.co_qualname, []).append(function)
    return functions


def plant(mutant: Mutant, module: ModuleType, functions: Mapping[str, Sequence[FunctionType]]) -> None:
    """Change a function in this process, or a constant in each module that has it."""
    if mutant.lines:
        for function in functions[mutant.name]:
            function.__code__ = mutant.code
        return
    old, new = vars(module)[mutant.name], eval(mutant.code, vars(module))
    for other in list(sys.modules.values()):
        if getattr(other, "__dict__", {}).get(mutant.name) is old:
            setattr(other, mutant.name, new)


class Judge:
    """The plugin of pytest that runs the collected tests against each mutant of a subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.verdicts: list[Verdict] = []
        self.fault = "the tests cannot be collected"
        self._failed: list[str] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._kills: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what failed, and how long each test takes."""
        self._seconds[report.nodeid] += report.duration
        if report.failed:
            self._failed.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests once without a change, then against each mutant."""
        if session.testsfailed or not session.items:
            return True
        module = import_module(self.subject.module)
        plain = finished(Fork(lambda: self._plain(session, str(module.__file__))))
        if plain is None or plain["failed"]:
            self.fault = f"these tests fail without a change: {plain and plain['failed']}"
            return True
        self._seconds.update(plain["seconds"])
        for item in session.items:
            item.add_marker(pytest.mark.timeout(MORE + TIMES * self._seconds[item.nodeid]))
        try:
            self._judge(session, module, {int(line): set(tests) for line, tests in plain["reached"].items()})
            self.fault = ""
        except LookupError as error:
            self.fault = str(error)
        return True

    def _plain(self, session: pytest.Session, file: str) -> dict[str, object]:
        """Run all tests, and return those that failed, their seconds, and the tests that reached each line."""
        measured = coverage.Coverage(data_file=None, config_file=False, include=[file])
        measured.start()
        self._run(session, session.items, begin=measured.switch_context)
        measured.stop()
        reached = measured.get_data().contexts_by_lineno(file)
        return {"failed": self._failed, "seconds": self._seconds, "reached": reached}

    def _judge(self, session: pytest.Session, module: ModuleType, reached: Mapping[int, set[str]]) -> None:
        file, functions = str(module.__file__), functions_of(module)
        waiting = mutants_of(Path(file).read_text("utf-8"), file, self.subject.names)
        running: dict[Fork, Mutant] = {}
        while True:
            while len(running) < (os.cpu_count() or 1) and (mutant := next(waiting, None)):
                running[self._against(mutant, session, module, functions, reached)] = mutant
            if not running:
                return
            time.sleep(0.01)
            for fork in [fork for fork in running if fork.ended()]:
                mutant, failed = running.pop(fork), fork.result()
                fork.close()
                self._kills.update(failed or ())
                changed = (mutant.name, mutant.line, mutant.before, mutant.after)
                self.verdicts.append(Verdict(self.subject.module, *changed, fork.end(failed), fork.status))

    def _against(
        self,
        mutant: Mutant,
        session: pytest.Session,
        module: ModuleType,
        functions: Mapping[str, Sequence[FunctionType]],
        reached: Mapping[int, set[str]],
    ) -> Fork:
        """Start the tests that reach a mutant, first those that have killed others."""
        names = {name for line in mutant.lines for name in reached.get(line, ())}
        items = [item for item in session.items if item.nodeid in names or not mutant.lines]
        items.sort(key=lambda item: (-self._kills[item.nodeid], self._seconds[item.nodeid]))
        seconds = sum(self._seconds[item.nodeid] for item in items)

        def work() -> list[str]:
            plant(mutant, module, functions)
            self._run(session, items)
            return self._failed

        return Fork(work, until=time.monotonic() + MORE + TIMES * seconds).start()

    def _run(
        self, session: pytest.Session, items: Sequence[pytest.Item], begin: Callable[[str], object] | None = None
    ) -> None:
        """Run tests until one fails. With `begin`, which is called with the name of each, run all."""
        for item, following in zip_longest(items, items[1:]):
            if begin:
                begin(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed and not begin:
                break
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=0)


def judge(subject: Subject) -> tuple[list[Verdict], str]:
    """Return what became of each mutant of a subject. Otherwise return why its tests cannot judge."""
    plugin = Judge(subject)
    pytest.main([*OPTIONS, *subject.tests], plugins=[plugin])
    return plugin.verdicts, plugin.fault
