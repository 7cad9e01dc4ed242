"""The permissions that each command needs, and the jobs of the people who run the commands.

`mfa-kit policy show --for JOB`, the table in docs/permissions.md and the hints of denied calls come from this table.
The actions and their resources are those of the Service Authorization Reference (IAM, CloudTrail, EC2).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from mfa_kit.core.message import Running


class Job(StrEnum):
    """The work that somebody does with mfa-kit. Its value is the word of `policy show --for`."""

    DESK = "desk"
    STATION = "station"
    ROLLOUT = "rollout"
    WORKER = "worker"
    AUDITOR = "auditor"


class Resource(StrEnum):
    """What an action is allowed on: the end of an ARN of IAM, or everything."""

    USER = "user/*"
    DEVICE = "mfa/*"
    ROLE = "role/*"
    ALL = "*"


class Permission(NamedTuple):
    """An action that a command needs, what the action is for, and the jobs whose policy has it."""

    command: str
    action: str
    resource: Resource
    purpose: str
    jobs: frozenset[Job] = frozenset()


DESK, STATION, ROLLOUT, WORKER, AUDITOR = Job
USER, DEVICE, ROLE, ALL = Resource
ENROLL = frozenset({DESK, STATION, ROLLOUT, WORKER})
HANDS = frozenset({DESK, STATION})
LISTS = frozenset({DESK, ROLLOUT, AUDITOR})
READS = frozenset({ROLLOUT, AUDITOR})
AUDITS = frozenset({AUDITOR})
TABLE: tuple[Permission, ...] = (
    Permission(
        "all with a USER",
        "iam:GetUser",
        USER,
        "how IAM spells the name, because IAM ignores case; without it, the name as you typed it",
        frozenset({DESK}),
    ),
    Permission("enroll", "iam:ListMFADevices", USER, "the check before, and the confirmation after", ENROLL | AUDITS),
    Permission("enroll", "iam:CreateVirtualMFADevice", DEVICE, "creates the device", ENROLL),
    Permission(
        "enroll, rollout finish",
        "iam:TagMFADevice",
        DEVICE,
        "tags at creation; if denied, the device is created without tags. `finish` tags an old device that mfa-kit did "
        "not make, so that the next run can complete an interrupted removal",
        ENROLL,
    ),
    Permission("enroll", "iam:EnableMFADevice", USER, "assigns the device to the user", ENROLL),
    Permission(
        "enroll, orphans, status",
        "iam:ListMFADeviceTags",
        DEVICE,
        "which run created a device; `unknown` without it",
        ENROLL | AUDITS,
    ),
    Permission(
        "enroll, revoke, orphans",
        "iam:DeleteVirtualMFADevice",
        DEVICE,
        "deletes unfinished and removed devices",
        ENROLL,
    ),
    Permission(
        "enroll --with fido2, status, audit",
        "iam:GetMFADevice",
        USER,
        "the certifications of a security key; empty without it",
        HANDS | AUDITS,
    ),
    Permission(
        "enroll --with fido2, audit",
        "iam:ListAccessKeys",
        USER,
        "whether the user has access keys, which cannot use a security key",
        HANDS | AUDITS,
    ),
    Permission(
        "revoke, replace, rollout undo, finish",
        "iam:DeactivateMFADevice",
        USER,
        "removes a device from its user",
        frozenset({DESK, ROLLOUT}),
    ),
    Permission(
        "resync, verify user, enroll --resume",
        "iam:ResyncMFADevice",
        USER,
        "whether a device belongs to a backup, and a clock that is off",
        frozenset({DESK}),
    ),
    Permission("status, rollout plan, backup prune", "iam:ListUsers", ALL, "all users", LISTS),
    Permission(
        "status, orphans, rollout",
        "iam:ListVirtualMFADevices",
        ALL,
        "all virtual devices, also unassigned ones",
        ENROLL | AUDITS,
    ),
    Permission(
        "status, audit, rollout plan --without-mfa",
        "iam:GenerateCredentialReport",
        ALL,
        "makes the report if the last one is too old; `status` then needs one call per user",
        LISTS,
    ),
    Permission(
        "status, audit, rollout plan --without-mfa",
        "iam:GetCredentialReport",
        ALL,
        "which users have a password, access keys and a device",
        LISTS,
    ),
    Permission(
        "audit, enroll --root, rollout plan of further devices",
        "iam:GetAccountSummary",
        ALL,
        "root's MFA, and the quota of devices",
        LISTS,
    ),
    Permission(
        "audit, policy, rollout plan --group, --tag and of further devices",
        "iam:GetAccountAuthorizationDetails",
        ALL,
        "groups, tags and policies of the users",
        READS,
    ),
    Permission("usage update, rollout finish", "ec2:DescribeRegions", ALL, "the enabled Regions", READS),
    Permission("usage update, rollout finish", "cloudtrail:LookupEvents", ALL, "the uses of devices", READS),
    Permission("audit", "iam:GetAccountPasswordPolicy", ALL, "the password policy", AUDITS),
    Permission("audit", "iam:GetLoginProfile", USER, "passwords that are newer than the credential report", AUDITS),
    Permission("audit --max-session", "iam:GetRole", ROLE, "how long the sessions of a role are", AUDITS),
    Permission(
        "audit", "iam:ListOrganizationsFeatures", ALL, "whether root of member accounts is managed centrally", AUDITS
    ),
    Permission("audit", "iam:ListServerCertificates", ALL, "expired server certificates", AUDITS),
    Permission("policy lockout", "iam:SimulateCustomPolicy", ALL, "asks IAM's policy simulator too", AUDITS),
    Permission(
        "doctor", "iam:SimulatePrincipalPolicy", USER, "on yourself: which actions you may use; `unknown` without it"
    ),
)


# The job of each group of commands. All other commands are the desk's.
JOBS = {
    "mfa-kit rollout station": STATION,
    "mfa-kit rollout work": WORKER,
    "mfa-kit rollout": ROLLOUT,
    **dict.fromkeys(("mfa-kit audit", "mfa-kit evidence", "mfa-kit policy", "mfa-kit usage"), AUDITOR),
}


def running_job() -> Job:
    """Return the job of the command that runs."""
    return next((job for words, job in JOBS.items() if f"{Running.command} ".startswith(f"{words} ")), DESK)


def permissions_of(job: Job) -> Sequence[Permission]:
    """Return the permissions that a job needs."""
    return [row for row in TABLE if job in row.jobs]


def jobs_with(operation: str) -> Sequence[Job]:
    """Return the jobs whose policy allows an operation of AWS, such as `EnableMFADevice`, the running one first."""
    first = sorted(Job, key=lambda job: job is not running_job())
    return [job for job in first if any(row.action.endswith(f":{operation}") for row in permissions_of(job))]


def job_policy(job: Job, *, partition: str) -> dict[str, Any]:
    """Return the policy document with the least permissions for a job. An ARN of IAM begins with the partition."""
    statements = []
    for resource in Resource:
        actions = sorted({row.action for row in permissions_of(job) if row.resource is resource})
        if actions:
            arn = "*" if resource is ALL else f"arn:{partition}:iam::*:{resource}"
            statements.append({"Sid": resource.name.title(), "Effect": "Allow", "Action": actions, "Resource": arn})
    return {"Version": "2012-10-17", "Statement": statements}
