"""The CloudFormation template of the roles that mfa-kit needs in each account of an organization.

This module writes the YAML line by line, so it needs no YAML library. Parameters and functions are those of the
CloudFormation template reference. The tests check the template with cfn-lint.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mfa_kit.core.errors import UsageFault
from mfa_kit.policy.texts import PolicyLine

AUDIT_ROLE, ENROLL_ROLE = "mfa-kit-audit", "mfa-kit-enroll"
# Patterns for the fields of OrgRoleChoices, and for the template's parameters (AllowedPattern). The format of
# organization IDs is from the Organizations API reference, Organization.
HUB = r"^arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)$"
ORGANIZATION = r"^o-[a-z0-9]{10,32}$"
USERS = r"^user/[\w+=,.@/*-]+$"

READS = (
    PolicyLine(
        "iam:GenerateCredentialReport", "makes a credential report if there is none, or the last one is too old"
    ),
    PolicyLine("iam:GetAccountAuthorizationDetails", "reads users, groups, roles and their policies"),
    PolicyLine("iam:GetAccountPasswordPolicy", "reads the password policy"),
    PolicyLine("iam:GetAccountSummary", "reads quotas, and whether root has a password, MFA and access keys"),
    PolicyLine(
        "iam:GetCredentialReport",
        "shows which users have MFA, a console password or access keys, and when a password or key was last used",
    ),
    PolicyLine(
        "iam:GetLoginProfile",
        "shows which users got a console password after the report was made, and which users have to change it",
    ),
    PolicyLine("iam:GetMFADevice", "reads the certifications of security keys"),
    PolicyLine("iam:ListAccessKeys", "shows access keys that were created after the report was made"),
    PolicyLine("iam:ListMFADeviceTags", "shows which run created a device"),
    PolicyLine("iam:ListMFADevices", "shows the devices of a user, also those that are not virtual"),
    PolicyLine("iam:ListOrganizationsFeatures", "shows whether the organization manages root credentials centrally"),
    PolicyLine("iam:ListServerCertificates", "reads when server certificates expire, if there are any"),
    PolicyLine("iam:ListUsers", "compares a roster with the users"),
    PolicyLine("iam:ListVirtualMFADevices", "reads all virtual devices, also unassigned ones"),
)
# The actions that the role for enrollment may take: on the account (FINDS), on users (ENROLLS), on devices (MAKES).
FINDS = (
    PolicyLine("iam:GenerateCredentialReport", "makes a new credential report: rollout plan --without-mfa"),
    PolicyLine("iam:GetAccountAuthorizationDetails", "reads groups and tags: rollout plan --group and --tag"),
    PolicyLine("iam:GetCredentialReport", "finds users without MFA: rollout plan --without-mfa"),
    PolicyLine("iam:ListUsers", "compares a roster with the users"),
    PolicyLine("iam:ListVirtualMFADevices", "shows which device names are taken, and unassigned devices"),
)
ENROLLS = (
    PolicyLine("iam:DeactivateMFADevice", "removes a device from its user: revoke, replace, rollout undo"),
    PolicyLine("iam:EnableMFADevice", "assigns a device to its user"),
    PolicyLine("iam:GetMFADevice", "reads the certifications of a security key: enroll --with fido2"),
    PolicyLine("iam:GetUser", "finds how IAM spells a user's name"),
    PolicyLine("iam:ListMFADevices", "checks a user's devices before and after a change"),
    PolicyLine("iam:ResyncMFADevice", "resynchronizes a device whose clock is off"),
)
MAKES = (
    PolicyLine("iam:CreateVirtualMFADevice", "creates devices"),
    PolicyLine("iam:DeleteVirtualMFADevice", "deletes devices that are unfinished or revoked"),
    PolicyLine("iam:ListMFADeviceTags", "shows which run created an unfinished device"),
    PolicyLine("iam:TagMFADevice", "tags each new device with the run that creates it"),
)


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


def org_role_template(choices: OrgRoleChoices) -> tuple[str, list[PolicyLine]]:
    """Return the template as YAML text, and its most important words, each with its purpose."""
    lines = [
        'AWSTemplateFormatVersion: "2010-09-09"',
        "Description: >-",
        "  Roles for mfa-kit in an account of an organization: one that reads and, if Enroll is yes, one that enrolls.",
        "  A StackSet with service-managed permissions creates them in every account except the management account,",
        "  where mfa-kit uses the credentials of its caller.",
        *_parameters(choices),
        "Conditions:",
        '  Enrolls: !Equals [!Ref Enroll, "yes"]',
        '  Mfa: !Equals [!Ref RequireMfa, "yes"]',
        "Resources:",
        "  AuditRole:",
        "    Type: AWS::IAM::Role",
        *_role(AUDIT_ROLE, "Reads IAM for mfa-kit. It changes nothing and sees no secret."),
        *_policy("read", _statement("ReadTheAccount", READS, '"*"')),
        "  EnrollRole:",
        "    Type: AWS::IAM::Role",
        "    Condition: Enrolls",
        *_role(ENROLL_ROLE, "Enrolls and removes MFA devices of users for mfa-kit."),
        *_policy(
            "enroll",
            _statement("FindUsersAndDevices", FINDS, '"*"'),
            _statement("ChangeDevicesOfUsers", ENROLLS, "!Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:${Users}"),
            _statement("MakeAndDeleteDevices", MAKES, "!Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:mfa/*"),
        ),
        "Outputs:",
        "  AuditRoleArn:",
        "    Value: !GetAtt AuditRole.Arn",
        "  EnrollRoleArn:",
        "    Condition: Enrolls",
        "    Value: !GetAtt EnrollRole.Arn",
    ]
    return "\n".join([*lines, ""]), _explanations()


def _explanations() -> list[PolicyLine]:
    return [
        PolicyLine("Hub", "the only principal that may assume the roles; its own policies must allow sts:AssumeRole"),
        PolicyLine("aws:PrincipalOrgID", "a principal that leaves the organization loses access"),
        PolicyLine("sts:SetSourceIdentity", "allows --source-identity, which CloudTrail then shows in each account"),
        PolicyLine("RequireMfa", "only for a hub that is a user: sessions of roles never carry MFA"),
        PolicyLine(AUDIT_ROLE, "the role that can only read"),
        *READS,
        PolicyLine(ENROLL_ROLE, "the role that can also enroll and remove devices; created only if Enroll is yes"),
        *FINDS,
        *ENROLLS,
        *MAKES,
    ]


def _parameters(choices: OrgRoleChoices) -> Iterator[str]:
    yield "Parameters:"
    yield from _parameter(
        "Hub",
        (
            "The principal that may assume the roles."
            " An account's root means all its users and roles that may call AssumeRole."
        ),
        default=choices.hub,
        pattern=HUB,
    )
    yield from _parameter(
        "Organization",
        "The ID of the organization. Principals of other organizations are refused.",
        default=choices.organization,
        pattern=ORGANIZATION,
    )
    yield from _switch("Enroll", "Whether to create the role that enrolls and removes devices.", on=choices.enroll)
    yield from _switch(
        "RequireMfa",
        "Whether assuming the roles requires MFA. Sessions of roles and of Identity Center never carry MFA.",
        on=choices.require_mfa,
    )
    yield from _parameter(
        "Users",
        "The users whose devices the enrolling role may change, for example user/staff/*.",
        default=choices.users,
        pattern=USERS,
    )


def _parameter(name: str, description: str, *, default: str | None, pattern: str) -> Iterator[str]:
    yield f"  {name}:"
    yield "    Type: String"
    if default is not None:
        yield f'    Default: "{default}"'
    yield f"    AllowedPattern: '{pattern}'"
    yield f"    Description: {description}"


def _switch(name: str, description: str, *, on: bool) -> Iterator[str]:
    yield f"  {name}:"
    yield "    Type: String"
    yield f'    Default: "{"yes" if on else "no"}"'
    yield '    AllowedValues: ["yes", "no"]'
    yield f"    Description: {description}"


def _role(name: str, description: str) -> Iterator[str]:
    """Yield the properties of a role, without its policies.

    Sessions of the role last at most one hour, the longest time that AWS allows if another role assumes the role.
    """
    yield "    Properties:"
    yield f"      RoleName: {name}"
    yield f"      Description: {description}"
    yield "      MaxSessionDuration: 3600"
    yield "      AssumeRolePolicyDocument:"
    yield '        Version: "2012-10-17"'
    yield "        Statement:"
    yield "          - Sid: LetTheHubIn"
    yield "            Effect: Allow"
    yield "            Principal:"
    yield "              AWS: !Ref Hub"
    yield "            Action:"
    yield "              - sts:AssumeRole"
    yield "              - sts:SetSourceIdentity"
    yield "            Condition:"
    yield "              StringEquals:"
    yield "                aws:PrincipalOrgID: !Ref Organization"
    yield "              Bool: !If"
    yield "                - Mfa"
    yield '                - aws:MultiFactorAuthPresent: "true"'
    yield "                - !Ref AWS::NoValue"


def _policy(name: str, *statements: Iterator[str]) -> Iterator[str]:
    yield "      Policies:"
    yield f"        - PolicyName: {name}"
    yield "          PolicyDocument:"
    yield '            Version: "2012-10-17"'
    yield "            Statement:"
    for statement in statements:
        yield from statement


def _statement(sid: str, actions: Sequence[PolicyLine], resource: str) -> Iterator[str]:
    yield f"              - Sid: {sid}"
    yield "                Effect: Allow"
    yield "                Action:"
    yield from (f"                  - {action.text}" for action in actions)
    yield f"                Resource: {resource}"
