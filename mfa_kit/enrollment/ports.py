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
    """Reads IAM. Reading twice is harmless, so an implementation may try again by itself."""

    def caller(self) -> Caller:
        """Who we are; sets the clock."""
        ...

    def now(self) -> float:
        """AWS's time in Unix seconds: the local clock and the offset of the last `Date` header."""
        ...

    def offset(self) -> float:
        """Seconds that AWS is ahead of the local clock, to about one second."""
        ...

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        """Return the devices of a user, or of whoever we are. Raise NoSuchEntity when there is no such user.

        Who looks again anyway is not patient: one attempt, which raises Throttled or Unclear.
        """
        ...

    def registered(self, user: str, serial: str) -> Registered:
        """Return what IAM tells of a security key. Raise NoSuchEntity, AccessDenied."""
        ...

    def active_keys(self, user: str) -> int:
        """Count the access keys of a user that work. Raise AccessDenied."""
        ...

    def root_has_mfa(self) -> bool:
        """Whether the account's root user has an MFA device; one attempt."""
        ...

    def spelled(self, user: str) -> str:
        """Return a user's name as IAM spells it; as it was given where IAM knows no such user, or may not be asked."""
        ...

    def users(self) -> list[str]:
        """Return the names of all users."""
        ...

    def allowed(self, actions: Mapping[str, str]) -> dict[str, bool | None]:
        """Tell which actions, each on a resource, the caller's own policies allow; None where IAM does not say."""
        ...

    def tags(self, serial: str) -> dict[str, str]:
        """Return the tags of a virtual device. Raise NoSuchEntity, AccessDenied."""
        ...

    def unassigned(self) -> list[str]:
        """Return the serials of all virtual devices that no one has: the whole listing, or an error."""
        ...

    def accepts(self, serial: str, code: str) -> bool:
        """Whether AWS takes a code of one of the caller's own devices (sts:GetSessionToken); it is then spent."""
        ...

    def run_of(self, serial: str) -> str | Mark:
        """Tell which run made a virtual device, by its tag; UNTAGGED also where tags may not be read."""
        ...


class Registrar(Protocol):
    """Writes MFA devices. Each call is one attempt; the caller decides what follows from a failure.

    Each raises AccessDenied, Throttled, Busy, Unclear, or an error that its docstring names.
    """

    def create(self, intent: Intent, tags: dict[str, str]) -> Created:
        """CreateVirtualMFADevice. Raise AlreadyExists when the name is taken."""
        ...

    def enable(self, intent: Intent, codes: Callable[[], Pair]) -> None:
        """EnableMFADevice; codes is called when the request is about to leave. Raise InvalidCode, NoSuchEntity."""
        ...

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """ResyncMFADevice; codes as in enable. Raise InvalidCode, NoSuchEntity."""
        ...

    def deactivate(self, user: str, serial: str) -> None:
        """DeactivateMFADevice. Raise NoSuchEntity when the user does not have it."""
        ...

    def delete(self, serial: str) -> None:
        """DeleteVirtualMFADevice. Raise NoSuchEntity, and Conflict while the device is assigned."""
        ...


class Carrier(Protocol):
    """What the seed lives on, and where the codes come from."""

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent with the hardware it is to live on. Raise when it could not; touches nothing."""
        ...

    def install(self, intent: Intent, created: Created) -> None:
        """Put the seed where it is to live. Raise DeviceFault."""
        ...

    def codes(self, intent: Intent) -> Pair:
        """Return two codes in a row, for the moment when the request is about to leave. Raise DeviceFault, Declined."""
        ...

    def remove(self, entry: Entry) -> None:
        """Forget the seed of this run, and only of this run."""
        ...


class Make(Protocol):
    """The steps that make a device."""

    def __call__(self, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
        """Make the device. Raise MfaKitError after what is half-made was settled, or noted on the error."""
        ...


@dataclass(frozen=True, slots=True)
class Maker:
    """The order of the steps in which a method makes a device.

    `steps` returns them in words, for people who want to read them first; it is given the place of the backup, if any.
    """

    make: Make
    steps: Callable[[Intent, str | None], list[str]]


class Vault(Protocol):
    """Sealed backups."""

    def check(self) -> None:
        """Raise when a backup could not be written; touches nothing that was there."""
        ...

    def place(self, intent: Intent, run: str) -> str | None:
        """Where the backup of this run will be; None when nothing is sealed here. Raise when something is there."""
        ...

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Say where a backup will be. Raise UsageFault for a name that no file can have."""
        ...

    def recipients(self) -> list[str]:
        """For whom is sealed here."""
        ...

    def find(self, entry: Entry) -> str | None:
        """Return where the backup of a run is; None when it is not here."""
        ...

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        """Write `entry.backup` durably; never over another file."""
        ...

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        """Write a backup as seal does, of a device that was there."""
        ...

    def remove(self, entry: Entry) -> None:
        """Remove `entry.backup` and what was half written of it; nothing else."""
        ...


class Journal(Protocol):
    """The durable memory of what runs on this computer began."""

    def record(self, entry: Entry) -> Entry:
        """Durably note how far an entry came, and return it; the first note of a run takes the run's lock."""
        ...

    def find(self, serial: str, *, run: str | None = None) -> Entry | None:
        """Return the entry of a run for a device; without a run, the last that stands or is half-made."""
        ...

    def lives(self, run: str) -> bool:
        """Tell whether a process holds the run's lock."""
        ...

    def made(self, account: str) -> list[Entry]:
        """Return the last entry of each device that this desk made for users of an account, or is making."""
        ...

    def recipients(self, account: str) -> Mapping[str, str]:
        """Return the public key of each user's own that a seed was last sealed to, also where the device is gone."""
        ...

    def dead(self, account: str, *, user: str | None = None) -> Iterator[Entry]:
        """Half-made entries whose run lives no more; while one is yielded, its run's lock is held."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The ports of every use case that writes.

    `carrier` finds the carrier of a dead run; `sleep` waits seconds; `dry` says that nothing is to be written.
    `on_keys` has the names of the methods whose seeds live on keys, `resumable` of those that go on from a backup.
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
