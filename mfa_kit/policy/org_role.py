"""Fills in the CloudFormation template of the roles that mfa-kit needs in each account of an organization.

The template is the file org_role.yaml. Parameters and functions are those of the CloudFormation template reference. A
comment in the file is the explanation of its line, and is not printed with it. This module changes the text line by
line, so it needs no YAML library. The tests check the result with cfn-lint.
"""

import re
from dataclasses import dataclass

from mfa_kit.core.errors import UsageFault
from mfa_kit.policy.texts import PolicyLine

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
