"""Port to the inventory of display tokens, as far as the test of a box needs it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mfa_kit.tokens.seeds import SeededToken, Sighting, Token


class TokenStore(Protocol):
    """The inventory. It keeps no seed."""

    def stock(self, keys: Sequence[SeededToken], bare: Sequence[Token]) -> object:
        """Add tokens. One that has another seed than before is untested again."""
        ...

    def last_sightings(self) -> Mapping[str, Sighting]:
        """Return the last reading of each token by its serial, without readings of another seed."""
        ...

    def record(self, *seen: Sighting) -> None:
        """Keep readings of tokens that are in the inventory."""
        ...
