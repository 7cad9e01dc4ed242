"""Comparison for users: `python -m tests.bench.compared` (root, Linux; it starts a private pcscd).

One job is done in three ways: a device for a user, once as a virtual device and once on an OATH key. Measured are the
time, the calls to AWS, files with the secret, and what is there after ten kills, when the same command has run again.
The lab answers without latency. The scripts compute both codes from the secret, so they do not wait for the next code.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import YUBIKEY, Readers
from tests.bench.programs import aws
from tests.bench.table import Row, show
from tests.conftest import ACCOUNT, bare
from tests.test_secrets import forms

RUNS, KILLS = 5, 10
CLI = r"""
set -e
umask 077
serial=$({aws} iam create-virtual-mfa-device --virtual-mfa-device-name "$1" --outfile "$1.seed" \
    --bootstrap-method Base32StringSeed --query VirtualMFADevice.SerialNumber --output text)
now=$(date +%s)
{aws} iam enable-mfa-device --user-name "$1" --serial-number "$serial" \
    --authentication-code1 "$(oathtool --totp --base32 --now "@$((now - 30))" "@$1.seed")" \
    --authentication-code2 "$(oathtool --totp --base32 --now "@$now" "@$1.seed")"
rm "$1.seed"
"""
SCRIPT = """
import subprocess, sys, time
import boto3, pyotp

user, ykman = sys.argv[1], sys.argv[2:]
iam = boto3.client("iam")
device = iam.create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]
secret = device["Base32StringSeed"].decode()
subprocess.run([*ykman, "oath", "accounts", "add", "--force", user, secret], check=True)
totp, now = pyotp.TOTP(secret), time.time()
iam.enable_mfa_device(
    UserName=user,
    SerialNumber=device["SerialNumber"],
    AuthenticationCode1=totp.at(now - 30),
    AuthenticationCode2=totp.at(now),
)
"""


@dataclass
class Tally:
    """What was measured of one way to do the job."""

    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    files: int = 0
    ends: Counter[str] = field(default_factory=Counter)


@dataclass
class Bench:
    """The lab, its users, the key in the reader, and the folder in which all programs work."""

    lab: Lab
    env: dict[str, str]
    folder: Path
    users: Iterator[str]
    readers: Readers

    def begin(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def serial(self, user: str) -> str:
        return f"arn:aws:iam::{ACCOUNT}:mfa/{user}"

    def secrets_in_files(self, user: str) -> int:
        """Return how many files have the secret of the user's device in a form that anybody can read."""
        if self.serial(user) not in self.lab.serials():
            return 0
        texts = forms(self.lab.seed(self.serial(user)))
        files = [file.read_bytes() for file in self.folder.rglob("*") if file.is_file()]
        return sum(any(text in content for text in texts) for content in files)

    def state(self, user: str) -> str:
        """Return what the user has in IAM."""
        if self.serial(user) not in self.lab.serials():
            return "nothing"
        return "enabled" if self.lab.assigned(self.serial(user)) else "half-made"

    def insert(self) -> None:
        """Put an empty key into the reader, in place of the last one."""
        self.readers.remove()
        self.readers.insert(YkoathCard())


def measure(bench: Bench, command: Callable[[str], Sequence[str]], tally: Tally) -> None:
    """Do the job once, and note the time, the calls, and files with the secret."""
    user, calls, began = next(bench.users), len(bench.lab.calls), time.perf_counter()
    bench.insert()
    if bench.begin(command(user)).wait():
        raise subprocess.CalledProcessError(1, command(user))
    tally.seconds.append(time.perf_counter() - began)
    tally.calls = len(bench.lab.calls) - calls
    tally.files += bench.secrets_in_files(user)


def kill(bench: Bench, command: Callable[[str], Sequence[str]], tally: Tally, *, after: float) -> None:
    """Kill the job after some seconds, do it again, and note what the user has, and files with the secret."""
    user = next(bench.users)
    bench.insert()
    process = bench.begin(command(user))
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bench.begin(command(user)).wait()
    secret = ", a file has the secret" if bench.secrets_in_files(user) else ""
    tally.ends[f"{bench.state(user)}{secret}"] += 1


def main() -> int:
    folder_of, recipient = Path(sys.executable).parent, str(pyrage.x25519.Identity.generate().to_public())
    enroll = [str(folder_of / "mfa-kit"), "enroll", "--yes", "-r", recipient]
    ykman = [str(folder_of / "ykman"), "--reader", f"{YUBIKEY} 00 00"]
    ways: dict[str, Callable[[str], Sequence[str]]] = {
        "virtual, mfa-kit": lambda user: [*enroll, user, "--with", "virtual", "--codes", "generated"],
        "virtual, AWS CLI and oathtool": lambda user: ["/bin/sh", "-c", CLI.replace("{aws}", aws()), "sh", user],
        "OATH key, mfa-kit": lambda user: [*enroll, user, "--with", "oath", "--no-touch"],
        "OATH key, boto3 and ykman": lambda user: [sys.executable, "-c", SCRIPT, user, *ykman],
    }
    users = [f"user{number:03}" for number in range(len(ways) * (1 + RUNS + KILLS))]
    tallies = {name: Tally() for name in ways}
    with Lab(users=users) as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        env = {**bare(), **lab.env, **readers.env, "MFA_KIT_HOME": str(Path(folder) / "desk")}
        bench = Bench(lab, env, Path(folder), iter(users), readers)
        for command in ways.values():
            measure(bench, command, Tally())
        for _ in range(RUNS):
            for name, command in ways.items():
                measure(bench, command, tallies[name])
        for number in range(1, KILLS + 1):
            for name, command in ways.items():
                kill(bench, command, tallies[name], after=min(tallies[name].seconds) * number / (KILLS + 1))
    rows = []
    for name, tally in tallies.items():
        rows += [
            Row(f"{name}: elapsed", min(tally.seconds), "s"),
            Row("  calls to AWS", tally.calls, "calls"),
            Row(f"  files with the secret after {RUNS} jobs", tally.files, "files", 0 if "mfa-kit" in name else None),
            *(
                Row(f"  after {KILLS} kills and the same command again: {end}", number, "users")
                for end, number in sorted(tally.ends.items())
            ),
        ]
        if "mfa-kit" in name:
            rows.append(Row("  users without a working device", KILLS - tally.ends["enabled"], "users", 0))
    return show("compared", rows)


if __name__ == "__main__":
    sys.exit(main())
