"""Finds OATH keys that are plugged in, and opens and unlocks one of them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from smartcard.Exceptions import NoCardException

from mfa_kit.adapters.oath.applet import Applet, read_device_info
from mfa_kit.adapters.oath.pcsc import (
    SCARD,
    DeadlineThread,
    Wire,
    busy_readers,
    card_faults,
    in_use_fault,
    reader_names,
    reader_states,
)
from mfa_kit.core.errors import DeviceFault, InUse, NoApplet
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import without_controls
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.posix.card_readers import is_empty

log = logging.getLogger(__name__)


class Keys:
    """The OATH keys that are plugged in.

    `password` asks for the password of a locked key, once per key. `say` shows messages to the user. `seen` contains
    every key that was found so far, by identity.
    """

    def __init__(self, *, say: Callable[[str], None], password: Callable[[OathKey], Secret[str]]) -> None:
        self._say, self._password = say, password
        self._access: dict[str, Secret[bytes]] = {}
        self.seen: dict[str, OathKey] = {}

    @staticmethod
    def state() -> object:
        """Return a value that changes when a card is inserted or removed. No command is sent to a card."""
        return reader_states()

    def look(self, reader_name: str | None = None) -> tuple[list[OathKey], list[DeviceFault]]:
        """Return the keys that respond, and a DeviceFault for each other card.

        Skip empty readers, and those whose card is removed meanwhile. If `reader_name` names a reader, only this reader
        is opened. Otherwise a card that another program has open is not opened, because selecting an applet ends the
        other program's session.
        """
        keys: list[OathKey] = []
        wrong: list[DeviceFault] = []
        readers = reader_names()
        named = [reader for reader in readers if reader_name in {reader, without_controls(reader)}]
        busy = [] if named else busy_readers()
        for reader in named or readers:
            try:
                if reader in busy:
                    raise in_use_fault(reader)
                with suppress(NoCardException), self._wire(reader) as wire, card_faults(reader):
                    info = read_device_info(wire)
                    keys.append(Applet(wire, say=self._say).describe(info))
            except DeviceFault as error:
                if isinstance(error, InUse | NoApplet) or not is_empty(reader):
                    wrong.append(error)
        self.seen |= {key.identity: key for key in keys}
        return keys, wrong

    @contextmanager
    def _wire(self, reader: str) -> Iterator[Wire]:
        """Connect to the card in a reader. Raise NoCardException if the reader is empty."""
        self._await_stuck()
        wire = None
        try:
            try:
                wire = Wire(reader)
            except NoCardException:
                raise
            except (TimeoutError, *SCARD) as error:
                with card_faults(reader):
                    raise error from None
            yield wire
        finally:
            if wire is not None:
                wire.close()
                log.debug("%s: %s exchanges", without_controls(reader), wire.exchanges)

    def _await_stuck(self) -> None:
        """Wait for interrupted calls that still keep a card busy, such as one that waits for a touch after Ctrl-C."""
        for hanging in list(DeadlineThread.stuck):
            if hanging.thread.is_alive():
                self._say("waiting for the key to finish the previous command: touch it, or pull it out")
            if hanging.await_stuck():
                DeadlineThread.stuck.remove(hanging)

    @contextmanager
    def open(self, key: OathKey) -> Iterator[Applet]:
        """Open and unlock a key that was found in a reader. Raise DeviceFault if another key is in the reader now."""
        try:
            with self._wire(key.reader) as wire:
                with card_faults(key.reader):
                    applet = Applet(wire, say=self._say, writes_touched=not key.yubikey)
                if applet.identity != key.identity:
                    raise DeviceFault(f"another key is now in {key.where}", "plug in the key that you chose")
                if applet.locked:
                    self.unlock(applet, key)
                yield applet
        except NoCardException:
            raise DeviceFault(f"the key in {key.where} was removed", "plug it in and try again") from None

    def unlock(self, applet: Applet, key: OathKey) -> None:
        """Unlock an applet. Ask for the password if it is not known. Raise DeviceFault if the password is wrong."""
        access = self._access.pop(key.identity, None) or applet.derive_key(self._password(key))
        applet.unlock(access)
        self._access[key.identity] = access

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Keep the access key derived from a key's new password, so that `open` need not ask for the password."""
        self._access[key.identity] = access
