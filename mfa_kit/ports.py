"""What the use cases need from the world: small Protocols, and `Desk`, which bundles them.

Who uses one port pays for no other's values: those of a part of the world that most verbs never see are names here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from mfa_kit.models import Backup, Caller, Device, Entry, Intent, Mark, Registered
from mfa_kit.otp import Created, KeyUri, Pair, Secret, Seed

if TYPE_CHECKING:
    from mfa_kit.account import Credentials, Details, Entity, PasswordPolicy, Report
    from mfa_kit.fidokey import Assertion, KeyInfo, Model, Pin, Registration, Source, Trusted, Untrusted
    from mfa_kit.permissions import Context, Verdict

T = TypeVar("T")


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


class Account(Protocol):
    """Reads the account around the devices, as harmlessly as Inventory. An iterator raises at the page that fails."""

    def report(self, *, max_age: float) -> Report:
        """Return the credential report; IAM is asked for a new one when it is older than so many seconds."""
        ...

    def credentials(self, user: Entity) -> Credentials:
        """Return what the report does not have yet of a user: password and keys, without their use."""
        ...

    def summary(self) -> Mapping[str, int]: ...

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies by pages."""
        ...

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device, root's with ROOT for its user."""
        ...

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices: the only way to those of root, with a session of root's."""
        ...

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return what a security key is certified for, such as `FIDO L1`."""
        ...

    def password_policy(self) -> PasswordPolicy: ...

    def must_change(self, user: str) -> bool:
        """Whether a user has to choose a new password when he signs in."""
        ...

    def simulated(self, documents: Sequence[str], actions: Sequence[str], context: Context) -> dict[str, Verdict]:
        """Let IAM judge policies that nobody has yet (SimulateCustomPolicy). Raise AccessDenied, AwsFault."""
        ...


class Registrar(Protocol):
    """Writes MFA devices. Each call is one attempt: what follows from its failure is decided above.

    Each raises AccessDenied, Throttled, Busy, Unclear, or an error of its own that is named.
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
    """Where the seed goes to live and where the codes come from."""

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent with the hardware it is to live on. Raise when it could not; touches nothing."""
        ...

    def install(self, intent: Intent, created: Created) -> None: ...

    def codes(self, intent: Intent) -> Pair: ...

    def remove(self, entry: Entry) -> None:
        """Forget the seed of this run, and only of this run."""
        ...


class OathApplet(Protocol):
    """An open applet of an OATH key. Each raises DeviceFault. Names are octets, for they need not be UTF-8."""

    def names(self) -> list[bytes]: ...

    def held(self) -> dict[bytes, bool]:
        """Return the names, and whether each wants a touch for its codes."""
        ...

    def put(self, label: str, seed: Seed, *, touch: bool) -> None: ...

    def code(self, label: str, at: float, *, touch: bool) -> str:
        """Return the code of a Unix time, after a touch where it takes one."""
        ...

    def delete(self, label: str) -> None: ...


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
    """The desk's durable memory of what it began."""

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


class Progress(Protocol):
    """Tells a person how it goes; never asks."""

    def note(self, text: str) -> None: ...


class Interaction(Protocol):
    """A person at a terminal, apart from stdin and stdout. Ctrl-C and Ctrl-D are KeyboardInterrupt.

    Where nobody may be asked, everything but `say` and `clear` raises Declined, with `instead` as what to do then: the
    flags by which a script says the same.
    """

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Raise Declined when there is nobody to ask, UsageFault when the window has no room for the parts."""
        ...

    def say(self, text: str) -> None:
        """Tell what belongs to a question; Progress tells everything else."""
        ...

    def ask_code(self, prompt: str, *, instead: str, left: Callable[[], float] | None = None) -> str:
        """Read a line as it was typed, stripped; `left` gives the seconds to the next code, counted down above it."""
        ...

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a PIN or a passphrase; nothing is echoed."""
        ...

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a new PIN or passphrase, twice, until both are the same."""
        ...

    def confirm(self, what: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the person types exactly this word, such as a serial."""
        ...

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Return the index of the option that was chosen from a numbered list."""
        ...

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait for Enter."""
        ...

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Read a line, stripped, unless `comes`, asked every third of a second, gives something before."""
        ...

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets on the alternate screen, a Symbol as black on white; what is asked until `clear` is below them.

        Raise UsageFault when the window has no room for it.
        """
        ...

    def clear(self) -> None:
        """Take what was shown off the screen, and out of its scrollback; harmless when nothing is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The ports of every use case that writes.

    `carrier` finds the carrier of a dead run; `sleep` waits seconds; `dry` says that nothing is to be written.
    """

    inventory: Inventory
    registrar: Registrar
    vault: Vault
    journal: Journal
    progress: Progress
    carrier: Callable[[Intent], Carrier]
    sleep: Callable[[float], None]
    dry: bool = False


class SecurityKey(Protocol):
    """One FIDO key that is plugged in. Each call raises DeviceFault: mute, removed, not touched, a wrong PIN."""

    def info(self) -> KeyInfo:
        """Return what the key says of itself; touches nothing."""
        ...

    def register(self, *, verify: bool, pin: Pin | None, known: Sequence[bytes] = ()) -> Registration | None:
        """Make a credential that is not resident; a touch. None: the key made one of the `known` ones before."""
        ...

    def assertion(self, *, verify: bool, pin: Pin | None) -> Assertion:
        """Sign a challenge with the last registration's credential; a touch."""
        ...


class PinKey(Protocol):
    """One FIDO key, to its PIN. Each call is one try, and raises DeviceFault."""

    def info(self) -> KeyInfo: ...

    def set_pin(self, new: Pin) -> None: ...

    def change_pin(self, old: Pin, new: Pin) -> None: ...

    def try_pin(self, pin: Pin) -> None:
        """Have the key take a PIN, for nothing else."""
        ...

    def set_pin_policy(self, pin: Pin | None, *, shortest: int | None, force_change: bool) -> None:
        """Call setMinPINLength (CTAP 2.1, 6.11.4)."""
        ...

    def reset(self) -> None:
        """Erase the key; a touch, in the first ten seconds after it was plugged in."""
        ...


class Metadata(Protocol):
    """What the FIDO Alliance publishes of models."""

    def source(self) -> Source: ...

    def model(self, aaguid: str) -> Model | None:
        """Return what is published of a FIDO2 model, whoever claims to be one."""
        ...

    def trust(self, registration: Registration, *, at: float) -> Trusted | Untrusted:
        """Verify the chain of a registration against the roots of the model that it names, at a Unix time."""
        ...


class PinEntry(Protocol):
    """Asks a person for a key's PIN. Raise Declined when none may be asked."""

    def pin(self, left: int | None) -> Pin:
        """Ask for the PIN, telling how many tries are left."""
        ...

    def risk(self, left: int) -> None:
        """Have a person confirm, by typing, that one of the last tries may be lost; raise Declined otherwise."""
        ...
