"""Seed files and the inventory of display tokens, for the verbs that read them."""

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import private_files
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.asking import CodeSource
from mfa_kit.tokens.seeds import (
    DroppedRow,
    Encoding,
    SeededToken,
    SeedFile,
    Sighting,
    StockCounts,
    StockedToken,
    Token,
    WrittenReading,
    joined_reasons,
)
from mfa_kit.wiring.files import LONGEST_SECRET, read_secret
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.this_computer import harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.token_inventory import TokenInventory

FINGERPRINTS = "fingerprint.key"
OCTETS = 32
COLUMNS = "a row a token: serial, code[, second code][, time]; the time in ISO 8601 or Unix seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFileOptions:
    """The options of a verb that reads a seed file: how its seeds are written, and where what opens it comes from.

    `unlock_fd` is a file descriptor. Without it and without `unlock_stdin` a person types the passphrase or key.
    """

    encoding: Encoding | None = None
    unlock_stdin: bool = False
    unlock_fd: int | None = None


def open_seed_file(path: Path, options: SeedFileOptions, *, settings: Settings) -> SeedFile:
    """Read a seed file. What opens it is asked for only where it is encrypted."""
    try:
        from mfa_kit.adapters.seedfiles.files import load_file, read_seed_file
    except ModuleNotFoundError as error:
        raise UsageFault(
            f"seed files need {error.name}, which is not installed", "pip install 'mfa-kit[tokens]'"
        ) from None

    def unlock(what: str) -> Secret[str]:
        """Return what opens the file, a passphrase or a pre-shared key; `what` names it."""
        descriptor = sys.stdin.fileno() if options.unlock_stdin else options.unlock_fd
        if descriptor is not None:
            return read_secret(descriptor)
        return settings.interaction.ask_secret(f"the {what} of {path.name}", instead="--unlock-fd N")

    harden()
    return read_seed_file(load_file(path), unlock, now=time.time(), wanted=options.encoding)


@contextmanager
def _inventory() -> Iterator["TokenInventory"]:
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.adapters.ledger.token_inventory import TokenInventory

    with Ledger(home()) as ledger:
        yield TokenInventory(ledger, now=time.time())


class TokenRecords:
    """The inventory of display tokens on this computer. Each call opens the ledger and closes it again."""

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> StockCounts:
        """Add tokens, all of them but their seeds."""
        with _inventory() as inventory:
            mark = _fingerprint_key()
            return inventory.stock(
                [*((key.token, otp.fingerprint(key.seed, mark)) for key in keys), *((token, "") for token in bare)]
            )

    def tokens(self) -> tuple[list[StockedToken], dict[str, Sighting]]:
        """Return the whole inventory by serial, and the last reading of each token that has one."""
        with _inventory() as inventory:
            return inventory.tokens(), inventory.last_sightings()

    def last_sightings(self) -> dict[str, Sighting]:
        """Return the last reading of each token by its serial, without readings of another seed."""
        with _inventory() as inventory:
            return inventory.last_sightings()

    def record(self, *seen: Sighting) -> None:
        """Keep readings of tokens that are in the inventory."""
        with _inventory() as inventory:
            inventory.record(*seen)

    def sightings_of(self, key: SeededToken) -> list[Sighting]:
        """Return the earlier readings of a token, as long as it has the seed that this file gives it."""
        with _inventory() as inventory:
            known = inventory.token(key.token.serial)
            if known is None or known.fingerprint != otp.fingerprint(key.seed, _fingerprint_key()):
                return []
            return inventory.sightings(known.token.serial)

    def capacity_of(self, serial: str) -> int:
        """Return the octets of the longest seed that fits into a token, 0 where the inventory knows of none."""
        with _inventory() as inventory:
            known = inventory.token(serial)
        return known.token.capacity if known else 0

    def keep(self, token: Token, seed: Seed | None, seen: Sighting) -> bool:
        """Keep a reading, and the token with it. Return False where the inventory has another seed for its serial."""
        mark = otp.fingerprint(seed, _fingerprint_key()) if seed else ""
        with _inventory() as inventory:
            known = inventory.token(token.serial)
            if known is None:
                inventory.stock([(token, mark)])
            elif known.fingerprint != mark:
                return False
            inventory.record(replace(seen, serial=known.token.serial if known else token.serial))
        return True


def check_free(serial: str, user: str) -> None:
    """Raise UsageFault for a token that may not be given to a user."""
    with _inventory() as inventory:
        inventory.check_free(serial, user)


def _fingerprint_key() -> Secret[bytes]:
    """Return this computer's key for fingerprints, made when there is none. Seeds cannot be tried without it."""
    path = home() / FINGERPRINTS
    if not path.exists():
        try:
            private_files.write_new(path.absolute(), secrets.token_bytes(OCTETS), folders=True)
        except IntegrityFault:
            if not path.exists():  # another process was first
                raise
    try:
        key = Secret(path.read_bytes())
    except OSError as error:
        raise IntegrityFault(f"{path} cannot be read: {error.strerror}", "check the rights on it") from None
    if len(key.reveal()) != OCTETS:
        raise IntegrityFault(f"{path} is damaged", "remove it and import the tokens again")
    return key


def read_readings(path: Path) -> list[WrittenReading | DroppedRow]:
    """Read a table of readings that were written down elsewhere. Raise UsageFault, IntegrityFault for no reading."""
    from mfa_kit.adapters.seedfiles.files import decode_text, load_file
    from mfa_kit.adapters.seedfiles.sightings import read_written

    try:
        rows = read_written(decode_text(load_file(path)), now=time.time())
    except (UsageFault, IntegrityFault) as error:
        raise type(error)(f"no reading can be taken from {path.name}: {error}", COLUMNS) from None
    bad = [row for row in rows if isinstance(row, DroppedRow)]
    if len(bad) == len(rows):
        raise UsageFault(f"{path.name} holds no reading: {joined_reasons(bad) or 'it has no row'}", COLUMNS)
    return rows


def open_codes(settings: Settings, *, codes_stdin: bool) -> CodeSource:
    """Return where codes come from: standard input, else a person."""
    return CodeSource(interaction=settings.interaction, now=now, piped=_read_codes if codes_stdin else None)


def _read_codes() -> list[str]:
    return [line.strip() for line in sys.stdin.read(LONGEST_SECRET).splitlines() if line.strip()]


def now() -> float:
    """Return this machine's time, by which clocks are judged where AWS is not asked."""
    return time.time()
