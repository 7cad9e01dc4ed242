"""Ctrl-C at random moments, while other commands keep both cores busy.

A moment is a random time after the program has installed its handler for SIGINT. Before that, Python starts and
imports the program, which nothing in the program can control: Ctrl-C then ends it with a traceback.
"""

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

import pyrage
import pytest
from botocore.compat import HAS_CRT

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.wire import IamError
from mfa_kit.lab.child import user_names
from tests.conftest import ACCOUNT, COUNTED, MfaKit, bare
from tests.page.conftest import ADDRESS, shown_codes
from tests.page.served import ENTERED, Window
from tests.sizes import FULL, size

# The interrupts of one test, the commands that run at the same time, and the users of a rollout.
INTERRUPTS, AT_ONCE, USERS = size(48, 100), 4, 6
# Seconds from Ctrl-C to the end of the process, and the longest wait of a person or for a process to start.
LIMIT, WAIT = 5.0, 120.0
# A process that runs commands in children. If it is "loaded", they need no time for imports, but Ctrl-C cannot hit an
# import. In a full run they import everything themselves.
SERVER = """
import faulthandler, gc, json, os, signal, sys, time
if sys.argv.pop(1) == "loaded":
    import awscrt.auth, boto3, click, psycopg, pyrage, qrcode, starlette.applications, uvicorn
    import mfa_kit.adapters.aws.account, mfa_kit.adapters.aws.iam, mfa_kit.cli.audit, mfa_kit.cli.enroll
    import mfa_kit.adapters.web.server, mfa_kit.cli.browser.page, mfa_kit.cli.main, mfa_kit.cli.rollout.apply
    import mfa_kit.adapters.files.local_store, mfa_kit.adapters.ledger.sqlite_database, mfa_kit.audit.registry

    gc.freeze()  # the children would copy all memory at their end

def run(job):
    os.setsid()
    os.environ.clear()
    os.environ.update(job["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(job["out"], os.O_CREAT | os.O_WRONLY), 1)
    os.dup2(os.open(job["err"], os.O_CREAT | os.O_WRONLY), 2)
    if job["tty"]:
        os.open(job["tty"], os.O_RDWR)  # the terminal of this session from now on
    sys.argv[1:] = job["words"]
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    from mfa_kit.cli import main
    command = main.run

    def mark(text):
        with open(job["marks"], "a") as file:
            file.write(f"{text} {time.monotonic()}\\n")

    def marked():
        mark("began")
        code = command()
        mark("ended")
        return code

    main.run = marked
    main.main()

while line := sys.stdin.readline():
    pid = os.fork()
    if not pid:
        run(json.loads(line))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Process:
    """A running command. `user` is who enrolls, and `tty` is the test's end of the terminal, or -1 without one."""

    server: "subprocess.Popen[bytes]"
    folder: Path
    words: list[str]
    lab: Lab
    user: str
    tty: int = -1
    pid: int = 0
    code: int | None = None

    def begin(self, env: dict[str, str], tty: str) -> None:
        files = {name: str(self.folder / name) for name in ("out", "err", "marks")}
        job = {**files, "words": self.words, "env": env, "tty": tty}
        assert self.server.stdin
        self.server.stdin.write(json.dumps(job).encode() + b"\n")
        self.server.stdin.flush()
        self.pid = self._number()

    def _number(self) -> int:
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the process, and return whether it has ended."""
        assert self.server.stdout
        if self.code is None and select.select([self.server.stdout], [], [], max(seconds, 0))[0]:
            self.code = self._number()
        return self.code is not None

    def said(self, name: str) -> str:
        file = self.folder / name
        return file.read_text(errors="replace") if file.exists() else ""

    def marked(self, what: str) -> float | None:
        """Return when the process began or ended the command, or None if it has not done so yet."""
        found = re.search(rf"^{what} (\S+)\n", self.said("marks"), re.MULTILINE)
        return float(found[1]) if found else None


def type_codes(process: Process) -> None:
    """Type two codes at the terminal, as soon as they are asked for."""
    said, codes = "", list[str]()
    with suppress(OSError, KeyError, IamError):  # the terminal is closed, or the device is gone
        while process.code is None:
            if not select.select([process.tty], [], [], 0.1)[0]:
                continue
            said += os.read(process.tty, 65536).decode(errors="replace")
            if said.count("code: ") > len(codes) and len(codes) < 2:
                codes.append(shown_codes(process.lab, process.user)[len(codes)])
                os.write(process.tty, f"{codes[-1]}\n".encode())


@contextmanager
def connection(host: str) -> Iterator[HTTPConnection]:
    link = HTTPConnection(host, timeout=WAIT)
    try:
        yield link
    finally:
        link.close()


def enter(host: str, path: str) -> Window:
    """Open a one-time address, as a browser does."""
    with connection(host) as link:
        link.request("GET", path)
        answer = link.getresponse()
        text, cookie = answer.read().decode(), answer.headers["set-cookie"].partition(";")[0]
    found = ENTERED.search(text)
    assert found, text
    return Window(found[1], host, cookie, found[2], found[3])


def send(window: Window, said: object) -> dict[str, str]:
    with connection(window.host) as link:
        link.request("POST", f"/{window.role}/act", json.dumps(said), window.posts)
        answer: dict[str, str] = json.loads(link.getresponse().read())
        return answer


def use_page(process: Process) -> None:
    """Open both views, and type two codes into the colleague's, as soon as they are asked for."""
    while not (address := ADDRESS.search(process.said("err"))):
        if process.code is not None:
            return
        time.sleep(0.02)
    host = f"127.0.0.1:{address[2]}"
    # the process may end at any moment; shown_codes fails if the device is gone
    with suppress(OSError, HTTPException, ValueError, KeyError, TypeError, IamError), ExitStack() as stack:
        admin = enter(host, f"/open/{address[3]}")
        shown = stack.enter_context(connection(host))
        shown.request("GET", "/admin/news", headers=admin.own)
        shown.getresponse()
        colleague = enter(host, send(admin, {"do": "open"})["address"])
        news = stack.enter_context(connection(host))
        news.request("GET", "/colleague/news", headers=colleague.own)
        typed: list[str] = []
        for line in news.getresponse():
            for number in re.findall(r'data-number=\\?"(\d+)', line.decode()):
                if number not in typed and len(typed) < 2:
                    code = shown_codes(process.lab, process.user)[len(typed)]
                    typed.append(number)
                    send(colleague, {"do": "answer", "number": int(number), "text": code})


@dataclass
class Kind:
    """A command to interrupt. `lasts` is how many seconds it takes without Ctrl-C, as the last processes showed."""

    lab: Lab
    words: Callable[[str], tuple[str | Path, ...]]
    person: Callable[[Process], None] = lambda _: None
    tty: bool = False
    users: int = 1
    lasts: float = 2.0


@dataclass
class Net:
    """Interrupts commands of each kind, and counts what happened. `audited` is another lab, which has few users."""

    lab: Lab
    audited: Lab
    desk: MfaKit
    recipient: str
    folder: Path
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        enroll = ("--with", "virtual", "-r", self.recipient)
        self.kinds = {
            "enroll": Kind(self.lab, lambda user: ("enroll", user, *enroll), type_codes, tty=True),
            "enroll --page": Kind(self.lab, lambda user: ("enroll", user, *enroll, "--page", "--no-browser"), use_page),
            "rollout apply": Kind(
                self.lab,
                lambda user: ("rollout", "apply", self.plan(user), "-r", self.recipient, "--workers", "2"),
                users=USERS,
            ),
            "audit": Kind(self.audited, lambda _: ("audit",)),
        }

    def users(self, user: str) -> list[str]:
        """Return the users of one command."""
        return [user, *(f"{user}-{number}" for number in range(1, USERS))]

    def plan(self, user: str) -> Path:
        return self.folder / f"{user}.json"

    def prepare(self, user: str, kind: Kind) -> None:
        """Create the users of one command, and a plan for them."""
        users = self.users(user)[: kind.users]
        for each in users:
            self.lab.add_user(each)
        if kind.users > 1:
            roster = self.folder / f"{user}.csv"
            roster.write_text("\n".join(["user,recipient", *(f"{each},{self.recipient}" for each in users)]) + "\n")
            assert self.desk.run("rollout", "plan", roster, "-o", self.plan(user)).code == 0

    def interrupt(self, server: "subprocess.Popen[bytes]", name: str, user: str) -> bool:
        """Run a command, and press Ctrl-C at a random moment. Return whether the command had not ended before."""
        kind, folder = self.kinds[name], self.folder / user
        folder.mkdir()
        process = Process(server, folder, [str(word) for word in kind.words(user)], kind.lab, user)
        with ExitStack() as stack:
            tty = ""
            if kind.tty:
                process.tty, theirs = os.openpty()
                stack.callback(os.close, process.tty)
                stack.callback(os.close, theirs)
                termios.tcsetwinsize(theirs, (60, 200))
                tty = os.ttyname(theirs)
            env = {**bare(), **kind.lab.env, "MFA_KIT_HOME": str(folder / "desk"), "TERM": "xterm-256color"}
            process.begin(env, tty)
            person = threading.Thread(target=kind.person, args=(process,))
            person.start()
            try:
                return self._interrupt(process, kind, name)
            finally:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                process.ended_within(WAIT)
                person.join(WAIT)

    def _interrupt(self, process: Process, kind: Kind, name: str) -> bool:
        while (began := process.marked("began")) is None:
            assert not process.ended_within(0.01), process.said("err")
        moment = began + self.chance.random() * kind.lasts
        if not process.ended_within(moment - time.monotonic()):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        sent = time.monotonic()
        ended = process.ended_within(LIMIT)
        if (over := process.marked("ended")) and over < sent:
            kind.lasts = over - began
            return False
        kind.lasts = max(kind.lasts, (sent - began) * 1.1)
        self.seen[name] += 1
        self.slowest = max(self.slowest, time.monotonic() - sent)
        if not ended:
            os.kill(process.pid, signal.SIGUSR1)  # prints where each thread is
            process.ended_within(1)
        fault = self._fault(process, kind) if ended else f"it still runs after {LIMIT} s"
        if fault:
            self.wrong.append(f"{name}, {sent - began:.3f} s: {fault}\n{process.said('err')}")
        return True

    def _fault(self, process: Process, kind: Kind) -> str:
        """Return what is wrong after Ctrl-C, or "" if nothing is."""
        serials = {f"arn:aws:iam::{ACCOUNT}:mfa/{user}": user for user in self.users(process.user)[: kind.users]}
        made = serials.keys() & self.lab.serials()
        assigned = {serial for serial in made if self.lab.assigned(serial) == serials[serial]}
        if made != assigned:
            return f"half-made: {made - assigned}"
        if (process.folder / "desk" / "ledger.sqlite").exists():
            with sqlite_ledger(process.folder / "desk") as ledger:
                left = [entry.spec.serial for entry in ledger.dead(ACCOUNT)]
            if untold := [serial for serial in left if not re.search(f"note: .*{serial}", process.said("err"))]:
                return f"neither settled nor told: {untold}"
        # Ctrl-C while the last users are in progress: they are all finished.
        if kind.users > 1 and process.code == 0 and len(made) == kind.users:
            return ""
        return "" if process.code == 130 else f"the exit code is {process.code}"


@contextmanager
def servers(number: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Start processes that run commands."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SERVER, "bare" if FULL else "loaded"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # the lock of coverage would be taken forever if Ctrl-C arrives while it is set
                    env={name: value for name, value in bare().items() if not name.startswith("COVERAGE")},
                )
            )
            for _ in range(number)
        ]
        yield started
        for each in started:
            assert each.stdin
            each.stdin.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(size(1, 20)))
def test_ctrl_c_at_a_random_moment_ends_a_command(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """It ends with 130 within five seconds, and no device is half-made in IAM.

    If the ledger must wait for a response that got lost, or for IAM's list, a note says so.
    """
    assert HAS_CRT, "with the extra `login`, botocore signs with awscrt, which calls back into Python"
    with Lab() as lab, Lab(users=user_names(8)) as audited, servers(AT_ONCE) as started:
        for name, text in {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, text)
        recipient = str(pyrage.x25519.Identity.generate().to_public())
        net = Net(lab, audited, MfaKit(tmp_path / "desk", dict(lab.env)), recipient, tmp_path, random.Random(part))
        todo = [(name, number) for number in range(INTERRUPTS // len(net.kinds)) for name in net.kinds]
        lock, numbers = threading.Lock(), count(1)

        def work(server: "subprocess.Popen[bytes]") -> None:
            while True:
                with lock:
                    if not todo or net.wrong:
                        return
                    name, _ = todo.pop(0)
                done = False
                while not done:
                    with lock:
                        user = f"u{next(numbers)}"
                        net.prepare(user, net.kinds[name])
                    done = net.interrupt(server, name, user)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(work, started))
        assert net.wrong or {serial for serial in lab.serials() if not lab.assigned(serial)} == set()
    assert not net.wrong, "\n\n".join(net.wrong)
    assert sum(net.seen.values()) == INTERRUPTS
    record_property(COUNTED, ("interrupts at random moments", INTERRUPTS))
