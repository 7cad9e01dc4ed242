"""Search for a known secret and its codes in all output, logs, files and stack frames of a run.

Also tests that the process is protected: no core file, no ptrace by the same user.
"""

import base64
import ctypes
import io
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import mfa_kit as package
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core import otp
from mfa_kit.core.otp import Created, Seed
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit, Nobody, without
from tests.faults.worker import Cut, act, at_desk

FOLDER = str(Path(package.__file__).parent)
LAB = str(Path(package.__file__).parent / "lab")
CORES = ["prlimit", "--core=unlimited", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
VIRTUAL = ("--with", "virtual", "--codes", "generated")


def serial_of(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{user}"


def forms(seed: bytes) -> list[bytes]:
    """Return a seed in each possible form: octets, octets as Python prints them, base32, hex, base64."""
    written = [base64.b32encode(seed).rstrip(b"="), seed.hex().encode(), base64.b64encode(seed).rstrip(b"=")]
    written += [base64.urlsafe_b64encode(seed).rstrip(b"="), base64.b64encode(base64.b32encode(seed)).rstrip(b"=")]
    plain = [seed, repr(seed)[2:-1].encode(), json.dumps(seed.decode("latin-1")).strip('"').encode()]
    return [*plain, *written, *(each.lower() for each in written), *(each.upper() for each in written)]


def codes(seed: bytes, at: float) -> list[bytes]:
    """Return the codes that a run at a time may have computed."""
    step = otp.step(at)
    return [code.encode() for code in otp.codes(Seed(seed), range(step - 3, step + 3))]


def secrets_in(text: bytes, seed: bytes) -> list[bytes]:
    """Return the forms of a seed and the codes in a text. Six digits within a longer number are not a code."""
    found = [form for form in forms(seed) if form in text]
    return found + [
        code for code in codes(seed, time.time()) if re.search(rb"(?<![0-9a-f.-])%s(?![0-9a-f-])" % code, text)
    ]


class Watched(logging.Handler):
    """Collects the records of all loggers."""

    def __init__(self) -> None:
        super().__init__(0)
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(f"{record.name} {record.getMessage()} {record.args!r}\n")


@contextmanager
def loudest() -> Iterator[Watched]:
    """Set all loggers to level 0."""
    root, watched = logging.getLogger(), Watched()
    everyone = [root, *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    before = [(each, each.level) for each in everyone]
    for each in everyone:
        each.setLevel(0)
    root.addHandler(watched)
    yield watched
    root.removeHandler(watched)
    for each, level in before:
        each.setLevel(level)


@pytest.fixture
def loud() -> Iterator[Watched]:
    """Collect the records of all loggers."""
    with loudest() as watched:
        yield watched


class Frames:
    """Collects the locals of mfa-kit's frames at each line, in the form of a traceback with locals."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self.lines = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace(), threading.gettrace()
        sys.settrace(self._call)
        threading.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        here, in_threads = self._before
        sys.settrace(here)
        threading.settrace(in_threads)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(FOLDER) or file.startswith(LAB):
            return None
        where, name = f"{Path(file).name}:{frame.f_code.co_name}", "first line of "

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal name
            if event == "return":
                return None
            self.lines += 1
            self.seen.setdefault(name + where, set()).update(map(_written, frame.f_locals.values()))
            name = ""
            return line

        return line


def _written(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - an object that is half made has no repr
        return type(error).__name__


def test_the_search_finds_what_it_looks_for() -> None:
    """If the search found nothing in any text, its results would prove nothing."""
    seed = bytes(range(60, 100))
    for form in forms(seed):
        assert secrets_in(b"xx" + form + b"xx", seed)
    for code in codes(seed, time.time()):
        assert secrets_in(b"the code is " + code + b".", seed)
        assert secrets_in(repr((code.decode(), 1)).encode(), seed)
    assert not secrets_in(b"nothing", seed)


def test_a_run_prints_and_writes_no_secret(
    mfa_kit: MfaKit, user: str, recipient: str, lab: Lab, loud: Watched, identity_file: Path
) -> None:
    """The test searches stdout, stderr, all log records, the ledger and all files of several commands."""
    done = mfa_kit.run("enroll", user, *VIRTUAL, "-r", recipient, "--debug", "--output", "json")
    assert done.code == 0
    seed = lab.seed(serial_of(user))
    backup = json.loads(done.out)["backup"]
    said = [done, mfa_kit.run("backup", "verify", backup, "-i", identity_file), mfa_kit.run("ledger", "export")]
    text = "".join(each.out + each.err for each in said) + loud.text.getvalue()
    assert "mfa_kit.adapters.aws.iam CreateVirtualMFADevice answered 200" in text
    assert not secrets_in(text.encode(), seed)
    files = [path for path in mfa_kit.home.rglob("*") if path.is_file()]
    assert len(files) >= 2
    for path in files:
        octets = path.read_bytes()
        assert not secrets_in(octets, seed), path
        assert b"otpauth" not in octets


@pytest.mark.slow
def test_no_local_variable_shows_a_secret(
    mfa_kit: MfaKit, user: str, recipient: str, lab: Lab, identity_file: Path
) -> None:
    """At no line of mfa-kit do local variables show a secret. So a traceback with locals cannot show one either."""
    with Frames() as frames:
        done = mfa_kit.run("enroll", user, *VIRTUAL, "-r", recipient, "--output", "json")
        backup = json.loads(done.out)["backup"]
        opened = mfa_kit.run("backup", "verify", backup, "-i", identity_file)
        shown = mfa_kit.run("backup", "show", backup, "-i", identity_file, "-o", mfa_kit.home / "qr.png")
        anew = mfa_kit.run("backup", "rekey", "-i", identity_file, "-r", recipient)
    assert (done.code, opened.code, shown.code, anew.code) == (0, 0, 0, 0)
    assert frames.lines > 500
    assert {"iam.py:create", "making.py:create_device", "otp.py:codes", "agefile.py:seal", "agefile.py:rekey"} <= set(
        frames.seen
    )
    seed, identity = lab.seed(serial_of(user)), identity_file.read_text().split()[-1]
    shown_by = {
        where
        for where, values in frames.seen.items()
        for value in values
        if secrets_in(value.encode(), seed) or re.search(rf"{identity}|\bsecret=|PNG\\r", value)
    }
    # These are the places where a value becomes a secret, and where botocore returns a response, whose body is dropped
    # at once.
    assert shown_by == {"first line of otp.py:__init__", "first line of iam.py:_answered"}


@pytest.mark.slow
def test_an_exception_at_any_step_shows_no_secret(
    at_lab: Lab, users: Callable[[], str], recipient: str, tmp_path: Path
) -> None:
    """Tracebacks with the locals of mfa-kit's frames, for a failure after each call of each port."""
    shared_calls: list[object] = []
    iam = Iam(observe=shared_calls.append, sleep=lambda _: None)

    class Shared:
        to = staticmethod(shared_calls.append)

    def enroll(user: str, cut: Cut) -> None:
        with at_desk(tmp_path / user, (iam, Shared()), recipient=recipient, cut=cut) as (desk, caller, backend, _):  # type: ignore[arg-type]
            act("enroll", user, desk=desk, caller=caller, backend=backend())

    def fail() -> None:
        raise RuntimeError("planted")

    whole = Cut()
    enroll(users(), whole)
    for number in range(1, len(whole.steps) + 1):
        user = users()
        seeds: list[bytes] = []

        class Telling(Cut):
            """Fails after a step. Reads the secret from the lab before the device may be deleted."""

            def act_now(self, user: str = user, seeds: list[bytes] = seeds) -> None:
                with suppress(Exception):
                    seeds.append(at_lab.seed(serial_of(user)))
                fail()

        cut = Telling(at=number, after=True)
        cut.act = cut.act_now
        with pytest.raises(RuntimeError, match="planted") as caught:
            enroll(user, cut)
        trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [frame for frame in trace.stack if frame.filename.startswith(FOLDER)]
        text = "\n".join(f"{frame.name} {frame.locals}" for frame in ours)
        assert "enroll" in text
        for seed in seeds:
            assert not secrets_in(text.encode(), seed), whole.steps[number - 1]


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_a_failing_run_prints_no_secret(
    form: str, mfa_kit: MfaKit, user: str, recipient: str, lab: Lab, loud: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception's message contains the secret, as in a bug at the worst place, and is not printed."""
    seeds: list[bytes] = []

    def broken(_self: BackupAlone, _intent: Any, created: Created) -> None:
        seeds.append(created.seed.reveal())
        raise RuntimeError(base64.b32encode(created.seed.reveal()).decode())

    monkeypatch.setattr(BackupAlone, "install", broken)
    done = mfa_kit.run("enroll", user, *VIRTUAL, "-r", recipient, "--output", form)
    assert done.code == 70
    assert not secrets_in((done.out + done.err + loud.text.getvalue()).encode(), seeds[0])
    assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]


@pytest.fixture
def waiting(nobody: Nobody, user: str, recipient: str, lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """Start an enroll of an unprivileged user that holds a secret and waits for IAM."""
    lab.faults.add("EnableMFADevice", "latency", seconds=60)
    words = ("enroll", user, *VIRTUAL, "-r", recipient)
    process = nobody.start(*words, before=CORES, user=None, group=None, extra_groups=None)
    until = time.monotonic() + 60
    while not list(nobody.home.rglob("*.age")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


PTRACE_ATTACH, PR_GET_DUMPABLE, PR_SET_DUMPABLE = 16, 3, 4
ATTACH = "import ctypes, sys; print(ctypes.CDLL(None, use_errno=True).ptrace({}, int(sys.argv[1]), 0, 0))"


def attached(nobody: Nobody, pid: int) -> bool:
    """Return whether the same unprivileged user can attach to a process."""
    words = [nobody.python, "-c", ATTACH.format(PTRACE_ATTACH), str(pid)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, **nobody.who)
    return bool(done.stdout == "0\n")


@pytest.mark.slow
def test_the_same_user_cannot_attach_to_it(waiting: subprocess.Popen[str], nobody: Nobody) -> None:
    """Neither ptrace nor reading its memory is possible, although both work with the user's ordinary processes."""
    words = [nobody.python, "-c", "input('up\\n')"]
    ordinary = subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **nobody.who)
    try:
        assert ordinary.stdout is not None
        assert ordinary.stdout.readline() == "up\n"
        if not attached(nobody, ordinary.pid):
            without("this machine lets nobody attach to anything")
    finally:
        ordinary.kill()
        ordinary.communicate()
    assert not attached(nobody, waiting.pid)
    script = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')"
    words = [nobody.python, "-c", script, str(waiting.pid)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **nobody.who)
    assert "PermissionError" in done.stderr


@pytest.mark.slow
def test_a_crash_leaves_no_core(waiting: subprocess.Popen[str], nobody: Nobody) -> None:
    """The shell allows core files: an ordinary process of the same user leaves one."""
    control = subprocess.Popen([*CORES, nobody.python, "-c", "import os; os.abort()"], cwd=nobody.home.parent)
    if not os.WCOREDUMP(os.waitpid(control.pid, 0)[1]):
        without("this machine writes no cores")
    control.returncode = -signal.SIGABRT
    [limit] = [line for line in Path(f"/proc/{waiting.pid}/limits").read_text().splitlines() if "core file" in line]
    assert limit.split()[-3:-1] == ["0", "0"]
    cores = set(nobody.home.parent.rglob("core*"))
    os.kill(waiting.pid, signal.SIGSEGV)
    _, wait_status = os.waitpid(waiting.pid, 0)
    waiting.returncode = -signal.SIGSEGV
    assert os.WIFSIGNALED(wait_status)
    assert not os.WCOREDUMP(wait_status)
    assert set(nobody.home.parent.rglob("core*")) == cores


def test_protection_is_active_before_the_first_seed(
    mfa_kit: MfaKit, user: str, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When IAM receives the Create, core files and access to the process are already disabled."""
    walls: list[Any] = []
    real = Iam.create

    def create(self: Iam, *args: Any) -> Created:
        walls.append(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
        return real(self, *args)

    monkeypatch.setattr(Iam, "create", create)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: walls.append(limit))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    assert mfa_kit.run("enroll", user, *VIRTUAL, "-r", recipient).code == 0
    assert walls == [(resource.RLIMIT_CORE, (0, 0)), 0]
