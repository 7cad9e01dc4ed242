"""Domain values: immutable, without secrets, and without I/O."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import NamedTuple, Self

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import encoded

SCHEME = "s3://"


@dataclass(frozen=True, slots=True, order=True)
class S3Url:
    """An object or a prefix in a bucket. It has the parts of Path's interface that mfa-kit uses for backups.

    `key` neither begins nor ends with a slash. An empty key is the whole bucket.
    """

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, below: str) -> "S3Url":
        return self.joinpath(below)

    def joinpath(self, *below: str) -> "S3Url":
        """Return the URL with these parts added."""
        return S3Url(self.bucket, "/".join(filter(None, (self.key, *below))))

    def absolute(self) -> "S3Url":
        """Return this URL, because a URL is always absolute."""
        return self

    def is_absolute(self) -> bool:
        """Return True, because a URL is always absolute."""
        return True

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key, without slashes."""
        return tuple(self.key.split("/")) if self.key else ()

    @property
    def name(self) -> str:
        """The last part of the key, or "" for the whole bucket."""
        return self.key.rpartition("/")[2]

    @property
    def parents(self) -> tuple["S3Url", ...]:
        """The URLs above this one, from the nearest one to the whole bucket. Empty for the whole bucket."""
        parts = self.parts
        return tuple(S3Url(self.bucket, "/".join(parts[:count])) for count in range(len(parts) - 1, -1, -1))


# The place of a backup, or of a folder of backups.
BackupLocation = Path | S3Url


# The names of users and devices, and paths (IAM API reference: UserName, VirtualMFADeviceName and Path). botocore
# checks only their lengths.
USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
# Matches the label of a key or token. It is stored as the value of a tag, so only the characters of such values are
# allowed (IAM API reference, Tag), and no line breaks.
LABEL = re.compile(r"[\w .:/=+@-]{1,64}")
DEVICE_NAME = re.compile(r"[\w+=,.@-]{1,226}", re.ASCII)
PATH = re.compile(r"/|/[\x21-\x7f]+/", re.ASCII)
PATH_LENGTH = 512
# A serial that IAM accepts (IAM API reference, EnableMFADevice). "GAHT12345678" is the IAM user guide's example.
SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
# The serial of a token that AWS sold: four letters and eight digits, such as GAHT12345678 (IAM user guide).
SOLD_BY_AWS = re.compile(r"[a-z]{4}\d{8}", re.ASCII)
ACCOUNT_ID = re.compile(r"[0-9]{12}")
# Matches a run ID. Text in a tag is accepted as a run ID only if it matches, because a run ID becomes part of file
# names.
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)
# Matches the name of a lock. For a rollout, the name has the SHA-256 of the plan and the ID of the account. Only the
# process that holds the lock works on the plan in that account. For a reserved token, the name has the SHA-256 of the
# token's serial and twelve zeros.
WORK = re.compile(r"[0-9a-f]{64}-\d{12}", re.ASCII)

# Tags of a device: the run that created it, its user, its enrollment method, and the hardware that stores its secret.
RUN_TAG = "mfa-kit:run"
USER_TAG = "mfa-kit:user"
KIND_TAG = "mfa-kit:kind"
HARDWARE_TAG = "mfa-kit:serial"
# A tag with the identity of the key's OATH applet. A serial does not identify a key: two keys may have the same serial,
# a key may have none, and the user may give an asset label instead.
CARD_TAG = "mfa-kit:card"
# A tag of a staged device. A device with this tag, whatever the value, waits for `rollout activate`. `orphans clean` on
# other computers therefore does not remove it.
STAGED_TAG = "mfa-kit:staged"


def folded(serial: str) -> str:
    """Return a serial without white space and with its case folded, for comparisons."""
    return "".join(serial.split()).casefold()


def sold_by_aws(serial: str) -> bool:
    """Return whether a serial looks like that of a token that AWS sold. Only AWS has the seed of such a token."""
    return SOLD_BY_AWS.fullmatch(folded(serial)) is not None


class DeviceType(StrEnum):
    """The type of an MFA device in IAM."""

    VIRTUAL = "virtual"
    HARDWARE_TOTP = "hardware-totp"
    FIDO2 = "fido2"
    SMS = "sms"

    @classmethod
    def of(cls, serial: str) -> Self:
        """Return the type of the device with this serial (IAM user guide, "Checking MFA status").

        An ARN contains the type. A serial that is not an ARN is that of a hardware TOTP token.
        """
        if not serial.startswith("arn:"):
            return cls("hardware-totp")
        resource = serial.split(":", 5)[-1].partition("/")[0]
        return cls({"mfa": "virtual", "u2f": "fido2", "sms-mfa": "sms"}.get(resource, "hardware-totp"))


@dataclass(frozen=True, slots=True)
class Method:
    """An enrollment method.

    `name` is its name on the command line and in rosters, tags and the journal. `device_type` is the type of its
    devices in IAM.
    """

    name: str
    device_type: DeviceType = DeviceType.VIRTUAL


# The default enrollment method.
VIRTUAL = Method("virtual")


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterMethod:
    """How the user of a row gets a device. If `method` is None, the user enrolls the device.

    `unattended` means that `rollout apply` makes the device without help from a person. `by_serial` means that AWS
    already has the device's seed, so the roster must contain the serial that is printed on the device. `halves` are the
    two methods of a `pair`: one physical key with an OATH credential and a FIDO credential.
    """

    method: Method | None = None
    unattended: bool = False
    by_serial: bool = False
    halves: tuple["RosterMethod", ...] = ()

    @property
    def name(self) -> str:
        """The word in the roster column `kind`: the name of an enrollment method, `pair` or `self`."""
        if self.halves:
            return "pair"
        return self.method.name if self.method else "self"

    @property
    def is_virtual(self) -> bool:
        """Whether its device is a virtual device in IAM."""
        return self.method is not None and self.method.device_type is DeviceType.VIRTUAL

    def __str__(self) -> str:
        return self.name


class RunKind(StrEnum):
    """The purpose of a run.

    LOST revokes a device that may be stolen. ADD makes a backup of an existing device.
    """

    ENROLL = "enroll"
    REVOKE = "revoke"
    LOST = "lost"
    ADD = "add"


class JournalState(StrEnum):
    """How far a run has progressed with one device. docs/formats.md has a diagram of the states.

    STAGED: the device is created and backed up, and will be enabled later. Until then, it does not count as half-made.
    ENABLED: IAM accepted the request to enable the device, but does not list the device for its user yet.
    """

    INTENT = "intent"
    CREATED = "created"
    STAGED = "staged"
    ENABLED = "enabled"
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    REVOKING = "revoking"
    REVOKED = "revoked"


class RunTag(Enum):
    """Why there is no run ID in a device's tags.

    UNTAGGED: the tag is missing, or the caller may not read tags. ABSENT: the device does not exist.
    """

    UNTAGGED = auto()
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of mfa-kit's credentials (sts:GetCallerIdentity), and whether they are for a lab."""

    account: str
    arn: str
    lab: bool = False

    @property
    def partition(self) -> str:
        """The AWS partition, such as `aws` or `aws-us-gov`."""
        return self.arn.split(":")[1]

    @property
    def user(self) -> str | None:
        """The user's name without its path; None for a role, a federated user or root."""
        resource = self.arn.split(":", 5)[5]
        return resource.rpartition("/")[2] if resource.startswith("user/") else None

    @property
    def name(self) -> str:
        """The name for messages: a user name without its path, `ROLE/SESSION` for a role session, or `root`."""
        return self.user or self.arn.split(":", 5)[5].removeprefix("assumed-role/")


# The word for the account's root user in commands, and in the paths of its backups; no IAM user can have this name.
ROOT = "root"
# The name of root in the credential report. No user can have this name.
REPORTED_ROOT = "<root_account>"
# Partitions whose accounts have no root user that can sign in: IAM user guide, AWS GovCloud (US).
ROOTLESS = {"aws-us-gov"}


def is_root(arn: str) -> bool:
    """Return whether an ARN is that of an account's root user, `arn:PARTITION:iam::ACCOUNT:root`."""
    return arn.endswith(":root")


@dataclass(frozen=True, slots=True)
class Device:
    """An MFA device as IAM lists it.

    `serial` is its ARN or, for a hardware TOTP token, its serial number. `user` is the name of its user, or None if it
    is unassigned. `since` is when it was enabled, in Unix seconds, if IAM reports that.
    """

    serial: str
    user: str | None
    since: float | None = None

    @property
    def type(self) -> DeviceType:
        """The device's type, derived from its serial."""
        return DeviceType.of(self.serial)

    @property
    def name(self) -> str:
        """The last part of the ARN, without the ID that IAM appends for a security key; for a token, its serial."""
        last = self.serial.rpartition("/")[2]
        return last.rpartition("-")[0] or last if self.type is DeviceType.FIDO2 else last


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """IAM's data on a security key (iam:GetMFADevice): when it was enabled, in Unix seconds, and its certifications.

    `missing` has a sentence for each requirement of the key policy that the certifications do not meet. `warnings` are
    sentences about data that could not be read, and about devices that the user should also have.
    """

    since: float
    certifications: Mapping[str, str]
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """The certifications with their levels, such as `FIDO L1`."""
        return tuple(f"{name} {level}" for name, level in sorted(self.certifications.items()))


def devices_by_user(devices: Iterable[Device]) -> dict[str, list[Device]]:
    """Return the devices of each user by user name, in order. Unassigned devices are left out."""
    of_user: dict[str, list[Device]] = {}
    for device in devices:
        if device.user is not None:
            of_user.setdefault(device.user, []).append(device)
    return of_user


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One device of one user: a device to make, as planned before anything is changed, or an existing device.

    `known_serial` is the serial of a token or security key, because such a serial cannot be derived from the name.
    `hardware` is the name that people use for the hardware that stores the secret: a key's serial or asset label, or a
    token's serial. `card` is the identity of the key's OATH applet, by which mfa-kit recognizes the key. `replaces` is
    the serial of the old device, which is removed once the new device works. `replaces_run` is the run that created the
    old device, according to the journal, and `replaces_since` is when the old device was enabled, in Unix seconds.
    `recipient` is the user's own public key; one copy of the backup is encrypted to it alone. `tags` are additional
    tags for the device. `staged` means that the device is created and backed up now, and enabled later.

    Raise UsageFault for a user name, device name or path that IAM would refuse.
    """

    account: str
    partition: str
    user: str
    name: str
    method: Method = VIRTUAL
    path: str = "/"
    known_serial: str | None = None
    hardware: str | None = None
    card: str | None = None
    replaces: str | None = None
    replaces_run: str | None = None
    replaces_since: float | None = None
    recipient: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    staged: bool = False

    def __post_init__(self) -> None:
        check_user(self.user)
        if not DEVICE_NAME.fullmatch(self.name):
            raise UsageFault(
                f"{self.name!r} is not a name that IAM accepts for an MFA device",
                "use 1 to 226 letters, digits and _+=,.@-",
            )
        if len(self.path) > PATH_LENGTH or not PATH.fullmatch(self.path):
            raise UsageFault(f"{self.path!r} is not a path that IAM accepts", "begin and end it with /, such as /desk/")

    @property
    def serial(self) -> str:
        """The device's serial: `known_serial` if it is set, otherwise the ARN that IAM will give the device.

        A derived ARN of a security key lacks the ID that IAM appends to the name. Names are reused, so
        a later device may have the same ARN.
        """
        if self.known_serial:
            return self.known_serial
        start = f"arn:{self.partition}:iam::{self.account}"
        if self.method.device_type is DeviceType.FIDO2:
            return f"{start}:u2f/user/{self.user}/{self.name}"
        return f"{start}:mfa{self.path}{self.name}"

    @property
    def label(self) -> str:
        """The name of the credential on an OATH key.

        It contains the device's path, name and account, and little else, because a key allows only 64 octets.
        """
        return f"AWS:{self.path[1:]}{self.name}@{self.account}"

    @property
    def posted(self) -> bool:
        """Whether the device is on a key or token that is sent to the user, and enabled after it has arrived."""
        return self.staged and self.method.name != VIRTUAL.name

    def on(self, *, hardware: str, card: str | None = None) -> "DeviceSpec":
        """Return a copy of the intent that names the key or token which will store the secret.

        `hardware` is the serial or label of the key or token, and `card` identifies the applet of an OATH key.
        """
        return replace(self, hardware=hardware, card=card)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """The journal's record of one device of one run: what the run planned, and how far it got (`reached`).

    `backup` is the path or S3 URL of the device's backup, or None. `sealed` means that this backup was written. `since`
    is IAM's EnableDate of a confirmed device or of the device to revoke, in Unix seconds; None if it was not read.
    `answered_here` means that a response from IAM showed this process that the device is this entry's device, not a
    later one of the same name. `looked_for` means that this process waited for IAM to list the device, but IAM did not
    list it. `answered_here` and `looked_for` are not stored.
    """

    run: str
    spec: DeviceSpec
    purpose: RunKind = RunKind.ENROLL
    reached: JournalState = JournalState.INTENT
    backup: str | None = None
    answered_here: bool = False
    since: float | None = None
    sealed: bool = False
    looked_for: bool = False

    def at(self, reached: JournalState) -> "JournalEntry":
        """Return a copy of the entry with this value of `reached`."""
        return replace(self, reached=reached)

    def owns(self, file: BackupLocation) -> bool:
        """Return whether a path is that of the entry's backup, or of the user's copy, according to its last parts."""
        spec = self.spec
        return backup_name(file) == f"{spec.account}/{encoded(spec.user)}/{encoded(spec.name)}-{self.run}.png.age"

    @property
    def is_half_made(self) -> bool:
        """Whether a run is creating the device, or was interrupted while creating it."""
        return self.reached in {JournalState.INTENT, JournalState.CREATED}

    @property
    def began(self) -> float:
        """When the run started, in Unix seconds.

        It is taken from the run ID, because virtual devices have no creation date.
        """
        return run_time(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One entry of the log: a write to AWS, or the decryption, re-encryption or removal of a backup.

    `answer` is the result: `OK` or an error. `request_id` identifies the same call in CloudTrail; it is None for
    backups. `file` is the path or S3 URL of the backup; it is None for AWS. The entry contains no secret.
    """

    operation: str
    user: str | None
    serial: str | None
    request_id: str | None
    answer: str
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """An encrypted backup. Every field is derived from its path."""

    account: str
    user: str
    device: str
    run: str
    path: BackupLocation

    @property
    def made(self) -> float:
        """When the backup was made, in Unix seconds."""
        return run_time(self.run)

    @property
    def name(self) -> str:
        """The backup's name in the ledger: `ACCOUNT/USER/FILE`."""
        return backup_name(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The record that the backup with this name was encrypted to a recipient from `since` until `until` (Unix seconds).

    `until` is None if the file is still encrypted to the recipient. `own` marks the recipient of the copy that only the
    device's user can decrypt.
    """

    backup: str
    recipient: str
    since: float
    until: float | None = None
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWork:
    """A lock, and the process and computer that hold it. `work` is the name of the lock (see WORK).

    `since` is the Unix time at which the process took the lock.
    """

    work: str
    computer: str
    process: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The device is enabled. If IAM does not list it yet, `listed` is False, and the journal entry is not confirmed.

    `backup` is the path or S3 URL of its backup, or None. `registered` is set only for a security key.
    """

    spec: DeviceSpec
    run: str
    backup: str | None
    listed: bool = True
    registered: Registered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """No device was created, because the user already has a device. `reason` is the text for the user.

    `serials` has the serials of the user's devices, if they are known. `backups` has the paths or S3 URLs of the
    backups that were found for these devices.
    """

    user: str
    reason: str
    serials: tuple[str, ...] = ()
    backups: tuple[str, ...] = ()


Outcome = Enrolled | Skipped


def backup_name(file: BackupLocation) -> str:
    """Return `ACCOUNT/USER/FILE`, the last three parts of a backup's path.

    They stay the same when the folder of backups is moved.
    """
    return "/".join(file.absolute().parts[-3:])


def intent_of(serial: str, *, user: str, account: str, partition: str) -> DeviceSpec:
    """Return an intent that describes the existing device with this serial.

    The enrollment method is unknown, so for a device that is not virtual, the method's name is the device type in IAM.
    """
    device_type = DeviceType.of(serial)
    above, _, name = serial.rpartition("/")
    if device_type is DeviceType.VIRTUAL:
        path = above.removeprefix(f"arn:{partition}:iam::{account}:mfa") + "/"
        return DeviceSpec(account=account, partition=partition, user=user, name=name, path=path)
    method = Method(device_type.value, device_type)
    return DeviceSpec(account=account, partition=partition, user=user, name=name, method=method, known_serial=serial)


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
    """Return the label of a key unchanged. Raise UsageFault if it does not match LABEL.

    Labels are stored in the tags of devices.
    """
    if not LABEL.fullmatch(text):
        raise UsageFault(f"{text!a} is not a valid label", "use up to 64 letters, digits, spaces and .:/=+@-_")
    return text


def run_id(time: float, random: bytes) -> str:
    """Return a run ID for a Unix time, `YYYYMMDDTHHMMSSZ-xxxxxxxx`: the time in UTC and eight random hex digits."""
    return f"{datetime.fromtimestamp(time, UTC):%Y%m%dT%H%M%SZ}-{random.hex()[:8]}"


def run_time(run: str) -> float:
    """Return the Unix time in a run ID. Raise ValueError if the text is not a run ID."""
    if not RUN.fullmatch(run):
        raise ValueError(f"{run!r} is not a run ID")
    return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorders:
    """The computers that recorded the rows of a shared ledger. `here` is this computer.

    `devices` has the computer that made each device, by run and serial. `drills` has the computer on which each backup
    last passed a test, by the backup's name.
    """

    here: str
    devices: Mapping[tuple[str, str], str]
    drills: Mapping[str, str]


# Matches the start of a URL that is not an S3 URL, or of a mistyped S3 URL.
OTHER_URL = re.compile(r"s3:|[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
# The name of a bucket (Amazon S3 user guide, "General purpose bucket naming rules").
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def parse_location(text: str) -> BackupLocation:
    """Return the S3Url or Path that a text names.

    Raise UsageFault for an S3 URL with an invalid bucket or key, and for any other URL, because that may be a mistyped
    S3 URL.
    """
    if not text.startswith(SCHEME):
        if OTHER_URL.match(text):
            raise UsageFault(
                f"{text!r} is neither a path nor an S3 URL",
                "write s3://BUCKET/KEY, or ./ before a path on this computer",
            )
        return Path(text)
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    key = key.rstrip("/")
    if not BUCKET.fullmatch(bucket):
        raise UsageFault(f"{text!r} does not name a bucket", "write s3://BUCKET/PREFIX")
    if any(part in {"", ".", ".."} for part in key.split("/") if key):
        raise UsageFault(f"{text!r} has an empty part, or the part . or ..", "write s3://BUCKET/PREFIX")
    return S3Url(bucket, key)


def check_shared(*, ledger_is_shared: bool, place: BackupLocation, local_backups: bool) -> None:
    """Raise UsageFault if other computers use the ledger, but the folder of backups is on this computer.

    With `local_backups`, the user has accepted that, so nothing is raised.
    """
    if ledger_is_shared and not isinstance(place, S3Url) and not local_backups:
        raise UsageFault(
            f"other computers use this ledger, but cannot read backups in the folder {place}",
            "put the backups into a bucket: --backup-dir s3://BUCKET/PREFIX, or accept this: --local-backups",
        )


def recorded_location(text: str) -> BackupLocation:
    """Return the S3Url or Path in a text from the ledger. An invalid S3 URL is treated as a relative path."""
    try:
        return parse_location(text)
    except UsageFault:
        return Path(text)


# The subfolder of the backup folder with the users' own copies. Each copy is encrypted only to its user.
OWN = "users"


class Copies(NamedTuple):
    """The paths or URLs of a device's backup: the administrators' file and the user's own copy.

    None means no such file.
    """

    admin: str | None = None
    user: str | None = None


def own_copy(path: BackupLocation) -> BackupLocation:
    """Return the path of the user's own copy of a backup. If `path` is already such a path, return it unchanged.

    A damaged ledger or record may have a path with fewer than three folders.
    """
    base = path.parents[2] if path.parents[2:] else path
    return path if base.name == OWN else base.joinpath(OWN, *path.parts[-3:])


def recorded_name(path: BackupLocation) -> str:
    """Return the name of a backup's file in the ledger: `ACCOUNT/USER/FILE`, after `users/` for the user's own copy."""
    absolute_path = path.absolute()
    return f"{OWN}/{backup_name(path)}" if absolute_path == own_copy(absolute_path) else backup_name(path)


def without_own_copy(entry: JournalEntry) -> JournalEntry:
    """Return an entry whose only backup is that of the administrators, which is written last."""
    return replace(entry, spec=replace(entry.spec, recipient=None))


def copies_of(entry: JournalEntry) -> Copies:
    """Return the paths or URLs of the backup that the entry's run wrote, or will write, for the entry's device."""
    if entry.backup is None:
        return Copies()
    if entry.spec.recipient is None:
        return Copies(admin=entry.backup)
    own = str(own_copy(recorded_location(entry.backup)))
    return Copies(admin=None if own == entry.backup else entry.backup, user=own)


class UseEvent(StrEnum):
    """The events of CloudTrail that name the MFA device that was used."""

    CONSOLE_LOGIN = "ConsoleLogin"
    GET_SESSION_TOKEN = "GetSessionToken"  # noqa: S105 - no password
    ASSUME_ROLE = "AssumeRole"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """The use of a device at the Unix time `at`.

    `principal` is the ID of the user in IAM (`AIDA...`), or the account's ID for root; "" if the event has none. `user`
    is the user's name then, or "". With `from_files`, whoever can write to the log bucket or to the shared ledger could
    have forged the event.
    """

    serial: str
    principal: str
    user: str
    at: float
    event: UseEvent
    region: str
    from_files: bool = False
