"""The port to the ledger's inventory of display tokens, for testing a box of tokens."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mfa_kit.tokens.seeds import SeededToken, Sighting, Token


class TokenStore(Protocol):
    """The ledger's inventory of display tokens, with the results of their tests. It stores no seeds."""

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> object:
        """Add tokens: those with a seed (`keys`) and those whose seed only AWS has (`bare`).

        If the seed of a known token changed, only tests of the new seed count, so the token is untested if there are
        none.
        """
        ...

    def last_sightings(self) -> Mapping[str, Sighting]:
        """Return the latest sighting (test result) of each tested token, by serial. Ignore tests of an earlier seed."""
        ...

    def record(self, *seen: Sighting) -> None:
        """Store sightings (the results of testing tokens) of tokens that are in the inventory."""
        ...
