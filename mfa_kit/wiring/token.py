"""Seed files and the inventory of display tokens, for the verbs that read them."""

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.cli import options
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import (
    DroppedRow,
    Encoding,
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    WrittenReading,
    joined_reasons,
)
from mfa_kit.wiring.files import LONGEST_SECRET, check_new, secret_from
from mfa_kit.wiring.this_computer import harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.token_inventory import StockCounts, TokenInventory

FINGERPRINTS = "fingerprint.key"
OCTETS = 32
COLUMNS = "a row a token: serial, code[, second code][, time]; the time in ISO 8601 or Unix seconds"


def seed_file(path: Path, *, encoding: str | None, unlock_stdin: bool, unlock_fd: int | None) -> SeedFile:
    """Read a seed file; what opens it is asked for only where it is encrypted."""
    try:
        from mfa_kit.adapters.seedfiles.files import load_file, read_seed_file
    except ModuleNotFoundError as error:
        raise UsageFault(
            f"seed files need {error.name}, which is not installed", "pip install 'mfa-kit[tokens]'"
        ) from None

    def unlock(what: str) -> Secret[str]:
        descriptor = sys.stdin.fileno() if unlock_stdin else unlock_fd
        if descriptor is not None:
            return secret_from(descriptor)
        return options.common().interaction.ask_secret(f"the {what} of {path.name}", instead="--unlock-fd N")

    harden()
    wanted = Encoding(encoding) if encoding else None
    return read_seed_file(load_file(path), unlock, now=time.time(), wanted=wanted)


@contextmanager
def open_inventory() -> Iterator["TokenInventory"]:
    """Open the inventory."""
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.adapters.ledger.token_inventory import TokenInventory

    with Ledger(home()) as ledger:
        yield TokenInventory(ledger, now=time.time())


def stock(keys: Sequence[SeededToken], bare: Sequence[Token]) -> "StockCounts":
    """Take tokens into the inventory: all of them but their seeds."""
    with open_inventory() as inventory:
        mark = _fingerprints()
        return inventory.stock(
            [*((key.token, otp.fingerprint(key.seed, mark)) for key in keys), *((token, "") for token in bare)]
        )


def _fingerprints() -> Secret[bytes]:
    """Return the desk's own key for fingerprints, made when there is none: whoever lacks it cannot try seeds."""
    from mfa_kit.adapters.files.private_files import write_new

    path = home() / FINGERPRINTS
    if not path.exists():
        try:
            write_new(path.absolute(), secrets.token_bytes(OCTETS), folders=True)
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


def written(path: Path) -> list[WrittenReading | DroppedRow]:
    """Read readings of a box that were written down elsewhere."""
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


def lines() -> list[str]:
    """Read stdin, a line a code."""
    return [line.strip() for line in sys.stdin.read(LONGEST_SECRET).splitlines() if line.strip()]


def write_new(path: Path, text: str) -> None:
    """Write a new file, 0600, never over another, in a folder that is there."""
    from mfa_kit.adapters.files.private_files import write_new

    check_new(path)
    write_new(path.absolute().parent.resolve() / path.name, text.encode())


def now() -> float:
    """Return this machine's time, by which clocks are judged where AWS is not asked."""
    return time.time()


def sightings(key: SeededToken) -> list[Sighting]:
    """Return the earlier readings of a token, as long as it has the seed that this file gives it."""
    with open_inventory() as inventory:
        known = inventory.token(key.token.serial)
        if known is None or known.fingerprint != otp.fingerprint(key.seed, _fingerprints()):
            return []
        return inventory.sightings(known.token.serial)


def capacity(serial: str) -> int:
    """Return the longest seed that the inventory knows to fit into a token, 0 where it knows of none."""
    with open_inventory() as inventory:
        known = inventory.token(serial)
    return known.token.capacity if known else 0


def sight(token: Token, seed: Seed | None, seen: Sighting) -> bool:
    """Keep a reading, and the token with it; False where the inventory has another seed for its serial."""
    mark = otp.fingerprint(seed, _fingerprints()) if seed else ""
    with open_inventory() as inventory:
        known = inventory.token(token.serial)
        if known is None:
            inventory.stock([(token, mark)])
        elif known.fingerprint != mark:
            return False
        inventory.sight(replace(seen, serial=known.token.serial if known else token.serial))
    return True


def check_free(serial: str, user: str) -> None:
    """Raise UsageFault for a token that may not be given to a user."""
    with open_inventory() as inventory:
        inventory.check(serial, user)
