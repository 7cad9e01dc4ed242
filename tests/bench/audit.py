"""Bench of `audit` with all rules and of `status`, for 5,000 users: API calls, own CPU and memory.

The audit runs live and from a snapshot. It is compared with a script that lists the devices of each user, with one
request per user. If a folder with another version of mfa-kit is given, the audits of both versions alternate. The
account has 500 roles and 300 policies. A last row is about a chain of 400 users, each of whom can take the credentials
of the next.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mfa_kit.account.escalation import administrations
from mfa_kit.account.snapshot import Entity, Snapshot
from mfa_kit.adapters.aws.answers import PAGE
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import ADMINISTRATOR, ago, sound
from tests.bench.table import Row, show

USERS, ROLES, POLICIES, LINKS = 5000, 500, 300, 400
START = "arn:aws:iam::000000000000"
# Users whose devices are security keys or hardware tokens, which the listing of virtual devices does not include.
UNTOLD = 150
BARE = 250
NAIVE = """
import boto3
from concurrent.futures import ThreadPoolExecutor
iam = boto3.client("iam")
names = [user["UserName"] for page in iam.get_paginator("list_users").paginate() for user in page["Users"]]
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda name: iam.list_mfa_devices(UserName=name), names))
"""


def rights(actions: str | Sequence[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    row = {"Effect": "Allow", "Action": actions, "Resource": resource, **more}
    return {"Version": "2012-10-17", "Statement": [row]}


def described() -> dict[str, Any]:
    """Describe the account: groups of fifty users, a few administrators, some access keys, roles and policies."""
    found = sound()
    people = found["groups"][1]
    names = [f"policy{number:03}" for number in range(POLICIES)]
    found["groups"] += [
        {**people, "name": f"team{number:03}", "attached": [f"{START}:policy/{names[number]}"]} for number in range(100)
    ]
    found["policies"] = [
        *found.get("policies", []),
        *({"name": name, "document": rights(["s3:Get*", "ec2:*"], f"arn:aws:s3:::{name}/*")} for name in names),
    ]
    trust = {"Effect": "Allow", "Principal": {"AWS": f"{START}:root"}, "Action": "sts:AssumeRole"}
    computers = {**trust, "Principal": {"Service": "ec2.amazonaws.com"}}
    found["roles"] = [
        *found.get("roles", []),
        *(
            {
                "name": f"role{number:03}",
                "attached": [f"{START}:policy/{names[number % POLICIES]}"],
                "trust": {"Version": "2012-10-17", "Statement": [computers if number % 2 else trust]},
            }
            for number in range(ROLES)
        ),
    ]
    for number in range(USERS - len(found["users"])):
        name = f"user{number:04}"
        if number < UNTOLD:
            devices: list[dict[str, Any]] = [{"kind": "fido", "name": "key"}]
        else:
            devices = [] if number < UNTOLD + BARE else [{"name": name, "seed": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"}]
        found["users"].append(
            {
                "name": name,
                "groups": [f"team{number % 100:03}"],
                "created": ago(400),
                "password": True,
                "password_changed": ago(100),
                "password_last_used": ago(1),
                "keys": [{"id": f"AKIA{number:016}", "secret": "s", "created": ago(30)}] if number % 3 == 0 else [],
                "devices": devices,
                **({"attached": [ADMINISTRATOR]} if number < 3 else {}),
            }
        )
    return found


def measured(command: Sequence[str], env: Mapping[str, str], *, ends: int = 1) -> tuple[float, float]:
    """Run a command that exits with the code `ends`. Return its CPU seconds and its peak memory in MB.

    The peak is VmHWM in /proc, read until the process ends. ru_maxrss would be at least the memory of this process,
    because a child begins with the memory of its parent.
    """
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )
    peak = 0
    done, status, usage = os.wait4(child.pid, os.WNOHANG)
    while not done:
        peak = max(peak, _peak(child.pid))
        time.sleep(0.005)
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != ends:
        raise subprocess.CalledProcessError(child.returncode, command)
    return usage.ru_utime + usage.ru_stime, peak / 1024


def _peak(process: int) -> int:
    """Return the peak memory of a process in KiB, or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def chain() -> float:
    """Return the CPU seconds in which the paths of a chain of users are found. The last one is an administrator."""
    texts = [
        json.dumps(rights("iam:CreateAccessKey", f"{START}:user/u{number + 1}") if number < LINKS else rights("*"))
        for number in range(LINKS + 1)
    ]
    users = tuple(
        Entity(name=f"u{number}", arn=f"{START}:user/u{number}", inline={"p": text})
        for number, text in enumerate(texts)
    )
    before = time.process_time()
    administrations(Snapshot(at=0.0, account="000000000000", caller="", users=users, groups=(), roles=(), policies={}))
    return time.process_time() - before


def main() -> int:
    """Run the bench and return the exit code."""
    other = sys.argv[1] if len(sys.argv) > 1 else ""
    with Lab(description=described()) as lab, tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "MFA_KIT_HOME": home, **lab.env}
        audit = [sys.executable, "-P", "-m", "mfa_kit", "audit", "--output", "json"]
        measured(audit, env)
        runs, others, calls = [], [], Counter[str]()
        for _ in range(3):
            others += [measured(audit, env | {"MFA_KIT_HOME": f"{home}/other", "PYTHONPATH": other})] if other else []
            seen = len(lab.calls)
            runs.append(measured(audit, env))
            calls = Counter(call.operation for call in lab.calls[seen:])
        snapshot = Path(home) / "account.json"
        kept = [*audit, "--snapshot", str(snapshot)]
        measured(kept, env)
        offline = [measured(kept, env) for _ in range(3)]
        seen = len(lab.calls)
        listing = measured([sys.executable, "-m", "mfa_kit", "status", "--output", "json"], env, ends=0)
        listed = Counter(call.operation for call in lab.calls[seen:])
        seen = len(lab.calls)
        naive = measured([sys.executable, "-c", NAIVE], env, ends=0)
        naive_calls = len(lab.calls) - seen
    pages = calls["GetAccountAuthorizationDetails"] + calls["ListVirtualMFADevices"]
    total = calls.total()
    return show(
        f"audit of {USERS} users, {PAGE} a page",
        [
            Row("calls: pages, one a user of unknown kind, ten", total, "calls", pages + UNTOLD + 10),
            Row("calls of a script that asks for each user", naive_calls, "calls"),
            Row("calls of ours for a hundred of users", 100 * total / USERS, "calls", 100 / 20),
            Row("own CPU, the least of three", min(seconds for seconds, _ in runs), "s", 2.0),
            *(Row("own CPU of the other version", seconds, "s") for seconds, _ in sorted(others)[:1]),
            Row(f"own CPU of the paths of {LINKS} users in a chain", chain(), "s", 2.0),
            Row("own CPU of that script, which judges nothing", naive[0], "s"),
            Row("memory, the most of three", max(memory for _, memory in runs), "MB", 120.0),
            Row(
                "calls of status: pages, one a user of unknown kind, three",
                listed.total(),
                "calls",
                listed["ListUsers"] + listed["ListVirtualMFADevices"] + UNTOLD + 3,
            ),
            Row("own CPU of status", listing[0], "s", 3.0),
            Row("own CPU from a snapshot", min(seconds for seconds, _ in offline), "s", 2.0),
            Row("memory from a snapshot", max(memory for _, memory in offline), "MB", 120.0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
