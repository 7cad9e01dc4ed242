"""`status` for all users: few calls, and the same devices as one request per user shows."""

import json
from collections import Counter
from typing import Any

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit

SEED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
USERS = 60


def described() -> dict[str, Any]:
    """Describe users with a virtual device each, except one with a key, one with a token and one without a device."""
    users: list[dict[str, Any]] = [
        {"name": f"user{number:02}", "devices": [{"name": f"user{number:02}", "seed": SEED}]} for number in range(USERS)
    ]
    users[0]["devices"] = [{"kind": "fido", "name": "key", "certifications": {"FIDO": "L1"}}]
    users[1]["devices"] = [{"kind": "token", "serial": "GAHT12345678", "seed": SEED}]
    users[2]["devices"] = []
    return {"version": 1, "users": users}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Start a lab with these users. Yield the lab and a command line at a computer of its own."""
    with Lab(description=described()) as lab:
        env = {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield lab, MfaKit(tmp_path / "desk", env)


def rows(desk: MfaKit, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(desk.run("status", "--output", "json", *options).out)["rows"]
    return [{name: row[name] for name in ("user", "kind", "device", "since")} for row in found]


def calls(lab: Lab, since: int) -> Counter[str]:
    return Counter(call.operation for call in lab.calls[since:])


def test_only_users_of_unknown_kind_are_asked_about(account: tuple[Lab, MfaKit]) -> None:
    """The lists show everybody else. Both ways list the same devices."""
    lab, desk = account
    exact = rows(desk, "--each-user")
    rows(desk)  # makes the credential report
    seen = len(lab.calls)
    assert rows(desk) == exact
    made = calls(lab, seen)
    assert made.pop("ListMFADevices") == 2
    assert made == {
        "GetCallerIdentity": 1,
        "ListUsers": 1,
        "ListVirtualMFADevices": 1,
        "GetCredentialReport": 1,
    }


def test_users_newer_than_the_report_are_asked_about(account: tuple[Lab, MfaKit]) -> None:
    """Their devices are listed, although the report does not have these users."""
    lab, desk = account
    rows(desk)
    lab.add_user("later")
    lab.register_fido("later", "blue")
    assert [row["kind"] for row in rows(desk) if row["user"] == "later"] == ["fido2"]


@pytest.mark.parametrize("denied", ["GetCredentialReport", "ListVirtualMFADevices"])
def test_a_denied_list_is_replaced_by_requests(account: tuple[Lab, MfaKit], denied: str) -> None:
    """The result is the same, and a message says what was denied."""
    lab, desk = account
    exact = rows(desk, "--each-user")
    lab.faults.add(denied, "denied", at="every")
    done = desk.run("status", "--output", "json")
    assert [row["device"] for row in json.loads(done.out)["rows"]] == [row["device"] for row in exact]
    assert "more users are looked up one by one" in done.err
