"""The texts of the policies that require MFA, with explanations, and of the roles that mfa-kit needs in accounts.

The statements are based on AWS's sample "Allows MFA-authenticated IAM users to manage their own MFA device on the
Security credentials page" (IAM user guide, 2023 text), without the known problems of the sample.

The roles are in the CloudFormation template org_role.yaml. Parameters and functions are those of the CloudFormation
template reference. A comment in the file is the explanation of its line, and is not printed with it. The text is
changed line by line, which needs no YAML library. The tests check the result with cfn-lint.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest

Document = dict[str, Any]


class Variant(StrEnum):
    """Who enrolls the devices: the users themselves or an administrator."""

    SELF = "self-managed"
    ADMIN = "admin-managed"


class Certification(StrEnum):
    """The lowest FIDO Alliance certification level that the policy accepts from a security key."""

    L1 = "FIDO-L1"
    L1_PLUS = "FIDO-L1plus"
    L2 = "FIDO-L2"
    L2_PLUS = "FIDO-L2plus"
    L3 = "FIDO-L3"
    L3_PLUS = "FIDO-L3plus"

    @property
    def and_better(self) -> list[str]:
        """The names of this level and the higher levels, as in values of IAM's condition key iam:FIDO-certification."""
        levels = list(Certification)
        return [str(level).removeprefix("FIDO-") for level in levels[levels.index(self) :]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoices:
    """The options of a policy.

    `first_sign_in` lets users change their password before they have a device. `user_paths` supports users with paths.
    `own_names` lets users create only a device that is named after them. `certification` is the lowest accepted
    certification of a security key, and `fips` says whether a key needs a FIPS 140 certification.
    """

    partition: str = "aws"
    variant: Variant = Variant.SELF
    first_sign_in: bool = False
    user_paths: bool = False
    own_names: bool = False
    certification: Certification | None = None
    fips: bool = False


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """A word or line of a policy and its purpose."""

    text: str
    why: str


SESSION = PolicyLine(
    "sts:GetSessionToken", "exchanges access keys and a code for a session with MFA, so it must work without MFA"
)
# The actions that users who enroll themselves need before they have MFA.
ENROLLING = (
    PolicyLine("iam:CreateVirtualMFADevice", "creates the first device"),
    PolicyLine("iam:EnableMFADevice", "enables the device; IAM itself requires MFA from users who add another device"),
    PolicyLine("iam:GetUser", "the console's Security credentials page needs it"),
    PolicyLine("iam:GetMFADevice", "the Security credentials page needs it to show security keys"),
    PolicyLine("iam:ListMFADevices", "shows whether the user has a device; the CLI gets the serial number from it"),
    PolicyLine("iam:ListVirtualMFADevices", "the console needs it to find a free device name"),
    PolicyLine("iam:ResyncMFADevice", "repairs the user's only device if its clock is wrong"),
)
CHANGING = (
    PolicyLine(
        "iam:ChangePassword",
        "allows password changes without MFA, so that a required change works before there is a device",
    ),
    PolicyLine("iam:GetAccountPasswordPolicy", "shows the rules for the new password"),
)
OWN = (
    "iam:DeactivateMFADevice",
    "iam:EnableMFADevice",
    "iam:GetUser",
    "iam:GetMFADevice",
    "iam:ListMFADevices",
    "iam:ResyncMFADevice",
)


def exceptions(choices: PolicyChoices) -> tuple[PolicyLine, ...]:
    """Return the actions that are exempt from the policy's deny statement, each with its purpose."""
    enrolling = ENROLLING if choices.variant is Variant.SELF else ()
    return (*enrolling, *(CHANGING if choices.first_sign_in else ()), SESSION)


def _users(choices: PolicyChoices) -> list[str]:
    start = f"arn:{choices.partition}:iam::*:user"
    own = f"{start}/${{aws:username}}"
    return [own, f"{start}/*/${{aws:username}}"] if choices.user_paths else [own]


def mfa_policy(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    """Return a policy that requires MFA, as an object for JSON, and its important lines, each with its purpose."""
    rows: list[tuple[Document, list[PolicyLine]]] = []
    if choices.variant is Variant.SELF:
        rows += [_list(), _create(choices), _manage(choices)]
    if choices.first_sign_in:
        rows.append(_password(choices))
    rows.append(_deny(choices))
    rows += _uncertified(choices)
    return (
        {"Version": "2012-10-17", "Statement": [row for row, _ in rows]},
        [
            PolicyLine('"Version": "2012-10-17"', "older versions take ${aws:username} literally"),
            *(line for _, lines in rows for line in lines),
        ],
    )


def _allow(sid: str, actions: list[str], on: list[str]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": on if len(on) > 1 else on[0]}


def _list() -> tuple[Document, list[PolicyLine]]:
    row = _allow("ListVirtualDevices", ["iam:ListVirtualMFADevices"], ["*"])
    return row, [PolicyLine("ListVirtualDevices", "this action supports no resource except *")]


def _create(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    names = "${aws:username}" if choices.own_names else "*"
    on = f"arn:{choices.partition}:iam::*:mfa/{names}"
    why = (
        "users can create one device, named after themselves; a second one needs an administrator"
        if choices.own_names
        else "users can create devices with any name, because the console asks users for the name"
    )
    row = _allow("CreateOwnVirtualDevice", ["iam:CreateVirtualMFADevice"], [on])
    return row, [
        PolicyLine("CreateOwnVirtualDevice", why),
        PolicyLine(
            "(no iam:DeleteVirtualMFADevice)",
            suggest("an interrupted enrollment leaves a device; to see it", "orphans list"),
        ),
    ]


def _manage(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    row = _allow("ManageOwnDevices", list(OWN), _users(choices))
    lines = [PolicyLine("ManageOwnDevices", "users manage only their own devices")]
    if choices.user_paths:
        lines.append(
            PolicyLine("user/*/${aws:username}", "the ARN of a user with a path contains the path: user/team/zoe")
        )
    return row, lines


def _password(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    """Return the statement that lets users change only their own password, and the lines that explain it."""
    row = _allow("ChangeOwnPassword", ["iam:ChangePassword"], _users(choices))
    return row, [PolicyLine("ChangeOwnPassword", "users change the initial password at the first sign-in")]


def _deny(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    exception_lines = exceptions(choices)
    row = {
        "Sid": "DenyAllExceptListedIfNoMFA",
        "Effect": "Deny",
        "NotAction": [line.text for line in exception_lines],
        "Resource": "*",
        "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
    }
    return row, [
        PolicyLine("DenyAllExceptListedIfNoMFA", "an explicit deny overrides every allow: without MFA nothing works"),
        PolicyLine("NotAction", "except these actions, and only if another statement allows them:"),
        *exception_lines,
        PolicyLine(
            "(no iam:DeleteVirtualMFADevice, no iam:DeactivateMFADevice)",
            "a stolen password must not be enough to remove MFA",
        ),
        PolicyLine(
            "BoolIfExists",
            "requests with plain access keys do not have this condition key: Bool would let them through",
        ),
    ]


def _uncertified(choices: PolicyChoices) -> Iterator[tuple[Document, list[PolicyLine]]]:
    """Yield the statements that deny security keys without a certification, and the lines that explain them.

    The condition keys are those of iam:EnableMFADevice in the Service Authorization Reference. Only requests that
    register a security key have iam:RegisterSecurityKey. Its value is Activate in the last step of a registration.
    Before that step, AWS does not have the security key.
    """
    registers = {"iam:RegisterSecurityKey": "Activate"}
    virtual = PolicyLine(
        "iam:RegisterSecurityKey",
        "requests for other devices lack this condition key, so only security keys are denied",
    )
    if choices.certification is not None:
        levels = choices.certification.and_better
        condition = {"StringEquals": registers, "StringNotEquals": {"iam:FIDO-certification": levels}}
        yield (
            _deny_registration("DenyKeysWithoutCertification", condition),
            [
                PolicyLine("DenyKeysWithoutCertification", f"a key needs the certification {choices.certification}"),
                virtual,
                PolicyLine("StringNotEquals", "a key without any certification is denied too"),
            ],
        )
    if choices.fips:
        absent = {f"iam:FIDO-FIPS-140-{version}-certification": "true" for version in (2, 3)}
        yield (
            _deny_registration("DenyKeysWithoutFips", {"StringEquals": registers, "Null": absent}),
            [
                PolicyLine("DenyKeysWithoutFips", "a key needs a certification of FIPS 140-2 or FIPS 140-3"),
                *([] if choices.certification else [virtual]),
                PolicyLine(
                    "Null", "the deny applies only if a key has neither certification, so one of the two is enough"
                ),
            ],
        )


def _deny_registration(sid: str, condition: Document) -> Document:
    return {"Sid": sid, "Effect": "Deny", "Action": "iam:EnableMFADevice", "Resource": "*", "Condition": condition}


def first_sign_in_line(choices: PolicyChoices) -> PolicyLine:
    """Return the line that says what the policy means for users who have to change their password."""
    if choices.first_sign_in:
        return PolicyLine(
            "--first-sign-in", "users can change their password without MFA while this policy is attached"
        )
    return PolicyLine(
        "(no iam:ChangePassword)",
        "users without a device who must change their password cannot sign in; policy lockout lists them",
    )


# The last two are for `aws login`. Whether their requests have aws:MultiFactorAuthPresent is not documented.
CONTROL_EXCEPTIONS = (
    PolicyLine("iam:TagMFADevice", "mfa-kit tags the devices that it creates"),
    *CHANGING,
    PolicyLine("signin:AuthorizeOAuth2Access", "lets users sign in with `aws login`"),
    PolicyLine("signin:CreateOAuth2Token", "the second step of `aws login`"),
)


def control_policy(choices: PolicyChoices) -> tuple[Document, list[PolicyLine]]:
    """Return a service control policy that requires MFA, and its important lines, each with its purpose.

    It limits only users: sessions of roles never have MFA, and a root session of AssumeRoot may have none.
    """
    lines = (*exceptions(choices), *CONTROL_EXCEPTIONS)
    users = f"arn:{choices.partition}:iam::*:user/*"
    row = {
        "Sid": "DenyUsersAllExceptListedIfNoMFA",
        "Effect": "Deny",
        "NotAction": [line.text for line in lines],
        "Resource": "*",
        "Condition": {
            "BoolIfExists": {"aws:MultiFactorAuthPresent": "false"},
            "Bool": {"aws:ViaAWSService": "false"},
            "ArnLike": {"aws:PrincipalArn": users},
        },
    }
    rows = [(row, [PolicyLine(str(row["Sid"]), "it applies to users only, in every account below its target")])]
    rows += _uncertified(choices)
    return (
        {"Version": "2012-10-17", "Statement": [row for row, _ in rows]},
        [
            *(line for _, lines in rows for line in lines),
            PolicyLine("NotAction", "except these actions, if the policies of the account allow them:"),
            *lines,
            PolicyLine("BoolIfExists", "requests with plain access keys do not have this condition key"),
            PolicyLine("aws:ViaAWSService", "requests that AWS services send for a user have no MFA"),
            PolicyLine("aws:PrincipalArn", "role sessions have no MFA: Identity Center, CI and mfa-kit keep working"),
            PolicyLine("(no root)", "manage root of member accounts centrally instead: mfa-kit audit --org shows it"),
            PolicyLine("(no statement for the management account)", "service control policies do not apply there"),
        ],
    )


def force_mfa(partition: str) -> str:
    """Return, as JSON, the policy that `policy show` prints without options."""
    document, _ = mfa_policy(PolicyChoices(partition=partition, variant=Variant.SELF))
    return json.dumps(document)


# Patterns for the fields of OrgRoleChoices, and for the template's parameters (AllowedPattern). The format of
# organization IDs is from the Organizations API reference, Organization.
HUB = r"^arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)$"
ORGANIZATION = r"^o-[a-z0-9]{10,32}$"
USERS = r"^user/[\w+=,.@/*-]+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgRoleChoices:
    """The default values of the template's parameters. Raise UsageFault for a value that the template would refuse.

    `hub` is the ARN of the principal that may assume the roles, and `organization` is the ID of the organization. If
    either is None, its parameter has no default, and CloudFormation requires a value when the stacks are created.
    `enroll` adds the role for enrollment. `require_mfa` requires MFA when a role is assumed. `users` is a pattern
    for the end of an ARN, such as `user/staff/*`. The role for enrollment is limited to users whose ARN matches it.
    """

    hub: str | None = None
    organization: str | None = None
    enroll: bool = False
    require_mfa: bool = False
    users: str = "user/*"

    def __post_init__(self) -> None:
        _check(
            self.hub, HUB, "an ARN of a role, a user or an account's root", "arn:aws:iam::111122223333:role/security"
        )
        _check(self.organization, ORGANIZATION, "an ID of an organization", "o-a1b2c3d4e5")
        _check(self.users, USERS, "the part of a user's ARN after the account", "user/staff/*")


def _check(value: str | None, pattern: str, description: str, example: str) -> None:
    if value is not None and not re.fullmatch(pattern, value, re.ASCII):
        raise UsageFault(f"{value!r} is not {description}", f"use a value such as {example}")


def org_role_template(choices: OrgRoleChoices, *, text: str) -> tuple[str, list[PolicyLine]]:
    """Return the template as YAML text, and its most important words, each with its purpose."""
    commented = [line.partition("  # ") for line in text.splitlines()]
    explanations = [PolicyLine(_word(code), why) for code, _, why in commented if why]
    template = "".join(f"{code}\n" for code, _, _ in commented)
    switch = 'AllowedValues: ["yes", "no"]'
    for name, default, allowed in (
        ("Hub", choices.hub, f"AllowedPattern: '{HUB}'"),
        ("Organization", choices.organization, f"AllowedPattern: '{ORGANIZATION}'"),
        ("Enroll", "yes" if choices.enroll else "no", switch),
        ("RequireMfa", "yes" if choices.require_mfa else "no", switch),
        ("Users", choices.users, f"AllowedPattern: '{USERS}'"),
    ):
        head = f"  {name}:\n    Type: String\n"
        before, _, after = template.partition(head)
        start = "" if default is None else f'    Default: "{default}"\n'
        template = f"{before}{head}{start}    {allowed}\n{after}"
    return template, explanations


def _word(code: str) -> str:
    """Return the part of a line that its explanation is about: an action, a name of a role, or a key."""
    return code.strip().removeprefix("- ").removeprefix("RoleName: ").partition(": ")[0].rstrip(":")
