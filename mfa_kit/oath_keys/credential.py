"""Values of OATH keys: what a plugged-in key reports about itself."""

from dataclasses import dataclass


def ykman_finds(reader: str) -> bool:
    """Whether ykman finds the key in this reader. That depends only on the name (ykman.pcsc, YK_READER_NAME)."""
    return "yubico yubikey" in reader.lower()


def remedy(what: str, command: str, *, reader: str) -> str:
    """Return a hint to do `what` with `command`, which is a command of ykman.

    If ykman does not find the key in the reader, the hint names the manufacturer's program instead.
    """
    return f"{what}: {command}" if ykman_finds(reader) else f"{what} with the manufacturer's program"


@dataclass(frozen=True, slots=True, kw_only=True)
class OathKey:
    """A key with the YKOATH applet.

    `identity` belongs to the applet. It is random, and new after a reset. `serial`, `firmware` and `used` are None if
    the key does not report them; `used`, the number of credentials, is unknown while the key is locked. `room` is the
    maximum number of credentials that its model can hold, and `labels` are the names of its credentials. `reader` is
    PC/SC's name for the reader. It does not identify the key, because the names and the order of readers change.
    `where` is that name without control characters, and `what` is the name of the model.
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
        """How many more credentials fit on a key that has `used` credentials, or None if its model is unknown."""
        return None if self.room is None else max(0, self.room - used)

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
        """Whether the key claims to be a YubiKey."""
        return self.what.lower().startswith(("yubikey", "yubico"))

    def answers_to(self, name: str) -> bool:
        """Whether a name is exactly the key's serial, reader or identity."""
        return name in {self.serial, self.reader, self.where, self.identity}
