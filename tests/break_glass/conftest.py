"""Fixtures for a desk without AWS, custodians with their keys, and backups that are encrypted to an identity."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.break_glass.uses import Record
from mfa_kit.cli import terminal
from mfa_kit.core.interaction import Nobody
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Png, Seed
from mfa_kit.qr_codes import key_uri, symbol
from tests.conftest import ACCOUNT, MfaKit, judge, local

RUN = "20261125T000000Z-0a1b2c3d"
SEED = Seed(bytes(range(40)))


@dataclass(frozen=True)
class Key:
    """A private key in a file, and its public key."""

    file: Path
    public: str


@dataclass
class Desk(MfaKit):
    """A desk without AWS, and the keys of people by name. `ssh` has an SSH key, the others an age identity."""

    folder: Path = Path()

    def key(self, name: str) -> Key:
        """Return the key of a person, which is made when it is first used."""
        file = self.folder / f"{name}.key"
        if name == "ssh":
            if not file.exists():
                subprocess.run(
                    [judge("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "a@b", "-f", file], check=True
                )
            return Key(file, " ".join(file.with_name("ssh.key.pub").read_text().split()[:2]))
        if not file.exists():
            file.write_text(f"{pyrage.x25519.Identity.generate()}\n")
        return Key(file, str(pyrage.x25519.Identity.from_str(file.read_text().strip()).to_public()))

    def group(self, threshold: int, names: Sequence[str]) -> list[str]:
        """Return the options that name a group."""
        return [
            "--threshold",
            str(threshold),
            *(word for each in names for word in ("--custodian", f"{each}={self.key(each).public}")),
        ]

    def here(self, *names: str) -> list[str]:
        """Return the options for custodians who are present."""
        return [word for each in names for word in ("-i", str(self.key(each).file))]

    def break_glass(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a verb of break-glass, and return its row."""
        done = self.run("break-glass", *words, "--output", "json")
        assert done.code == code, done
        return dict(json.loads(done.out)) if done.out else {"err": done.err}

    def create(self, threshold: int, names: Sequence[str]) -> dict[str, Any]:
        return self.break_glass("create", *self.group(threshold, names))

    def sealed(self, user: str, *recipients: str, recorded: bool = True) -> Backup:
        """Encrypt a backup of a user, and record its recipients."""
        store = AgeFiles(self.home / "backups", parse_recipients(recipients))
        backup = store.new(ACCOUNT, user, user, run=RUN)
        store.store_existing(backup, key_uri.otpauth(SEED, label=f"{user}@{ACCOUNT}"))
        if recorded:
            with sqlite_ledger(self.home) as ledger:
                BackupRecords(ledger, now=1.0).record_sealed([backup.name], recipients)
        return backup

    def recipients(self) -> Mapping[str, set[str]]:
        """Return the recorded recipients of each backup."""
        found: dict[str, set[str]] = {}
        with sqlite_ledger(self.home) as ledger:
            for seal in BackupRecords(ledger, now=2.0).seals():
                if seal.until is None:
                    found.setdefault(seal.backup, set()).add(seal.recipient)
        return found

    def records(self) -> list[Record]:
        with sqlite_ledger(self.home) as ledger:
            return BreakGlassRecords(ledger).all()

    def identity(self, row: Mapping[str, Any], *names: str) -> bytes:
        """Return the identity that Debian's age finds in the file of a set."""
        [file] = Path(row["folder"]).glob(f"set-*-{'-'.join(names)}.age")
        return peel(file.read_bytes(), [self.key(name).file for name in names])


def peel(sealed: bytes, keys: Sequence[Path]) -> bytes:
    """Remove one layer with each key, as `age -d -i FIRST | age -d -i SECOND` does. Raise if age refuses one."""
    for key in keys:
        sealed = subprocess.run([judge("age"), "-d", "-i", key], input=sealed, capture_output=True, check=True).stdout
    return sealed


def seed_in(backup: Backup, identity: bytes, folder: Path) -> Seed:
    """Return the secret that Debian's age finds in a backup with an identity."""
    file = folder / "opened.txt"
    file.write_bytes(identity)
    done = subprocess.run([judge("age"), "-d", "-i", file, local(backup)], capture_output=True, check=True)
    file.unlink()
    return key_uri.seed_of(symbol.read(Png(done.stdout)))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Open a desk without AWS."""
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return Desk(tmp_path / "desk", folder=tmp_path)


Typed = Callable[..., list[str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Return a function that lets a person type these lines, then Ctrl-C. It returns the list of what they are told."""
    return lambda *lines: _type(monkeypatch, lines)


def _type(patch: pytest.MonkeyPatch, lines: Sequence[str]) -> list[str]:
    rest, said = list(lines), list[str]()

    class Person(Nobody):
        """Types the lines."""

        def check(self, *parts: object, instead: str) -> None:
            pass

        def say(self, text: str) -> None:
            said.append(text)

        def ask_code(self, prompt: str, **_: object) -> str:
            if not rest:
                raise KeyboardInterrupt
            return rest.pop(0)

    patch.setattr(terminal, "find_person", lambda **_: Person("nobody types"))
    return said
