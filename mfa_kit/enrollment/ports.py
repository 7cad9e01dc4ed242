"""The ports of enrollment: interfaces to IAM, devices, backups and the ledger. `EnrollmentPorts` bundles them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mfa_kit.core.interaction import Progress
    from mfa_kit.core.models import Backup, Caller, Device, DeviceSpec, Enrolled, JournalEntry, Registered, RunTag
    from mfa_kit.core.otp import Created, KeyUri, Pair


class IamReader(Protocol):
    """The read requests to IAM and STS.

    They change nothing in the account, so an implementation may retry them. `accepts` is the exception: it uses up the
    code.
    """

    def caller(self) -> Caller:
        """Return the identity of the credentials. The response also gives AWS's time, which `now` and `offset` use."""
        ...

    def now(self) -> float:
        """Return AWS's time in Unix seconds: the time of the local clock plus `offset()`."""
        ...

    def offset(self) -> float:
        """Return how many seconds AWS's clock is ahead of the local clock, accurate to about two seconds.

        The offset comes from the `Date` header of the last response.
        """
        ...

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        """Return the MFA devices that IAM lists for a user, or for the caller if `user` is None.

        Raise NoSuchEntity if the user does not exist. If `patient` is false (for polling), make only one attempt, which
        may raise Throttled or OutcomeUnknownError.
        """
        ...

    def registered(self, user: str, serial: str) -> Registered:
        """Return IAM's data on a user's security key (iam:GetMFADevice).

        Raise NoSuchEntity if the user does not have this key, and AccessDenied if IAM denies the request.
        """
        ...

    def active_keys(self, user: str) -> int:
        """Return the number of a user's active access keys. Raise AccessDenied if IAM denies the request."""
        ...

    def root_has_mfa(self) -> bool:
        """Return whether the account's root user has an MFA device. The request is not retried."""
        ...

    def name_in_iam(self, user: str) -> str:
        """Return a user's name as IAM spells it, or unchanged if IAM denies the request.

        Raise NoSuchEntity if the user does not exist.
        """
        ...

    def users(self) -> list[str]:
        """Return the names of all users."""
        ...

    def allowed(self, actions: Mapping[str, str]) -> dict[str, bool | None]:
        """Return for each action whether the caller's own policies allow it, or None if this is unknown.

        `actions` maps each action, such as `iam:ListUsers`, to the resource on which the action is checked.
        """
        ...

    def tags(self, serial: str) -> dict[str, str]:
        """Return the tags of a virtual device: a mapping from each tag's key to its value.

        Raise NoSuchEntity if the device does not exist, and AccessDenied if IAM denies the request.
        """
        ...

    def unassigned(self) -> list[str]:
        """Return the serials of all unassigned virtual devices.

        Raise MfaKitError if a page of the list cannot be read.
        """
        ...

    def accepts(self, serial: str, code: str) -> bool:
        """Return whether AWS accepts a code of one of the caller's own devices (sts:GetSessionToken).

        Each code can be used only once.
        """
        ...

    def run_of(self, serial: str) -> str | RunTag:
        """Return the ID of the run that made a virtual device.

        The ID is in a tag of the device. Return UNTAGGED if the device has no such tag, or if reading tags is denied.
        Return ABSENT if the device does not exist.
        """
        ...


class DeviceWriter(Protocol):
    """The write requests to IAM for MFA devices. The caller of a method decides whether to retry after a failure.

    Each method may raise AccessDenied, Expired, Throttled, Busy or OutcomeUnknownError, and the errors named in its
    docstring.
    """

    def create(self, spec: DeviceSpec, tags: dict[str, str]) -> Created:
        """Create a virtual device (CreateVirtualMFADevice), and return its secret.

        Raise AlreadyExists if the name is taken, and IntegrityFault if the response has no valid secret.
        """
        ...

    def enable(self, spec: DeviceSpec, codes: Callable[[], Pair]) -> None:
        """Assign a device to its user (EnableMFADevice).

        `codes` returns the two codes, and is called just before the request is sent. Raise InvalidCode if IAM rejects
        the codes, AlreadyExists if the device is already assigned, and NoSuchEntity if the user or the device does not
        exist.
        """
        ...

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """Resynchronize IAM with the clock of a device (ResyncMFADevice).

        `codes` returns the two codes, and is called just before the request is sent. Raise InvalidCode if IAM rejects
        the codes, and NoSuchEntity if the user does not have the device.
        """
        ...

    def deactivate(self, user: str, serial: str) -> None:
        """Deactivate a device (DeactivateMFADevice). Raise NoSuchEntity if the user does not have the device."""
        ...

    def delete(self, serial: str) -> None:
        """Delete a device (DeleteVirtualMFADevice).

        Raise NoSuchEntity if the device does not exist, and Conflict while it is assigned to a user.
        """
        ...

    def tag(self, serial: str, tags: dict[str, str]) -> None:
        """Add tags to a virtual device (TagMFADevice). Raise NoSuchEntity if the device does not exist."""
        ...


class DeviceBackend(Protocol):
    """The object that stores a device's secret and supplies its codes.

    There is one class for each kind of hardware, such as an OATH key. For a phone or a display token, which mfa-kit
    cannot access, the object asks the user to type the codes.
    """

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return a copy of the intent that names the hardware in which the secret will be stored. Changes nothing.

        `sealed` says whether an encrypted backup will be made. Raise MfaKitError if the secret could not be stored.
        """
        ...

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Store the secret of a device that was just created. Raise DeviceFault if the hardware fails."""
        ...

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return two consecutive codes for a request that is sent immediately.

        Raise DeviceFault if the hardware fails, and Declined if there is no terminal at which the user can type codes.
        """
        ...

    def check_reachable(self, entry: JournalEntry) -> None:
        """Raise Unreachable if the hardware may be connected, but the secret cannot be removed from it.

        Hardware that is not connected is not an error here.
        """
        ...

    def remove(self, entry: JournalEntry) -> None:
        """Remove the secret that the run of `entry` stored for its device. Leave the secrets that other runs stored."""
        ...


class Make(Protocol):
    """A function that makes a device: creates it if necessary, enables it, and confirms that IAM lists it."""

    def __call__(self, spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> Enrolled:
        """Make the device that `spec` describes, and return the result. `run` is the run ID.

        Raise MfaKitError if the device could not be made. The half-made device is then already removed, or a note of
        the error says what is left of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class EnrollmentProcedure:
    """The procedure by which an enrollment method makes a device.

    `make` carries it out. `steps` returns its steps for a dry run, one phrase each. The second argument of `steps` is
    the path of the backup, or None.
    """

    make: Make
    steps: Callable[[DeviceSpec, str | None], list[str]]


class RecordSealed(Protocol):
    """Records in the ledger who can decrypt a backup. It is called before the backup is written."""

    def __call__(
        self,
        backup: str,
        recipients: Sequence[str],
        *,
        own: str | None,
        hashes: Mapping[str, str],
        entry: JournalEntry | None,
    ) -> None:
        """Record the recipients of the backup with this name.

        `own` is the user's public key if the user gets a copy that is encrypted to this key. `hashes` has the SHA-256
        of each encrypted file, by its `recorded_name`. `entry` is the journal entry of the device that a run makes, or
        None for an existing device. With it, the record becomes durable only when the progress of its run is recorded
        next. If the process is killed before that, the record may be lost. This does no harm, because the next run
        removes the device.
        """
        ...


class BackupStore(Protocol):
    """The store of encrypted backups, in a folder or a bucket: writes, finds and removes them."""

    def check(self) -> None:
        """Raise MfaKitError if backups cannot be written. Existing files are not changed."""
        ...

    def place(self, spec: DeviceSpec, run: str) -> str | None:
        """Return the path or URL at which `run` will write the backup of a device, or None if no backup is made.

        Raise IntegrityFault if a file exists there.
        """
        ...

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return a Backup value with the path for a new backup. Writes nothing.

        Raise UsageFault if the device's name is too long for a file name.
        """
        ...

    def recipients(self) -> list[str]:
        """Return the recipients to which all new backups are encrypted."""
        ...

    def find(self, entry: JournalEntry) -> str | None:
        """Return the path or URL of the backup of an entry's device, or else of the user's own copy of the backup.

        Return None if neither file exists.
        """
        ...

    def backups(self) -> Iterator[Backup]:
        """Yield the backups in the store, without the users' own copies."""
        ...

    def recorded_by(self, record: RecordSealed) -> BackupStore:
        """Return the same store, which calls `record` before it writes a backup."""
        ...

    def seal(self, entry: JournalEntry, uri: KeyUri) -> None:
        """Encrypt the key URI, and write it durably to `entry.backup` and to the user's own copy.

        Write nothing if `entry.backup` is None. Never overwrite a file.
        """
        ...

    def store_existing(self, backup: Backup, uri: KeyUri) -> None:
        """Encrypt the key URI of an existing device, and write it durably to the path of `backup`.

        Never overwrite a file.
        """
        ...

    def remove(self, entry: JournalEntry) -> None:
        """Remove `entry.backup`, the user's own copy, and partly written files of both. Remove no other file."""
        ...


class Journal(Protocol):
    """The durable record of the devices that mfa-kit makes or removes, and how far each run got.

    It covers this computer, or all computers that share the ledger.
    """

    def record(self, entry: JournalEntry) -> JournalEntry:
        """Store an entry durably, and return it. If it is the first entry of its run, take the run's lock."""
        ...

    def record_all(self, entries: Sequence[JournalEntry]) -> None:
        """Store several entries durably, as `record` does. Together, they take about as long as a single entry."""
        ...

    def find(self, serial: str, *, run: str | None = None) -> JournalEntry | None:
        """Return the entry for a device, or None.

        If `run` is given, return the entry of this run, otherwise the device's last entry that is neither undone nor
        revoked.
        """
        ...

    def is_leaving(self, device: Device) -> bool:
        """Return whether a run has removed a device, or began to, which the next run continues.

        A later device of the same name has another EnableDate.
        """
        ...

    def lives(self, run: str) -> bool:
        """Return whether the run is alive, which means that a process holds the lock of the run."""
        ...

    def end(self, run: str) -> None:
        """Release the run's lock if this process holds it. Afterward, other processes can settle the run."""
        ...

    def claimed(self, work: str) -> AbstractContextManager[bool]:
        """Return a context that takes the lock of a piece of work, such as a reserved token, and yields True.

        If another process may hold the lock, it yields False. `work` has the form of `WORK` in core/models.
        """
        ...

    def made(self, account: str) -> list[JournalEntry]:
        """Return the last enrollment entry of each device in an account, without enrollments that were undone."""
        ...

    def entries(self, account: str) -> list[JournalEntry]:
        """Return all entries of an account in the order of their runs, those of removed devices included."""
        ...

    def recorded_devices(self) -> set[tuple[str, str]]:
        """Return the run and the serial of each entry that is not half-made. Removed devices are included."""
        ...

    def recipients(self, account: str) -> Mapping[str, str]:
        """Return, by user name, the user's own public key to which their last backup was encrypted.

        Backups of removed devices count too.
        """
        ...

    def dead(self, account: str, *, user: str | None = None) -> Iterator[JournalEntry]:
        """Yield the entries of devices that dead runs left half-made or half-removed.

        A run is dead if no process holds its lock. While the caller handles an entry, this process holds the lock.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentPorts:
    """The set of ports that a use case needs to change devices: IAM, backups, the journal and messages.

    `backend` returns the DeviceBackend for the device that
    an interrupted run left. `sleep` waits for a number of seconds. `dry` is true in a dry run, in which nothing may be
    written. `on_keys` has the names of the enrollment methods that store secrets on keys. `resumable` has the names of
    the enrollment methods whose half-made devices can be enabled from their backups.
    """

    iam_reader: IamReader
    device_writer: DeviceWriter
    store: BackupStore
    journal: Journal
    progress: Progress
    backend: Callable[[DeviceSpec], DeviceBackend]
    sleep: Callable[[float], None]
    on_keys: Container[str] = ()
    resumable: Container[str] = ()
    dry: bool = False
