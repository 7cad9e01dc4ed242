"""The values of the domain: frozen, without a secret, and without behavior that touches the world."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Self

from mfa_kit.core.errors import UsageFault

# IAM API reference: UserName, VirtualMFADeviceName and Path. botocore checks lengths only.
USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
# IAM API reference, Tag: what a value may hold, of one line.
LABEL = re.compile(r"[\w .:/=+@-]{1,64}")
DEVICE_NAME = re.compile(r"[\w+=,.@-]{1,226}", re.ASCII)
PATH = re.compile(r"/|/[\x21-\x7f]+/", re.ASCII)
PATH_LENGTH = 512
# A run id. It names files, and a tag may claim any: what does not look like this is none.
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)

# The tags by which a device says which run made it, for whom, and what it lives on.
RUN_TAG = "mfa-kit:run"
USER_TAG = "mfa-kit:user"
KIND_TAG = "mfa-kit:kind"
HARDWARE_TAG = "mfa-kit:serial"
# The identity of the key's OATH applet: a serial may be on two keys or on none, and an asset label takes its place.
CARD_TAG = "mfa-kit:card"
# Present, with any value, on a device that waits for `rollout activate`, so that no desk takes it for an orphan.
STAGED_TAG = "mfa-kit:staged"


class DeviceType(StrEnum):
    """The type of an MFA device in IAM."""

    VIRTUAL = "virtual"
    HARDWARE_TOTP = "hardware-totp"
    FIDO2 = "fido2"
    SMS = "sms"

    @classmethod
    def of(cls, serial: str) -> Self:
        """Return the type of a serial number (IAM user guide, "Checking MFA status"): by its ARN, else a token."""
        if not serial.startswith("arn:"):
            return cls("hardware-totp")
        resource = serial.split(":", 5)[-1].partition("/")[0]
        return cls({"mfa": "virtual", "u2f": "fido2", "sms-mfa": "sms"}.get(resource, "hardware-totp"))


@dataclass(frozen=True, slots=True)
class Method:
    """An enrollment method: its name on the command line, in rosters, tags and the journal, and the type it makes."""

    name: str
    device_type: DeviceType = DeviceType.VIRTUAL


# The method where nothing else is asked for.
VIRTUAL = Method("virtual")


class Purpose(StrEnum):
    """What a run is for. LOST revokes a device that somebody may have stolen; ADD keeps a backup of a device."""

    ENROLL = "enroll"
    REVOKE = "revoke"
    LOST = "lost"
    ADD = "add"


class Reached(StrEnum):
    """How far a run has come with one device; docs/formats.md draws the states."""

    INTENT = "intent"
    CREATED = "created"
    STAGED = "staged"  # made and sealed, to be enabled later; no later run settles it
    ENABLED = "enabled"  # IAM answered that it is enabled, and does not list it yet
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    REVOKING = "revoking"
    REVOKED = "revoked"


class Mark(Enum):
    """Why the tags of a device have no run id: it has none, or there is no such device."""

    UNTAGGED = auto()
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of our credentials (sts:GetCallerIdentity)."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """The AWS partition, such as `aws` or `aws-us-gov`."""
        return self.arn.split(":")[1]

    @property
    def user(self) -> str | None:
        """The user's name without its path; None for a role, a federated user or root."""
        resource = self.arn.split(":", 5)[5]
        return resource.rpartition("/")[2] if resource.startswith("user/") else None


# What commands call the account's root user, and how backups of its devices are filed; no IAM user can have it.
ROOT = "root"
# Partitions whose accounts have no root user that could sign in: IAM user guide, AWS GovCloud (US).
ROOTLESS = {"aws-us-gov"}


def is_root(arn: str) -> bool:
    """Whether an ARN is that of an account's root user, `arn:PARTITION:iam::ACCOUNT:root`."""
    return arn.endswith(":root")


@dataclass(frozen=True, slots=True)
class Device:
    """An MFA device as IAM lists it: its user (None: unassigned), and since when in Unix seconds."""

    serial: str
    user: str | None
    since: float | None = None

    @property
    def type(self) -> DeviceType:
        """The type, by the serial."""
        return DeviceType.of(self.serial)

    @property
    def name(self) -> str:
        """The name that the device was given: the last part of its ARN, of a key without the id that IAM adds."""
        last = self.serial.rpartition("/")[2]
        return last.rpartition("-")[0] or last if self.type is DeviceType.FIDO2 else last


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What IAM says of a security key (iam:GetMFADevice): since when, in Unix seconds, and its certifications.

    `missing` is what a policy asks for and IAM does not say, `warnings` are sentences on the user's other devices.
    """

    since: float
    certifications: Mapping[str, str]
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """The certifications with their levels, such as `FIDO L1`."""
        return tuple(f"{name} {level}" for name, level in sorted(self.certifications.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One device to make for one user, as it is known before anything is changed.

    Raise UsageFault for names that IAM would refuse.
    """

    account: str
    partition: str
    user: str
    name: str
    method: Method = VIRTUAL
    path: str = "/"
    known_serial: str | None = None  # of a device that IAM did not name for us: a token's, a security key's
    hardware: str | None = None  # what it lives on, as people call it: a key's serial or asset label, a token's serial
    card: str | None = None  # the same for the program: the identity of a key's OATH applet
    replaces: str | None = None  # the serial of the device that goes when this one stands,
    replaces_run: str | None = None  # the run under which the journal files it,
    replaces_since: float | None = None  # and since when its user has it
    recipient: str | None = None  # the user's own public key, to which a copy of the backup is sealed for him alone
    tags: tuple[tuple[str, str], ...] = ()  # more tags for the device
    staged: bool = False  # to be made and sealed now, and enabled later

    def __post_init__(self) -> None:
        check_user(self.user)
        if not DEVICE_NAME.fullmatch(self.name):
            raise UsageFault(
                f"{self.name!r} is not a name that IAM takes for an MFA device",
                "use 1 to 226 letters, digits and _+=,.@-",
            )
        if len(self.path) > PATH_LENGTH or not PATH.fullmatch(self.path):
            raise UsageFault(f"{self.path!r} is not a path that IAM takes", "begin and end it with /, such as /desk/")

    @property
    def serial(self) -> str:
        """The ARN that IAM will give the device; it is not unique over time, because names are used again.

        Until the ARN of a security key is known, this is without the id that IAM appends to the name.
        """
        if self.known_serial:
            return self.known_serial
        start = f"arn:{self.partition}:iam::{self.account}"
        if self.method.device_type is DeviceType.FIDO2:
            return f"{start}:u2f/user/{self.user}/{self.name}"
        return f"{start}:mfa{self.path}{self.name}"

    @property
    def label(self) -> str:
        """The name of the credential on an OATH key, which holds 64 octets: short, and still exact."""
        return f"AWS:{self.path[1:]}{self.name}@{self.account}"

    def on(self, *, hardware: str, card: str | None = None) -> "Intent":
        """Return the same intent with what the device is to live on."""
        return replace(self, hardware=hardware, card=card)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One intent of one run in the journal.

    `answered_here`: this process saw IAM answer for the device; `looked_for`: it has waited in vain for IAM to list it.
    Neither is stored. `since` is IAM's EnableDate of the device that a revoke means, in Unix seconds. `sealed`: the
    backup was written.
    """

    run: str
    intent: Intent
    purpose: Purpose = Purpose.ENROLL
    reached: Reached = Reached.INTENT
    backup: str | None = None
    answered_here: bool = False
    since: float | None = None
    sealed: bool = False
    looked_for: bool = False

    def at(self, reached: Reached) -> "Entry":
        """Return the entry as it is when its run has come so far."""
        return replace(self, reached=reached)

    @property
    def is_half_made(self) -> bool:
        """Whether a run is making the device, or was interrupted while it did."""
        return self.reached in {Reached.INTENT, Reached.CREATED}

    @property
    def began(self) -> float:
        """Unix seconds, from the run id: IAM keeps no creation date of a virtual device."""
        return run_time(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One write to AWS, or one opening of a backup, for the log. It leads to CloudTrail, and holds no secret."""

    operation: str
    user: str | None
    serial: str | None
    request_id: str | None
    answer: str
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A sealed backup, as its path says."""

    account: str
    user: str
    device: str
    run: str
    path: Path

    @property
    def made(self) -> float:
        """When the backup was made, in Unix seconds."""
        return run_time(self.run)

    @property
    def name(self) -> str:
        """The name by which it is on record."""
        return backup_name(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A recipient of a backup, since and until when in Unix seconds. `own`: of the user's own copy of it."""

    backup: str
    recipient: str
    since: float
    until: float | None = None
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of the log: a call, an opening, or how far a run came. `reference` is a request id or a run id."""

    at: float
    what: str
    answer: str
    user: str | None
    device: str | None
    file: str | None
    reference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The device is enabled. Where IAM does not list it yet, `listed` is False and its journal entry is still open.

    Only a security key has `registered`.
    """

    intent: Intent
    run: str
    backup: str | None
    listed: bool = True
    registered: Registered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The device is created and sealed, and assigned to nobody yet."""

    intent: Intent
    run: str
    backup: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nothing was made for the user, who has the devices with these serials."""

    user: str
    reason: str
    serials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The device is gone. `end_sessions` are commands that end the sessions of a lost one."""

    user: str
    serial: str
    backup: str | None = None
    end_sessions: tuple[str, ...] = ()


Outcome = Enrolled | Skipped


def backup_name(file: Path) -> str:
    """Return the name of a backup, the same in every folder that it is copied to: the last three parts of its path."""
    return "/".join(file.absolute().parts[-3:])


def intent_of(serial: str, *, user: str, account: str, partition: str) -> Intent:
    """Return the intent behind a device that stands; its method has the name of its type."""
    device_type = DeviceType.of(serial)
    above, _, name = serial.rpartition("/")
    if device_type is DeviceType.VIRTUAL:
        path = above.removeprefix(f"arn:{partition}:iam::{account}:mfa") + "/"
        return Intent(account=account, partition=partition, user=user, name=name, path=path)
    found = Method(device_type.value, device_type)
    return Intent(account=account, partition=partition, user=user, name=name, method=found, known_serial=serial)


def check_user(name: str) -> None:
    """Raise UsageFault for a name that no IAM user can have."""
    if name == ROOT:
        raise UsageFault(
            "AWS has no API to enroll root",
            "sign in as root and add a device on the console's Security credentials page",
        )
    if not USER_NAME.fullmatch(name):
        raise UsageFault(f"{name!r} is not an IAM user name", "use 1 to 64 letters, digits and _+=,.@-")


def check_label(text: str) -> str:
    """Return what people call a thing. Raise UsageFault for what cannot stand in a tag, and would be in none."""
    if not LABEL.fullmatch(text):
        raise UsageFault(f"{text!a} is no label", "use up to 64 letters, digits, blanks and .:/=+@-_")
    return text


def run_id(at: float, random: bytes) -> str:
    """`YYYYMMDDTHHMMSSZ-xxxxxxxx`: a UTC time and eight random hex digits."""
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}-{random.hex()[:8]}"


def run_time(run: str) -> float:
    """Return the Unix time within a run id. Raise ValueError for what is none."""
    if not RUN.fullmatch(run):
        raise ValueError(f"{run!r} is no run id")
    return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
