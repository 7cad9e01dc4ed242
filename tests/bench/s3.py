"""Bench of backups in S3: list 10,000 and verify 1,000 by the command line, with the lab as the server.

What counts for `backup list` is its CPU time, which excludes that of the server. For `backup verify`, each answer of
the lab takes LATENCY seconds longer, so that reading one backup after another would take 1,000 times as long.
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from moto.s3.models import s3_backends

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.core.models import S3Url, run_id
from mfa_kit.core.otp import Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring.stores import AnyFileStore
from tests.bench.backups import pair
from tests.bench.table import Row, cpu, show
from tests.plain_settings import plain_settings

LISTED, VERIFIED = 10_000, 1_000
ACCOUNT = "000000000000"
RUNS = 3
THREADS = 8
# Seconds that each answer takes longer.
LATENCY = 0.1


def fill() -> None:
    """Put objects with the names of backups into a bucket, without requests."""
    boto3.Session().client("s3").create_bucket(Bucket="listed")
    [backend] = [each["aws"] for each in s3_backends.values() if "listed" in each["aws"].buckets]
    for number in range(LISTED):
        name = f"user{number:05}"
        run = run_id(time.time(), os.urandom(4))
        backend.put_object("listed", f"pre/{ACCOUNT}/{name}/{name}-{run}.png.age", b"x")


def seal(to: str) -> None:
    """Encrypt backups for many users into a bucket."""
    boto3.Session().client("s3").create_bucket(Bucket="verified")
    store = AgeFiles(S3Url("verified", "pre"), parse_recipients([to]), AnyFileStore(plain_settings()))

    def one(number: int) -> None:
        name = f"user{number:04}"
        backup = store.new(ACCOUNT, name, name, run=run_id(time.time(), os.urandom(4)))
        store.store_existing(backup, key_uri.otpauth(Seed(os.urandom(40)), label=f"{name}@{ACCOUNT}"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(VERIFIED)))


def run(lab: Lab, home: Path, *words: str | Path) -> tuple[float, float]:
    """Run a command. Return its elapsed seconds and its CPU seconds."""
    env = {**lab.env, "PATH": os.environ["PATH"], "MFA_KIT_HOME": str(home)}
    command = [sys.executable, "-m", "mfa_kit", "backup", *map(str, words)]
    began = time.monotonic()
    used = cpu(command, env)
    return time.monotonic() - began, used


def main() -> int:
    """Run the bench and return the exit code."""
    with tempfile.TemporaryDirectory() as place, Lab() as lab:
        os.environ.update(lab.env)
        folder = Path(place)
        file, recipient = pair(folder, "key")
        fill()
        seal(recipient)
        before = len(lab.calls)
        run(lab, folder, "list", "--backup-dir", "s3://listed/pre")
        calls = len(lab.calls) - before
        lists = [run(lab, folder, "list", "--backup-dir", "s3://listed/pre") for _ in range(RUNS)]
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        verify = min(
            run(lab, folder, "verify", "--all", "--backup-dir", "s3://verified/pre", "-i", file)[0] for _ in range(RUNS)
        )
    return show(
        "s3",
        [
            Row(f"list of {LISTED:,}, CPU", min(used for _, used in lists), "s", 3),
            Row(f"list of {LISTED:,}, calls", calls, "", LISTED / 1000 + 3),
            Row(f"verify of {VERIFIED:,} with {LATENCY} s per answer", verify, "s", VERIFIED * LATENCY / 4),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
