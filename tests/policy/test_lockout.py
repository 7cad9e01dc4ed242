"""Who would be locked out: every way to stand, on accounts of the lab, and what IAM itself then does."""

import json
from typing import Any

import pytest

from mfa_kit.account import Snapshot
from mfa_kit.errors import AwsFault, UsageFault
from mfa_kit.lab.server import Lab
from mfa_kit.permissions import Verdict
from mfa_kit.policy.lockout import Standing, compare, helpers, lockout, may_have_to_change, unread
from mfa_kit.policy.texts import Variant, Wish, policy
from tests.audit.conftest import Change, ago, changed, taken
from tests.audit.test_rules import FIDO, KEY, SMS, group, passwords, user
from tests.lab.client import Aws, refused

SELF = json.dumps(policy(Wish())[0])
FIRST = json.dumps(policy(Wish(first_sign_in=True))[0])
ADMIN = json.dumps(policy(Wish(variant=Variant.ADMIN))[0])
NO_SESSION = SELF.replace(', "sts:GetSessionToken"', "")
NOTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
SOME = json.dumps({"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]})
BY_ADDRESS = SELF.replace('{"BoolIfExists"', '{"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "BoolIfExists"')
DEVICE, TOKEN = {"name": "bob"}, {"kind": "token", "serial": "GAHT12345678"}
LOCKED, ENROLLS, FINE = Standing.LOCKED, Standing.ENROLLS, Standing.FINE
SIGNED_IN = {"password": True, "password_last_used": ago(1), "password_changed": ago(9), "created": ago(9)}
NEW = {"password": True, "password_reset_required": True}

# What bob has, the policy, and how he would stand by each way in.
CASES: list[tuple[dict[str, Any], str, dict[str, Standing]]] = [
    ({**SIGNED_IN}, SELF, {"console": ENROLLS}),
    ({**SIGNED_IN}, ADMIN, {"console": LOCKED}),
    ({**SIGNED_IN}, NOTHING, {"console": LOCKED}),
    ({**SIGNED_IN}, SOME, {"console": FINE}),
    ({**SIGNED_IN}, BY_ADDRESS, {"console": Standing.UNKNOWN}),
    ({**NEW}, SELF, {"console": LOCKED}),
    ({**NEW}, FIRST, {"console": ENROLLS}),
    ({**NEW, "devices": [DEVICE, FIDO]}, SELF, {"console": FINE}),
    ({**SIGNED_IN, "devices": [DEVICE]}, SELF, {"console": Standing.RISKS}),
    ({**SIGNED_IN, "devices": [FIDO]}, SELF, {"console": Standing.RISKS}),
    ({**SIGNED_IN, "devices": [SMS]}, SELF, {"console": ENROLLS}),
    ({**SIGNED_IN, "devices": [DEVICE, FIDO]}, NOTHING, {"console": LOCKED}),
    ({"keys": [KEY]}, SELF, {"access keys": LOCKED}),
    ({"keys": [KEY], "devices": [DEVICE]}, SELF, {"access keys": LOCKED}),
    ({"keys": [KEY]}, SOME, {"access keys": FINE}),
    ({"keys": [KEY]}, BY_ADDRESS, {"access keys": Standing.UNKNOWN}),
    ({**SIGNED_IN, "keys": [KEY], "devices": [FIDO]}, SELF, {"console": Standing.RISKS, "access keys": LOCKED}),
    (
        {**SIGNED_IN, "keys": [{**KEY, "last_used": ago(1)}], "devices": [DEVICE, FIDO]},
        SELF,
        {"console": FINE, "access keys": Standing.CHANGES},
    ),
    (
        {**SIGNED_IN, "keys": [KEY], "devices": [TOKEN]},
        SELF,
        {"console": Standing.RISKS, "access keys": Standing.CHANGES},
    ),
    ({**SIGNED_IN, "keys": [KEY], "devices": [DEVICE]}, NO_SESSION, {"access keys": LOCKED}),
    ({**SIGNED_IN, "keys": [KEY]}, SELF, {"console": ENROLLS, "access keys": LOCKED}),
    ({"keys": [{**KEY, "status": "Inactive"}]}, SELF, {"none": Standing.NO_WAY}),
]


def account(*changes: Change) -> Snapshot:
    def every(found: dict[str, Any]) -> None:
        for change in (group("people", policies={}), *changes):
            change(found)

    return taken(changed(every), passwords_of=may_have_to_change, devices_of=lambda _: True)[0]


@pytest.mark.parametrize(("bob", "document", "wanted"), CASES)
def test_how_somebody_would_stand(bob: dict[str, Any], document: str, wanted: dict[str, Standing]) -> None:
    """By console and by access keys, each with a reason; who is locked out is told what comes first."""
    fates = [each for each in lockout(account(user("bob", **bob)), document) if each.user == "bob"]
    assert {each.way: each.standing for each in fates if each.way in wanted} == wanted
    assert all(each.why for each in fates)
    assert all(each.first for each in fates if each.shut)


def test_an_expired_password_has_to_be_changed_too() -> None:
    """Whoever used it yesterday."""
    old = user("bob", password=True, password_last_used=ago(1), password_changed=ago(100), created=ago(100))
    (fate,) = [each for each in lockout(account(old, passwords(max_password_age=90)), SELF) if each.user == "bob"]
    assert (fate.standing, "new password is due" in fate.why) == (LOCKED, True)


@pytest.mark.parametrize(
    ("denied", "bob"),
    [
        (("GetCredentialReport",), {**SIGNED_IN}),
        (("ListMFADevices",), {**SIGNED_IN, "devices": [FIDO]}),
        (("ListMFADevices",), {"password": True, "keys": [KEY], "devices": [FIDO]}),
        (("GetLoginProfile",), {**NEW}),
    ],
)
def test_what_cannot_be_read_is_no_all_clear(denied: tuple[str, ...], bob: dict[str, Any]) -> None:
    """It is unknown, which counts as locked out."""
    description = changed(user("bob", **bob))
    snapshot, _ = taken(description, *denied, passwords_of=may_have_to_change)
    fates = [each for each in lockout(snapshot, SELF) if each.user == "bob"]
    assert {each.standing for each in fates} == {Standing.UNKNOWN}
    assert all(each.shut for each in fates)


def test_without_the_users_it_is_said_that_some_may_be_missing() -> None:
    """An empty list of people is no all-clear, and no group can be chosen."""
    snapshot, _ = taken(changed(None), "GetAccountAuthorizationDetails")
    assert lockout(snapshot, SELF) == []
    assert len(unread(snapshot)) == 1
    with pytest.raises(UsageFault, match="the groups could not be read"):
        lockout(snapshot, SELF, group="people")


def test_devices_that_were_not_asked_for_are_not_denied() -> None:
    """The listing of virtual devices shows one; what else there is only the user's own listing tells."""
    both = changed(user("bob", **SIGNED_IN, devices=[DEVICE, FIDO]))
    (fate,) = [each for each in lockout(taken(both)[0], SELF) if each.user == "bob"]
    assert (fate.standing, "others are looked for with --group" in fate.why) == (Standing.RISKS, True)


def test_a_group_is_its_members() -> None:
    """And one that there is none of is refused."""
    snapshot = account(user("bob", **SIGNED_IN))
    assert {each.user for each in lockout(snapshot, SELF, group="people")} == {"alice", "bob"}
    with pytest.raises(UsageFault, match="there is no group 'nobody'"):
        lockout(snapshot, SELF, group="nobody")


def test_what_policies_do_already_is_told_apart() -> None:
    """By those that he has."""
    snapshot, _ = taken(changed(user("bob", **SIGNED_IN)))
    assert [each.already for each in lockout(snapshot, SELF) if each.user == "bob"] == [True]
    assert [each.already for each in lockout(account(user("bob", **SIGNED_IN)), SELF) if each.user == "bob"] == [False]


def test_policies_that_could_not_be_read_may_stop_anybody() -> None:
    """What a missing policy says nobody knows."""
    snapshot = account(user("bob", **SIGNED_IN, devices=[DEVICE], attached=["arn:aws:iam::aws:policy/ReadOnlyAccess"]))
    blind = Snapshot(**{name: getattr(snapshot, name) for name in Snapshot.__slots__} | {"policies": {}})
    assert [each.standing for each in lockout(blind, SELF) if each.user == "bob"] == [Standing.UNKNOWN]


def test_who_could_help() -> None:
    """Administrators who still get in: outside the group, or with a device."""
    boss = user("boss", groups=["programs", "people"], **SIGNED_IN)
    snapshot = account(boss)
    assert helpers(lockout(snapshot, SELF, group="people"), snapshot) == ["lab-admin"]
    assert helpers(lockout(snapshot, SELF), snapshot) == []
    armed = account(user("boss", groups=["programs"], **SIGNED_IN, devices=[{"name": "boss"}]))
    assert helpers(lockout(armed, SELF), armed) == ["boss"]


class Simulator:
    """IAM's simulator, which says one thing of everything."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def simulated(self, documents: Any, actions: Any, context: Any) -> dict[str, Verdict]:
        if self.verdict is None:
            raise AwsFault("AWS answers AccessDenied: no")
        return dict.fromkeys(actions, self.verdict)


def test_a_simulator_that_differs_or_may_not_be_asked_is_told() -> None:
    """Which requests, and why not; what neither denies is nobody's concern."""
    anything: Any = Simulator(Verdict.EXPLICIT)
    differing = compare(SELF, anything).differing
    assert "ec2:DescribeInstances by session with MFA: IAM says explicit deny, we say implicit deny" in differing
    assert not any("ec2:DescribeInstances by access keys" in each for each in differing)
    silent: Any = Simulator(None)
    assert compare(SELF, silent).why_not == "AWS answers AccessDenied: no"


# what IAM then does: the lab's own evaluator, which knows nothing of the product's


def test_whoever_is_told_to_be_locked_out_is() -> None:
    """Access keys, by the wire: the policy attached, a call refused, and what was said to work works."""
    described = changed(user("bob", keys=[KEY], **SIGNED_IN, attached=["arn:aws:iam::aws:policy/IAMReadOnlyAccess"]))
    group("people", policies={})(described)
    with Lab(description=described) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        bob = Aws(lab, (KEY["id"], KEY["secret"], None))
        assert bob.iam.list_users()["Users"]
        admin.iam.put_group_policy(GroupName="people", PolicyName="force", PolicyDocument=SELF)
        with refused("AccessDenied"):
            bob.iam.list_users()
        serial = bob.enrolled("bob")
        with refused("AccessDenied"):
            bob.iam.delete_virtual_mfa_device(SerialNumber=serial)
