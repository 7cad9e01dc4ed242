"""The port to the inventory of display tokens for the test of a box."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mfa_kit.tokens.seeds import SeededToken, Sighting, Token


class TokenStore(Protocol):
    """The inventory. It stores no seeds."""

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> object:
        """Add tokens: those with a seed (`keys`) and those whose seed only AWS has (`bare`).

        A token whose seed changed becomes untested again.
        """
        ...

    def last_sightings(self) -> Mapping[str, Sighting]:
        """Return the latest reading of each token by serial. Readings of an earlier seed are left out."""
        ...

    def record(self, *seen: Sighting) -> None:
        """Store readings of tokens that are in the inventory."""
        ...
