"""Opens the ledger, on this computer or shared by several in PostgreSQL, and what it records of keys and tokens."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.ledger.postgresql.grants import grants as grants  # noqa: PLC0414 - a command calls it
from mfa_kit.adapters.ledger.records import BackupRecords, Computers, HeldKey
from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.token_inventory import TokenInventory
from mfa_kit.adapters.ledger.usage_records import UsageRecords
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.core.message import clauses
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts, RecordedKey
from mfa_kit.disk import files
from mfa_kit.doctor.diagnosis import LedgerState, LocalLedgerState
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.tokens.seeds import SeededToken, Sighting, StockCounts, StockedToken, Token
from mfa_kit.wiring.settings import Settings, command_for_extra, home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger, LogLine
    from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger


def open_ledger(settings: Settings) -> "Ledger":
    """Open the ledger in PostgreSQL that the settings name, else the file on this computer.

    The file is created if it does not exist. Raise UsageFault if the address in the settings is invalid or the extra
    `postgres` is not installed, or IntegrityFault if the ledger cannot be used.
    """
    if settings.ledger is None:
        from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger

        return sqlite_ledger(home())
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger

    return postgresql_ledger(settings.ledger, end=settings.end, alert=settings.progress.alert)


def backup_records(ledger: "Ledger") -> BackupRecords:
    """Return the ledger's records of backups. Records that are added through this object get the time of this call."""
    return BackupRecords(ledger, now=time.time())


def record_key(settings: Settings, event: KeyEvent, facts: KeyFacts, device: KeyDevice | None = None) -> None:
    """Record in the ledger that a key was seen, and the device that is on it, unless this is a dry run.

    If the ledger cannot be used, print the reason, because the key itself can be used without the ledger.
    """
    if settings.dry_run:
        return
    try:
        with open_ledger(settings) as ledger:
            SeenKeyRecords(ledger).add(facts, event, now=time.time(), device=device)
    except MfaKitError as fault:
        settings.progress.alert(clauses([f"this key is not recorded: {fault}", fault.hint]))


def record_restored(settings: Settings, facts: KeyFacts, spec: DeviceSpec) -> None:
    """Record that a key has the secret of a device too. The journal has the device's run and EnableDate, if any has."""
    with suppress(MfaKitError), open_ledger(settings) as ledger:
        entry = ledger.find(spec.serial)
        made = entry if entry and entry.spec.user == spec.user else None
        device = KeyDevice(
            account=spec.account,
            user=spec.user,
            serial=spec.serial,
            run=made.run if made else None,
            since=made.since if made else None,
        )
        record_key(settings, KeyEvent.ENROLLED, facts, device)


def recorded_keys(ledger: "Ledger") -> list[RecordedKey]:
    """Return all physical keys in the ledger, with the devices that are or were on them."""
    return SeenKeyRecords(ledger).all()


def usage_records(ledger: "Ledger") -> UsageRecords:
    """Return the ledger's records of when MFA devices were last used."""
    return UsageRecords(ledger)


def recorded(
    store: BackupStore,
    ledger: "Ledger",
    also: Callable[[JournalEntry, Sequence[str], Mapping[str, str]], None] = lambda *_: None,
) -> BackupStore:
    """Return a BackupStore that records the recipients of each backup in the ledger, before it writes the backup.

    For the backup of a device that a run makes, it also calls `also` with the device's journal entry, the recipients,
    and the SHA-256 of each file by its `recorded_name`.

    End this process if it no longer holds the lock of its run. Another process may then have settled the
    run, and would not know of a backup that this process writes later.
    """

    def record(
        backup: str,
        recipients: Sequence[str],
        *,
        own: str | None,
        hashes: Mapping[str, str],
        entry: JournalEntry | None,
    ) -> None:
        in_run = entry is not None
        backup_records(ledger).record_sealed([backup], recipients, own=own, hashes=hashes, in_run=in_run)
        if entry is not None:
            also(entry, recipients, hashes)
            ledger.check()

    return store.recorded_by(record)


def check_address(text: str) -> None:
    """Raise UsageFault if a ledger's address is invalid or has a password, or if the extra `postgres` is missing."""
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.address import parse_address

    parse_address(text)


def need_postgresql() -> None:
    """Raise UsageFault if the extra `postgres` is not installed."""
    try:
        import psycopg  # noqa: F401 - the adapter uses it
    except ImportError:
        raise UsageFault(
            "a ledger in PostgreSQL needs the 'postgres' extra, which is not installed", command_for_extra("postgres")
        ) from None


def history(settings: Settings, user: str | None, since: float) -> "list[LogLine]":
    """Return the lines of the log since a Unix time, oldest first. If `user` is None, return those of all users."""
    with open_ledger(settings) as ledger:
        return ledger.history(user=user, since=since)


def owned_ledger(settings: Settings) -> "OwnedLedger":
    """Return the ledger in PostgreSQL.

    Raise UsageFault if the settings name none, or if the extra `postgres` is not installed.
    """
    if settings.ledger is None:
        raise UsageFault(
            "no ledger in PostgreSQL is configured", "name the ledger: --ledger postgresql://HOST/DATABASE"
        )
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger

    return OwnedLedger(settings.ledger)


def copy_ledger(settings: Settings, folder: Path | None) -> dict[str, int]:
    """Copy the ledger in a folder, by default this computer's, to PostgreSQL.

    Return the number of copied rows by the name of the table. If no computer has recorded a key for the fingerprints of
    seeds, the folder's key becomes the key that all computers must use.
    """
    copied = owned_ledger(settings).copy_from(folder or home())
    share_fingerprint_key(settings, folder or home())
    return copied


def ledger_state(settings: Settings) -> LedgerState | LocalLedgerState:
    """Return the state of the ledger. Raise IntegrityFault if the ledger cannot be used."""
    if settings.ledger is not None:
        return owned_ledger(settings).state()
    from mfa_kit.adapters.ledger import sqlite_database

    with sqlite_database.sqlite_ledger(home()) as ledger:
        number, oldest = ledger.unfinished()
    return LocalLedgerState(
        address=str(home() / sqlite_database.FILE), now=time.time(), unfinished=number, oldest_unfinished_s=oldest
    )


@dataclass(frozen=True, slots=True)
class KeyUsers:
    """The devices that users have, with the names of their keys and tokens, oldest device first."""

    held: Sequence[HeldKey]

    def of_key(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the user of each device on a key, and the computer that recorded the device.

        `names` are the serial of the key, and the identity of its OATH applet.
        """
        return [(key.user, key.computer) for key in self.held if {*names} & {*key.names}]


def read_key_users(settings: Settings) -> KeyUsers | None:
    """Read the users of keys from the ledger. Return None if the ledger is not shared.

    Raise the errors of `open_ledger`.
    """
    if settings.ledger is None:
        return None
    with open_ledger(settings) as ledger:
        return KeyUsers(Computers(ledger).held_keys())


FINGERPRINTS = "fingerprint.key"
OCTETS = 32


class TokenRecords:
    """The inventory of display tokens in the ledger. Each method opens the ledger and closes it again.

    A Sighting is the result of comparing a token's codes with its seed once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def _inventory(self) -> Iterator[TokenInventory]:
        with open_ledger(self._settings) as ledger:
            yield TokenInventory(ledger, now=time.time())

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> StockCounts:
        """Add tokens with a seed (`keys`) and without a seed (`bare`).

        Return how many tokens are new, how many were known, and how many were known with another seed, which the new
        seed replaces. Only fingerprints of the seeds are stored.
        """
        with self._inventory() as inventory:
            mark = _fingerprint_key(inventory)
            return inventory.stock(
                [*((key.token, otp.fingerprint(key.seed, mark)) for key in keys), *((token, "") for token in bare)]
            )

    def tokens(self) -> tuple[list[StockedToken], dict[str, Sighting]]:
        """Return all tokens in the order of their serials, and the result of `last_sightings`."""
        with self._inventory() as inventory:
            return inventory.tokens(), inventory.last_sightings()

    def computers(self) -> dict[str, str] | None:
        """Return the computer that last imported or tested each token, by serial; None if the ledger is not shared."""
        with open_ledger(self._settings) as ledger:
            return Computers(ledger).of_tokens()

    def last_sightings(self) -> dict[str, Sighting]:
        """Return the last Sighting of each token, by serial.

        A token without a Sighting for its present seed is left out.
        """
        with self._inventory() as inventory:
            return inventory.last_sightings()

    def record(self, *sightings: Sighting) -> None:
        """Store Sightings. Sightings of tokens that are not in the inventory are skipped."""
        with self._inventory() as inventory:
            inventory.record(*sightings)

    def sightings_of(self, key: SeededToken) -> list[Sighting]:
        """Return the stored Sightings of a token, oldest first.

        Return an empty list if the inventory lacks the token or has another seed for its serial.
        """
        with self._inventory() as inventory:
            known = inventory.token(key.token.serial)
            if known is None or known.fingerprint != otp.fingerprint(key.seed, _fingerprint_key(inventory)):
                return []
            return inventory.sightings(known.token.serial)

    def capacity_of(self, serial: str) -> int:
        """Return the length, in octets, of the longest seed that a token can store, or 0 if that is unknown."""
        with self._inventory() as inventory:
            known = inventory.token(serial)
        return known.token.capacity if known else 0

    def keep(self, token: Token, seed: Seed | None, sighting: Sighting) -> bool:
        """Do what `TokenInventory.keep` does, for a token with this seed."""
        with self._inventory() as inventory:
            fingerprint = otp.fingerprint(seed, _fingerprint_key(inventory)) if seed else ""
            return inventory.keep(token, fingerprint, sighting)

    def check_free(self, serial: str, user: str) -> None:
        """Raise UsageFault if a token was rejected by a check or belongs to another user than `user`."""
        with self._inventory() as inventory:
            inventory.check_free(serial, user)


def share_fingerprint_key(settings: Settings, folder: Path) -> None:
    """After a folder's ledger was copied, record the digest of the folder's key for the fingerprints of seeds.

    If the ledger already has another digest, print a message instead. Do nothing if the folder has no key.
    """
    if not (folder / FINGERPRINTS).exists():
        return
    with open_ledger(settings) as ledger:
        try:
            TokenInventory(ledger, now=time.time()).check_key(otp.key_digest(_read_key(folder / FINGERPRINTS)))
        except UsageFault as other:
            settings.progress.alert(
                f"the tokens from the ledger in {folder} have to be imported and tested again: {other}"
            )


def _fingerprint_key(inventory: TokenInventory) -> Secret[bytes]:
    """Return this computer's key for the fingerprints of seeds. Create the key on first use.

    Without the key, the fingerprints in the ledger cannot be used to test guessed seeds. All computers that share a
    ledger need the same key. Raise IntegrityFault if the key cannot be read, and UsageFault if the fingerprints in the
    ledger were made with another key.
    """
    import secrets

    path = home() / FINGERPRINTS
    if not path.exists():
        inventory.check_key(None)
        try:
            files.write_new(path.absolute(), secrets.token_bytes(OCTETS), folders=True)
        except IntegrityFault:
            if not path.exists():  # another process may have created it first
                raise
    key = _read_key(path)
    inventory.check_key(otp.key_digest(key))
    return key


def _read_key(path: Path) -> Secret[bytes]:
    """Read a key for fingerprints from its file. Raise IntegrityFault if the file cannot be read or is damaged."""
    try:
        key = Secret(path.read_bytes())
    except OSError as error:
        raise IntegrityFault(f"{path} cannot be read: {error.strerror}", "check its permissions") from None
    if len(key.reveal()) != OCTETS:
        raise IntegrityFault(f"{path} is damaged", "remove it and import the tokens again")
    return key
