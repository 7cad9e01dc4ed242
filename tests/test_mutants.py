"""Tests of `python -m tests.mutants`, with planted modules whose tests are weak or strong."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.mutants import __main__
from tests.mutants.changes import mutants_of
from tests.mutants.judging import Fork, Subject, Verdict, finished
from tests.mutants.subjects import SUBJECTS

SOURCE = """
LIMIT, MOST = 3, 9

class Gate:
    open = True

    def admits(self, age: int) -> bool:
        if age > LIMIT and self.open:
            return age < MOST
        return False

def judged(age: int) -> bool:
    if age > LIMIT and age != 6:
        return age < MOST
    return False
"""
# The first function has a weak test, the second one a strong one.
TESTS = """
import pytest
from gate import Gate, judged

def test_weak():
    assert Gate().admits(5)

@pytest.mark.parametrize(("age", "expected"), [(3, False), (4, True), (6, False), (8, True), (9, False)])
def test_strong(age, expected):
    assert judged(age) is expected
"""
RUN = """
import json
from tests.mutants.judging import Fork, Subject, finished, judge

subject = Subject(module="gate", names=["Gate.admits", "judged", "LIMIT", "MOST"], tests=["test_gate.py"])
print(json.dumps(finished(Fork(lambda: judge(subject)))))
"""
SURVIVORS = {
    ("age > LIMIT and self.open", "age > LIMIT"),
    ("age > LIMIT and self.open", "self.open"),
    ("age > LIMIT", "age >= LIMIT"),
    ("age < MOST", "age <= MOST"),
    ("age < MOST", "True"),
    ("False", "True"),
}


def judge(folder: Path, tests: str) -> tuple[list[list[str]], str]:
    """Judge the module with these tests. Return the verdicts, and why there are none."""
    (folder / "gate.py").write_text(SOURCE)
    (folder / "test_gate.py").write_text(tests)
    (folder / "pytest.ini").touch()
    done = subprocess.run(
        [sys.executable, "-B", "-c", RUN],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{folder}", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    verdicts, fault = json.loads(done.stdout)
    assert (folder / "gate.py").read_text() == SOURCE
    assert [path for path in folder.iterdir() if path.name.startswith("mutant-")] == []
    return verdicts, fault


@pytest.mark.slow
def test_a_weak_test_lets_mutants_survive_and_a_strong_one_kills_all(tmp_path: Path) -> None:
    """A constant is changed too. The sources stay as they are, and no file is left."""
    verdicts, fault = judge(tmp_path, TESTS)
    assert fault == ""
    weak = [verdict for verdict in verdicts if verdict[1] == "Gate.admits"]
    assert {(before, after) for *_, before, after, end, _ in weak if end == "survived"} == SURVIVORS
    assert {(name, end) for _, name, *_, end, _ in verdicts if name != "Gate.admits"} == {
        *(("judged", "killed"), ("LIMIT", "killed"), ("MOST", "killed"))
    }


@pytest.mark.slow
def test_tests_that_fail_without_a_change_judge_nothing(tmp_path: Path) -> None:
    """Each mutant would count as killed."""
    fault = "these tests fail without a change: ['test_gate.py::test_weak']"
    assert judge(tmp_path, TESTS.replace("admits(5)", "admits(9)")) == ([], fault)


def test_only_tests_whose_time_is_over_are_hung() -> None:
    """A process that ends by itself without a result has not judged. Its exit status is kept."""
    crashed = Fork(lambda: os._exit(3))
    late = Fork(lambda: time.sleep(60), until=time.monotonic() + 0.1)
    assert (finished(crashed), crashed.end(None), crashed.status) == (None, "broken", 3)
    assert (finished(late), late.end(None), late.status) == (None, "hung", -signal.SIGKILL)
    done = Fork(lambda: ["test"])
    failed = finished(done)
    assert (done.end(failed), done.end([]), done.status) == ("killed", "survived", 0)


def test_ctrl_c_ends_the_process_and_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would remove the folder later."""
    fork = Fork(lambda: time.sleep(60))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.mutants.judging.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        finished(fork)
    assert not fork.folder.exists()
    assert fork.status is not None
    with pytest.raises(ProcessLookupError):
        os.kill(fork.pid, 0)


def test_a_word_in_the_name_of_no_module_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing would be judged, and the exit code would say that all is well."""
    assert __main__.main(["settling", "typo"]) == 2
    assert capsys.readouterr().out == "no module has a name with typo\n"


KILLED, SURVIVED, NAMED, HUNG, BROKEN = (
    Verdict("a.b", "f", 7, *change)
    for change in (
        *(("x", "y", "killed"), ("1", "2", "survived"), ("p | q", "q", "survived")),
        *(("x", "y", "hung", -9), ("x", "y", "broken", 3)),
    )
)
PAGE = "| `a.b:f` | `p \\| q` | `q` | only its speed differs |\n"


@pytest.mark.parametrize(
    ("verdicts", "page", "faults"),
    [
        ([KILLED, NAMED], PAGE, []),
        ([HUNG, NAMED], PAGE, []),
        ([BROKEN, NAMED], PAGE, ["a.b:7 f: the tests ended with status 3 for `x` as `y`"]),
        ([KILLED, SURVIVED, NAMED], PAGE, ["a.b:7 f: `1` survives as `2`"]),
        ([KILLED], PAGE, ["page.md names a mutant that does not survive: a.b f p | q q"]),
        (
            [KILLED, NAMED],
            f"{PAGE}| `c.d:f` | `1` | `2` | x |\n",
            ["page.md names a mutant that does not survive: c.d f 1 2"],
        ),
    ],
)
def test_a_survivor_is_named_with_its_reason_and_nothing_else_is(
    verdicts: list[Verdict],
    page: str,
    faults: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page would otherwise say what is no longer true."""
    (tmp_path / "page.md").write_text(page)
    monkeypatch.setattr(__main__, "judged", lambda _: (verdicts, ""))
    code = __main__.main([], [Subject(module="a.b", names=[], tests=[])], tmp_path / "page.md")
    assert capsys.readouterr().out.splitlines()[1:] == faults
    assert code == bool(faults)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a and not b", {"None", "a", "not b", "b"}),
        ("return a <= b", {"None", "a < b"}),
        ("return a | b", {"None", "a & b"}),
        ("return a + 1", {"None", "a - 1", "2"}),
        ("return b'x'", {"None", "b''"}),
        ("if a: b()", {"True", "False"}),
        ("while a or b: b()", {"a", "b"}),
        ("return [x for x in a if x]", {"None", "True", "False"}),
        ("raise ValueError(a + 1)", set()),
        ("a.note('no', b == 1)", set()),
        ("a = f'{b + 1}'", set()),
        ("return zip(a, b, strict=True)", {"None"}),
        ("a = 'a text for people'", set()),
        ("a -= 1", {"a += 1", "2"}),
        ("match a:\n  case 1 if b: pass", {"2", "True", "False"}),
    ],
)
def test_one_expression_is_changed_at_a_time(body: str, expected: set[str]) -> None:
    """What a message says decides nothing. A loop that never ends would tell nothing."""
    source = "def f(a, b):\n" + "\n".join(f"    {line}" for line in body.splitlines())
    assert {mutant.after for mutant in mutants_of(source, "f.py", ["f"])} == expected


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.module)
def test_each_subject_exists(subject: Subject) -> None:
    """A function that was renamed would be judged no more. Only functions that are judged can be named on the page."""
    file = str(import_module(subject.module).__file__)
    for name in subject.names:
        next(mutants_of(Path(file).read_text("utf-8"), file, [name]), None)
    assert all((ROOT / tests).exists() for tests in subject.tests)


def test_the_page_names_mutants_of_the_subjects_only() -> None:
    """Whether they survive is judged in a full check."""
    rows = __main__.named(__main__.PAGE.read_text("utf-8"))
    judged = {(subject.module, name) for subject in SUBJECTS for name in subject.names}
    assert rows
    assert {row[:2] for row in rows} <= judged


def test_an_unknown_function_is_an_error() -> None:
    """It was renamed, and nobody would judge it."""
    with pytest.raises(LookupError, match=r"f\.py has no g"):
        list(mutants_of("def f(): pass", "f.py", ["g"]))
