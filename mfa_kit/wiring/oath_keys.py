"""The connected OATH keys, for one command."""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Pair, Secret, Seed
from mfa_kit.core.stopping import sleep
from mfa_kit.oath_keys.applet import OathApplet
from mfa_kit.oath_keys.choosing import choose_key
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.wiring.files import read_secret_line
from mfa_kit.wiring.settings import Settings, command_for_extra, harden

if TYPE_CHECKING:
    from mfa_kit.adapters.oath.applet import Applet, Keys
    from mfa_kit.adapters.oath.card import OathCard

# mfa-kit reports the errors of libraries itself. Python would print their warnings to stderr if they had no handler.
for _library in ("yubikit", "smartcard"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class OathKeys:
    """The OATH keys that one command can use. A command creates one such object, so the user types each password once.

    With `password_stdin`, passwords are lines of standard input; otherwise the user types them.
    """

    def __init__(self, settings: Settings, *, password_stdin: bool = False) -> None:
        self._settings, self._password_stdin = settings, password_stdin

    @cached_property
    def _keys(self) -> "Keys":
        keys = _adapter()
        harden()
        return keys(say=self._settings.progress.alert, password=self._ask_password)

    def _read(self, ask: Callable[..., Secret[str]], prompt: str) -> Secret[str]:
        return read_secret_line() if self._password_stdin else ask(prompt, instead="--password-stdin")

    def _ask_password(self, key: OathKey) -> Secret[str]:
        password = self._read(self._settings.interaction.ask_secret, f"OATH password of {key.description}")
        if password == Secret(""):  # trying an empty password is useless, and some keys count attempts
            raise UsageFault(
                f"no OATH password was given for {key.description}, so none was tried", "give the key's OATH password"
            )
        return password

    def ask_new_password(self, key: OathKey) -> Secret[str]:
        """Return a new password for a key, from standard input or the user. Raise UsageFault if it is empty."""
        new = self._read(self._settings.interaction.ask_new_secret, f"new OATH password of {key.description}")
        if new == Secret(""):
            raise UsageFault(
                "the new password is empty",
                suggest("type a password, or remove the old password", "key password clear"),
            )
        return new

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Unlock a key with its new password from now on. `access` is the access key derived from that password."""
        self._keys.remember_password(key, access)

    def look(self, reader_name: str | None = None) -> tuple[list[OathKey], Sequence[DeviceFault]]:
        """Return the keys that respond, and an error for each other card. Empty readers are skipped.

        If `reader_name` names a reader, only this reader is opened. Otherwise a card that another program has open
        is not opened.
        """
        return self._keys.look(reader_name)

    def seen(self, identity: str) -> OathKey | None:
        """Return the key with this identity if an earlier call found it, otherwise None."""
        return self._keys.seen.get(identity)

    def state(self) -> object:
        """Return a value that changes when a card is inserted or removed. Does not access the cards.

        Raise UsageFault if the libraries for OATH keys are not installed.
        """
        return _adapter().state()

    def choose(self, key_name: str | None) -> OathKey:
        """Return the key whose serial, reader or identity is `key_name`, or the only key if `key_name` is None.

        If several keys match, the user chooses. Raise DeviceFault if no key matches, and Declined if there is no
        terminal on which to choose.
        """
        keys, faults = self.look(key_name)
        return choose_key(key_name, keys, faults, person=self._settings.interaction, progress=self._settings.progress)

    def open(self, key: OathKey) -> AbstractContextManager["Applet"]:
        """Return a context that opens the OATH applet of a key, and unlocks it with the key's password.

        Raise DeviceFault if the key was removed, if another key is in its place, or if the password is wrong.
        """
        return self._keys.open(key)

    def card(
        self,
        key: OathKey | None,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None] = sleep,
        touch: bool = True,
        asset: str | None = None,
        wait: bool = False,
        consent: Callable[[DeviceSpec, list[bytes]], None] = lambda _intent, _names: None,
    ) -> "OathCard":
        """Return a DeviceBackend that stores a device's secret on a key and reads codes from it.

        For devices of interrupted runs, `key` is None: the DeviceBackend then uses the key that the journal entry of
        the device names. `now` returns the Unix time, and `sleep` waits for a number of seconds. `touch` means that
        each code needs a touch of the key. `asset` is the key's name in the device's tag. `wait` means that the
        DeviceBackend waits for the next code instead of computing the previous code. `consent` is called before
        anything is made, with the intent of the device and the names of the credentials on the key. It raises Declined
        to prevent that.
        """
        keys = self._keys
        from mfa_kit.adapters.oath import card

        return card.OathCard(
            keys,
            key,
            options=card.CredentialOptions(touch=touch, asset=asset, wait=wait, consent=consent),
            now=now,
            sleep=sleep,
        )


def _adapter() -> "type[Keys]":
    """Import the adapter. Raise UsageFault if its libraries are not installed."""
    try:
        from mfa_kit.adapters.oath.applet import Keys
    except ImportError:
        raise UsageFault("OATH keys need the 'oath' extra, which is not installed", command_for_extra("oath")) from None
    return Keys


# The characters of a generated password, without those that look alike in print, and their number: 79 bits.
PASSWORD_CHARACTERS, PASSWORD_LENGTH = "23456789abcdefghjkmnpqrstuvwxyz", 16


def random_password() -> Secret[str]:
    """Return a random OATH password."""
    return Secret("".join(secrets.choice(PASSWORD_CHARACTERS) for _ in range(PASSWORD_LENGTH)))


# The length of AWS's seeds in octets.
SEED_OCTETS = 40


def random_seed() -> Seed:
    """Return a random seed of 40 octets, like those from AWS."""
    return Seed(secrets.token_bytes(SEED_OCTETS))


def consecutive_codes(applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
    """Return a credential's codes for the previous and the current time step. The user may have to touch the key.

    `now` is called after the last touch, to find the current time step. `touch` says whether touches are needed; None
    means that this is unknown.
    """
    from mfa_kit.adapters.oath import card

    return card.compute_pair(applet, label, touch=touch, now=now)
