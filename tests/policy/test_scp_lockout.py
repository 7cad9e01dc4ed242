"""What `policy lockout --scp` promises of a service control policy, tried in the lab by attaching it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mfa_kit.account.snapshot import Snapshot, SnapshotPart, UnreadPart
from mfa_kit.core.models import Device
from mfa_kit.lab.aws.account import Principal
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.control_policies import with_policy
from mfa_kit.policy.lockout import AccessState, UserAccess, access_under, attached_trial, control_trial
from tests.conftest import COUNTED
from tests.lab.client import Aws, Keys
from tests.policy import scps
from tests.policy.scps import MEMBER
from tests.sizes import FULL, sample

# Calls by name: the service and the operation. Some of these are work of a user, the others audit root.
PROBES = {
    "ListUsers": ("iam", "list_users"),
    "ListRoles": ("iam", "list_roles"),
    "GetAccountSummary": ("iam", "get_account_summary"),
    "DescribeRegions": ("ec2", "describe_regions"),
}
ROOT_PROBES = {"GetAccountSummary": PROBES["GetAccountSummary"], "ListMFADevices": ("iam", "list_mfa_devices")}


@pytest.fixture(scope="module")
def scp_lab() -> Iterator[Lab]:
    with Lab(description=scps.DESCRIPTION, settings=LabSettings(propagation=0)) as running:
        yield running


class Session(Aws):
    """A session, whose clients are made once."""

    def client(self, service: str, **more: Any) -> Any:
        if (self.keys, service) not in CLIENTS:
            CLIENTS[self.keys, service] = super().client(service, **more)
        return CLIENTS[self.keys, service]


CLIENTS: dict[tuple[Any, str], Any] = {}


def works(aws: Aws, probes: dict[str, tuple[str, str]]) -> set[str]:
    """Return the probes that the lab allows."""
    allowed = set()
    for name, (service, operation) in probes.items():
        try:
            getattr(aws.client(service), operation)()
        except ClientError as error:
            assert error.response["Error"]["Code"] in {"AccessDenied", "UnauthorizedOperation"}  # noqa: PT017
        else:
            allowed.add(name)
    return allowed


class Person:
    """A user, role or root of the member account, with the sessions in which they work."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.account = lab, lab.organization[MEMBER]
        self.name, self.backend = name, self.account.backend
        self.sessions: dict[tuple[str, bool], Aws] = {}

    def session(self, way: str, *, mfa: bool) -> Aws:
        """Return a session of a way to work, with or without MFA."""
        if (way, mfa) not in self.sessions:
            self.sessions[way, mfa] = Session(self.lab, self._keys(way, mfa=mfa))
        return self.sessions[way, mfa]

    def _issued(self, **fields: Any) -> Keys:
        key, session = self.account.issue(Principal(**fields), 3600)
        return key, session.secret, session.token

    def _keys(self, way: str, *, mfa: bool) -> Keys:
        if way == "AssumeRoot":
            admin = Aws(self.lab, (self.lab.admin.access_key_id, self.lab.admin.secret_access_key, None))
            task = {"arn": "arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials"}
            made = admin.sts.assume_root(TargetPrincipal=MEMBER, TaskPolicyArn=task)["Credentials"]
            return admin.session(made).keys
        if way == "role session":
            role = next(one for one in self.backend.roles.values() if f"role/{one.name}" == self.name)
            arn = f"arn:aws:sts::{MEMBER}:assumed-role/{role.name}/x"
            return self._issued(arn=arn, id=f"{role.id}:x", role=role, mfa=False, kind="role")
        user = self.backend.get_user(self.name)
        if way == "access keys" and not mfa:
            return user.access_keys[0].access_key_id, user.access_keys[0].secret_access_key, None
        kind = "session" if way == "access keys" else "user"
        at = {"mfa_at": self.account.now() - 60} if mfa else {}
        return self._issued(arn=user.arn, id=user.id, user=user, mfa=mfa, kind=kind, **at)

    def enrolls(self) -> bool:
        """Return whether the user can create and enable a device in a console session without MFA."""
        aws = self.session("console", mfa=False)
        try:
            serial = aws.enrolled(self.name, "new")
        except ClientError:
            self.backend.virtual_mfa_devices.pop(f"arn:aws:iam::{MEMBER}:mfa/new", None)
            return False
        self.backend.deactivate_mfa_device(self.name, serial)
        self.backend.virtual_mfa_devices.pop(serial, None)
        return True


def broken_promise(person: Person, access: UserAccess, before: set[str]) -> str:
    """Return what the lab does against the promise of one row, or "". `before` has the probes allowed before."""
    probes = ROOT_PROBES if access.way == "AssumeRoot" else PROBES
    has_device = access.way == "console" and bool(person.backend.get_user(person.name).mfa_devices)
    after = works(person.session(access.way, mfa=has_device), probes)
    kept = True  # also if nothing definite was promised
    match access.state:
        case AccessState.FINE | AccessState.RISKS:
            kept = after == before
        case AccessState.LOCKED:
            kept = after != set(probes) if access.way == "AssumeRoot" else not after
        case AccessState.ENROLLS:
            kept = not after and person.enrolls()
        case AccessState.CHANGES if "only in sessions with MFA" in access.why:
            kept = not after and works(person.session(access.way, mfa=True), probes) == before
        case AccessState.CHANGES if "no longer enroll" in access.why and not has_device:
            kept = not person.enrolls()
    return "" if kept else f"could {before}, and can {after}"


def is_promise(access: UserAccess) -> bool:
    """Return whether a row promises something that `broken_promise` always tries."""
    if access.state is AccessState.CHANGES:
        return "only in sessions with MFA" in access.why
    return access.state not in {AccessState.UNKNOWN, AccessState.NO_WAY}


@contextmanager
def attached(lab: Lab, text: str, target: str, *, instead: bool) -> Iterator[None]:
    number = lab.organization.attach("tried", text, target)
    if instead:
        lab.organization.restricted.add(target)
    yield
    lab.organization.policies.pop(number)
    lab.organization.restricted.discard(target)


# A full run tries all policies, in parts that each end in time.
PARTS = 12 if FULL else 1


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_lab_does_what_lockout_promises(scp_lab: Lab, part: int, record_property: Any) -> None:
    """Attach each policy: who is fine works as before, who is locked out is denied, and who can enroll does so."""
    ways = {(row.user, row.way) for row in rows(scps.DENIES[0])}
    people = {user: Person(scp_lab, user) for user, _ in ways}
    before = {}
    for user, way in ways:
        person = people[user]
        mfa = way == "console" and bool(person.backend.get_user(user).mfa_devices)
        before[user, way] = works(person.session(way, mfa=mfa), ROOT_PROBES if way == "AssumeRoot" else PROBES)
    states, broken, promises = [], [], 0
    for number, (text, instead) in enumerate(sample(scps.TRIALS[part::PARTS], 8)):
        target = scps.LEVELS[number % 3]
        accesses = rows(text, target=target, instead=instead)
        with attached(scp_lab, text, target, instead=instead):
            for access in accesses:
                states.append(access.state)
                promises += is_promise(access)
                if broke := broken_promise(people[access.user], access, before[access.user, access.way]):
                    broken.append((access, broke, text))
    record_property(COUNTED, ("promises of lockout tried in the lab", promises))
    assert broken == []
    assert {AccessState.FINE, AccessState.CHANGES} <= set(states)


def rows(text: str, *, target: str = scps.UNIT, instead: bool = False) -> list[UserAccess]:
    snapshot = scps.member()
    trial = control_trial(snapshot, text, target=target, instead=instead)
    assert trial is not None
    return access_under(snapshot, trial)


def test_the_printed_policy_spares_roles_and_root() -> None:
    """Only users are limited. Who has no device can enroll one, and the roles of mfa-kit are listed first."""
    found = rows(scps.SHOWN)
    states = {(row.user, row.way): row.state for row in found}
    assert found[0].user == "role/mfa-kit-audit"
    assert {states["role/mfa-kit-audit", "role session"], states["role/ci", "role session"]} == {AccessState.FINE}
    assert states["<root_account>", "AssumeRoot"] is AccessState.FINE
    assert states["bob", "console"] is AccessState.ENROLLS
    assert states["dave", "access keys"] is AccessState.LOCKED
    assert states["alice", "console"] is AccessState.RISKS


def test_a_policy_about_all_principals_stops_the_roles_of_mfa_kit() -> None:
    """Roles never have MFA, and what AssumeRoot sessions have is not documented."""
    deny = {"Effect": "Deny", "NotAction": scps.ENROLL, "Resource": "*", "Condition": scps.WITHOUT_MFA[1]}
    states = {(row.user, row.way): row.state for row in rows(scps.policy(deny))}
    assert states["role/mfa-kit-audit", "role session"] is AccessState.LOCKED
    assert states["<root_account>", "AssumeRoot"] is AccessState.UNKNOWN
    with_bool = scps.policy({**deny, "Condition": scps.WITHOUT_MFA[2]})
    states = {(row.user, row.way): row.state for row in rows(with_bool)}
    assert states["role/ci", "role session"] is AccessState.UNKNOWN


def test_enrolling_and_services_count() -> None:
    """A deny of iam:* has no word of MFA but ends enrolling. Requests that services send for a user have no MFA."""
    found = {
        (row.user, row.way): row for row in rows(scps.policy({"Effect": "Deny", "Action": "iam:*", "Resource": "*"}))
    }
    assert "can no longer enroll an MFA device" in found["bob", "console"].why
    deny = {"Effect": "Deny", "NotAction": scps.ENROLL, "Resource": "*", "Condition": scps.WITHOUT_MFA[1]}
    alice = next(row for row in rows(scps.policy(deny)) if (row.user, row.way) == ("alice", "console"))
    assert (alice.state, "AWS services" in alice.why) == (AccessState.CHANGES, True)


@pytest.mark.parametrize("devices", ["none", "a phone number"])
def test_who_keeps_no_work_and_cannot_enroll_is_locked_out(devices: str) -> None:
    """A loss beside work, such as enrolling, hides no lockout. AWS accepts a phone number no more than no device."""
    deny = scps.policy(
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {**scps.WITHOUT_MFA[1], **scps.EXCEPTIONS[1]}}
    )
    snapshot = scps.member()
    if devices != "none":
        phone = Device(f"arn:aws:iam::{MEMBER}:sms-mfa/bob", "bob")
        snapshot = replace(snapshot, listed={**snapshot.listed, "bob": (phone,)})
    trial = control_trial(snapshot, deny, target=scps.UNIT)
    assert trial is not None
    bob = next(row for row in access_under(snapshot, trial) if (row.user, row.way) == ("bob", "console"))
    assert (bob.state, "cannot enroll a device" in bob.why) == (AccessState.LOCKED, True), bob


@pytest.mark.parametrize(
    ("allowed", "boundary", "listed", "state", "word"),
    [
        (
            ("s3:*", "*"),
            None,
            ("s3:*", "arn:aws:s3:::corp-*"),
            AccessState.CHANGES,
            "except s3:* on arn:aws:s3:::corp-*",
        ),
        (("s3:*", "*"), None, ("ec2:*", "*"), AccessState.LOCKED, "deny all work"),
        (("s3:*", "arn:aws:s3:::a*"), None, ("s3:*", "arn:aws:s3:::b*"), AccessState.LOCKED, "deny all work"),
        (
            ("s3:*", "*"),
            ("s3:*", "arn:aws:s3:::*k"),
            ("s3:Get*", "arn:aws:s3:::b*"),
            AccessState.CHANGES,
            "arn:aws:s3:::b*k",
        ),
        (("s3:*", "*"), ("s3:Put*", "*"), ("s3:Get*", "arn:aws:s3:::b*"), AccessState.LOCKED, "deny all work"),
    ],
)
def test_an_allow_list_of_resources_leaves_the_work_on_these(
    allowed: tuple[str, str], boundary: tuple[str, str] | None, listed: tuple[str, str], state: AccessState, word: str
) -> None:
    """What is left is the overlap of the user's Allow, the boundary and each level, and no part of it alone."""
    text, own, within = (
        scps.policy({"Effect": "Allow", "Action": each[0], "Resource": each[1]}) if each else ""
        for each in (listed, allowed, boundary)
    )
    snapshot = scps.member()
    (dave,) = (each for each in snapshot.users if each.name == "dave")
    dave = replace(dave, inline={"own": own}, attached=(), groups=(), boundary=BOUNDARY if boundary else None)
    snapshot = replace(snapshot, users=(dave,), policies={**snapshot.policies, BOUNDARY: within})
    trial = control_trial(snapshot, text, target=scps.UNIT, instead=True)
    assert trial is not None
    (found,) = (row for row in access_under(snapshot, trial) if row.user == "dave")
    assert (found.state, word in found.why) == (state, True), found


BOUNDARY = f"arn:aws:iam::{MEMBER}:policy/within"


def test_a_condition_that_is_unknown_today_hides_no_new_one() -> None:
    """Beside an SCP whose result is unknown, a new one with an unknown result is not harmless."""
    regions = {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1"]}}
    old = scps.policy({"Effect": "Deny", "NotAction": ["iam:*", "sts:*"], "Resource": "*", "Condition": regions})
    levels = with_policy(scps.member().control or (), old, target=scps.UNIT, instead=False)
    snapshot = replace(scps.member(), control=levels)
    network = {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}
    text = scps.policy({"Effect": "Deny", "Action": "ec2:*", "Resource": "*", "Condition": network})
    trial = control_trial(snapshot, text, target=scps.UNIT)
    assert trial is not None
    states = {(row.user, row.way): (row.state, "ec2:*" in row.why) for row in access_under(snapshot, trial)}
    assert states["role/ci", "role session"] == states["boss", "access keys"] == (AccessState.CHANGES, True)
    spared = scps.policy({"Effect": "Deny", "Action": "iam:*", "Resource": "*", "Condition": MFA_OF_ROOT})
    trial = control_trial(snapshot, spared, target=scps.UNIT)
    assert trial is not None
    assert {row.state for row in access_under(snapshot, trial) if row.user == "boss"} == {AccessState.FINE}


MFA_OF_ROOT = {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:root"}}


def test_access_keys_lose_services_enrolling_and_sign_in_too() -> None:
    """Keys are not fine if services can no longer use them, or if their user cannot enroll or change the password."""
    bools = {"Effect": "Deny", "NotAction": scps.ENROLL, "Resource": "*", "Condition": scps.WITHOUT_MFA[2]}
    whys: dict[str, dict[str, Any]] = {
        "AWS services": bools,
        "can no longer enroll": {"Effect": "Deny", "Action": "iam:EnableMFADevice", "Resource": "*"},
        "iam:ChangePassword": {"Effect": "Deny", "Action": "iam:ChangePassword", "Resource": "*"},
    }
    for why, deny in whys.items():
        found = {(row.user, row.way): row for row in rows(scps.policy(deny))}
        boss = found["boss", "access keys"]
        assert (boss.state, why in boss.why) == (AccessState.CHANGES, True), boss


def test_roles_lose_what_services_do_for_them() -> None:
    """An SCP about requests of services only takes nothing from the role's own requests, but the role is not fine."""
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:ViaAWSService": "true"}}}
    found = {row.user: row for row in rows(scps.policy(deny))}
    assert (found["role/ci"].state, "AWS services" in found["role/ci"].why) == (AccessState.CHANGES, True)


def test_a_user_who_must_change_the_password_is_locked_out_if_that_is_denied() -> None:
    """With a Deny of ChangePassword alone, all work is allowed, but who must choose a password cannot sign in."""
    snapshot = replace(scps.member(), must_change={"bob": True, "heidi": False})
    report = snapshot.report
    assert report is not None
    fresh = {name: replace(report.users[name], password_used=None) for name in ("bob", "heidi", "alice")}
    snapshot = replace(snapshot, report=replace(report, users={**report.users, **fresh}))
    text = scps.policy({"Effect": "Deny", "Action": "iam:*Password", "Resource": "*"})
    trial = control_trial(snapshot, text, target=scps.UNIT)
    assert trial is not None
    states = {row.user: row.state for row in access_under(snapshot, trial) if row.way == "console"}
    assert [states[name] for name in ("bob", "heidi", "alice")] == [
        AccessState.LOCKED,
        AccessState.CHANGES,
        AccessState.UNKNOWN,
    ]


def test_the_only_device_hides_no_work_that_is_denied_even_with_mfa() -> None:
    """With an allow-list and a Deny without MFA, users lose work in the sessions that their device gives them too."""
    allow = {"Effect": "Allow", "Action": ["s3:*", "iam:*", "sts:*"], "Resource": "*"}
    deny = {"Effect": "Deny", "NotAction": scps.ENROLL, "Resource": "*", "Condition": scps.WITHOUT_MFA[1]}
    listed = {(row.user, row.way): row for row in rows(scps.policy(allow, deny), instead=True)}
    alice, carol = listed["alice", "console"], listed["carol", "access keys"]
    lost = "denied even with MFA: *, except s3:*, iam:*, sts:*"
    assert (alice.state, carol.state) == (AccessState.CHANGES, AccessState.CHANGES)
    assert alice.why == f"{lost}; has one device, arn:aws:iam::{MEMBER}:mfa/alice"
    assert ("only in sessions with MFA" in carol.why, carol.why.endswith(lost)) == (True, True)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("today", [False, True])
def test_a_due_change_of_password_that_is_denied_locks_users_out(*, listed: bool, today: bool) -> None:
    """A Deny does, and an allow-list without iam:ChangePassword. `already` says whether today's policies do so.

    Without work and without a device, a user who cannot change the password cannot enroll either.
    """
    text = scps.policy({"Effect": "Deny", "Action": "iam:ChangePassword", "Resource": "*"})
    if listed:
        work = {"Action": "ec2:*", "Resource": "*"}
        allow = {"Effect": "Allow", "Action": [*scps.ENROLL, "ec2:*"], "Resource": "*"}
        text = scps.policy(allow, {"Effect": "Deny", **work, "Condition": scps.WITHOUT_MFA[1]})
    snapshot = must_change("bob", "alice")
    if today:
        levels = with_policy(snapshot.control or (), text, target=MEMBER, instead=listed)
        snapshot = replace(snapshot, control=levels)
    trial = control_trial(snapshot, text, target=scps.UNIT, instead=listed)
    assert trial is not None
    access = {row.user: row for row in access_under(snapshot, trial) if row.way == "console"}
    for user in (access["bob"], access["alice"]):
        assert (user.state, "password must be changed" in user.why) == (AccessState.LOCKED, True), user
        assert user.already is today, user


def must_change(*names: str) -> Snapshot:
    """Return the member account, in which these users have to choose a password."""
    snapshot = replace(scps.member(), must_change=dict.fromkeys(names, True))
    report = snapshot.report
    assert report is not None
    fresh = {name: replace(report.users[name], password_used=None) for name in names}
    return replace(snapshot, report=replace(report, users={**report.users, **fresh}))


def test_the_attached_policies_are_tried_against_none() -> None:
    """Whoever an attached SCP denies all work is locked out, as if it were attached now; without one, nobody is."""
    snapshot = scps.member()
    assert attached_trial(snapshot) is None
    for number, (text, instead) in enumerate(sample(scps.TRIALS, 20)):
        target = scps.LEVELS[number % 3]
        levels = with_policy(snapshot.control or (), text, target=target, instead=instead)
        trial = attached_trial(replace(snapshot, control=levels))
        assert trial is not None
        assert access_under(replace(snapshot, control=()), trial) == rows(text, target=target, instead=instead)


def test_an_account_elsewhere_and_the_management_account_are_not_affected() -> None:
    """Neither has a level with the target."""
    assert control_trial(scps.member(), scps.SHOWN, target="ou-lab0-99999999") is None
    assert control_trial(replace(scps.member(), control=()), scps.SHOWN, target=scps.ROOT) is None


def test_nobody_is_fine_if_the_policies_could_not_be_read() -> None:
    """Without the levels of the account, each result is a lockout or unknown."""
    hole = UnreadPart(SnapshotPart.CONTROL, "denied")
    snapshot = replace(scps.member(), control=None, holes=(hole,))
    trial = control_trial(snapshot, scps.SHOWN, target=scps.ROOT)
    assert trial is not None
    found = access_under(snapshot, trial)
    assert {row.state for row in found} <= {AccessState.LOCKED, AccessState.UNKNOWN}
    assert "denied" in json.dumps([row.why for row in found])
