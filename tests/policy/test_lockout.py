"""Lockouts: every access state, on accounts in the lab, and what the lab's IAM then does."""

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mfa_kit.account.evaluator import Decision, like, overlap
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.account.users import account_users
from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.lockout import (
    MEND,
    SESSION,
    AccessState,
    access_with,
    administrators_left,
    may_have_to_change,
)
from mfa_kit.policy.simulator import compare_with_simulator
from mfa_kit.policy.texts import PolicyChoices, Variant, mfa_policy
from tests.audit.conftest import ADMINISTRATOR, Change, ago, changed, taken
from tests.audit.test_rules import FIDO, KEY, SMS, group, passwords, user
from tests.lab.client import Aws, refused

SELF = json.dumps(mfa_policy(PolicyChoices())[0])
FIRST = json.dumps(mfa_policy(PolicyChoices(first_sign_in=True))[0])
ADMIN = json.dumps(mfa_policy(PolicyChoices(variant=Variant.ADMIN))[0])
NO_SESSION = SELF.replace(', "sts:GetSessionToken"', "")
NOTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
SOME = json.dumps({"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]})
INVERTED = json.dumps(
    {
        "Statement": {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
        }
    }
)
BY_ADDRESS = SELF.replace('{"BoolIfExists"', '{"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "BoolIfExists"')
DEVICE, TOKEN = {"name": "bob"}, {"kind": "token", "serial": "GAHT12345678"}
LOCKED, ENROLLS, FINE = AccessState.LOCKED, AccessState.ENROLLS, AccessState.FINE
WITHOUT = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}
SIGNED_IN = {"password": True, "password_last_used": ago(1), "password_changed": ago(9), "created": ago(9)}
NEW = {"password": True, "password_reset_required": True}

# What bob has, the policy, and bob's expected access by each way in.
CASES: list[tuple[dict[str, Any], str, dict[str, AccessState]]] = [
    ({**SIGNED_IN}, SELF, {"console": ENROLLS}),
    ({**SIGNED_IN}, ADMIN, {"console": LOCKED}),
    ({**SIGNED_IN}, NOTHING, {"console": LOCKED}),
    ({**SIGNED_IN}, SOME, {"console": FINE}),
    ({**SIGNED_IN}, BY_ADDRESS, {"console": AccessState.UNKNOWN}),
    ({**NEW}, SELF, {"console": LOCKED}),
    ({**NEW}, FIRST, {"console": ENROLLS}),
    ({**NEW, "devices": [DEVICE, FIDO]}, SELF, {"console": FINE}),
    ({**SIGNED_IN, "devices": [DEVICE]}, SELF, {"console": AccessState.RISKS}),
    ({**SIGNED_IN, "devices": [FIDO]}, SELF, {"console": AccessState.RISKS}),
    ({**SIGNED_IN, "devices": [SMS]}, SELF, {"console": ENROLLS}),
    ({**SIGNED_IN, "devices": [DEVICE, FIDO]}, NOTHING, {"console": LOCKED}),
    ({"keys": [KEY]}, SELF, {"access keys": LOCKED}),
    ({"keys": [KEY], "devices": [DEVICE]}, SELF, {"access keys": AccessState.CHANGES}),
    ({"keys": [KEY], "devices": [DEVICE]}, NO_SESSION, {"access keys": LOCKED}),
    ({"keys": [KEY], "devices": [FIDO]}, SELF, {"access keys": LOCKED}),
    ({"keys": [KEY]}, SOME, {"access keys": FINE}),
    ({"keys": [KEY]}, BY_ADDRESS, {"access keys": AccessState.UNKNOWN}),
    ({**SIGNED_IN, "keys": [KEY], "devices": [FIDO]}, SELF, {"console": AccessState.RISKS, "access keys": LOCKED}),
    (
        {**SIGNED_IN, "keys": [{**KEY, "last_used": ago(1)}], "devices": [DEVICE, FIDO]},
        SELF,
        {"console": FINE, "access keys": AccessState.CHANGES},
    ),
    (
        {**SIGNED_IN, "keys": [KEY], "devices": [TOKEN]},
        SELF,
        {"console": AccessState.RISKS, "access keys": AccessState.CHANGES},
    ),
    ({**SIGNED_IN, "keys": [KEY], "devices": [DEVICE]}, NO_SESSION, {"access keys": LOCKED}),
    ({**SIGNED_IN, "keys": [KEY]}, SELF, {"console": ENROLLS, "access keys": LOCKED}),
    ({**SIGNED_IN}, INVERTED, {"console": FINE}),
    ({**SIGNED_IN, "devices": [DEVICE]}, INVERTED, {"console": LOCKED}),
    ({"keys": [KEY]}, INVERTED, {"access keys": FINE}),
    ({"keys": [KEY], "devices": [DEVICE]}, INVERTED, {"access keys": FINE}),
    ({"keys": [{**KEY, "status": "Inactive"}]}, SELF, {"none": AccessState.NO_WAY}),
]


def account(*changes: Change) -> Snapshot:
    def every(found: dict[str, Any]) -> None:
        for change in (group("people", policies={}), *changes):
            change(found)

    return taken(changed(every), passwords_of=may_have_to_change, afresh=lambda _: True)[0]


@pytest.mark.parametrize(("bob", "document", "wanted"), CASES)
def test_the_forecast_for_a_user(bob: dict[str, Any], document: str, wanted: dict[str, AccessState]) -> None:
    """Console and access keys each have a reason. For a user who would be locked out, there is a first command."""
    fates = [each for each in access_with(account(user("bob", **bob)), document) if each.user == "bob"]
    assert {each.way: each.state for each in fates if each.way in wanted} == wanted
    assert all(each.why for each in fates)
    assert all(each.first for each in fates if each.shut)


@pytest.mark.parametrize(
    ("devices", "document", "first"),
    [
        ([], SELF, "mfa-kit enroll bob --with virtual"),
        ([FIDO], SELF, "mfa-kit enroll bob --with virtual --add"),
        ([SMS], SELF, "mfa-kit enroll bob --with virtual --add"),
        ([DEVICE], NO_SESSION, SESSION),
        ([DEVICE], NOTHING, MEND),
    ],
)
def test_the_first_command_helps(devices: list[dict[str, Any]], document: str, first: str) -> None:
    """For a user with keys, the command adds a usable device, but no device if the policy allows no session."""
    fates = access_with(account(user("bob", **SIGNED_IN, keys=[KEY], devices=devices)), document)
    assert [each.first for each in fates if (each.user, each.way) == ("bob", "access keys")] == [first]


WORKS = {"own": {"Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "arn:aws:s3:::b/*"}]}}
BOTH = {"own": {"Statement": [*WORKS["own"]["Statement"], {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}}
NARROW = json.dumps(
    {"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*", "Condition": WITHOUT}}
)
FOR_ALL = json.dumps({"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}})
SOMETIMES = NARROW.replace('"Condition": {', '"Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}, ')
CHANGES = AccessState.CHANGES


@pytest.mark.parametrize(
    ("bob", "document", "wanted", "why"),
    [
        ({"policies": WORKS}, NARROW, LOCKED, "no MFA device, and cannot enroll a device"),
        ({"policies": WORKS}, FOR_ALL, LOCKED, "deny all work even with MFA"),
        ({"policies": WORKS}, SOMETIMES, AccessState.UNKNOWN, "cannot be evaluated"),
        ({"policies": BOTH}, NARROW, CHANGES, "denied without MFA: s3:Get* on arn:aws:s3:::b/*"),
        ({"policies": BOTH}, FOR_ALL, CHANGES, "denied even with MFA: s3:Get* on arn:aws:s3:::b/*"),
        ({"policies": BOTH}, SOMETIMES, CHANGES, "denied without MFA: s3:Get*"),
        ({"policies": BOTH, "devices": [DEVICE]}, NARROW, FINE, "signs in with MFA: virtual"),
        ({"attached": [ADMINISTRATOR]}, NARROW, CHANGES, "denied without MFA: s3:* on arn:aws:s3:::b/*"),
        ({"policies": {}}, NARROW, FINE, "no policy requires MFA for this sign-in"),
    ],
)
def test_a_policy_that_denies_a_users_actions_is_detected(
    bob: dict[str, Any], document: str, wanted: AccessState, why: str
) -> None:
    """The policy denies some or all of the user's actions, even if it allows other actions."""
    fates = access_with(account(user("bob", **SIGNED_IN, **bob)), document)
    (fate,) = [each for each in fates if each.user == "bob"]
    assert (fate.state, why in fate.why) == (wanted, True), fate.why


@pytest.mark.parametrize(
    ("policies", "document", "wanted", "why"),
    [
        (WORKS, NARROW, LOCKED, "a service user"),
        (BOTH, NARROW, CHANGES, "denied to access keys without MFA: s3:Get*"),
        (BOTH, NOTHING, LOCKED, "deny all work even with MFA"),
        (BOTH, SOME, CHANGES, "denied even with MFA: s3:Get*"),
        (WORKS, SOMETIMES, AccessState.UNKNOWN, "cannot be evaluated"),
        (BOTH, NARROW.replace(":::b", ":::c"), FINE, "no policy requires MFA for these keys"),
    ],
)
def test_access_keys_whose_actions_are_denied(
    policies: dict[str, Any], document: str, wanted: AccessState, why: str
) -> None:
    """A deny for resources that the user does not use is ignored."""
    fates = access_with(account(user("bob", keys=[KEY], policies=policies)), document)
    (fate,) = [each for each in fates if each.user == "bob"]
    assert (fate.state, why in fate.why) == (wanted, True), fate.why


CONSOLE_ONLY = {"Bool": {"aws:MultiFactorAuthPresent": "false"}}


def test_access_keys_that_still_reach_iam_let_a_user_enroll() -> None:
    """If only console sessions are denied, a user without a device can enroll one with the access keys."""
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": CONSOLE_ONLY}
    boss = user("boss", groups=["programs"], keys=[KEY], **SIGNED_IN)
    fates = [each for each in access_with(account(boss), json.dumps({"Statement": deny})) if each.user == "boss"]
    assert {each.way: each.state for each in fates} == {"console": CHANGES, "access keys": FINE}
    assert "can enroll one with the access keys" in next(each.why for each in fates if each.way == "console")


@pytest.mark.parametrize(
    ("allowed", "denied", "both"),
    [
        (("s3:Get*", "*"), ("s3:*Object", "*"), "s3:Get*Object"),
        (("s3:GetObject", "arn:aws:s3:::a*"), ("s3:*", "arn:aws:s3:::*b"), "s3:GetObject on arn:aws:s3:::a*b"),
        (("S3:get*", "*"), ("s3:*Object", "arn:aws:s3:::b/*"), "s3:Get*Object on arn:aws:s3:::b/*"),
        (
            ("s3:Get*", "arn:aws:s3:::${aws:username}/*"),
            ("s3:*Object", "arn:aws:s3:::*/x"),
            "Get*Object on arn:aws:s3:::bob/x",
        ),
        (("s3:Get*", "arn:aws:s3:::b/*"), ("s3:*Object", "arn:aws:s3:::*/${aws:username}"), "on arn:aws:s3:::b/bob"),
        (("s3:Get*", "*"), ("s3:Put*", "*"), None),
    ],
)
def test_overlapping_patterns_are_denied(allowed: tuple[str, str], denied: tuple[str, str], both: str | None) -> None:
    """Patterns that match some of the same actions matter, also if neither contains the other."""
    row = {"Effect": "Allow", "Action": allowed[0], "Resource": allowed[1]}
    rows = [row, {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]
    rights = {"own": {"Version": "2012-10-17", "Statement": rows}}
    row = {"Effect": "Deny", "Action": denied[0], "Resource": denied[1]}
    deny = json.dumps({"Version": "2012-10-17", "Statement": row})
    snapshot = account(user("bob", keys=[KEY], policies=rights))
    (fate,) = [each for each in access_with(snapshot, deny) if each.user == "bob"]
    if both is None:
        assert fate.state is FINE
    else:
        assert (fate.state, both.lower() in fate.why.lower()) == (CHANGES, True), fate.why


PATTERNS = st.text("ab*?", max_size=5)


@given(PATTERNS, PATTERNS)
@example("*a?", "??bb*")
@example("aaaa*", "*bbbb")
def test_an_overlap_is_matched_by_both_patterns(one: str, other: str) -> None:
    """Two patterns overlap exactly if some text matches both, and the text that is returned does."""
    found = overlap(one, other)
    # The shortest text has no character that both patterns match with a `*`. If both have a `*`, 4 + 4 others are left.
    texts = ("".join(each) for size in range(9) for each in product("ab", repeat=size))
    assert (found is not None) == any(like(one, each) and like(other, each) for each in texts)
    for filling in ("", "ab"):
        text = None if found is None else found.replace("*", filling).replace("?", "b")
        assert text is None or (like(one, text) and like(other, text))


@pytest.mark.parametrize(("tags", "state"), [({"team": "red"}, LOCKED), ({"team": "blue"}, FINE), ({}, FINE)])
def test_the_tags_of_users_are_compared(tags: dict[str, str], state: AccessState) -> None:
    """A condition on aws:PrincipalTag holds for the users with this tag."""
    deny = json.loads(NOTHING)
    deny["Statement"][0]["Condition"] = {"StringEquals": {"aws:PrincipalTag/Team": "red"}}
    snapshot = account(user("bob", keys=[KEY], tags=tags))
    assert [each.state for each in access_with(snapshot, json.dumps(deny)) if each.user == "bob"] == [state]


def test_requests_of_users_are_not_made_by_a_service() -> None:
    """A deny only for requests through an AWS service locks out nobody, and one for all others does."""
    deny = json.loads(NOTHING)
    for via, state in (("true", FINE), ("false", LOCKED)):
        deny["Statement"][0]["Condition"] = {"Bool": {"aws:ViaAWSService": via}}
        snapshot = account(user("bob", keys=[KEY]))
        assert [each.state for each in access_with(snapshot, json.dumps(deny)) if each.user == "bob"] == [state]


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ({"StringNotEquals": {"aws:PrincipalAccount": "000000000000"}}, FINE),
        ({"StringNotLike": {"aws:userid": "AROAEXAMPLE:*"}}, LOCKED),
        ({"Bool": {"aws:SecureTransport": "false"}}, FINE),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, LOCKED),
        ({"DateLessThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}, FINE),
        ({"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}, AccessState.UNKNOWN),
        ({"Bool": {"aws:PrincipalIsAWSService": "false"}}, LOCKED),
        ({"Null": {"aws:CalledVia": "false"}}, FINE),
    ],
)
def test_conditions_that_can_be_decided_are(condition: dict[str, Any], state: AccessState) -> None:
    """A deny with such a condition is evaluated for the request that the user sends. A time to come is not."""
    deny = json.loads(NOTHING)
    deny["Statement"][0]["Condition"] = condition
    snapshot = account(user("bob", keys=[KEY]))
    assert [each.state for each in access_with(snapshot, json.dumps(deny)) if each.user == "bob"] == [state]


def bounded(snapshot: Snapshot, name: str, *rows: dict[str, Any]) -> Snapshot:
    """Give a user a permissions boundary. Without statements, the boundary is one that could not be read."""
    users = [replace(one, boundary="arn:b") if one.name == name else one for one in snapshot.users]
    texts = {"arn:b": json.dumps({"Statement": list(rows)})} if rows else {}
    return replace(snapshot, users=tuple(users), policies={**snapshot.policies, **texts})


ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([ALL], ENROLLS),
        ([{**ALL, "Action": "s3:*"}], LOCKED),
        ([{**ALL, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}], LOCKED),
        ([], AccessState.UNKNOWN),
    ],
)
def test_within_a_boundary_a_first_device_may_be_out_of_reach(rows: list[dict[str, Any]], wanted: AccessState) -> None:
    """No policy grants an action that the boundary does not allow. An unread boundary does not pass."""
    snapshot = bounded(account(user("bob", **SIGNED_IN)), "bob", *rows)
    assert [each.state for each in access_with(snapshot, SELF) if each.user == "bob"] == [wanted]


def test_administrators_with_a_permissions_boundary() -> None:
    """The boundary decides. If it was not read, the result is unknown."""
    snapshot = account(user("boss", groups=["programs"], **SIGNED_IN))
    rows: list[list[dict[str, Any]]] = [[ALL], [{**ALL, "Action": "s3:*"}], []]
    told = [
        next(one.admin for one in account_users(bounded(snapshot, "boss", *each)) if one.name == "boss")
        for each in rows
    ]
    assert told == [True, False, None]


def test_an_expired_password_has_to_be_changed_too() -> None:
    """A user who used the password yesterday has to change it too."""
    old = user("bob", password=True, password_last_used=ago(1), password_changed=ago(100), created=ago(100))
    (fate,) = [each for each in access_with(account(old, passwords(max_password_age=90)), SELF) if each.user == "bob"]
    assert (fate.state, "password must be changed" in fate.why) == (LOCKED, True)


@pytest.mark.parametrize(
    ("denied", "bob"),
    [
        (("GetCredentialReport",), {**SIGNED_IN}),
        (("ListMFADevices",), {**SIGNED_IN, "devices": [FIDO]}),
        (("ListMFADevices",), {"password": True, "keys": [KEY], "devices": [FIDO]}),
        (("GetLoginProfile",), {**NEW}),
    ],
)
def test_unread_access_counts_as_locked_out(denied: tuple[str, ...], bob: dict[str, Any]) -> None:
    """The result is unknown, which counts as locked out."""
    description = changed(user("bob", **bob))
    snapshot, _ = taken(description, *denied, passwords_of=may_have_to_change)
    fates = [each for each in access_with(snapshot, SELF) if each.user == "bob"]
    assert {each.state for each in fates} == {AccessState.UNKNOWN}
    assert all(each.shut for each in fates)


def test_without_the_listing_users_may_be_missing() -> None:
    """An empty list of users does not pass, and no group can be chosen."""
    snapshot, _ = taken(changed(None), "GetAccountAuthorizationDetails")
    assert access_with(snapshot, SELF) == []
    assert len(snapshot.unread_users) == 1
    with pytest.raises(UsageFault, match="the groups could not be read"):
        access_with(snapshot, SELF, group="people")


def test_devices_that_were_not_listed_may_exist() -> None:
    """The listing of virtual devices shows one device. Only the user's own listing shows devices of all types."""
    both = changed(user("bob", **SIGNED_IN, devices=[DEVICE, FIDO]))
    (fate,) = [each for each in access_with(taken(both)[0], SELF) if each.user == "bob"]
    assert (fate.state, "to look up other devices, add --group" in fate.why) == (AccessState.RISKS, True)


def test_a_group_means_its_members() -> None:
    """A group that does not exist is refused."""
    snapshot = account(user("bob", **SIGNED_IN))
    assert {each.user for each in access_with(snapshot, SELF, group="people")} == {"alice", "bob"}
    with pytest.raises(UsageFault, match="there is no group 'nobody'"):
        access_with(snapshot, SELF, group="nobody")


def test_present_denials_are_reported_separately() -> None:
    """The user's own policies already lock the user out."""
    snapshot, _ = taken(changed(user("bob", **SIGNED_IN)))
    assert [each.already for each in access_with(snapshot, SELF) if each.user == "bob"] == [True]
    assert [each.already for each in access_with(account(user("bob", **SIGNED_IN)), SELF) if each.user == "bob"] == [
        False
    ]


@pytest.mark.parametrize("document", [SELF, SOME, json.dumps({"Statement": []})])
@pytest.mark.parametrize("bob", [{**SIGNED_IN, "devices": [DEVICE]}, {"keys": [KEY], "devices": [DEVICE]}])
def test_an_unread_policy_may_lock_out_any_user(bob: dict[str, Any], document: str) -> None:
    """The content of an unread policy is unknown, also if the new policy denies little or nothing."""
    snapshot = account(user("bob", **bob, attached=["arn:aws:iam::aws:policy/ReadOnlyAccess"]))
    blind = Snapshot(**{name: getattr(snapshot, name) for name in Snapshot.__slots__} | {"policies": {}})
    assert [each.state for each in access_with(blind, document) if each.user == "bob"] == [AccessState.UNKNOWN]


@pytest.mark.parametrize(
    ("bob", "document", "wanted"),
    [
        ({**SIGNED_IN, "devices": [DEVICE]}, SOME, LOCKED),
        ({**SIGNED_IN}, NARROW, CHANGES),
        ({**SIGNED_IN, "devices": [DEVICE]}, json.dumps({"Statement": []}), FINE),
        ({"keys": [KEY]}, SOME, LOCKED),
        ({"keys": [KEY]}, NARROW, CHANGES),
        ({"keys": [KEY]}, json.dumps({"Statement": []}), FINE),
    ],
)
def test_work_that_an_address_allows_is_lost_with_a_deny(
    bob: dict[str, Any], document: str, wanted: AccessState
) -> None:
    """Whether the user has the right is unknown, because it depends on the address. So the user may lose it."""
    address = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": address}
    snapshot = account(user("bob", **bob), group("people", policies={"s3": {"Statement": rights}}))
    assert [access.state for access in access_with(snapshot, document) if access.user == "bob"] == [wanted]


def test_administrators_who_could_help() -> None:
    """They still have access: they are not in the group, or have a device, also one for sessions of their keys."""
    boss = user("boss", groups=["programs", "people"], **SIGNED_IN)
    snapshot = account(boss)
    assert administrators_left(access_with(snapshot, SELF, group="people"), snapshot) == ["lab-admin"]
    assert administrators_left(access_with(snapshot, SELF), snapshot) == ["lab-admin"]
    bare = account(boss, user("lab-admin", devices=[]))
    assert administrators_left(access_with(bare, SELF), bare) == []
    armed = account(user("boss", groups=["programs"], **SIGNED_IN, devices=[{"name": "boss"}]))
    assert administrators_left(access_with(armed, SELF), armed) == ["boss", "lab-admin"]


class Simulator:
    """IAM's simulator, with the same decision for every request."""

    def __init__(self, verdict: Decision | None) -> None:
        self.verdict = verdict

    def simulated(self, documents: Any, actions: Any, context: Any) -> dict[str, Decision]:
        assert all(re.fullmatch("[a-z0-9-]+:[A-Za-z]+", action) for action in actions)
        if self.verdict is None:
            raise AwsFault("AWS answers AccessDenied: no")
        return dict.fromkeys(actions, self.verdict)


def test_a_differing_or_denied_simulation_is_reported() -> None:
    """The report has the requests or the reason. Actions that neither evaluation denies explicitly are ignored."""
    anything: Any = Simulator(Decision.EXPLICIT)
    differing = compare_with_simulator(SELF, anything).differing
    assert "ec2:DescribeInstances (session with MFA): IAM says explicit deny, mfa-kit says implicit deny" in differing
    assert not any("ec2:DescribeInstances (access keys)" in each for each in differing)
    # mfa-kit does not know the address, and sends none, so the two decisions cannot be compared.
    by_address = json.dumps(
        {
            "Statement": {
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
            }
        }
    )
    assert compare_with_simulator(by_address, anything).differing == ()
    silent: Any = Simulator(None)
    assert compare_with_simulator(SELF, silent).why_not == "AWS answers AccessDenied: no"


# The lab's own evaluator shows what IAM then does. It shares no code with the product's evaluator.


def test_the_forecast_is_correct() -> None:
    """With the policy attached, the lab denies the calls that were reported as denied, and allows the others."""
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


@pytest.mark.parametrize(
    ("spared", "wanted"),
    [
        (["s3:*", "ec2:Describe*"], AccessState.CHANGES),
        (["athena:StartQueryExecution", "glue:GetTable"], AccessState.CHANGES),
        (["iam:ListUsers", "sts:GetCallerIdentity"], LOCKED),
    ],
)
def test_what_a_deny_with_not_action_spares_is_work(spared: list[str], wanted: AccessState) -> None:
    """An administrator keeps the services that the Deny spares. To be left with actions of IAM or STS is a lockout."""
    row = {"Effect": "Deny", "NotAction": spared, "Resource": "*"}
    snapshot = account(user("bob", **SIGNED_IN, attached=[ADMINISTRATOR], devices=[DEVICE]))
    found = access_with(snapshot, json.dumps({"Version": "2012-10-17", "Statement": row}))
    assert [each.state for each in found if each.user == "bob"] == [wanted]


S3 = {"Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}
READING = ["iam:CreateVirtualMFADevice", "iam:EnableMFADevice", "iam:ChangePassword", "sts:GetSessionToken"]


@pytest.mark.parametrize(
    ("right", "spared", "bob", "state"),
    [
        (S3, ["s3:Get*", "s3:List*"], SIGNED_IN, AccessState.CHANGES),
        (S3, ["s3:Get*", "s3:List*"], {"keys": [KEY]}, AccessState.CHANGES),
        ({**S3, "Action": "s3:GetObject"}, ["s3:Get*"], {"keys": [KEY]}, FINE),
        ({**S3, "Action": "ec2:*"}, ["s3:Get*", "s3:List*"], SIGNED_IN, LOCKED),
        (S3, ["ec2:Describe*"], {"keys": [KEY]}, LOCKED),
        ({"Action": "*", "Resource": "*"}, ["athena:*"], SIGNED_IN, AccessState.CHANGES),
        ({"Action": "*", "Resource": "*"}, ["iam:*"], {"keys": [KEY]}, AccessState.CHANGES),
        ({"Action": "*", "Resource": "*"}, ["iam:List*"], {"keys": [KEY]}, LOCKED),
    ],
)
def test_what_a_deny_spares_without_mfa_is_work(
    right: dict[str, Any], spared: list[str], bob: dict[str, Any], state: AccessState
) -> None:
    """A user who may read without MFA, as before, has to change how they work. Others are locked out."""
    row = {"Effect": "Deny", "NotAction": [*READING, *spared], "Resource": "*", "Condition": WITHOUT}
    rights = {"own": {"Statement": [{"Effect": "Allow", **right}]}}
    snapshot = account(user("bob", groups=[], policies=rights, **bob))
    found = access_with(snapshot, json.dumps({"Statement": row}))
    assert [each.state for each in found if each.user == "bob"] == [state], found


def test_a_user_who_may_read_without_mfa_is_told_what_is_denied() -> None:
    """The reason names the patterns that are denied without MFA. An administrator without a device can enroll too."""
    policy = SELF.replace('"sts:GetSessionToken"', '"sts:GetSessionToken", "athena:*"')
    assert policy != SELF
    found = access_with(account(user("bob", **SIGNED_IN, attached=[ADMINISTRATOR])), policy)
    assert [(each.state, each.why.split(":")[0]) for each in found if each.user == "bob"] == [
        (AccessState.CHANGES, "denied without MFA")
    ]


def test_the_reason_names_what_stays_allowed() -> None:
    """Reading is not denied."""
    row = {"Effect": "Deny", "NotAction": [*READING, "s3:Get*", "s3:List*"], "Resource": "*", "Condition": WITHOUT}
    rights = {"own": {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}}
    found = access_with(account(user("bob", **SIGNED_IN, policies=rights)), json.dumps({"Statement": [row]}))
    assert [each.why for each in found if each.user == "bob"] == ["denied without MFA: s3:*, except s3:Get*, s3:List*"]


BOBS = "arn:aws:s3:::home/${aws:username}/*"


@pytest.mark.parametrize(
    ("right", "denied", "wanted"),
    [
        # A user with all services but IAM loses one of them.
        ({"NotAction": "iam:*", "Resource": "*"}, {"Action": "ec2:*", "Resource": "*"}, AccessState.CHANGES),
        ({"NotAction": "iam:*", "Resource": "*"}, {"NotAction": "iam:*MFA*", "Resource": "*"}, LOCKED),
        # The files of the user are all that the user has.
        ({"Action": "s3:*", "Resource": BOBS}, {"Action": "s3:*", "Resource": "*"}, LOCKED),
        ({"Action": "s3:*", "Resource": BOBS}, {"Action": "s3:*", "Resource": BOBS}, LOCKED),
        ({"Action": "s3:*", "Resource": "arn:aws:s3:::home/bob/*"}, {"Action": "s3:*", "Resource": BOBS}, LOCKED),
        ({"Action": "s3:*", "Resource": "*"}, {"Action": "s3:*", "Resource": BOBS}, AccessState.CHANGES),
        ({"Action": "s3:*", "Resource": BOBS}, {"Action": "ec2:*", "Resource": "*"}, FINE),
    ],
)
def test_rights_with_not_action_or_a_variable_are_rights(
    right: dict[str, Any], denied: dict[str, Any], wanted: AccessState
) -> None:
    """What a policy denies is compared with all that the user may do now."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **right}]}
    row = {"Effect": "Deny", **denied, "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}
    snapshot = account(user("bob", groups=[], **SIGNED_IN, policies={"p": document}))
    found = access_with(snapshot, json.dumps({"Version": "2012-10-17", "Statement": [row]}))
    assert [each.state for each in found if each.user == "bob"] == [wanted]
