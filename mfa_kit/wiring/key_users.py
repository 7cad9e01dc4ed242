"""Looks up a key's user in the ledger, if several computers share it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit.adapters.ledger.computers import Computers, HeldKey
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings


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
