"""Bench of `enroll --codes generated` with a backup, against a bare script that makes the same calls to the lab."""

import os
import sys
import tempfile
from itertools import cycle
from pathlib import Path

import pyrage

from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, cpu, show

RUNS = 25
BARE = """
import sys, time, boto3, pyotp

user = sys.argv[1]
iam = boto3.client("iam")
boto3.client("sts").get_caller_identity()
iam.get_user(UserName=user)
iam.list_mfa_devices(UserName=user)
device = iam.create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]
totp, now = pyotp.TOTP(device["Base32StringSeed"].decode()), time.time()
iam.enable_mfa_device(
    UserName=user,
    SerialNumber=device["SerialNumber"],
    AuthenticationCode1=totp.at(now - 30),
    AuthenticationCode2=totp.at(now),
)
iam.list_mfa_devices(UserName=user)
"""


# Replaces time.sleep in a run that is not measured.
WATCH = """
import os, time

def sleep(seconds, sleep=time.sleep):
    with open(os.environ["SLEPT"], "a") as slept:
        print(seconds, file=slept)
    sleep(seconds)

time.sleep = sleep
"""


def main() -> int:
    """Enroll users alternately with the bare script and with mfa-kit, and return the exit code."""
    users = [f"user{number:04}" for number in range(2 * (RUNS + 1))]
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    program = [str(Path(sys.executable).with_name("mfa-kit")), "enroll", "--with=virtual", "--codes=generated"]
    commands = {"bare script": [sys.executable, "-c", BARE], "enroll": [*program, "-r", recipient]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with Lab(users=[*users, "watched"]) as lab, tempfile.TemporaryDirectory() as home:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MFA_KIT_"))}
        env = {**kept, **lab.env, "XDG_DATA_HOME": home}
        for user, name in zip(users, cycle(commands), strict=False):
            taken[name].append(cpu([*commands[name], user], env))
        before = len(lab.calls)
        Path(home, "sitecustomize.py").write_text(WATCH, "utf-8")
        slept = Path(home, "slept")
        slept.touch()
        path = os.pathsep.join([home, *filter(None, [env.get("PYTHONPATH")])])
        cpu([*commands["enroll"], "watched"], {**env, "PYTHONPATH": path, "SLEPT": str(slept)})
        trips, sleeps = len(lab.calls) - before, len(slept.read_text("utf-8").splitlines())
    bare, ours = (1000 * min(taken[name][1:]) for name in commands)
    return show(
        "enroll",
        [
            Row("bare script", bare, "ms"),
            Row("enroll", ours, "ms"),
            Row("enroll, of the bare script", ours / bare, "x", 1.15),
            Row("round trips", trips, "calls", 6),
            Row("sleeps", sleeps, "calls", 0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
