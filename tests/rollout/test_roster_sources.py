"""Rosters from other programs: JSON arrays, lists of the AWS CLI, and the credential report."""

import json

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.roster import RosterRow
from mfa_kit.rollout.roster_files import faults_table
from tests.rollout.test_roster import read

# As `aws iam list-users` prints it.
USERS = [
    {
        "Path": "/division_abc/",
        "UserName": name,
        "UserId": "AIDAIOSFODNN7EXAMPLE",
        "Arn": f"arn:aws:iam::111122223333:user/division_abc/{name}",
        "CreateDate": "2015-03-07T05:14:03+00:00",
    }
    for name in ("ada", "bob")
]


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("found", [{"Users": USERS}, USERS, ["ada", "bob"], [{"user": "ada"}, {"user": "bob"}]])
def test_lists_of_the_aws_cli_are_rosters(found: object, indent: int | None) -> None:
    """The whole answer, `--query Users`, and `--query Users[].UserName`.

    A user's path is not used as the device's path.
    """
    assert read(json.dumps(found, indent=indent)).rows == [RosterRow(user="ada"), RosterRow(user="bob")]


@pytest.mark.parametrize("more", [{"NextToken": "eyJNYXJrZXIi"}, {"IsTruncated": True}, {"Marker": "AAE"}])
@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("sort_keys", [False, True])
def test_a_list_that_was_cut_off_is_refused(more: dict[str, object], indent: int | None, *, sort_keys: bool) -> None:
    """`aws iam list-users --max-items 2` adds NextToken, and --no-paginate IAM's own fields. `jq -S` sorts them."""
    with pytest.raises(UsageFault, match="the list of users was cut off") as caught:
        read(json.dumps({"Users": USERS, **more}, indent=indent, sort_keys=sort_keys))
    assert "without --max-items" in caught.value.hint
    assert len(read(json.dumps({"Users": USERS, "IsTruncated": False, "NextToken": None})).rows) == 2


def test_the_fields_of_iam_are_not_reported_as_unread() -> None:
    """They are the same in every list, and Path is not a wrong name for the device's path."""
    assert read(json.dumps({"Users": USERS})).unread == ""


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("sort_keys", [False, True])
def test_authorization_details_are_refused_with_the_reason(indent: int | None, *, sort_keys: bool) -> None:
    """The message names the command whose output is a roster."""
    details = {"UserDetailList": USERS, "GroupDetailList": [], "RoleDetailList": [], "Policies": []}
    with pytest.raises(UsageFault, match="the output of `aws iam get-account-authorization-details`") as caught:
        read(json.dumps(details, indent=indent, sort_keys=sort_keys))
    assert caught.value.hint == "use: aws iam list-users"


def test_a_fault_of_an_array_names_the_item() -> None:
    """All items may be on the same line, so a line number would not help."""
    found = read(json.dumps([{"user": "ada"}, {"user": "b ob"}, 5, {"user": "Ada"}, {"user": "cyd", "device_name": 7}]))
    assert [row.user for row in found.rows] == ["ada"]
    said = [str(fault) for fault in found.faults]
    assert [text.partition(":")[0] for text in said] == [
        "item 2, user",
        "item 3",
        "item 4, user",
        "item 5, device_name",
    ]
    assert "'Ada' is a duplicate of 'ada' on item 1" in said[2]
    assert len(faults_table(found.faults).splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[{"user": "ada"}', "the roster is not JSON: line 1 is not valid JSON"),
        ('[{"user": "ada", "user": "bob"}]', "the roster is not JSON: it has the key 'user' twice"),
        ('{"Users": [], "Users": []}', "the roster is not JSON: it has the key 'Users' twice"),
        ('{"Users": {"UserName": "ada"}}', "'Users' in the roster is not a JSON array"),
        ("[" * 100_000, "the roster is not JSON: it is nested too deep"),
    ],
)  # fmt: skip
def test_json_that_is_no_roster_is_refused_with_the_reason(text: str, what: str) -> None:
    with pytest.raises(UsageFault, match=what):
        read(text)


def test_the_credential_report_is_a_roster_except_for_root() -> None:
    """IAM's report begins with root, which is not an IAM user."""
    report = (
        "user,arn,user_creation_time,password_enabled,mfa_active\n"
        "<root_account>,arn:aws:iam::111122223333:root,2015-03-07T05:14:03+00:00,not_supported,false\n"
        "ada,arn:aws:iam::111122223333:user/ada,2015-03-07T05:14:03+00:00,true,false\n"
    )
    found = read(report)
    assert [row.user for row in found.rows] == ["ada"]
    (fault,) = found.faults
    assert str(fault).startswith("line 2, user: this is the root user, not an IAM user")
    assert "mfa-kit enroll --root" in str(fault)
