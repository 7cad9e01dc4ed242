"""Bench of the hand-over: the letters of a large rollout, and the search for the codes that users sent.

`python -m tests.bench.handover proofs` runs this part alone. The worst case is measured: every code is as old as the
search goes back, or belongs to no device.
"""

import base64
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyotp
import pyrage

from mfa_kit.core.otp import Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.proofs import AHEAD, BACK, find_pairs
from tests.bench.canned import Canned
from tests.bench.rollout import Desk, desk, ended, names
from tests.bench.table import Row, show

LETTERS, PROOFS = 5000, 500
OLD = 6.9 * 24 * 60 * 60


def letters() -> list[Row]:
    """Write the letters of 5,000 enrolled users. The time includes the list of devices, and syncing to disk."""
    with Canned(names(LETTERS)) as iam, desk(iam.env) as one:
        ended(one.plan(names(LETTERS)))
        ended(one.apply(files=1))
        used = ended(one.start("rollout", "handover", "plan.json", "-o", "letters"))
        found = sum(1 for _ in (one.folder / "letters").glob("*/letter.txt"))
    return [
        Row(f"letters missing, of {LETTERS:,}", LETTERS - found, "letters", 0),
        Row(f"handover for {LETTERS:,} users", used.seconds, "s", 10),
        Row(f"handover for {LETTERS:,} users, CPU", used.cpu, "s"),
        Row(f"handover for {LETTERS:,} users, memory", used.peak, "MB"),
    ]


@contextmanager
def staged(lab: Lab) -> Iterator[tuple[Desk, Path]]:
    """Stage a device for each user, and yield the desk and the identity that decrypts the backups."""
    with desk(lab.env) as one, tempfile.TemporaryDirectory() as folder:
        identity, file = pyrage.x25519.Identity.generate(), Path(folder) / "identity.txt"
        file.write_text(f"{identity}\n", "utf-8")
        one.key = str(identity.to_public())
        ended(one.plan(names(PROOFS)))
        ended(one.apply(stage=True))
        yield one, file


def proofs() -> list[Row]:
    """Search the codes of 500 users who sent them almost seven days ago. Nothing is enabled, so only this is measured.

    The bound is for one core, so CPU time counts.
    """
    with Lab(users=names(PROOFS)) as lab, staged(lab) as (one, identity):
        at = time.time() - OLD
        written = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        lines = ["user,code1,code2,time"]
        for user in names(PROOFS):
            secret = base64.b32encode(lab.seed(f"arn:aws:iam::000000000000:mfa/{user}")).decode()
            code = pyotp.TOTP(secret).at
            lines.append(f"{user},{code(int(at) - 30)},{code(int(at))},{written}")
        (one.folder / "proofs.csv").write_text("\n".join(lines) + "\n", "utf-8")
        command = ("rollout", "activate", "--proofs", "proofs.csv", "-i", str(identity), "--dry-run")
        process = one.start(*command, "--output", "jsonl", stdout=subprocess.PIPE)
        assert process.stdout
        good = sum('"staged"' in line for line in process.stdout)
        used = ended(process)
    return [
        Row(f"proofs not accepted, of {PROOFS}", PROOFS - good, "proofs", 0),
        Row(f"{PROOFS} proofs over 7 days, with their backups opened, CPU", used.cpu, "s", 20),
        Row("the search alone, no code found", _search(), "s"),
    ]


def _search() -> float:
    """Return the CPU seconds of as many searches for codes that the device does not show."""
    now = int(time.time())
    steps = range((now - BACK) // 30, (now + AHEAD) // 30 + 1)
    began = time.process_time()
    for number in range(PROOFS):
        assert list(find_pairs(Seed(number.to_bytes(40)), "no code", "none", steps)) == []
    return time.process_time() - began


PARTS: dict[str, Callable[[], list[Row]]] = {"letters": letters, "proofs": proofs}


def main() -> int:
    """Run the bench and return the exit code."""
    return show("handover", [row for name in sys.argv[1:] or PARTS for row in PARTS[name]()])


if __name__ == "__main__":
    sys.exit(main())
