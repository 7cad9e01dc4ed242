"""Tests of the root users of member accounts, read in the lab through sessions of AssumeRoot."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.snapshot import OrganizationPlace, RootVerdict
from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.member_sessions import MemberRootReader, MemberSessions, read_central_root_access
from mfa_kit.core.errors import AccessDenied
from mfa_kit.core.models import DeviceType
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit

MEMBER_KEY = {"id": "AKIAMEMBERAAAAAAAAAA", "secret": "s"}
HOME, FIRST, SECOND = "000000000000", "000000000001", "000000000002"
DENY_SUMMARY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Action": "iam:GetAccountSummary", "Resource": "*"}],
}


def described(*roots: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Describe an organization whose member accounts have these root users."""
    accounts = [{"id": f"{number:012}", "name": f"a{number}", "root": root} for number, root in enumerate(roots, 1)]
    return {"version": 1, "organization": {"accounts": accounts, **fields}}


def laid(description: dict[str, Any]) -> Lab:
    return Lab(description=description, settings=LabSettings(propagation=0))


def reader_of(lab: Lab, patch: pytest.MonkeyPatch, *, workers: int = 1) -> tuple[MemberRootReader, Iam]:
    for name, value in lab.env.items():
        patch.setenv(name, value)
    sessions = MemberSessions(Connection(workers=workers))
    iam = Iam(observe=lambda _: None, sleep=lambda _: None)
    return MemberRootReader(sessions, attempts=lambda act: iam.ask(lambda _: act())), iam


@pytest.mark.parametrize(
    ("root", "verdict", "types"),
    [
        ({"password": False, "mfa": False}, RootVerdict.NO_CREDENTIALS, []),
        ({"devices": [{"kind": "virtual"}]}, RootVerdict.VIRTUAL, [DeviceType.VIRTUAL]),
        ({"devices": [{"kind": "token"}]}, RootVerdict.HARDWARE_TOTP, [DeviceType.HARDWARE_TOTP]),
        ({"devices": [{"kind": "fido"}]}, RootVerdict.SECURITY_KEY, [DeviceType.FIDO2]),
        ({"devices": []}, RootVerdict.NO_MFA, []),
        ({"devices": [{"kind": "fido"}], "keys": 1}, RootVerdict.ACCESS_KEYS, [DeviceType.FIDO2]),
    ],
)
def test_a_session_of_root_shows_the_facts_about_root(
    root: dict[str, Any], verdict: RootVerdict, types: list[DeviceType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of AssumeRoot acts as the account's root user, so root's devices of all kinds are listed."""
    with laid(described(root)) as lab:
        reader, _ = reader_of(lab, monkeypatch)
        posture = reader.posture(FIRST)
    assert (posture.account, posture.verdict, posture.unread) == (FIRST, verdict, ())
    assert [device.type for device in posture.devices or ()] == types


def test_no_unnecessary_call_is_made_about_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """If root has no MFA, its devices are not listed. Only AssumeRoot is signed with the caller's own key."""
    with laid(described({"devices": [{"kind": "fido"}]}, {"password": False, "mfa": False})) as lab:
        reader, _ = reader_of(lab, monkeypatch)
        for account in (FIRST, SECOND):
            reader.posture(account)
        calls = [(call.operation, call.key == lab.admin.access_key_id) for call in lab.calls]
    audit = [("AssumeRoot", True), ("GetAccountSummary", False)]
    assert calls == [*audit, ("ListMFADevices", False), *audit]


def test_no_request_leaves_with_the_credentials_of_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """If many threads read root users at once, each account still gets its own facts."""
    roots = [
        {"devices": [{"kind": "token", "serial": f"GAHT{number:08}"}], "keys": number % 2} for number in range(1, 41)
    ]
    with laid(described(*roots)) as lab:
        reader, _ = reader_of(lab, monkeypatch, workers=16)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(reader.posture, [f"{number:012}" for number in range(1, 41)]))
        by_key = {(call.key, call.account) for call in lab.calls if call.operation != "AssumeRoot"}
        assert len(by_key) == len({key for key, _ in by_key}) == len(roots)
    for number, posture in enumerate(found, 1):
        assert [device.serial for device in posture.devices or ()] == [f"GAHT{number:08}"]
        assert posture.access_keys is bool(number % 2)


def test_a_member_account_that_refuses_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is AWS's message. Facts that were read before the refusal are kept."""
    policy = {"name": "deny", "targets": [FIRST], "document": DENY_SUMMARY}
    account = {"devices": [{"kind": "fido"}]}
    with laid(described(account, control_policies=[policy])) as lab:
        reader, _ = reader_of(lab, monkeypatch)
        posture = reader.posture(FIRST)
        missing = reader.posture("999999999999")
        own = reader.posture("000000000000")
    assert (posture.verdict, posture.mfa, len(posture.devices or ())) == (RootVerdict.UNKNOWN, True, 1)
    assert "explicit deny in a service control policy" in posture.why
    for each in (missing, own):
        assert each.verdict is RootVerdict.UNKNOWN
        assert each.why.startswith("no root session: AWS answers AccessDenied")


def test_without_the_feature_there_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feature RootSessions alone does not permit sessions that read root's credentials."""
    with laid(described({}, features=["RootSessions"])) as lab:
        reader, iam = reader_of(lab, monkeypatch)
        assert reader.posture(FIRST).verdict is RootVerdict.UNKNOWN
        central = read_central_root_access(iam.ask)
    assert (central.place, central.manages_credentials) == (OrganizationPlace.ADMINISTRATOR, False)


def test_the_place_of_an_account_in_its_organization(monkeypatch: pytest.MonkeyPatch) -> None:
    """The management account and a delegated administrator for IAM can see the features of centralized root access.

    A member cannot.
    """
    users = [{"name": "admin", "keys": [MEMBER_KEY], "policies": {"all": allowed("*")}}]
    description = described({})
    description["organization"]["accounts"][0]["users"] = users
    with laid(description) as lab:
        _, iam = reader_of(lab, monkeypatch)
        assert read_central_root_access(iam.ask).manages_credentials
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", MEMBER_KEY["id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MEMBER_KEY["secret"])
        inside = Iam(observe=lambda _: None, sleep=lambda _: None)
        found = read_central_root_access(inside.ask)
        assert (found.place, found.features) == (OrganizationPlace.MEMBER, None)
        lab.organization.delegated[FIRST] = ["iam.amazonaws.com"]
        assert read_central_root_access(inside.ask).place is OrganizationPlace.ADMINISTRATOR
        lab.faults.add("ListOrganizationsFeatures", "denied", at="every")
        with pytest.raises(AccessDenied):
            read_central_root_access(inside.ask)
    with Lab() as alone:
        _, iam = reader_of(alone, monkeypatch)
        assert read_central_root_access(iam.ask).place is OrganizationPlace.ALONE


def allowed(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def test_an_audit_of_the_organization_names_the_verdict_on_each_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A session of AssumeRoot is opened only if the account's own data do not suffice, or if its role is missing."""
    fido = {"devices": [{"kind": "fido"}]}
    description = described({"password": False, "mfa": False}, fido, {"devices": []}, fido)
    description["organization"]["accounts"][3]["roles"] = []
    with laid(description) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        done = MfaKit(tmp_path).run("audit", "--org", "--output", "json")
        sessions = [call for call in lab.calls if call.operation == "AssumeRoot"]
        asked = [call.account for call in lab.calls if call.operation == "ListOrganizationsFeatures"]
    assert done.code == 1, done.err
    found = {row["account"]: row for row in json.loads(done.out)["rows"]}
    assert {number: row["root"] for number, row in found.items()} == {
        "000000000000": "MFA that is not virtual",
        "000000000001": "no root credentials",
        "000000000002": "security key",
        "000000000003": "password without MFA",
        "000000000004": "security key",
    }
    assert (found["000000000004"]["state"], len(sessions), asked) == ("unknown", 2, ["000000000000"])
    results = {
        number: {rule["rule"]: rule["result"] for rule in row["audit"]["rules"]}
        for number, row in found.items()
        if row["audit"]
    }
    assert results["000000000000"]["root.central"] == results["000000000001"]["root.credentials"] == "pass"
    assert results["000000000002"]["root.credentials"] == results["000000000003"]["root.mfa"] == "fail"
    assert results["000000000002"]["root.hardware"] == "pass"


def test_without_permission_each_account_is_asked_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If ListOrganizationsFeatures is denied, AssumeRoot is not called, and each account is judged by its own data."""
    with laid(described({"password": False, "mfa": False})) as lab:
        lab.faults.add_row(
            {"operation": "ListOrganizationsFeatures", "fault": "denied", "at": "every", "account": HOME}
        )
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        done = MfaKit(tmp_path).run("audit", "--org", "--rule", "root.credentials", "--output", "json")
        assert "AssumeRoot" not in {call.operation for call in lab.calls}
    rules = {row["account"]: row["audit"]["rules"][0]["result"] for row in json.loads(done.out)["rows"]}
    assert rules == {HOME: "unknown", FIRST: "pass"}
