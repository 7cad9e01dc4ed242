"""Bench of encrypting and journaling a backup: CPU of this process, and the seconds that a thousand backups take."""

import gc
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyrage

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli.main import GARBAGE_AT
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, run_id
from mfa_kit.core.otp import KeyUri, Seed
from mfa_kit.qr_codes import key_uri
from tests.bench.table import Row, show

RUNS = 50
MANY = 1000


def entries(store: AgeFiles, count: int) -> list[tuple[JournalEntry, KeyUri]]:
    """Create intents of distinct users, and the URIs that AWS would return for them."""
    made = []
    for number in range(count):
        name = f"user{number:04}"
        spec = DeviceSpec(account="000000000000", partition="aws", user=name, name=name)
        run = run_id(time.time(), secrets.token_bytes(4))
        uri = key_uri.otpauth(Seed(secrets.token_bytes(40)), label=f"{name}@{spec.account}")
        made.append((JournalEntry(run=run, spec=spec, backup=store.place(spec, run)), uri))
    return made


def cpu(act: Callable[..., object], *values: object) -> float:
    """Return the CPU milliseconds of a call."""
    began = time.process_time()
    act(*values)
    return 1000 * (time.process_time() - began)


def open_ledger(folder: Path) -> None:
    sqlite_ledger(folder).close()


def journal(ledger: Ledger, entry: JournalEntry) -> None:
    for reached in (JournalState.INTENT, JournalState.CREATED, JournalState.CONFIRMED):
        ledger.record(entry.at(reached))


def main() -> int:
    """Run the bench and return the exit code."""
    gc.set_threshold(GARBAGE_AT)  # as mfa-kit does
    to = parse_recipients([str(pyrage.x25519.Identity.generate().to_public())])
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / f"{number}" for number in range(RUNS)]
        store = AgeFiles(Path(place) / "backups", to)
        sealed = entries(store, MANY)
        began = time.monotonic()
        used = [cpu(store.seal, *each) for each in sealed]
        seconds = time.monotonic() - began
        new = min(cpu(open_ledger, folder) for folder in folders)
        again = min(cpu(open_ledger, folder) for folder in folders)
        with sqlite_ledger(folders[0]) as ledger:
            noted = min(cpu(journal, ledger, entry) for entry, _ in entries(store, RUNS))
    return show(
        "seal",
        [
            Row("sealing one backup", min(used), "ms", 6),
            Row(f"sealing {MANY:,}", seconds, "s", 8),
            Row(f"sealing {MANY:,}, CPU", sum(used) / 1000, "s"),
            Row("journalled, more", noted, "ms", 2),
            Row("opening a new ledger", new, "ms", 10),
            Row("opening a ledger", again, "ms", 10),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
