"""Tests of two computers, which are processes with folders and names of their own, and share a ledger in PostgreSQL."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ROOT, MfaKit, bare
from tests.postgresql import Server
from tests.sizes import size

pytestmark = pytest.mark.slow
ROUNDS = size(8, 50)


@pytest.fixture
def address(postgresql: Server) -> str:
    return postgresql.address(postgresql.new_database())


def outputs(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Return what each process printed. If one of them hangs, kill all."""
    try:
        return [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_two_computers_never_give_one_token_to_two_users(
    at_lab: Lab, users: Callable[[], str], address: str, recipient: str, tmp_path: Path
) -> None:
    """In each round, each enrolls a user of its own with the same token at the same moment."""
    pairs = [(users(), users(), f"86500{number:05}") for number in range(ROUNDS)]
    racers = []
    for at, name in enumerate(("desk-a", "desk-b")):
        job = tmp_path / f"{name}.json"
        rounds = [(pair[at], pair[2]) for pair in pairs]
        job.write_text(
            json.dumps(
                {
                    "computer": name,
                    "folder": str(tmp_path),
                    "rounds": rounds,
                    "recipient": recipient,
                    "ledger": address,
                }
            )
        )
        env = {**bare(), **at_lab.env, "MFA_KIT_HOME": str(tmp_path / name)}
        racers.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.racing", job],
                env=env,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    results = [json.loads(each) for each in outputs(racers)]
    for (one, two, serial), *ended in zip(pairs, *results, strict=True):
        has = [user for user in (one, two) if at_lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") == user]
        assert len(has) == 1, (serial, ended)
        assert sorted(code for code, _ in ended) == [0, 2], ended
        assert sum(f"token {serial}" in said for code, said in ended if code) == 1, ended


def test_two_computers_with_one_plan_enroll_each_user_once(
    at_lab: Lab, users: Callable[[], str], address: str, recipient: str, tmp_path: Path
) -> None:
    """One of them enrolls a user, and the other one reports that the user has a device."""
    names = [users() for _ in range(30)]
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text("user,kind\n" + "".join(f"{name},virtual\n" for name in names))
    desks = [MfaKit(tmp_path / f"desk-{name}", dict(at_lab.env)) for name in "ab"]
    assert desks[0].process("rollout", "plan", roster, "-o", plan, "--ledger", address).code == 0
    words: list[str | Path] = [
        "rollout",
        "apply",
        plan,
        "-r",
        recipient,
        "--local-backups",
        "--ledger",
        address,
        "--output",
        "json",
    ]
    started = [
        desk.start(
            *words,
            "--accept-lockout",
            "--workers",
            "2",
            "--output",
            "json",
            "--results",
            tmp_path / f"results-{number}",
        )
        for number, desk in enumerate(desks)
    ]
    outs = outputs(started)
    rows = [row for out in outs for row in json.loads(out)["rows"]]
    assert Counter(row["user"] for row in rows if row["outcome"] == "enrolled" and not row["reason"]) == dict.fromkeys(
        names, 1
    ), outs
    assert not [row for row in rows if "no backup" in (row["reason"] or "")]
    client = boto3.Session().client("iam")
    assert {name: len(client.list_mfa_devices(UserName=name)["MFADevices"]) for name in names} == dict.fromkeys(
        names, 1
    )
