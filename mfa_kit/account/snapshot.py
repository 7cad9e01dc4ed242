"""The account around the devices at one moment: users, groups, roles, their policies, what they sign in with.

Values, and what follows from them. What could not be read is a hole with a name; nothing here takes a hole for an
answer. No secret is in any of it.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mfa_kit.account.evaluator import UNREAD, WITH_MFA, Context, Verdict, demands_mfa, evaluate
from mfa_kit.core.models import Device, DeviceType


class Part(StrEnum):
    """What the account is read by; each may be a hole."""

    REPORT = "credential report"
    SUMMARY = "account summary"
    DETAILS = "account authorization details"
    VIRTUAL = "virtual MFA devices"
    DEVICES = "MFA devices of users"
    KEYS = "what security keys are"
    PASSWORDS = "password policy"
    PROFILES = "who has to choose a new password"
    ROOT = "MFA devices of root"
    BACKUPS = "backups of this desk"


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of the account that could not be read, or not to its end; `about` is a user where it is his alone."""

    part: Part
    why: str
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key as the credential report has it: without its id. Times are Unix seconds."""

    active: bool
    rotated: float | None = None
    used: float | None = None
    region: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A row of the credential report. `password_used` is None where it was never used or nobody knows when."""

    arn: str
    created: float
    password: bool
    password_used: float | None = None
    password_changed: float | None = None
    password_expires: float | None = None
    mfa: bool = False
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The credential report and when IAM made it; root's row is apart, and GovCloud has none."""

    made: float
    root: Credentials | None = None
    users: Mapping[str, Credentials] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A user, group or role: its inline policies by name, and the ARNs of those attached to it."""

    name: str
    arn: str
    created: float | None = None
    inline: Mapping[str, str] = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    boundary: str | None = None
    trust: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """A page of users, groups and roles, and the text of managed policies by their ARN."""

    users: tuple[Entity, ...] = ()
    groups: tuple[Entity, ...] = ()
    roles: tuple[Entity, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPolicy:
    """The account's password policy. Without one IAM asks for 8 characters of three kinds out of four."""

    length: int = 8
    upper: bool = False
    lower: bool = False
    numbers: bool = False
    symbols: bool = False
    max_age: int = 0
    reuse: int = 0
    may_change: bool = False
    hard_expiry: bool = False
    custom: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What this desk knows of the backup of a device that it made: where it is, or belongs; Unix seconds.

    When the device was made, when the backup last opened, and when a drill last proved it.
    """

    serial: str
    user: str
    file: str | None
    there: bool
    made: float
    opened: float | None = None
    drilled: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The account at one moment, as Unix seconds of AWS's clock.

    `virtual` holds root's device with ROOT for a user. `listed` has the users whose devices were listed whole,
    `certified` what GetMFADevice said of security keys, `must_change` who has to choose a new password, where asked.
    """

    at: float
    account: str
    caller: str
    holes: tuple[Hole, ...] = ()
    report: Report | None = None
    summary: Mapping[str, int] = field(default_factory=dict)
    users: tuple[Entity, ...] = ()
    groups: tuple[Entity, ...] = ()
    roles: tuple[Entity, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    virtual: tuple[Device, ...] = ()
    listed: Mapping[str, tuple[Device, ...]] = field(default_factory=dict)
    certified: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    must_change: Mapping[str, bool] = field(default_factory=dict)
    passwords: PasswordPolicy | None = None
    root_devices: tuple[Device, ...] | None = None
    backups: tuple[Backup, ...] = ()

    @property
    def partition(self) -> str:
        return self.caller.split(":")[1]

    def hole(self, *parts: Part, about: str | None = None) -> Hole | None:
        """Return the first hole in these parts; of a user, those that are his or everybody's."""
        return next((each for each in self.holes if each.part in parts and each.about in {None, about}), None)


ROOT = "<root_account>"
# Partitions whose accounts have no root user that could sign in: IAM user guide, AWS GovCloud (US).
ROOTLESS = {"aws-us-gov"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with all that is known of how he signs in.

    `devices` are those that are known; `complete` says that there are no others, `mfa` that there is one or not, None
    where that is unknown. `credentials` is None where the report has no row for him; `unread` says that some of his
    policies are not among the `documents`, and `boundary` is the text of the permissions boundary.
    """

    user: Entity
    credentials: Credentials | None
    devices: tuple[Device, ...]
    complete: bool
    mfa: bool | None
    documents: tuple[str, ...]
    boundary: str | None
    unread: bool
    admin: bool | None

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def has_path(self) -> bool:
        """Whether his ARN has more in it than his name."""
        return not self.user.arn.endswith(f":user/{self.name}")

    @property
    def kinds(self) -> set[DeviceType]:
        return {each.type for each in self.devices}

    @property
    def password(self) -> bool:
        """Whether he is known to have a console password."""
        return self.credentials is not None and self.credentials.password

    @property
    def keys(self) -> tuple[Key, ...]:
        """His active access keys."""
        return tuple(key for key in self.credentials.keys if key.active) if self.credentials else ()

    @property
    def about(self) -> Context:
        """What every request of his says of him."""
        return about(self.user)

    @property
    def demands_mfa(self) -> bool | None:
        """Whether his policies stop him without MFA; None where that cannot be told."""
        told = demands_mfa(self.documents, self.about, boundary=self.boundary)
        return None if self.unread and not told else told


def about(user: Entity) -> Context:
    """Return the condition keys that tell who asks."""
    return {"aws:username": user.name, "aws:PrincipalArn": user.arn, "aws:PrincipalType": "User"}


def documents_of(entity: Entity, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the policies of an entity itself, without its groups'; what is attached and was not read is left out."""
    held = (snapshot.policies.get(arn) for arn in entity.attached)
    return (*entity.inline.values(), *(each for each in held if each is not None))


def unread_of(entity: Entity, snapshot: Snapshot) -> bool:
    """Whether some policy is attached whose text was not read."""
    return any(arn not in snapshot.policies for arn in entity.attached)


def boundary_of(entity: Entity, snapshot: Snapshot) -> str | None:
    """Return the permissions boundary of an entity; None where it has none."""
    return snapshot.policies.get(entity.boundary, UNREAD) if entity.boundary else None


def unread_users(snapshot: Snapshot) -> list[str]:
    """Return the parts without which users may be missing altogether, each with why it could not be read."""
    holes = [hole for hole in snapshot.holes if hole.part in {Part.DETAILS, Part.REPORT}]
    return list(dict.fromkeys(f"the {hole.part}: {hole.why}" for hole in holes))


def people(snapshot: Snapshot) -> list[Person]:
    """Return the users, each with what is known of him, in IAM's order."""
    groups = {group.name: group for group in snapshot.groups}
    virtual: dict[str, list[Device]] = {}
    for device in snapshot.virtual:
        if device.user is not None:
            virtual.setdefault(device.user, []).append(device)
    return [
        _person(user, tuple(virtual.get(user.name, ())), groups=groups, snapshot=snapshot) for user in snapshot.users
    ]


def _person(user: Entity, virtual: tuple[Device, ...], *, groups: Mapping[str, Entity], snapshot: Snapshot) -> Person:
    row = snapshot.report.users.get(user.name) if snapshot.report else None
    listed = snapshot.listed.get(user.name)
    devices = virtual if listed is None else listed
    complete = listed is not None or (row is not None and not row.mfa and not devices)
    mine = [user, *(groups[name] for name in user.groups if name in groups)]
    documents = tuple(text for each in mine for text in documents_of(each, snapshot))
    unread = len(mine) <= len(user.groups) or any(unread_of(each, snapshot) for each in mine)
    boundary = boundary_of(user, snapshot)
    return Person(
        user=user,
        credentials=row,
        devices=devices,
        complete=complete,
        mfa=bool(devices) if complete else bool(devices) or (row is not None and row.mfa) or None,
        documents=documents,
        boundary=boundary,
        unread=unread,
        admin=administers(user, documents, boundary=boundary, unread=unread),
    )


def administers(
    entity: Entity, documents: tuple[str, ...], *, boundary: str | None, unread: bool = False
) -> bool | None:
    """Whether someone may do anything, or give himself the right to; None where that cannot be told.

    In a session with MFA, for a policy that demands it makes nobody less of an administrator.
    """
    context = {**about(entity), **WITH_MFA}
    kind = "Role" if ":role/" in entity.arn else "User"
    answers = {
        evaluate(documents, f"iam:{verb}{kind}Policy", entity.arn, context, boundary=boundary)
        for verb in ("Attach", "Put")
    }
    if Verdict.ALLOW in answers:
        return True
    return None if unread or Verdict.UNKNOWN in answers else False


def command(*words: str) -> str:
    """Write a command as a shell takes it, whatever the names in it are."""
    return shlex.join(words)


def few(names: Sequence[str]) -> str:
    """Name the first five, and say how many there are besides."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004 - a line
