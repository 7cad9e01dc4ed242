"""What a plugged-in OATH key reports about itself, and whether ykman finds the key."""

from dataclasses import dataclass

from mfa_kit.core.message import Command, Message
from mfa_kit.core.recorded_keys import KeyFacts, vendor_of


def ykman_finds(reader: str) -> bool:
    """Whether ykman finds the key in this reader. ykman checks only the reader's name (ykman.pcsc, YK_READER_NAME)."""
    return "yubico yubikey" in reader.lower()


def remedy(action: str, *lines: Command, reader: str) -> str:
    """Return a hint that says to do `action` with the ykman commands `lines`.

    If ykman does not find the key in the reader, the hint names the manufacturer's program instead.
    """
    return Message(action, *lines) if ykman_finds(reader) else f"{action} with the manufacturer's program"


@dataclass(frozen=True, slots=True, kw_only=True)
class OathKey:
    """A key with the YKOATH applet.

    `identity` is the ID of the applet: a random text, which changes with each reset. `used` is the number of
    credentials, and `labels` are their names. If the key is locked with a password, `used` is None and `labels` is
    empty. `room` is the number of credentials that YubiKeys with this firmware can hold. `serial`, `firmware` and
    `room` are None if unknown.

    `reader` is PC/SC's name for the reader. It does not identify the key, because the names and the order of readers
    change. `where` is the same name without control characters. `what` is the name of the model, or the name of the
    reader if the key does not report its model.
    """

    reader: str
    where: str
    identity: str
    what: str
    serial: str | None
    firmware: str | None
    transport: str
    password: bool
    used: int | None
    room: int | None
    labels: tuple[str, ...] = ()

    @property
    def free(self) -> int | None:
        """How many more credentials the key can hold, or None if unknown."""
        return None if self.used is None else self.left(self.used)

    def left(self, used: int) -> int | None:
        """How many more credentials fit on a key that has `used` credentials, or None if that is unknown.

        It is unknown if the key has as many as a YubiKey can hold, because other firmware that holds more says that it
        is a YubiKey. Only a write shows whether such a key is full.
        """
        return None if self.room is None or used >= self.room else self.room - used

    @property
    def description(self) -> str:
        """The model and the serial number, for use in a sentence."""
        return f"{self.what} {self.serial}" if self.serial else f"{self.what} (no serial)"

    @property
    def ykman(self) -> bool:
        """Whether ykman finds the key."""
        return ykman_finds(self.reader)

    @property
    def yubikey(self) -> bool:
        """Whether the name of the model or the reader says that the key is a YubiKey."""
        return self.what.lower().startswith(("yubikey", "yubico"))

    @property
    def facts(self) -> KeyFacts:
        """What the key reports about itself. OATH has no attestation, so it proves none of it.

        The serial comes from Yubico's management applet.
        """
        model = None if self.what == self.where else self.what
        return KeyFacts(
            serial=self.serial, model=model, firmware=self.firmware, card=self.identity, vendor=vendor_of("YubiKey")
        )

    def answers_to(self, name: str) -> bool:
        """Whether a name is exactly the key's serial, reader or identity."""
        return name in {self.serial, self.reader, self.where, self.identity}
