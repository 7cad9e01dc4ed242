"""The users of keys, as the computers that share a ledger recorded them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit.adapters.ledger.computers import Computers, HeldKey
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings


@dataclass(frozen=True, slots=True)
class KeyUsers:
    """The keys and tokens that users have, in the order in which they got them."""

    held: Sequence[HeldKey]

    def of_key(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the user of each device on a key, and the computer that recorded it.

        `names` are the serial of the key, and the identity of its OATH applet.
        """
        return [(each.user, each.computer) for each in self.held if {*names} & {*each.names}]


def read_key_users(settings: Settings) -> KeyUsers | None:
    """Read the users of keys from the ledger. Return None if the ledger is not shared.

    Raise IntegrityFault if the ledger cannot be used.
    """
    if settings.ledger is None:
        return None
    with open_ledger(settings) as ledger:
        return KeyUsers(Computers(ledger).held_keys())
