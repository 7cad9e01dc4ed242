"""A rollout with MiniStack, an IAM by other authors: it parses requests, pages and tags in its own way.

Features that it lacks are not tested: it accepts any codes, and it has no ListMFADeviceTags. Its seeds are
hexadecimal, which is not base32, so the test replaces them.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyrage
import pytest

from tests.conftest import MfaKit

USERS = [f"s{number:02}" for number in range(12)]
STARTED = """
import runpy, secrets, ministack.services.iam as iam
iam.new_uuid = lambda: "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(32))
runpy.run_module("ministack", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def ministack() -> Iterator[dict[str, str]]:
    """Run MiniStack on loopback; yield the environment of its clients."""
    pytest.importorskip("ministack", reason="ministack is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"}
    command = [sys.executable, "-c", STARTED]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "NO_PROXY": "127.0.0.1",
            }
        finally:
            running.terminate()


def client(env: dict[str, str]) -> Any:
    return boto3.client(
        "iam",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_rollout_works_with_another_iam(ministack: dict[str, str], tmp_path: Path) -> None:
    """It is planned, applied, shown and undone.

    The test can reveal an error that mfa-kit and its lab have in common.
    """
    iam = client(ministack)
    for user in (*USERS, "has", "self"):
        iam.create_user(UserName=user)
    has = iam.create_virtual_mfa_device(VirtualMFADeviceName="has")["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(UserName="has", SerialNumber=has, AuthenticationCode1="123456", AuthenticationCode2="654321")
    key = str(pyrage.x25519.Identity.generate().to_public())
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(
        "user,kind,recipient,tags\n"
        + "".join(f"{user},,{key},team=a b\n" for user in (*USERS, "has", "ghost"))
        + "self,self,,\n"
    )
    desk = MfaKit(tmp_path / "desk", ministack)
    planned = json.loads(desk.process("rollout", "plan", roster, "-o", plan, "--output", "json").out)
    assert {name: planned[name] for name in ("enroll", "skip", "self", "blocked")} == {
        "enroll": len(USERS),
        "skip": 1,
        "self": 1,
        "blocked": 1,
    }
    done = desk.process("rollout", "apply", plan, "-r", key, "--output", "json")
    assert done.code == 1, done.err  # one user of the roster does not exist
    result = json.loads(done.out)
    assert result["counts"] == {"enrolled": len(USERS), "skipped": 1, "waiting": 1, "blocked": 1}
    assert {user: _device(iam, user) for user in USERS} == {
        user: f"arn:aws:iam::000000000000:mfa/{user}" for user in USERS
    }
    status = json.loads(desk.process("rollout", "status", plan, "--output", "json").out)["rows"]
    assert {row["user"] for row in status if row["outcome"] == "enrolled"} == set(USERS)
    again = json.loads(desk.process("rollout", "apply", plan, "-r", key, "--output", "json").out)
    assert again["counts"] == result["counts"]


def _device(iam: Any, user: str) -> str | None:
    found = [row["SerialNumber"] for row in iam.list_mfa_devices(UserName=user)["MFADevices"]]
    return found[0] if len(found) == 1 else None
