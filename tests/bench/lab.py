"""Bench of the lab: its start, its devices per second, and an account of 5,000 users that is built and read whole."""

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice

import boto3
import pyotp

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.child import user_names
from tests.bench.table import Row, show

USERS = 5000
# The member accounts of an organization, and the users of each.
ACCOUNTS, USERS_EACH = 100, 20
PAIRS = 100
RUNS = 5
PER_USER = 8


def seconds(measured: Callable[[], object], runs: int = 1) -> float:
    """Return the shortest wall time of several runs."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        measured()
        taken.append(time.perf_counter() - began)
    return min(taken)


def pairs() -> int:
    """Create and enable devices one after another in a child of the lab, and print the milliseconds per device.

    The quickest round counts, because other work on the machine can only add time.
    """
    iam = boto3.client("iam")
    users = user_names(PAIRS * RUNS // PER_USER + 1)
    numbers = iter(range(PAIRS * RUNS))

    def measured() -> None:
        for number in islice(numbers, PAIRS):
            one(number)

    def one(number: int) -> None:
        made = iam.create_virtual_mfa_device(VirtualMFADeviceName=f"d{number}")["VirtualMFADevice"]
        code = pyotp.TOTP(made["Base32StringSeed"].decode()).at
        now = int(time.time())
        iam.enable_mfa_device(
            UserName=users[number // PER_USER],
            SerialNumber=made["SerialNumber"],
            AuthenticationCode1=code(now - 30),
            AuthenticationCode2=code(now),
        )

    print(1000 * seconds(measured, RUNS) / PAIRS)  # noqa: T201 - the bench that started this script reads the figure
    return 0


def details(lab: Lab) -> float:
    """Return the seconds that GetAccountAuthorizationDetails takes to return all users, in IAM's default pages."""
    iam = boto3.client(
        "iam",
        endpoint_url=lab.url,
        region_name="us-east-1",
        aws_access_key_id=lab.admin.access_key_id,
        aws_secret_access_key=lab.admin.secret_access_key,
    )
    found: list[object] = []

    def read() -> None:
        for page in iam.get_paginator("get_account_authorization_details").paginate():
            found.extend(page["UserDetailList"])

    taken = seconds(read)
    if len(found) != USERS + 1:
        raise AssertionError(f"{len(found)} users were read")
    return taken


def organization() -> None:
    """Build an organization, and close the server that nobody asked."""
    Lab(accounts=ACCOUNTS, users_per_account=USERS_EACH).server.server_close()


def main() -> int:
    """Run the bench and return the exit code."""
    run = [sys.executable, "-m", "mfa_kit", "lab", "run"]
    start = seconds(lambda: subprocess.run([*run, "--", "true"], check=True), RUNS)
    child = [*run, "--users", str(PAIRS * RUNS // PER_USER + 1), "--", sys.executable, "-m", "tests.bench.lab", "pairs"]
    pair = float(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
    began = time.perf_counter()
    with Lab(user_names(USERS)) as lab:
        built = time.perf_counter() - began
        read = details(lab)
    return show(
        "lab",
        [
            Row("lab run -- true", start, "s", 1.5),
            Row("one Create and Enable, 100 a second are 10 ms", pair, "ms", 10),
            Row(f"build {USERS} users", built, "s", 5),
            Row(f"build {ACCOUNTS} accounts of {USERS_EACH} users", seconds(organization, RUNS), "s", 1),
            Row(f"GetAccountAuthorizationDetails of {USERS} users", read, "s", 10),
        ],
    )


if __name__ == "__main__":
    sys.exit(pairs() if sys.argv[1:] == ["pairs"] else main())
