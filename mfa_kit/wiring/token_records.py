"""The inventory of display tokens, which is stored in the ledger."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mfa_kit.adapters.files import private_files
from mfa_kit.adapters.ledger.computers import Computers
from mfa_kit.adapters.ledger.token_inventory import TokenInventory
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import SeededToken, Sighting, StockCounts, StockedToken, Token
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings, home

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
        with self._inventory() as iam_reader:
            mark = _fingerprint_key(iam_reader)
            return iam_reader.stock(
                [*((key.token, otp.fingerprint(key.seed, mark)) for key in keys), *((token, "") for token in bare)]
            )

    def tokens(self) -> tuple[list[StockedToken], dict[str, Sighting]]:
        """Return all tokens in the order of their serials, and the result of `last_sightings`."""
        with self._inventory() as iam_reader:
            return iam_reader.tokens(), iam_reader.last_sightings()

    def computers(self) -> dict[str, str] | None:
        """Return the computer that last imported or tested each token, by serial; None if the ledger is not shared."""
        with open_ledger(self._settings) as ledger:
            return Computers(ledger).of_tokens() if ledger.shared else None

    def last_sightings(self) -> dict[str, Sighting]:
        """Return the last Sighting of each token, by serial.

        A token without a Sighting for its present seed is left out.
        """
        with self._inventory() as iam_reader:
            return iam_reader.last_sightings()

    def record(self, *sightings: Sighting) -> None:
        """Store Sightings. Sightings of tokens that are not in the inventory are skipped."""
        with self._inventory() as iam_reader:
            iam_reader.record(*sightings)

    def sightings_of(self, key: SeededToken) -> list[Sighting]:
        """Return the stored Sightings of a token, oldest first.

        Return an empty list if the inventory lacks the token or has another seed for its serial.
        """
        with self._inventory() as iam_reader:
            known = iam_reader.token(key.token.serial)
            if known is None or known.fingerprint != otp.fingerprint(key.seed, _fingerprint_key(iam_reader)):
                return []
            return iam_reader.sightings(known.token.serial)

    def capacity_of(self, serial: str) -> int:
        """Return the length, in octets, of the longest seed that a token can store, or 0 if that is unknown."""
        with self._inventory() as iam_reader:
            known = iam_reader.token(serial)
        return known.token.capacity if known else 0

    def keep(self, token: Token, seed: Seed | None, sighting: Sighting) -> bool:
        """Add a token to the inventory if it is new, store a sighting of this token, and return True.

        If the inventory has the token with another seed than `seed`, store nothing and return False.
        """
        with self._inventory() as iam_reader:
            mark = otp.fingerprint(seed, _fingerprint_key(iam_reader)) if seed else ""
            known = iam_reader.token(token.serial)
            if known is None:
                iam_reader.stock([(token, mark)])
            elif known.fingerprint != mark:
                return False
            iam_reader.record(replace(sighting, serial=known.token.serial if known else token.serial))
        return True

    def check_free(self, serial: str, user: str) -> None:
        """Raise UsageFault if a token was rejected by a check or belongs to another user than `user`."""
        with self._inventory() as iam_reader:
            iam_reader.check_free(serial, user)


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


def _fingerprint_key(iam_reader: TokenInventory) -> Secret[bytes]:
    """Return this computer's key for the fingerprints of seeds. Create the key on first use.

    Without the key, the fingerprints in the ledger cannot be used to test guessed seeds. All computers that share a
    ledger need the same key. Raise IntegrityFault if the key cannot be read, and UsageFault if the fingerprints in the
    ledger were made with another key.
    """
    import secrets

    path = home() / FINGERPRINTS
    if not path.exists():
        iam_reader.check_key(None)
        try:
            private_files.write_new(path.absolute(), secrets.token_bytes(OCTETS), folders=True)
        except IntegrityFault:
            if not path.exists():  # another process may have created it first
                raise
    key = _read_key(path)
    iam_reader.check_key(otp.key_digest(key))
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
