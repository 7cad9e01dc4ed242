"""Bench of `key recall`: `python -m tests.bench.recall`.

The whole command, with 10,000 keys in the ledger of this computer, each with a device. A quarter of the keys are
affected.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from tests.bench.table import Row, cpu, show

KEYS, BOUND, RUNS = 10_000, 1.0, 5
ACCOUNT = "000000000000"
FACTS = KeyFacts(
    model="YubiKey 5 Series with NFC",
    aaguid="2fc0579f-8113-47ea-b116-bb5a8db9202a",
    certifications=("FIDO_CERTIFIED", "FIDO_CERTIFIED_L1"),
    certificate="ab" * 32,
    attested=frozenset({"model", "firmware", "aaguid", "certifications", "certificate"}),
)
PROGRAM = "import sys\nfrom mfa_kit.cli.main import run\nsys.exit(run(sys.argv[1:]) != 1)"


def fill(home: Path) -> None:
    """Record the keys in a new ledger."""
    home.mkdir(mode=0o700)
    with sqlite_ledger(home) as ledger:
        records = SeenKeyRecords(ledger)
        for number in range(KEYS):
            facts = replace(FACTS, serial=f"{10_000_000 + number}", firmware="5.4.3" if number % 4 == 0 else "5.7.4")
            user = f"user-{number}"
            serial = f"arn:aws:iam::{ACCOUNT}:u2f/user/{user}/key-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            device = KeyDevice(account=ACCOUNT, user=user, serial=serial, since=1_795_000_000.0 + number)
            records.add(facts, KeyEvent.ENROLLED, now=1_795_000_000.0 + number, device=device)


def main() -> int:
    """Print the table. Return 1 when the bound is missed."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        fill(home)
        command, env = [sys.executable, "-c", PROGRAM, "key", "recall"], {**os.environ, "MFA_KIT_HOME": str(home)}
        rows = [
            Row(f"{form}, {KEYS:,} keys, CPU", min(cpu([*command, *args], env) for _ in range(RUNS)), "s", BOUND)
            for form, args in (("JSON", ["--output", "json"]), ("table", []))
        ]
    return show("key recall", rows)


if __name__ == "__main__":
    sys.exit(main())
