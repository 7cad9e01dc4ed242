"""Bench of `orphans list` with 5,000 virtual devices, 50 of them unassigned: API calls and CPU of the process."""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from mfa_kit.core import otp
from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, cpu, show

DEVICES = 5000
UNASSIGNED = 50


def fill(lab: Lab) -> None:
    """Create the users and their devices with ordinary client calls."""
    names = [f"user{number:04}" for number in range(DEVICES)]
    for name in names:
        lab.add_user(name)
    iam = boto3.client(
        "iam",
        endpoint_url=lab.url,
        region_name="us-east-1",
        aws_access_key_id=lab.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=lab.env["AWS_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=8),
    )

    def make(number: int) -> None:
        name = names[number]
        device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        if number >= UNASSIGNED:
            seed = otp.from_base32(otp.Secret(device["Base32StringSeed"]))
            pair = otp.pair(seed, lab.account.now())
            iam.enable_mfa_device(
                UserName=name,
                SerialNumber=device["SerialNumber"],
                AuthenticationCode1=pair.first,
                AuthenticationCode2=pair.second,
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(DEVICES)))


def main() -> int:
    with Lab() as lab, tempfile.TemporaryDirectory() as home:
        fill(lab)
        env = {"PATH": os.environ["PATH"], "MFA_KIT_HOME": home, **lab.env}
        command = [sys.executable, "-m", "mfa_kit", "orphans", "list", "--output", "json"]
        cpu(command, env)
        seen = len(lab.calls)
        seconds = min(cpu(command, env) for _ in range(3))
        calls = (len(lab.calls) - seen) / 3
    return show(
        "orphans list",
        [
            Row("calls: caller, pages, one a device", calls, "calls", 1 + 1 + UNASSIGNED),
            Row("CPU of the process", seconds, "s", 1.0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
