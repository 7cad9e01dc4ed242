"""Shared parts of the suites: a lab per worker, a HOME for each test session, new users, and independent judges."""

import contextlib
import gc
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import HealthCheck, settings

from mfa_kit.cli import messages, terminal
from mfa_kit.cli.main import GARBAGE_AT, run
from mfa_kit.cli.messages import EVENTS
from mfa_kit.core.message import Command, Message, ShellText, parts_of
from mfa_kit.core.models import Backup
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import one_line
from mfa_kit.enrollment.pacing import FIRST_RATE, RateLimiter
from mfa_kit.lab.aws.backend import LabBackend, LabUser
from mfa_kit.lab.aws.server import Lab
from tests.botocore_once import work_once
from tests.cheap_scrypt import cheap_scrypt, seal
from tests.fork_server import STREAMS, fork_server
from tests.ledgers import KINDS, Place
from tests.limits import pytest_runtest_makereport as pytest_runtest_makereport  # noqa: PLC0414 - a hook
from tests.postgresql import BIN, Server, running_server
from tests.sizes import FULL, size

ROOT = Path(__file__).parents[1]
ACCOUNT = "000000000000"
HOSTILE = ("AWS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "BOTO_CONFIG", "MFA_KIT_HOME")
NOBODY = 65534
# Tests count things for the summary with the property (COUNTED, (what, number)). The count of LOST must be 0.
COUNTED, LOST = "counted", "users lost"

# Hypothesis uses the same examples in each run, so that a failure is caused by a change and nothing else, and there is
# no time limit. `pytest --hypothesis-profile=many` tries other examples.
settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    print_blob=True,
    max_examples=size(30, 100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("many", settings.get_profile("steady"), derandomize=False, max_examples=5000)
settings.load_profile("steady")

# Debian's ordinary users have 0o002, and mfa-kit refuses files that a group can write. `.ci/run` has this too.
os.umask(0o022)

# As a command does (docs/decisions/007): collecting garbage takes a tenth of the CPU time of the tests otherwise.
gc.set_threshold(GARBAGE_AT)

work_once()


def without(reason: str) -> Any:
    """Skip a test because this computer lacks a program or device. In CI, fail the test."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def judge(program: str) -> str:
    """Return the path of a program of Debian."""
    return shutil.which(program) or without(f"{program} is not installed")


@pytest.fixture(autouse=True, scope="session")
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="mfa-kit-test-") as folder:
        # libpcsclite reads its socket's address only once, for whichever suite comes first. tests.pcsc starts a daemon
        # there.
        patch.setenv("PCSCLITE_CSOCK_NAME", f"{folder}/pcscd.comm")
        # A limit that is lowered here would also apply to the processes that tests start.
        patch.setattr(resource, "setrlimit", lambda *_: None)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # The tests must not prompt a person who runs them at a terminal.
        patch.setattr(terminal, "TTY", "/dev/null/no-terminal")
        for name in list(os.environ):
            if name.upper().startswith(HOSTILE):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def _signals_are_heard() -> Iterator[None]:
    """Restore the default signal handling.

    Tests in the background or under nohup start with ignored signals, and every process that they start would ignore
    them too.
    """
    heard: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    heard |= dict.fromkeys((signal.SIGQUIT, signal.SIGHUP), signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _interrupts_are_over() -> Iterator[None]:
    """Forget at the end of each test that Ctrl-C arrived in it."""
    yield
    INTERRUPTS.forget()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Start a PostgreSQL server for this worker."""
    if not (BIN / "initdb").exists():
        without("postgresql-17 is not installed")
    with running_server() as server:
        yield server


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return a place for a ledger, in each kind of database."""
    if request.param == "sqlite":
        return Place("sqlite", str(tmp_path / "desk"))
    server: Server = request.getfixturevalue("postgresql")
    return Place("postgresql", server.address(server.new_database()))


@pytest.fixture
def at_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Point this process at the lab. Afterward, remove all injected faults, new users and unassigned devices.

    A command that reads the account would take longer with each test otherwise.
    """
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    before = {user.id for user in lab.account.backend.all_users()}
    yield lab
    lab.faults.clear()
    with lab.account.lock:
        for user in lab.account.backend.all_users():
            if user.id not in before:
                delete_user(lab.account.backend, user)
        for serial, device in list(lab.account.backend.virtual_mfa_devices.items()):
            if device.user is None:
                lab.account.backend.delete_virtual_mfa_device(serial)


def delete_user(backend: LabBackend, user: LabUser) -> None:
    """Delete a user after all that IAM wants removed first. The user's virtual devices stay, unassigned."""
    for serial in list(user.mfa_devices):
        backend.deactivate_mfa_device(user.name, serial)
    for key in list(user.access_keys):
        backend.delete_access_key(key.access_key_id, user.name)
    for arn in list(user.managed_policies):
        backend.detach_user_policy(arn, user.name)
    for group in backend.get_groups_for_user(user.name):
        backend.remove_user_from_group(group.name, user.name)
    user.policies.clear()
    user.password = None
    backend.delete_user(user.name)


def users_of(lab: Lab) -> Callable[[], str]:
    """Return a function that creates another user at each call."""
    numbers = count(1)

    def make() -> str:
        name = f"t{next(numbers):05}"
        lab.add_user(name)
        return name

    return make


@pytest.fixture(scope="session")
def users(lab: Lab) -> Callable[[], str]:
    return users_of(lab)


@pytest.fixture
def user(at_lab: Lab, users: Callable[[], str]) -> str:
    """Create a user. `at_lab` removes this user after the test."""
    del at_lab
    return users()


@pytest.fixture(scope="session")
def identity() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="session")
def recipient(identity: pyrage.x25519.Identity) -> str:
    return str(identity.to_public())


@pytest.fixture(scope="session")
def identity_file(identity: pyrage.x25519.Identity, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("identity") / "identity.txt"
    file.write_text(f"# made for a test\n{identity}\n")
    return file


@pytest.fixture
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make encryption with a passphrase take milliseconds in this process, except in a full run."""
    if cheap_scrypt():
        monkeypatch.setattr(pyrage.passphrase, "encrypt", seal)


@pytest.fixture(autouse=True, scope="session")
def _no_fork_server_is_left(_home_of_its_own: None, _signals_are_heard: None) -> Iterator[None]:
    yield
    if fork_server.cache_info().currsize:
        fork_server().close()
        fork_server.cache_clear()


@dataclass(frozen=True)
class Result:
    """The result of a command line."""

    code: int
    out: str
    err: str


def interrupt(process: "subprocess.Popen[str]", *, within: float = 40) -> str:
    """Press Ctrl-C, wait until the command has ended with 130, and return what it wrote to stderr."""
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=within)
    finally:
        process.kill()
    assert process.returncode == 130, err
    return err


@dataclass
class MfaKit:
    """The command line with its own folder, run in this process or as a separate process."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process."""
        return {**bare(), "MFA_KIT_HOME": str(self.home), **self.env}

    @property
    def who(self) -> dict[str, Any]:
        """The options of Popen for a process of another user."""
        return {}

    def run(self, *args: str | Path) -> Result:
        """Run in this process: everything main() does except the exit."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(arg) for arg in args])
        return Result(code, out.getvalue(), err.getvalue())

    def start(self, *args: str | Path, env: dict[str, str] | None = None, **how: Any) -> subprocess.Popen[str]:
        """Start a separate process of this interpreter or of `python`.

        The words in `before` come first on the command line. `-m` would not do: CPython then ends by SIGINT after a
        Ctrl-C that the program has handled, if the exception passed through text that `exec` runs, as in a dataclass.
        """
        python, before = how.pop("python", sys.executable), how.pop("before", ())
        how = {"start_new_session": True, **STREAMS, **self.who, **how}
        return subprocess.Popen(
            [*before, python, "-c", "from mfa_kit.cli.main import main; main()", *map(str, args)],
            env={**self.variables, **(env or {})},
            text=True,
            **how,
        )

    def fork(self, *args: str | Path, **how: Any) -> subprocess.Popen[str]:
        """Start a fork of a process that has imported mfa-kit, or a real one if the test asks for more.

        A full check has real ones only.
        """
        plain = how.keys() <= {"start_new_session", *STREAMS} and not FULL
        if not plain or not fork_server().fits(self.variables):
            return self.start(*args, **how)
        how.pop("start_new_session", None)
        return fork_server().start([*map(str, args)], env=self.variables, **{**STREAMS, **self.who, **how})

    def process(self, *args: str | Path, **how: Any) -> Result:
        """Run a process to its end, as `fork` does."""
        timeout = how.pop("timeout", 150)
        process = self.fork(*args, **how)
        out, err = process.communicate(timeout=timeout)
        return Result(process.returncode, out or "", err or "")


def local(backup: Backup) -> Path:
    """Return the path of a backup on this computer."""
    assert isinstance(backup.path, Path)
    return backup.path


def bare() -> dict[str, str]:
    """Return the environment of a child process: none of the caller's variables except those that coverage needs."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT), **kept}


@pytest.fixture
def mfa_kit(at_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    """Return the command line with an empty folder, pointed at the lab."""
    home = tmp_path / "desk"
    monkeypatch.setenv("MFA_KIT_HOME", str(home))
    return MfaKit(home, dict(at_lab.env))


def _runs_as_nobody(python: str, path: str) -> bool:
    """Return whether an unprivileged user can run the package in that folder with that interpreter."""
    try:
        subprocess.run(
            [python, "-c", f"import boto3, pyrage, mfa_kit; assert mfa_kit.__file__.startswith({path!r})"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={"PYTHONPATH": path},
            cwd="/",
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture(scope="session")
def unprivileged() -> Iterator[tuple[str, str]]:
    """Find an interpreter and a folder with the package for an unprivileged user: the checkout, or a copy of it."""
    if os.geteuid() != 0:
        without("becoming another user needs root")
    with tempfile.TemporaryDirectory(prefix="mfa-kit-", dir="/tmp") as copy:
        for path in (str(ROOT), copy):
            if path == copy:
                Path(copy).chmod(0o755)
                shutil.copytree(ROOT / "mfa_kit", f"{copy}/mfa_kit", ignore=shutil.ignore_patterns("__pycache__"))
            for python in (sys.executable, "/opt/mfa-kit-check/bin/python"):
                if _runs_as_nobody(python, path):
                    yield python, path
                    return
    without("no interpreter that an unprivileged user can run; `bash .ci/run` makes one")


@dataclass
class Nobody(MfaKit):
    """The command line as an unprivileged user, with a folder of that user."""

    python: str = ""
    path: str = ""

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, "PYTHONPATH": self.path, "HOME": str(self.home.parent)}

    @property
    def who(self) -> dict[str, Any]:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": str(self.home.parent)}

    def start(self, *args: str | Path, env: dict[str, str] | None = None, **how: Any) -> subprocess.Popen[str]:
        return super().start(*args, env=env, **{"python": self.python, **how})


@pytest.fixture
def nobody(at_lab: Lab, unprivileged: tuple[str, str]) -> Iterator[Nobody]:
    """Return the command line as an unprivileged user, because a permission test cannot fail as root."""
    python, path = unprivileged
    with tempfile.TemporaryDirectory(prefix="mfa-kit-nobody-", dir="/tmp") as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Nobody(Path(folder) / "desk", dict(at_lab.env), python=python, path=path)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print at the end of a run how many faults were tried, and how many users were lost."""
    reports = [report for each in terminalreporter.stats.values() for report in each]
    counted: Counter[str] = Counter()
    for report in reports:
        if getattr(report, "when", "") == "call":
            for name, value in report.user_properties:
                if name == COUNTED:
                    counted[value[0]] += value[1]
    if counted:
        lost = counted.pop(LOST, 0)
        terminalreporter.section("faults tried")
        for what, number in sorted(counted.items()):
            terminalreporter.line(f"{what}: {number}")
        terminalreporter.line(f"{LOST}: {lost}")


@pytest.fixture(autouse=True)
def messages_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the log of events after each test, because a command with --log json turns it on for its process."""
    monkeypatch.setattr(EVENTS, "on", False)


@pytest.fixture(autouse=True)
def quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with as many requests a second as the lab answers, unless it throttles them. Processes keep their pace."""
    defaults = RateLimiter.__init__.__kwdefaults__
    assert defaults is not None
    assert defaults["rate"] == FIRST_RATE
    monkeypatch.setitem(defaults, "rate", 1000.0)


# The commands that tests of this process have printed and pasted.
PASTED: set[str] = set()


@pytest.fixture(autouse=True)
def pasted_commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Paste each command that a test prints into a shell, from a window of 80 columns.

    Fail unless the shell gets exactly the arguments of the command.
    """
    printed: list[Command] = []

    def record(text: str) -> tuple[str, ...]:
        parts = parts_of(text)
        printed.extend(part for part in parts if isinstance(part, Command) and part not in PASTED)
        return parts

    monkeypatch.setattr(messages, "parts_of", record)
    yield
    plain = [line for line in printed if can_be_typed(line)]
    PASTED.update(plain)
    if wrong := [line for line in plain if pasted(line) != list(line.arguments)]:
        pytest.fail(f"these commands cannot be pasted: {wrong}")


def can_be_typed(line: Command) -> bool:
    """Tell whether a shell gets the arguments as they are.

    Half a surrogate pair, which JSON may hold, has no bytes. Control characters, which no name in IAM has, are printed
    as escapes, and a shell does not read these back.
    """
    text = "".join(line.arguments)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return one_line(text) == text and not any(isinstance(word, ShellText) for word in line.arguments)


def pasted(line: Command) -> list[str]:
    """Return the arguments that a shell gets from a command, as printed after a long sentence in 80 columns."""
    lines = messages.hanging(Message("x" * 80, line), 80)[1:]
    stub = "printf '%s\\0' \\\n" + "\n".join(lines)
    done = subprocess.run(["/bin/sh", "-c", stub], capture_output=True, text=True, check=True, errors="surrogateescape")
    return done.stdout.split("\0")[:-1]
