"""Bench of backup maintenance: re-encrypt 5,000 backups and verify 5,000, each by the command line.

Everything runs on one core. The shortest of several runs counts, because the bounds are for an otherwise idle machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.core.models import run_id
from mfa_kit.core.otp import Seed
from mfa_kit.qr_codes import key_uri
from tests.bench.table import Row, show

MANY = 5000
ACCOUNT = "000000000000"
RUNS = 4
# Threads that make the backups, so that they wait for the disk together.
THREADS = 32


def seal(folder: Path, to: str) -> None:
    """Encrypt backups for many users, each with a different secret."""
    store = AgeFiles(folder, parse_recipients([to]))

    def one(number: int) -> None:
        name = f"user{number:04}"
        backup = store.new(ACCOUNT, name, name, run=run_id(time.time(), os.urandom(4)))
        store.store_existing(backup, key_uri.otpauth(Seed(os.urandom(40)), label=f"{name}@{ACCOUNT}"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(MANY)))


def pair(folder: Path, name: str) -> tuple[Path, str]:
    identity = pyrage.x25519.Identity.generate()
    file = folder / f"{name}.txt"
    file.write_text(f"{identity}\n")
    return file, str(identity.to_public())


def run(home: Path, *words: str | Path) -> tuple[float, float]:
    """Run a command on one core. Return its elapsed seconds and its CPU seconds."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "MFA_KIT_HOME": str(home)}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "mfa_kit", "backup", *map(str, words)],
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
        old, new = pair(folder, "old"), pair(folder, "new")
        seal(home / "backups", old[1])
        figures = []
        for before, after in [(old, new), (new, old)] * (RUNS // 2):
            verify = run(home, "verify", "--all", "-i", before[0])
            rekey = run(home, "rekey", "--unproven", "-i", before[0], "-r", after[1])
            again = run(home, "rekey", "-i", before[0], "-i", after[0], "-r", after[1])
            figures.append((*verify, *rekey, *again))
        verified, verify_cpu, rekeyed, rekey_cpu, done, _ = map(min, zip(*figures, strict=True))
    return show(
        "backups",
        [
            Row(f"rekey of {MANY:,}", rekeyed, "s", 10),
            Row(f"rekey of {MANY:,}, CPU", rekey_cpu, "s"),
            Row(f"rekey of {MANY:,} that were done", done, "s", 10),
            Row(f"verify --all of {MANY:,}", verified, "s", 20),
            Row(f"verify --all of {MANY:,}, CPU", verify_cpu, "s"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
