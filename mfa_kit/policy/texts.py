"""The policies that make MFA stick, as text, and what each line of them is for.

The statements are those of AWS's sample "Allows MFA-authenticated IAM users to manage their own MFA device on the
Security credentials page" (IAM user guide, text of 2023), in the variants that its traps demand.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Document = dict[str, Any]


class Variant(StrEnum):
    """Who enrolls devices."""

    SELF = "self-managed"
    ADMIN = "admin-managed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which variant is wanted.

    `first_sign_in`: users change a password before they have a device. `user_paths`: users have paths. `own_names`:
    a device is named as its user.
    """

    partition: str = "aws"
    variant: Variant = Variant.SELF
    first_sign_in: bool = False
    user_paths: bool = False
    own_names: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a policy, and what it is for."""

    text: str
    why: str


SESSION = Line(
    "sts:GetSessionToken", "turns access keys and a code into a session with MFA; without it keys never get one"
)
# What users who enroll themselves need before they have MFA.
ENROLLING = (
    Line("iam:CreateVirtualMFADevice", "makes the first device"),
    Line(
        "iam:EnableMFADevice", "turns it on; who has a device already can add another only with MFA, IAM sees to that"
    ),
    Line("iam:GetUser", "the console's Security credentials page opens with it"),
    Line("iam:GetMFADevice", "the same page shows security keys with it"),
    Line("iam:ListMFADevices", "shows whether there is a device; the CLI finds its serial number by it"),
    Line("iam:ListVirtualMFADevices", "the console looks for a free device name with it"),
    Line("iam:ResyncMFADevice", "brings a device back whose clock went astray, when it is the only one"),
)
CHANGING = (
    Line("iam:ChangePassword", "lets a forced password change come before the first device; the price: without MFA"),
    Line("iam:GetAccountPasswordPolicy", "tells at that change what the new password has to be like"),
)
OWN = (
    "iam:DeactivateMFADevice",
    "iam:EnableMFADevice",
    "iam:GetUser",
    "iam:GetMFADevice",
    "iam:ListMFADevices",
    "iam:ResyncMFADevice",
)


def exceptions(wish: Wish) -> tuple[Line, ...]:
    """Return what is not denied without MFA."""
    enrolling = ENROLLING if wish.variant is Variant.SELF else ()
    return (*enrolling, *(CHANGING if wish.first_sign_in else ()), SESSION)


def _users(wish: Wish) -> list[str]:
    start = f"arn:{wish.partition}:iam::*:user"
    own = f"{start}/${{aws:username}}"
    return [own, f"{start}/*/${{aws:username}}"] if wish.user_paths else [own]


def policy(wish: Wish) -> tuple[Document, list[Line]]:
    """Return the policy, and its lines explained in their order."""
    rows: list[tuple[Document, list[Line]]] = []
    if wish.variant is Variant.SELF:
        rows += [_list(), _create(wish), _manage(wish)]
    if wish.first_sign_in:
        rows.append(_password(wish))
    rows.append(_deny(wish))
    return (
        {"Version": "2012-10-17", "Statement": [row for row, _ in rows]},
        [
            Line(
                '"Version": "2012-10-17"', "older versions know no ${aws:username}: it would be those very characters"
            ),
            *(line for _, lines in rows for line in lines),
        ],
    )


def _allow(sid: str, actions: list[str], on: list[str]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": on if len(on) > 1 else on[0]}


def _list() -> tuple[Document, list[Line]]:
    row = _allow("ListVirtualDevices", ["iam:ListVirtualMFADevices"], ["*"])
    return row, [Line("ListVirtualDevices", "a listing of the account has no narrower resource than *")]


def _create(wish: Wish) -> tuple[Document, list[Line]]:
    names = "${aws:username}" if wish.own_names else "*"
    on = f"arn:{wish.partition}:iam::*:mfa/{names}"
    why = (
        "a user may make one device, named as himself: nobody takes another's name; a second needs an administrator"
        if wish.own_names
        else "a user may make devices of any name, as the console asks him for one"
    )
    row = _allow("CreateOwnVirtualDevice", ["iam:CreateVirtualMFADevice"], [on])
    return row, [
        Line("CreateOwnVirtualDevice", why),
        Line("(no iam:DeleteVirtualMFADevice)", "half an enrollment stays behind: mfa-kit orphans list"),
    ]


def _manage(wish: Wish) -> tuple[Document, list[Line]]:
    row = _allow("ManageOwnDevices", list(OWN), _users(wish))
    lines = [Line("ManageOwnDevices", "a user looks after his own devices and after nobody else's")]
    if wish.user_paths:
        lines.append(Line("user/*/${aws:username}", "the ARN of a user with a path has the path in it: user/team/zoe"))
    return row, lines


def _password(wish: Wish) -> tuple[Document, list[Line]]:
    """Allow the change on the user alone; the policy for passwords has no narrower resource than *."""
    row = _allow("ChangeOwnPassword", ["iam:ChangePassword"], _users(wish))
    return row, [Line("ChangeOwnPassword", "the password that an administrator gave is changed at the first sign-in")]


def _deny(wish: Wish) -> tuple[Document, list[Line]]:
    kept = exceptions(wish)
    row = {
        "Sid": "DenyAllExceptListedIfNoMFA",
        "Effect": "Deny",
        "NotAction": [line.text for line in kept],
        "Resource": "*",
        "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
    }
    return row, [
        Line(
            "DenyAllExceptListedIfNoMFA", "an explicit deny wins over whatever else allows: without MFA nothing works,"
        ),
        Line("NotAction", "but for these, and each only where something else allows it:"),
        *kept,
        Line("(no iam:DeleteVirtualMFADevice, no iam:DeactivateMFADevice)", "a stolen password must not take MFA away"),
        Line("BoolIfExists", "plain access keys have no such key at all: Bool would let them through"),
    ]


def first_sign_in(wish: Wish) -> Line:
    """Say what the variant does with users who have to change their password."""
    if wish.first_sign_in:
        return Line("--first-sign-in", "users may change their password without MFA, for as long as this stands")
    return Line(
        "(no iam:ChangePassword)", "a user without a device who must change his password cannot sign in: lockout tells"
    )
