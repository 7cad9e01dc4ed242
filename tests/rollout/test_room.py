"""Whether a plan fits: eight devices per user, the account's quota, and the users' own policies."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mfa_kit.core.models import Method, RosterMethod
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.plan import Action, PlanStep, device_changes
from mfa_kit.rollout.room import block_overfull
from mfa_kit.rollout.roster import RosterAction, RosterRow
from tests.conftest import ACCOUNT
from tests.lab.client import Aws, document
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]
COLUMNS = "user,kind,action"
NEW = {"GetAccountSummary", "GetAccountAuthorizationDetails"}


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


@pytest.fixture
def phones(people: People, aws: Aws) -> Callable[[int], list[str]]:
    """Make this number of users, each with a virtual device."""

    def make(number: int) -> list[str]:
        users = people(number)
        for user in users:
            aws.enrolled(user)
        return users

    return make


@pytest.fixture
def quota(at_lab: Lab) -> Iterator[Callable[[int], None]]:
    """Give the account room for this number of further virtual devices."""
    before = at_lab.account.settings

    def leave(room: int) -> None:
        present = len(at_lab.account.backend.virtual_mfa_devices)
        at_lab.account.settings = replace(before, users_quota=present + room)

    yield leave
    at_lab.account.settings = before


def device(user: str, name: str | None = None) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{name or user}"


def step(
    user: str,
    name: str,
    devices: int = 1,
    *,
    action: Action = Action.STATION,
    row_action: RosterAction = RosterAction.ADD,
    pair: bool = False,
) -> PlanStep:
    kind = RosterMethod(method=Method("oath"))
    return PlanStep(
        row=RosterRow(user=user, name=name, kind=kind, action=row_action, pair=pair),
        action=action,
        devices=tuple(device(user, f"d{number}") for number in range(devices)),
    )


def test_a_ninth_device_is_blocked() -> None:
    """The rows before it, and those of other users, are not."""
    steps = [step("alice", "a", 7), step("alice", "b", 7), step("bob", "c", 7), step("alice", "d", 7)]
    found = block_overfull(steps)
    assert [each.action for each in found] == [Action.STATION, Action.BLOCKED, Action.STATION, Action.BLOCKED]
    assert found[1].reason == (
        "the user would have 9 MFA devices until the end of the rollout, and IAM allows 8; remove an unused one first: "
        "mfa-kit revoke alice --mfa-device NAME"
    )


def test_both_halves_of_a_pair_are_blocked() -> None:
    """A key with one half only would not be what the roster asks for. A half that exists already needs no room."""
    pair = [step("alice", "a-2", 7, pair=True), step("alice", "a", 7, pair=True), step("alice", "b", 7)]
    assert [each.action for each in block_overfull(pair)] == [Action.BLOCKED, Action.BLOCKED, Action.STATION]
    half = [replace(pair[0], action=Action.SKIP), *pair[1:]]
    assert [each.action for each in block_overfull(half)] == [Action.SKIP, Action.STATION, Action.BLOCKED]


def test_a_replacement_needs_room_beside_the_old_device() -> None:
    """Nothing is removed before `rollout finish`."""
    full = step("alice", "a", 8)
    full = replace(full, row=replace(full.row, action=RosterAction.REPLACE, replaces=full.devices[0]))
    assert [each.action for each in block_overfull([full])] == [Action.BLOCKED]


def test_devices_before_and_after() -> None:
    """Replaced devices are gone at the end. Skipped and blocked rows change nothing, and `enroll` rows are left out."""
    key = f"arn:aws:iam::{ACCOUNT}:u2f/user/alice/old-ABCDEFGHIJ"
    new = step("alice", "alice-key")
    steps = [
        replace(new, devices=(key,), row=replace(new.row, action=RosterAction.REPLACE, replaces=key)),
        step("bob", "bob-key", action=Action.SKIP),
        step("carol", "carol", row_action=RosterAction.ENROLL),
        step("alice", "alice-key-2"),
    ]
    assert [(change.user, change.before, change.after) for change in device_changes(steps)] == [
        ("alice", ("old",), ("alice-key", "alice-key-2")),
        ("bob", ("d0",), ("d0",)),
    ]


def test_a_plan_blocks_a_ninth_device_and_goes_on(rollout: Rollout, phones: People) -> None:
    """Security keys count too. The file says why, and so does the terminal. The other users keep their rows."""
    full, other = phones(2)
    for number in range(6):
        rollout.lab.register_fido(full, f"key{number}")
    rows = (f"{full},pair,add", f"{full},oath,add", f"{other},oath,add")
    done = rollout.plan(*rows, columns=COLUMNS)
    found = json.loads(rollout.file.read_text())["rows"]
    assert [row["action"] for row in found] == ["blocked", "blocked", "bench", "bench"]
    assert found[0]["reason"].startswith("the user would have 9 MFA devices")
    assert done.err.count(f"blocked: {full}: ") == 1


def test_the_quota_refuses_a_plan(rollout: Rollout, phones: People, quota: Callable[[int], None]) -> None:
    """It says how many rows fit. Security keys and tokens do not count, but unassigned virtual devices do."""
    users = phones(3)
    rows = [f"{user},oath,add" for user in users] + [f"{user},fido2,add" for user in users]
    quota(2)
    roster = rollout.roster(*rows, columns=COLUMNS)
    done = rollout.desk.run("rollout", "plan", roster, "-o", rollout.file)
    assert (done.code, rollout.file.exists()) == (2, False)
    assert "the account has room for 2 of 3 rows with new virtual devices: " in done.err
    assert " plan them in batches of 2, with --only or a smaller roster" in done.err
    assert "rollout finish" not in done.err
    quota(0)
    rows = [f"{user},virtual,replace" for user in users]
    none = rollout.desk.run("rollout", "plan", rollout.roster(*rows, columns=COLUMNS), "-o", rollout.file)
    assert "the account has room for none of 3 rows" in none.err
    assert "batches" not in none.err
    assert "rollout finish PLAN" in none.err
    quota(3)
    rollout.plan(*rows, columns=COLUMNS)


def test_a_full_account_suggests_to_delete_unassigned_devices(
    rollout: Rollout, phones: People, quota: Callable[[int], None], aws: Aws
) -> None:
    """They count against the quota too."""
    (user,) = phones(1)
    aws.create(f"{user}-left")
    quota(0)
    roster = rollout.roster(f"{user},oath,add", columns=COLUMNS)
    done = rollout.desk.run("rollout", "plan", roster, "-o", rollout.file)
    assert done.code == 2
    assert "1 of them unassigned" in done.err
    assert "mfa-kit orphans clean" in done.err


def test_the_quota_is_not_guessed(rollout: Rollout, phones: People) -> None:
    """If the summary or the policies cannot be read, the plan is written, and a message says what was not checked."""
    (user,) = phones(1)
    for operation in NEW:
        rollout.lab.faults.add(operation, "denied", at="every")
    done = rollout.plan(f"{user},oath,add", columns=COLUMNS)
    assert "cannot check whether the account's quota has room for 1 device: " in done.err
    assert "not checked whether the users' own policies allow them to manage their new devices: " in done.err


@pytest.mark.parametrize("operation", sorted(NEW))
@pytest.mark.parametrize("fault", ["throttle", "lost-before", "lost-after", "error-before", "denied", "expired"])
def test_each_failure_of_a_new_call_is_retried_or_reported(
    rollout: Rollout, phones: People, operation: str, fault: str
) -> None:
    """The plan is written. With expired credentials, it waits for new ones."""
    (user,) = phones(1)
    rollout.lab.faults.add(operation, fault, at=1)
    done = rollout.plan(f"{user},oath,add", columns=COLUMNS)
    assert ("not checked" in done.err or "cannot check" in done.err) is (fault == "denied")


def test_a_plan_that_makes_first_devices_makes_no_call_more(rollout: Rollout, people: People) -> None:
    """The summary and the policies are read only for rows that add or replace a virtual device, once each."""
    first, second = people(2)
    since = len(rollout.lab.calls)
    rollout.plan(first, second)
    assert NEW.isdisjoint(call.operation for call in rollout.lab.calls[since:])
    since = len(rollout.lab.calls)
    rollout.plan(f"{first},fido2,add", f"{second},fido2,add", columns=COLUMNS)
    assert NEW.isdisjoint(call.operation for call in rollout.lab.calls[since:])
    since = len(rollout.lab.calls)
    rollout.plan(f"{first},oath,add", f"{second},oath,add", columns=COLUMNS)
    assert [call.operation for call in rollout.lab.calls[since:]].count("GetAccountSummary") == 1


def test_users_who_may_manage_only_a_device_of_their_own_name_are_named(
    rollout: Rollout, phones: People, aws: Aws
) -> None:
    """Policies are evaluated: those of the user's groups, denies and boundaries count, and what is unknown is said."""
    own, any_name, denied, bound, doubtful, _none = users = phones(6)
    manage = {"Action": ["iam:CreateVirtualMFADevice", "iam:DeleteVirtualMFADevice"]}
    named = {**manage, "Resource": "arn:aws:iam::*:mfa/${aws:username}"}
    every = {**manage, "Resource": "arn:aws:iam::*:mfa/*"}
    aws.iam.create_group(GroupName=f"g-{own}")
    aws.iam.put_group_policy(GroupName=f"g-{own}", PolicyName="own", PolicyDocument=document(named))
    aws.iam.add_user_to_group(GroupName=f"g-{own}", UserName=own)
    deny = {**manage, "Effect": "Deny", "NotResource": "arn:aws:iam::*:mfa/${aws:username}"}
    doubt = {**every, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}
    for user, statements in (
        (any_name, [every]),
        (denied, [every, deny]),
        (bound, [every]),
        (doubtful, [named, doubt]),
    ):
        aws.iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=document(*statements))
    boundary = aws.iam.create_policy(PolicyName=f"b-{bound}", PolicyDocument=document(named))["Policy"]["Arn"]
    aws.iam.put_user_permissions_boundary(UserName=bound, PermissionsBoundary=boundary)
    done = rollout.plan(*(f"{user},oath,add" for user in users), columns=COLUMNS)
    message = next(line for line in done.err.splitlines() if "may manage only" in line)
    assert message == (
        "3 users may manage only a device named after them (mfa/${aws:username}), so an administrator has to manage "
        f"the new device: {own}, {denied}, {bound}"
    )
    assert f"1 user allow them to manage their new device: {doubtful}" in done.err
    since = len(rollout.lab.calls)
    rollout.plan(f"{own},oath,add,{own}", columns=f"{COLUMNS},device_name")
    assert "GetAccountAuthorizationDetails" not in {call.operation for call in rollout.lab.calls[since:]}


def test_the_summary_shows_devices_before_and_after(rollout: Rollout, phones: People) -> None:
    """JSON has all users; a table has the first ones and says how many more there are."""
    users = phones(22)
    rows = [f"{users[0]},fido2,add", *(f"{user},oath,replace" for user in users)]
    shown = json.loads(rollout.plan(*rows, columns=COLUMNS, more=["--output", "json"]).out)
    assert shown["users"][0] == {
        "user": users[0],
        "before": [users[0]],
        "after": [f"{users[0]}-key", f"{users[0]}-key-2"],
    }
    assert [row["user"] for row in shown["users"]] == users
    table = rollout.plan(*rows, columns=COLUMNS).out
    assert f"{users[1]}  {users[1]}  {users[1]}-key\n" in table
    assert "and 2 more users; the plan has all\n" in table
