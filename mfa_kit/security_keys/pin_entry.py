"""Sources of a security key's PIN: a person at the terminal, or the lines of a script."""

import unicodedata
from collections.abc import Callable

from mfa_kit.core.errors import Declined
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of
from mfa_kit.security_keys.authenticator import Pin


def _pin(typed: Secret[str]) -> Pin:
    return Pin(unicodedata.normalize("NFC", typed.reveal()))


class TypedPins:
    """A PinEntry that asks a person at the terminal for each PIN."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    def pin(self, left: int | None) -> Pin:
        """Ask for the PIN. The prompt shows how many tries are left."""
        tries = "" if left is None else f", {count_of(left, 'try', 'tries')} left"
        return _pin(self._interaction.ask_secret(f"PIN of the key{tries}", instead="--pin-stdin"))

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN, twice."""
        prompt = f"new PIN of the key, at least {shortest} characters"
        return _pin(self._interaction.ask_new_secret(prompt, instead="--pin-stdin or --generate"))

    def risk(self, left: int) -> None:
        """Ask the user to confirm, by typing `LAST`, that one of the `left` remaining PIN tries may be used.

        After too many wrong PINs, the key is locked and can only be erased. Raise Declined without the confirmation.
        """
        self._interaction.confirm(
            f"{count_of(left, 'try', 'tries')} left: after too many wrong PINs this key can only be erased",
            typed="LAST",
            instead="another key",
        )

    def replugged(self, left: int | None) -> bool:
        """Return whether the user confirms, by typing `REPLUGGED`, that one PIN may be tried.

        Some keys report that their PIN is blocked even after they were unplugged, until they get the right PIN.
        """
        tries = "" if left is None else f"; {count_of(left, 'try', 'tries')} left"
        try:
            self._interaction.confirm(
                "the key accepts no PIN until it is unplugged; if you already unplugged it, "
                f"you can try one PIN{tries}",
                typed="REPLUGGED",
                instead="a terminal",
            )
        except Declined:
            return False
        return True


class PipedPins:
    """A PinEntry that reads each PIN as a line from a script. `read_line` returns the next line.

    The key's last PIN tries are never used, because that needs the confirmation of a person.
    """

    def __init__(self, read_line: Callable[[], Secret[str]]) -> None:
        self._read_line = read_line

    def pin(self, left: int | None) -> Pin:
        """Read the next line, and return it as the PIN."""
        return _pin(self._read_line())

    def new(self, shortest: int) -> Pin:
        """Read the next line, and return it as the new PIN. Its length is not checked here."""
        return self.pin(None)

    def risk(self, left: int) -> None:
        """Raise Declined, because only a person may decide to use one of the last PIN tries."""
        raise Declined(
            f"this key has {left} PIN {'try' if left == 1 else 'tries'} left, so a person has to confirm the next try",
            "run the command at a terminal without --pin-stdin, or enter the right PIN elsewhere first",
        )

    def replugged(self, left: int | None) -> bool:
        """Return False, because only a person can confirm that the key was unplugged."""
        return False
