"""The ports of enrollment: small Protocols, and `Desk`, which bundles them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mfa_kit.core.interaction import Progress
    from mfa_kit.core.models import Backup, Caller, Device, Enrolled, Entry, Intent, Mark, Registered
    from mfa_kit.core.otp import Created, KeyUri, Pair


class Inventory(Protocol):
    """Reads from IAM. Reads change nothing, so an implementation may retry them."""

    def caller(self) -> Caller:
        """Return the identity of the credentials. The response also gives AWS's time, which `now` and `offset` use."""
        ...

    def now(self) -> float:
        """AWS's time in Unix seconds: the local clock plus the offset from the last `Date` header."""
        ...

    def offset(self) -> float:
        """How many seconds AWS's clock is ahead of the local clock, accurate to about one second."""
        ...

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        """Return the devices of a user, or of the caller. Raise NoSuchEntity if the user does not exist.

        With `patient=False`, which is for polling, make only one attempt, which may raise Throttled or Unclear.
        """
        ...

    def registered(self, user: str, serial: str) -> Registered:
        """Return IAM's data on a security key. Raise NoSuchEntity or AccessDenied."""
        ...

    def active_keys(self, user: str) -> int:
        """Count a user's active access keys. Raise AccessDenied."""
        ...

    def root_has_mfa(self) -> bool:
        """Whether the account's root user has an MFA device. The call is attempted once."""
        ...

    def spelled(self, user: str) -> str:
        """Return a user's name as IAM spells it, or unchanged if IAM refuses the request. Raise NoSuchEntity."""
        ...

    def users(self) -> list[str]:
        """Return the names of all users."""
        ...

    def allowed(self, actions: Mapping[str, str]) -> dict[str, bool | None]:
        """Return for each action whether the caller's own policies allow it, or None if IAM does not report it.

        `actions` maps each action to its resource.
        """
        ...

    def tags(self, serial: str) -> dict[str, str]:
        """Return the tags of a virtual device. Raise NoSuchEntity or AccessDenied."""
        ...

    def unassigned(self) -> list[str]:
        """Return the serials of all unassigned virtual devices. Raise an error if the list would be incomplete."""
        ...

    def accepts(self, serial: str, code: str) -> bool:
        """Return whether AWS accepts a code of one of the caller's own devices (sts:GetSessionToken).

        Each code can be used only once.
        """
        ...

    def run_of(self, serial: str) -> str | Mark:
        """Return the ID of the run that made a virtual device, from its tag.

        Return UNTAGGED if it has no such tag or if reading tags is denied, and ABSENT if the device does not exist.
        """
        ...


class Registrar(Protocol):
    """Writes MFA devices. Each method makes one attempt; the caller decides what to do after a failure.

    Each method may raise AccessDenied, Throttled, Busy or Unclear, and the errors named in its docstring.
    """

    def create(self, intent: Intent, tags: dict[str, str]) -> Created:
        """Create a virtual device (CreateVirtualMFADevice). Raise AlreadyExists if the name is taken."""
        ...

    def enable(self, intent: Intent, codes: Callable[[], Pair]) -> None:
        """Assign a device to its user (EnableMFADevice). Raise InvalidCode or NoSuchEntity.

        `codes` is called just before the request is sent.
        """
        ...

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """Resynchronize a device (ResyncMFADevice). Raise InvalidCode or NoSuchEntity.

        `codes` is called just before the request is sent.
        """
        ...

    def deactivate(self, user: str, serial: str) -> None:
        """Deactivate a device (DeactivateMFADevice). Raise NoSuchEntity if the user does not have the device."""
        ...

    def delete(self, serial: str) -> None:
        """Delete a device (DeleteVirtualMFADevice). Raise NoSuchEntity, or Conflict while the device is assigned."""
        ...


class Carrier(Protocol):
    """Stores a device's secret, or asks the user for the codes of a device that stores it."""

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent, completed with the hardware that will store the secret. Changes nothing.

        `sealed` says that an encrypted backup will be made. Raise MfaKitError if the secret cannot be stored.
        """
        ...

    def install(self, intent: Intent, created: Created) -> None:
        """Store the secret. Raise DeviceFault."""
        ...

    def codes(self, intent: Intent) -> Pair:
        """Return two consecutive codes for a request that is sent immediately. Raise DeviceFault or Declined."""
        ...

    def reach(self, entry: Entry) -> None:
        """Raise Unreachable if the hardware is here, but cannot be used to remove the secret.

        Absent hardware is not an error.
        """
        ...

    def remove(self, entry: Entry) -> None:
        """Remove the secret that this entry's run stored; leave the secrets of other runs."""
        ...


class Make(Protocol):
    """A function that makes a device."""

    def __call__(self, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
        """Make the device. On failure, settle it or describe it in a note of the error. Raise MfaKitError."""
        ...


@dataclass(frozen=True, slots=True)
class Maker:
    """How a method makes a device.

    `steps` describes the steps of `make` for a dry run. Its second argument is the path of the backup, or None.
    """

    make: Make
    steps: Callable[[Intent, str | None], list[str]]


class Vault(Protocol):
    """Writes, finds and removes encrypted backups."""

    def check(self) -> None:
        """Check that a backup can be written, without changing existing files. Raise MfaKitError if it cannot."""
        ...

    def place(self, intent: Intent, run: str) -> str | None:
        """Return the path for a run's backup, or None if the run makes no backup.

        Raise IntegrityFault if a file with this path exists.
        """
        ...

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return a new backup with its path. Raise UsageFault for a name that cannot be part of a file name."""
        ...

    def recipients(self) -> list[str]:
        """Return the recipients of new backups."""
        ...

    def find(self, entry: Entry) -> str | None:
        """Return the path of a run's backup; None if it is not on this computer."""
        ...

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        """Encrypt the key URI and write it durably to `entry.backup`; never overwrite a file."""
        ...

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        """Write a backup of an existing device, in the same way as `seal`."""
        ...

    def remove(self, entry: Entry) -> None:
        """Remove `entry.backup` and its partly written files, and no other file."""
        ...


class Journal(Protocol):
    """The durable record of the devices that runs on this computer make or remove, and how far each run got."""

    def record(self, entry: Entry) -> Entry:
        """Store an entry durably, and return it. The first entry of a run takes the run's lock."""
        ...

    def find(self, serial: str, *, run: str | None = None) -> Entry | None:
        """Return a run's entry for a device. If `run` is None, return the last entry that is enabled or half-made."""
        ...

    def lives(self, run: str) -> bool:
        """Return whether the run is alive, which means that a process holds its lock."""
        ...

    def made(self, account: str) -> list[Entry]:
        """Return the last entry of each device that this computer made, or is making, in an account."""
        ...

    def recipients(self, account: str) -> Mapping[str, str]:
        """Return each user's own public key from their last backup, even if the device was removed."""
        ...

    def dead(self, account: str, *, user: str | None = None) -> Iterator[Entry]:
        """Yield half-made entries whose run is dead. While an entry is yielded, its run's lock is held."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The ports of every use case that writes.

    `carrier` returns the carrier for the device of a dead run. `sleep` waits for a number of seconds. In a dry run,
    `dry` is true, and nothing may be written. `on_keys` has the names of the methods that store secrets on keys.
    `resumable` has the names of the methods that can continue from a backup.
    """

    inventory: Inventory
    registrar: Registrar
    vault: Vault
    journal: Journal
    progress: Progress
    carrier: Callable[[Intent], Carrier]
    sleep: Callable[[float], None]
    on_keys: Container[str] = ()
    resumable: Container[str] = ()
    dry: bool = False
