"""Whole sessions at a terminal, one file each in sessions/: what is seen and typed, and everything that is there after.

A line of a session is one of

    # TEXT                      the fact that the session states
    user NAME                   there is such a user (alice is there always)
    device NAME [USER]          a virtual device, enabled for the user of the same name
    window COLUMNSxLINES        the size of the window, 100x40 at first
    env NAME=VALUE, env NAME    a variable for the program, or none
    file NAME, then `  text`    a file in the folder where the program runs; of `config` below MFA_KIT_HOME
    lab OPERATION FAULT ...     a fault of the lab from here on, as `at=every seconds=5`
    $ mfa-kit ...               the program; `no terminal` before it starts it without one
    see TEXT                    wait until the program writes this to the terminal
    type TEXT                   type a line; {alice}, {alice -1} is the device's code of now, of a step before
    key ^C                      press one key
    kill TERM                   send a signal
    exit N                      the exit code
    stdout, stderr, terminal, devices, files, then `  text`
                                what is in each at the end: of the terminal what can be scrolled to, of devices IAM's
                                list with users, of files those below the program's folder and MFA_KIT_HOME; what is
                                not named is empty. Empty lines do not count; `...` is any lines, or any text in a line.

Whatever a session is about, no seed, key URI or passphrase (`secret TEXT`) is left in anything that it leaves behind.
"""

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pyotp
import pytest

from mfa_kit.lab.server import Lab
from tests.terminal.window import Window
from tests.test_docs import wild

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))
BLOCKS = ("stdout", "stderr", "terminal", "devices", "files")
KEYS = {"^C": "\x03", "^D": "\x04", "^Z": "\x1a", "^U": "\x15", "Enter": "\r", "Backspace": "\x7f"}
# Seconds after the beginning of a step by AWS's clock at which a session begins.
EARLY = 3
ARN = "arn:aws:iam::000000000000:mfa/"


@dataclass
class Session:
    """One session while it is played."""

    lab: Lab
    folder: Path
    env: dict[str, str]
    size: tuple[int, int] = (100, 40)
    alone: bool = False
    window: Window | None = None
    left: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    secrets: list[str] = field(default_factory=list)
    serials: set[str] = field(default_factory=set)

    @property
    def home(self) -> Path:
        return Path(self.env["MFA_KIT_HOME"])

    def remember(self) -> None:
        for serial in self.lab.serials() - self.serials:
            self.serials.add(serial)
            self.secrets.append(base64.b32encode(self.lab.seed(serial)).decode())

    def device(self, name: str, user: str) -> None:
        """Enable a virtual device for a user, as another tool would."""
        iam = boto3.client(
            "iam",
            endpoint_url=self.lab.url,
            region_name="us-east-1",
            aws_access_key_id=self.lab.admin.access_key_id,
            aws_secret_access_key=self.lab.admin.secret_access_key,
        )
        iam.create_virtual_mfa_device(VirtualMFADeviceName=name)
        codes = [self.typed(f"{{{name} {step}}}") for step in (-11, -10)]
        iam.enable_mfa_device(
            UserName=user, SerialNumber=ARN + name, AuthenticationCode1=codes[0], AuthenticationCode2=codes[1]
        )

    def typed(self, text: str) -> str:
        def code(found: re.Match[str]) -> str:
            totp = pyotp.TOTP(base64.b32encode(self.lab.seed(ARN + found[1])).decode())
            return totp.at(self.lab.account.now() + 30 * int(found[2] or 0))

        return re.sub(r"\{([\w.@+=,-]+)(?: ([+-]?\d+))?\}", code, text)

    def start(self, command: str) -> None:
        words = [sys.executable, "-m", *(escaped(word) for word in command.replace("mfa-kit", "mfa_kit", 1).split())]
        if not self.alone:
            self.window = Window(words, env=self.env, cwd=self.folder, size=self.size)
            return
        done = subprocess.run(
            words,
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )
        self.code = done.returncode
        self.left |= {"stdout": done.stdout, "stderr": done.stderr, "terminal": ""}

    def end(self) -> None:
        if self.window:
            self.code = self.window.end()
            self.left |= {where: self.window.printed(where[3:]) for where in ("stdout", "stderr")}
            self.left["terminal"] = self.window.screen.text()
        self.remember()
        serials = sorted(self.lab.serials())
        self.left["devices"] = "\n".join(
            f"{each.removeprefix(ARN)} {self.lab.assigned(each) or '-'}" for each in serials
        )
        self.left["files"] = "\n".join(self.files())

    def files(self) -> Iterator[str]:
        for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = str(file.relative_to(self.folder))
            if not name.startswith(("printed.", "home/ledger.sqlite", "home/runs")):
                yield f"{name} {file.stat().st_mode & 0o777:o}"

    def act(self, line: str, text: list[str]) -> None:
        """Play one line."""
        word, _, rest = line.partition(" ")
        match word:
            case "#":
                pass
            case "user":
                self.lab.add_user(rest)
            case "device":
                name, _, user = rest.partition(" ")
                self.device(name, user or name)
            case "window":
                columns, lines = rest.split("x")
                self.size = int(columns), int(lines)
                if self.window:
                    self.window.resize(*self.size)
            case "env":
                name, equals, value = rest.partition("=")
                self.env |= {name: value} if equals else {}
                if not equals:
                    self.env.pop(name, None)
            case "file":
                file = self.folder / rest
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.write_text("\n".join(text) + "\n", "utf-8")
            case "lab":
                operation, fault, *more = rest.split()
                how = dict(each.split("=") for each in more)
                at = how.pop("at", "next")
                numbers = {name: float(value) for name, value in how.items()}
                self.lab.faults.add(operation, fault, at=int(at) if at.isdigit() else at, **numbers)
            case "no":
                self.alone = True
            case "secret":
                self.secrets.append(rest)
            case "$":
                self.start(rest)
            case "exit":
                self.end()
                assert self.code == int(rest), self.left
            case _ if word in BLOCKS:
                pass
            case _:
                self.at_the_window(word, rest)

    def at_the_window(self, word: str, rest: str) -> None:
        """See, type, press or kill."""
        assert self.window, f"{word} before there is a program"
        match word:
            case "see":
                self.window.see(rest)
            case "type":
                self.window.type(self.typed(rest))
            case "key":
                self.window.type(KEYS[rest], end="")
            case "kill":
                self.window.kill(signal.Signals[f"SIG{rest}"])
            case _:
                raise ValueError(word)


def escaped(word: str) -> str:
    """Read escapes, so that a session's file holds nothing that drives a terminal."""
    return re.sub(r"\\(?:x..|u....)", lambda found: found[0].encode().decode("unicode_escape"), word)


def lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of a session, each with the text below it."""
    found: list[tuple[str, list[str]]] = []
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("  "):
            found[-1][1].append(line[2:])
        elif line:
            found.append((line, []))
    yield from found


def early(lab: Lab) -> None:
    """Set AWS's clock to the beginning of a step, so that a session ends within it."""
    ahead = EARLY - lab.account.now() % 30
    lab.faults.add("*", "clock", seconds=ahead + 30 if ahead < -15 else ahead)


@pytest.mark.parametrize("file", SESSIONS, ids=[file.stem for file in SESSIONS])
def test_a_session_goes_as_written(file: Path, tmp_path: Path) -> None:
    """To the last line that is seen, and nothing is left that is not named."""
    played = list(lines(file))
    assert played[0][0].startswith("# ")
    with Lab(users=("alice",)) as lab:
        early(lab)
        env = {
            **lab.env,
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH", "COVERAGE_FILE") if name in os.environ},
            "HOME": str(tmp_path / "user"),
            "MFA_KIT_HOME": str(tmp_path / "home"),
            "TERM": "xterm-256color",
        }
        session = Session(lab, tmp_path, env)
        try:
            for line, text in played:
                session.act(line, text)
                session.remember()
        finally:
            if session.window:
                session.window.child.close(force=True)
    wanted = {line: text for line, text in played if line in BLOCKS}
    for where in BLOCKS:
        shown = re.sub(r"\n{2,}", "\n", session.left[where].strip("\n"))
        pattern = "".join(r"(?:.*\n)*?" if line == "..." else wild(line) + r"\n" for line in wanted.get(where, []))
        assert re.fullmatch(pattern, shown + "\n" if shown else ""), f"{where} of {file.name}:\n{shown}"
    canary(session)


def canary(session: Session) -> None:
    """Look for each secret in everything that is left behind."""
    texts = {where: session.left[where].encode() for where in ("stdout", "stderr", "terminal")}
    texts |= {str(file): file.read_bytes() for file in session.folder.rglob("*") if file.is_file()}
    for secret in session.secrets:
        for where, left in texts.items():
            assert secret.encode() not in left, where
