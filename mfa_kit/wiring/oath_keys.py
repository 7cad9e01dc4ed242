"""The keys with an OATH applet that are plugged in, for one command."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.oath_keys.choosing import choose_key
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.wiring.files import read_secret_line
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.this_computer import harden

if TYPE_CHECKING:
    from mfa_kit.adapters.oath.applet import Applet
    from mfa_kit.adapters.oath.card import OathCard
    from mfa_kit.adapters.oath.keys import Keys


class OathKeys:
    """The OATH keys within reach of one command, which makes this object once: it asks for each password only once.

    Passwords are the lines of standard input where `password_stdin` says so, else a person types them.
    """

    def __init__(self, settings: Settings, *, password_stdin: bool = False) -> None:
        self._settings, self._password_stdin = settings, password_stdin

    @cached_property
    def _keys(self) -> "Keys":
        keys = _adapter()
        harden()
        return keys(say=self._settings.progress.note, password=self._ask_password)

    def _ask_password(self, key: OathKey) -> Secret[str]:
        if self._password_stdin:
            password = read_secret_line()
        else:
            person = self._settings.interaction
            password = person.ask_secret(f"OATH password of {key.description}", instead="--password-stdin")
        if password == Secret(""):  # no key has such a one, and some count tries
            raise UsageFault(
                f"no OATH password of {key.description} was given, so nothing was tried", "give the one that it has"
            )
        return password

    def ask_new_password(self, key: OathKey) -> Secret[str]:
        """Return a new password for a key. Raise UsageFault for an empty one."""
        if self._password_stdin:
            new = read_secret_line()
        else:
            person = self._settings.interaction
            new = person.ask_new_secret(f"new OATH password of {key.description}", instead="--password-stdin")
        if new == Secret(""):
            raise UsageFault(
                "the new password is empty", "type one, or take the old one away: mfa-kit key password clear"
            )
        return new

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Open a key with another password from now on; `access` is the key that the applet derives from it."""
        self._keys.remember_password(key, access)

    def look(self) -> tuple[list[OathKey], Sequence[DeviceFault]]:
        """Return the keys that answer, and what is wrong with the readers that gave none."""
        return self._keys.look()

    def seen(self, identity: str) -> OathKey | None:
        """Return the key with this identity from an earlier look."""
        return self._keys.seen.get(identity)

    def state(self) -> object:
        """Return what changes when a card comes or goes, without touching a card. Raise UsageFault as `look` does."""
        _adapter()
        from mfa_kit.adapters.oath import pcsc

        return pcsc.reader_states()

    def choose(self, wanted: str | None) -> OathKey:
        """Return the key that is meant; the only one when none is named, never the first of several."""
        found, faults = self.look()
        return choose_key(wanted, found, faults, person=self._settings.interaction, progress=self._settings.progress)

    def open(self, key: OathKey) -> AbstractContextManager["Applet"]:
        """Open and unlock the applet of a key. Raise DeviceFault when another key is in its place now."""
        return self._keys.open(key)

    def card(
        self,
        key: OathKey | None,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        touch: bool = True,
        asset: str | None = None,
        wait: bool = False,
    ) -> "OathCard":
        """Return a key as a Carrier; without a key, the one that an entry of the journal names."""
        keys = self._keys
        from mfa_kit.adapters.oath import card

        return card.OathCard(
            keys, key, options=card.CredentialOptions(touch=touch, asset=asset, wait=wait), now=now, sleep=sleep
        )


def _adapter() -> "type[Keys]":
    """Import the adapter. Raise UsageFault where its libraries are not installed."""
    try:
        from mfa_kit.adapters.oath.keys import Keys
    except ImportError:
        raise UsageFault("OATH keys need more than is installed", "pip install 'mfa-kit[oath]'") from None
    return Keys
