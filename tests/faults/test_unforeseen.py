"""Tests of exceptions that nothing foresees: they end at the one exit, or fail their row, and nothing quotes them."""

import fcntl
import json
import os
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from mfa_kit.cli import terminal
from mfa_kit.lab.aws.server import Lab
from tests.conftest import COUNTED, MfaKit, Result
from tests.faults.unforeseen import (
    SECRET,
    Place,
    called_places,
    ending,
    places,
    spread,
)
from tests.sizes import size
from tests.tokens import boxes
from tests.tokens.boxes import Made

PORTS = (
    "mfa_kit.enrollment.ports",
    "mfa_kit.enrollment.phone",
    "mfa_kit.rollout.station",
    "mfa_kit.account.source",
    "mfa_kit.account.device_backups",
    "mfa_kit.backups.rekeying",
    "mfa_kit.backups.recorded_vault",
    "mfa_kit.tokens.token_store",
    "mfa_kit.core.interaction",
)
# Commands that process rows: one row fails, and the others go on.
ROWS = {"apply", "stage", "activate", "undo"}
CHUNKS = size(3, 10)
TOKENS = [Made("10001002"), Made("10001003")]


@dataclass
class Stage:
    """A desk in a folder of its own, with users of its own."""

    desk: MfaKit
    lab: Lab
    users: Callable[[], str]
    folder: Path
    recipient: str
    identity: Path
    at_terminal: Callable[..., None]

    def ok(self, *words: str | Path) -> Result:
        done = self.desk.run(*words)
        assert done.code == 0, (words, done)
        return done

    def enrolled(self) -> str:
        user = self.users()
        self.ok("enroll", user, *VIRTUAL, "-r", self.recipient)
        return user

    def planned(self, *more: str) -> Path:
        roster, plan = self.folder / "roster.csv", self.folder / "plan.json"
        roster.write_text("user,recipient\n" + "".join(f"{self.users()},{self.recipient}\n" for _ in range(3)))
        self.ok("rollout", "plan", roster, "-o", plan, *more)
        return plan

    def applied(self, *more: str) -> str:
        done = self.ok("rollout", "apply", self.planned(), "-r", self.recipient, "--output", "jsonl", *more)
        return str(json.loads(done.out.splitlines()[0])["run"])

    def policy(self) -> Path:
        file = self.folder / "policy.json"
        file.write_text(self.ok("policy", "show").out)
        return file

    def readings(self) -> Path:
        file = self.folder / "readings.csv"
        file.write_text("serial,code\n" + "".join(f"{token.serial},123456\n" for token in TOKENS))
        return file

    def box(self) -> Path:
        file = self.folder / "box.csv"
        file.write_bytes(boxes.entra(TOKENS))
        return file


VIRTUAL = ("--with", "virtual", "--codes", "generated")
Words = tuple[str | Path, ...]


def _answered(stage: Stage, words: Words, *lines: str) -> Words:
    stage.at_terminal(*lines)
    return words


def _protected(stage: Stage) -> Words:
    """Verify a backup whose identity a passphrase protects."""
    user = stage.users()
    stage.at_terminal("1", *["a long passphrase"] * 3)
    stage.ok("enroll", user, *VIRTUAL, "--passphrase")
    stage.at_terminal("a long passphrase")
    (identity,) = (stage.folder / "desk").glob("identity-*.age")
    return ("backup", "verify", "--all", "-i", identity)


def _queue(stage: Stage) -> Words:
    plan = stage.planned()
    stage.at_terminal("", "s", "q")
    return ("rollout", "station", plan, "--with", "virtual", "-r", stage.recipient)


def _unassigned(stage: Stage) -> Words:
    stage.applied("--stage")
    return ("orphans", "list")


SCENARIOS: dict[str, Callable[[Stage], Words]] = {
    "enroll": lambda at: ("enroll", at.users(), *VIRTUAL, "-r", at.recipient),
    "status of one": lambda at: ("status", at.enrolled()),
    "replace": lambda at: ("replace", at.enrolled(), *VIRTUAL, "-r", at.recipient, "--yes"),
    "revoke": lambda at: ("revoke", at.enrolled(), "--yes", "--leave-without-mfa"),
    "orphans": _unassigned,
    "plan": lambda at: ("rollout", "plan", at.planned().with_name("roster.csv"), "-o", at.folder / "again.json"),
    "apply": lambda at: ("rollout", "apply", at.planned(), "-r", at.recipient),
    "stage": lambda at: ("rollout", "apply", at.planned(), "-r", at.recipient, "--stage"),
    "activate": lambda at: (at.applied("--stage"), ("rollout", "activate", "-i", at.identity))[1],
    "undo": lambda at: ("rollout", "undo", at.applied(), "--yes", "--leave-without-mfa"),
    "rollout status": lambda at: (at.applied(), ("rollout", "status", at.folder / "plan.json"))[1],
    "audit": lambda at: (at.enrolled(), ("audit",))[1],
    "token import": lambda at: ("token", "import", at.box()),
    "token list": lambda at: (at.ok("token", "import", at.box()), ("token", "list"))[1],
    "backup list": lambda at: (at.enrolled(), ("backup", "list"))[1],
    "backup recipients": lambda at: (at.enrolled(), ("backup", "recipients"))[1],
    "backup verify": lambda at: (at.enrolled(), ("backup", "verify", "--all", "-i", at.identity))[1],
    "backup exposed": lambda at: (at.enrolled(), ("backup", "exposed", "-r", at.recipient))[1],
    "backup rekey": lambda at: (at.enrolled(), ("backup", "rekey", "-i", at.identity, "-r", at.recipient))[1],
    "phone": lambda at: ("enroll", at.users(), "--with", "virtual"),
    "question": lambda at: ("revoke", at.enrolled(), "--leave-without-mfa"),
    "resync": lambda at: ("resync", at.enrolled()),
    "lockout": lambda at: ("policy", "lockout", "--policy", at.policy()),
    "token accept": lambda at: ("token", "accept", at.box(), "--readings", at.readings()),
    "ledger": lambda at: (at.enrolled(), ("ledger", "show"))[1],
    "lost": lambda at: ("replace", at.enrolled(), *VIRTUAL, "-r", at.recipient, "--yes", "--lost"),
    "doctor": lambda _: ("doctor",),
    "root": lambda _: ("enroll", "--root", "--with", "fido2"),
    "console": lambda at: ("enroll", at.users(), "--with", "fido2", "--skip-key-check", "--dry-run"),
    "display token": lambda at: ("enroll", at.users(), "--with", "hardware-totp", "--serial", "GAHT12345678"),
    "QR code": lambda at: _answered(at, ("enroll", at.users(), "--with", "virtual"), "000000"),
    "QR code in a file": lambda at: _answered(
        at, ("enroll", at.users(), "--with", "virtual", "--qr-file", at.folder / "qr.png"), "yes", "000000"
    ),
    "confirmation": lambda at: _answered(at, ("revoke", at.enrolled(), "--leave-without-mfa"), "no"),
    "new passphrase": lambda at: _answered(
        at, ("enroll", at.users(), *VIRTUAL, "--passphrase"), "1", *["a long one"] * 2
    ),
    "passphrase made": lambda at: _answered(at, ("enroll", at.users(), *VIRTUAL, "--passphrase"), "2", ""),
    "passphrase": _protected,
    "programmable token": lambda at: _answered(
        at, ("enroll", at.users(), "--with", "programmable", "--serial", "8650012345", "--capacity", "63"), ""
    ),
    "station": _queue,
}


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that opens a terminal on which a person types these lines, and then Ctrl-C."""
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 120, 0, 0))
    reader = threading.Thread(target=_drain, args=(outer,), daemon=True)
    reader.start()
    lines: list[str] = []

    def line(*_: object, **__: object) -> str:
        if not lines:
            raise KeyboardInterrupt
        return lines.pop(0)

    def at(*said: str) -> None:
        lines[:] = said
        person = terminal.Terminal(inner, plain=False)
        monkeypatch.setattr(terminal, "find_person", lambda **_: person)

    monkeypatch.setattr(terminal.Terminal, "_line", line)
    yield at
    os.close(inner)


def _drain(outer: int) -> None:
    """Read what is written to a terminal, until it is closed everywhere."""
    try:
        while os.read(outer, 65536):
            pass
    except OSError:
        os.close(outer)


@pytest.fixture
def stages(
    lab: Lab,
    users: Callable[[], str],
    tmp_path: Path,
    recipient: str,
    identity_file: Path,
    at_terminal: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Stage]:
    """Return a function that makes a stage, and points this process at its folder."""
    numbers = count()

    def make() -> Stage:
        folder = tmp_path / f"stage-{next(numbers)}"
        folder.mkdir()
        monkeypatch.setenv("MFA_KIT_HOME", str(folder / "desk"))
        monkeypatch.setattr(terminal, "find_person", lambda **_: terminal.Nobody("there is no terminal"))
        return Stage(MfaKit(folder / "desk"), lab, users, folder, recipient, identity_file, at_terminal)

    return make


@pytest.fixture(scope="module")
def known() -> dict[str, list[tuple[str, Place]]]:
    """Return a cache of the places that each command calls, for all tests of this module."""
    return {}


def pairs_of(stages: Callable[[], Stage], known: dict[str, list[tuple[str, Place]]]) -> list[tuple[str, Place]]:
    """Return each command with each place of the ports that it calls."""
    if "all" not in known:
        everywhere = places(PORTS)
        found: list[tuple[str, Place]] = []
        for name, prepare in SCENARIOS.items():
            stage = stages()
            words = prepare(stage)
            found += [(name, place) for place in called_places(everywhere, lambda: stage.desk.run(*words))]  # noqa: B023
        known["all"] = found
    return known["all"]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_an_exception_that_nothing_foresaw_ends_at_the_one_exit_and_quotes_nothing(
    chunk: int,
    stages: Callable[[], Stage],
    known: dict[str, list[tuple[str, Place]]],
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Each class of Python's exceptions, at each method of the ports that a command calls: 300 in a full run."""
    mine = spread(size(30, 300), pairs_of(stages, known))[chunk::CHUNKS]
    wrong: list[str] = []
    for name, place, error in mine:
        stage = stages()
        words = SCENARIOS[name](stage)
        if flaw := ending(place, error, lambda: stage.desk.run(*words), stage.folder, rows=name in ROWS):  # noqa: B023
            wrong.append(f"{name}: {flaw}")
    assert SECRET not in "".join(capfd.readouterr())
    assert wrong == []
    record_property(COUNTED, ("exceptions that nothing foresaw", len(mine)))
