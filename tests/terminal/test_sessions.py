"""Complete terminal sessions, one per file in sessions/: the output, the input, and the state afterwards.

A line of a session is one of

    # TEXT                      the fact that the session states
    user NAME                   create a user (alice always exists)
    device NAME [USER]          a virtual device, enabled for the user of the same name
    orphan NAME [RUN]           an unassigned virtual device, with the tag of a run
    delete NAME                 an administrator deletes a device
    keys USER                   access keys of a user, in a profile of the same name; the admin's are removed
    policy USER FILE            an inline policy, from policies/
    role USER                   a role `ports` with all permissions, which a user with MFA may assume
    identity FILE               an age identity; `{recipient}` is its recipient
    window COLUMNSxLINES        the size of the window, at first 100x40
    env NAME=VALUE              a variable for the program
    file NAME [MODE]            a file below the program's folder, with the `  text` lines that follow as content
    lab OPERATION FAULT ...     a fault of the lab from here on, such as `at=every seconds=5`
    no terminal                 later programs have no terminal
    $ mfa-kit ...               a program; it may also be another one, such as age
    see TEXT                    wait until the program writes this to the terminal, in any number of lines
    type TEXT                   type a line; {alice} is the device's current code, {alice -1} that of the last step;
                                the time is that of the program's first code, however slow the machine is
    type what is shown          type the text that is alone on the first line of the screen; it is a secret
    type what was shown         type that text again
    key ^C                      press one key
    secret TEXT                 type a line that is a secret
    kill TERM                   send a signal
    exit N                      the exit code of the program
    stdout, stderr, terminal, devices, files, then `  text`
                                the expected content of each: for the terminal including its scrollback, for devices
                                IAM's list with users, for files those below the program's folder and MFA_KIT_HOME.
                                Each is empty if not named. Empty lines do not count; `...` matches any lines, or any
                                text in a line.

In every session, the test also checks that no secret is in anything that the session leaves behind.
"""

import base64
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pyotp
import pyrage
import pytest

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.terminal.conftest import EARLY, environment, in_good_time
from tests.terminal.spawn import MFA_KIT, run
from tests.terminal.window import Window
from tests.test_docs import wild
from tests.test_secrets import forms

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))
BLOCKS = ("stdout", "stderr", "terminal", "devices", "files")
KEYS = {"^C": "\x03", "^D": "\x04", "^Z": "\x1a", "^U": "\x15", "^\\": "\x1c", "Enter": "\r", "Backspace": "\x7f"}
ROLE = "desk"
ARN = "arn:aws:iam::000000000000:mfa/"


@dataclass
class Session:
    """One session while it is played back."""

    lab: Lab
    folder: Path
    env: dict[str, str]
    size: tuple[int, int] = (100, 40)
    alone: bool = False
    recipient: str = ""
    window: Window | None = None
    left: dict[str, str] = field(default_factory=dict)
    unnamed: set[str] = field(default_factory=set)
    code: int | None = None
    now: float | None = None
    secrets: list[str] = field(default_factory=list)
    seeds: dict[str, str] = field(default_factory=dict)

    @cached_property
    def iam(self) -> Any:
        return boto3.client(
            "iam",
            endpoint_url=self.lab.url,
            region_name="us-east-1",
            aws_access_key_id=self.lab.admin.access_key_id,
            aws_secret_access_key=self.lab.admin.secret_access_key,
        )

    def remember(self) -> None:
        """Remember the secrets, for codes of devices that are removed later, and for the search at the end."""
        for serial in self.lab.serials():
            self.seeds[serial] = base64.b32encode(self.lab.seed(serial)).decode()

    # Commands that set up the state

    def device(self, name: str, user: str) -> None:
        self.iam.create_virtual_mfa_device(VirtualMFADeviceName=name)
        codes = [self.typed(f"{{{name} {step}}}") for step in (-1, 0)]
        self.iam.enable_mfa_device(
            UserName=user, SerialNumber=ARN + name, AuthenticationCode1=codes[0], AuthenticationCode2=codes[1]
        )

    def keys(self, user: str) -> None:
        made = self.iam.create_access_key(UserName=user)["AccessKey"]
        file = self.folder / "aws" / "credentials"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"[{user}]\naws_access_key_id = {made['AccessKeyId']}\naws_secret_access_key = {made['SecretAccessKey']}\n"
        )
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.env.pop(name, None)
        self.env |= {
            "AWS_SHARED_CREDENTIALS_FILE": str(file),
            "AWS_CONFIG_FILE": str(self.folder / "aws" / "config"),
        }

    def orphan(self, name: str, run: str = "") -> None:
        tags = [{"Key": "mfa-kit:run", "Value": run}] if run else []
        self.iam.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=tags)

    def delete(self, name: str) -> None:
        self.iam.delete_virtual_mfa_device(SerialNumber=ARN + name)

    def role(self, user: str) -> None:
        """Make the role `ports`."""
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{user}"},
            "Action": "sts:AssumeRole",
            "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
        }
        self.iam.create_role(
            RoleName=ROLE, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )
        allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        self.iam.put_role_policy(
            RoleName=ROLE,
            PolicyName="everything",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )

    def file(self, name: str, mode: str, text: list[str]) -> None:
        file = self.folder / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text("\n".join(text) + "\n", "utf-8")
        file.chmod(int(mode, 8))

    def identity(self, name: str) -> None:
        made = pyrage.x25519.Identity.generate()
        self.recipient = str(made.to_public())
        self.file(name, "600", [str(made)])

    def fault(self, operation: str, fault: str, *more: str) -> None:
        how = dict(each.split("=") for each in more)
        at, account = how.pop("at", "next"), how.pop("account", "")
        numbers = {name: float(value) for name, value in how.items()}
        self.lab.faults.add(operation, fault, at=int(at) if at.isdigit() else at, account=account, **numbers)

    # Commands that control the program

    def typed(self, text: str) -> str:
        def code(found: re.Match[str]) -> str:
            self.remember()
            self.now = self.now or in_good_time(self.lab)
            return pyotp.TOTP(self.seeds[ARN + found[1]]).at(self.now + 30 * int(found[2] or 0))

        return re.sub(r"\{([\w.@+=,-]+)(?: ([+-]?\d+))?\}", code, text)

    def start(self, command: str) -> None:
        assert not self.unnamed or not any(self.left[where].strip() for where in self.unnamed), self.left
        words = [escaped(word) for word in command.replace("{recipient}", self.recipient).split()]
        if words[0] == "mfa-kit":
            words[:1] = MFA_KIT
        self.code = self.now = None
        if not self.alone:
            self.window = Window(words, env=self.env, cwd=self.folder, size=self.size)
            return
        done = run(words, env=self.env, cwd=self.folder)
        self.code = done.returncode
        self.left |= {"stdout": done.stdout, "stderr": done.stderr, "terminal": ""}

    def end(self) -> None:
        if self.window:
            self.code = self.window.end()
            self.left |= {where: self.window.printed(where[3:]) for where in ("stdout", "stderr")}
            self.left["terminal"] = self.window.screen.text()
            self.window = None
        self.remember()
        serials = sorted(self.lab.serials())
        self.left["devices"] = "\n".join(
            f"{each.removeprefix(ARN)} {self.lab.assigned(each) or '-'}" for each in serials
        )
        self.left["files"] = "\n".join(self.files())
        self.unnamed = set(BLOCKS)
        self.canary()

    def files(self) -> Iterator[str]:
        for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = str(file.relative_to(self.folder))
            if not name.startswith(("printed.", "aws/", "home/ledger.sqlite", "home/runs")):
                yield f"{name} {file.stat().st_mode & 0o777:o}"

    def compare(self, where: str, wanted: list[str]) -> None:
        """Compare one part of the final state with the session's expectation.

        Without an expectation it must be empty.
        """
        self.unnamed.discard(where)
        shown = re.sub(r"\n{2,}", "\n", self.left[where].strip("\n"))
        pattern = "".join(r"(?:.*\n)*?" if line == "..." else wild(line) + r"\n" for line in wanted)
        assert re.fullmatch(pattern, shown + "\n" if shown else ""), f"{where}:\n{shown}"

    def canary(self) -> None:
        """Search for each secret, in each of its forms, in everything that is left behind."""
        texts = {where: self.left[where].encode() for where in ("stdout", "stderr", "terminal")}
        texts |= {str(file): file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}
        secrets = [each.encode() for each in self.secrets]
        for seed in self.seeds.values():
            secrets += forms(base64.b32decode(seed))
            # The form that --show-secret prints: eight groups per line.
            secrets += [" ".join(seed[at : at + 4] for at in range(part, part + 16, 4)).encode() for part in (0, 32)]
        for where, left in texts.items():
            assert not [secret for secret in secrets if secret in left], where
            assert not self.seeds or b"otpauth:" not in left, where

    def act(self, line: str, text: list[str]) -> None:
        """Carry out one line of a session."""
        word, _, rest = line.partition(" ")
        match [word, *rest.split()]:
            case ["#", *_]:
                pass
            case ["$", *_]:
                self.start(rest)
            case ["exit", code]:
                self.end()
                assert self.code == int(code), self.left
            case [where] if where in BLOCKS:
                self.compare(where, text)
            case _ if self.window:
                self.at_the_window(word, rest)
            case _:
                self.before(word, rest.split(), text)

    def before(self, word: str, words: list[str], text: list[str]) -> None:
        """Set up the state before a program starts."""
        match [word, *words]:
            case ["user", name]:
                self.lab.add_user(name)
            case ["device", name, *user]:
                self.device(name, *user or [name])
            case ["policy", user, name]:
                document = (Path(__file__).parent / "policies" / name).read_text("utf-8")
                self.iam.put_user_policy(UserName=user, PolicyName=Path(name).stem, PolicyDocument=document)
            case ["window", size]:
                columns, lines = size.split("x")
                self.size = int(columns), int(lines)
            case ["env", setting]:
                self.env |= dict([setting.split("=", 1)])
            case ["file", name]:
                self.file(name, "600", text)
            case ["file", name, mode]:
                self.file(name, mode, text)
            case ["no", "terminal"]:
                self.alone = True
            case ["lab", operation, fault, *more]:
                self.fault(operation, fault, *more)
            case _:
                setups: dict[str, Callable[..., None]] = {
                    "delete": self.delete,
                    "orphan": self.orphan,
                    "identity": self.identity,
                    "keys": self.keys,
                    "role": self.role,
                }
                setups[word](*words)

    def at_the_window(self, word: str, rest: str) -> None:
        """Wait for output, type, press a key or send a signal."""
        assert self.window, f"{word} before there is a program"
        match word:
            case "see":
                self.window.see(rest)
            case "type" if rest == "what was shown":
                self.window.type(self.secrets[-1])
            case "type" if rest == "what is shown":
                self.secrets.append(self.window.look().display[0].strip())
                self.window.type(self.secrets[-1])
            case "type":
                self.window.type(self.typed(rest))
            case "secret":
                self.secrets.append(rest)
                self.window.type(rest)
            case "key":
                self.window.type(KEYS[rest], end="")
            case "kill":
                self.window.kill(signal.Signals[f"SIG{rest}"])
            case _:
                raise ValueError(word)


def escaped(word: str) -> str:
    """Convert escapes, so that a session's file contains no control characters."""
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
    """Set AWS's clock to the beginning of a step, so that a session ends within the step."""
    ahead = EARLY - lab.account.now() % 30
    lab.faults.add("*", "clock", seconds=ahead + 30 if ahead < -15 else ahead)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("file", SESSIONS, ids=[file.stem for file in SESSIONS])
def test_a_session_matches_its_file(file: Path, tmp_path: Path) -> None:
    """Every line is carried out, and nothing else is left behind."""
    played = list(lines(file))
    assert played[0][0].startswith("# ")
    with Lab(users=("alice",), settings=LabSettings(propagation=0)) as lab:
        early(lab)
        session = Session(lab, tmp_path, environment(lab, tmp_path))
        try:
            for line, text in played:
                session.act(line, text)
                session.remember()
        finally:
            if session.window:
                session.window.child.close(force=True)
    assert session.code is not None
    for where in sorted(session.unnamed):
        session.compare(where, [])
