"""Bench of break-glass identities: create 3 of 5 and 5 of 9, and a drill over 1,000 backups, by the command line.

Everything runs on one core. From the CPU time of create, that of a process with the same imports is subtracted.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import Backup, run_id
from mfa_kit.core.otp import Seed
from mfa_kit.qr_codes import key_uri
from tests.bench.table import Row, show

MANY = 1000
ACCOUNT = "000000000000"
RUNS = 4
# Threads that make the backups, so that they wait for the disk together.
THREADS = 32
IMPORTS = """
import sys
from mfa_kit.cli.main import run
import mfa_kit.cli.break_glass, mfa_kit.adapters.files.layers, mfa_kit.adapters.files.layers
import mfa_kit.adapters.ledger.sqlite_database
sys.exit(run(["break-glass", "create", "--help"]))
"""


def people(folder: Path, number: int) -> tuple[list[Path], list[str]]:
    """Make keys. Return their files, and the options that name their owners as custodians."""
    files, words = [], list[str]()
    for at in range(number):
        identity = pyrage.x25519.Identity.generate()
        file = folder / f"c{at}.txt"
        file.write_text(f"{identity}\n")
        files.append(file)
        words += ["--custodian", f"c{at}={identity.to_public()}"]
    return files, words


def seal(home: Path, to: str) -> None:
    """Encrypt backups for many users, each with a different secret, and record their recipient."""
    store = AgeFiles(home / "backups", parse_recipients([to]))

    def one(number: int) -> Backup:
        name = f"user{number:04}"
        backup = store.new(ACCOUNT, name, name, run=run_id(time.time(), os.urandom(4)))
        store.store_existing(backup, key_uri.otpauth(Seed(os.urandom(40)), label=f"{name}@{ACCOUNT}"))
        return backup

    with ThreadPoolExecutor(THREADS) as pool:
        made = list(pool.map(one, range(MANY)))
    with sqlite_ledger(home) as ledger:
        BackupRecords(ledger, now=1.0).record_sealed([each.name for each in made], [to])


def run(
    home: Path, *words: str | Path, python: Sequence[str] = ("-m", "mfa_kit", "break-glass")
) -> tuple[float, float]:
    """Run a command on one core. Return its elapsed seconds and its CPU seconds."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "MFA_KIT_HOME": str(home)}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *python, *map(str, words)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),  # noqa: PLW1509 - no threads here
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(map(str, words)))
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def main() -> int:
    """Run the bench and return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place), Path(place) / "home"
        files, words = people(folder, 9)
        run(home, python=("-c", IMPORTS))
        imports = min(run(home, python=("-c", IMPORTS))[1] for _ in range(RUNS))
        small = min(run(home, "create", "--threshold", "3", *words[:10])[1] for _ in range(RUNS))
        large = min(run(home, "create", "--threshold", "5", *words)[1] for _ in range(RUNS))
        [newest] = sorted((home / "break-glass").iterdir())[-1:]
        seal(home, recipient_of(newest))
        present = [word for file in files[:5] for word in ("-i", str(file))]
        drills = [run(home, "drill", *present) for _ in range(RUNS)]
    return show(
        "break_glass",
        [
            Row("imports of create, CPU", imports, "s"),
            Row("create 3 of 5, CPU beyond imports", small - imports, "s", 0.3),
            Row("create 5 of 9, CPU beyond imports", large - imports, "s", 2),
            Row(f"drill over {MANY:,}", min(elapsed for elapsed, _ in drills), "s", 8),
            Row(f"drill over {MANY:,}, CPU", min(cpu for _, cpu in drills), "s"),
        ],
    )


def recipient_of(folder: Path) -> str:
    """Return the recipient of the identity in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "mfa_kit", "break-glass", "status", "--query", "recipient", "--dir", folder],
        env={**os.environ, "MFA_KIT_HOME": str(folder.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().strip('"')


if __name__ == "__main__":
    sys.exit(main())
