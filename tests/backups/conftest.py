"""Fixtures for a folder of encrypted backups without AWS, and keys that decrypt them or do not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.files.local_store import LOCAL, find_backups
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import OWN, Backup, DeviceSpec, JournalEntry
from mfa_kit.core.otp import Seed
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring.ledger import recorded
from tests.conftest import ACCOUNT, MfaKit

RUN = "20261125T000000Z-0a1b2c3d"
SEED = Seed(bytes(range(40)))


@dataclass(frozen=True)
class Pair:
    """An identity in a file, and its recipient."""

    file: Path
    recipient: str


@pytest.fixture
def pair(tmp_path: Path) -> Callable[[str], Pair]:
    def make(name: str) -> Pair:
        identity = pyrage.x25519.Identity.generate()
        file = tmp_path / f"{name}.txt"
        file.write_text(f"{identity}\n")
        return Pair(file, str(identity.to_public()))

    return make


@pytest.fixture
def old(pair: Callable[[str], Pair]) -> Pair:
    return pair("old")


@pytest.fixture
def new(pair: Callable[[str], Pair]) -> Pair:
    return pair("new")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    """Open a desk without AWS."""
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return MfaKit(tmp_path / "desk")


def own(desk: MfaKit, user: str, recipient: str) -> Backup:
    """Encrypt the copy that only the user can decrypt, and record it."""
    store = AgeFiles(desk.home / "backups", [])
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user, recipient=recipient)
    entry = JournalEntry(run=RUN, spec=spec, backup=store.place(spec, RUN))
    with sqlite_ledger(desk.home) as ledger:
        recorded(store, ledger).seal(entry, key_uri.otpauth(SEED, label=f"{user}@{ACCOUNT}"))
    [found] = find_backups(desk.home / "backups" / OWN, LOCAL)
    return found


def sealed(desk: MfaKit, user: str, *recipients: str) -> Backup:
    """Encrypt a backup of a user into the desk's own folder."""
    store = AgeFiles(desk.home / "backups", parse_recipients(recipients))
    backup = store.new(ACCOUNT, user, user, run=RUN)
    store.store_existing(backup, key_uri.otpauth(SEED, label=f"{user}@{ACCOUNT}"))
    return backup
