"""Values of OATH keys: what is plugged in, as far as it says so itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OathKey:
    """A key with the YKOATH applet. `identity` is the applet's own, random, and new after a reset.

    None where it says nothing: a serial, a firmware, and while it is locked how many credentials it holds. `room` is
    how many its model holds at most; `labels` are the names of what it holds. `reader` is PC/SC's name, and no
    identity: names and order change. `where` and `what` are cleaned, and claims.
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
        """How many more credentials it holds; None where that is not known."""
        return None if self.used is None else self.left(self.used)

    def left(self, used: int) -> int | None:
        """How many more it holds when it holds so many; None where its model is not known."""
        return None if self.room is None else max(0, self.room - used)

    @property
    def description(self) -> str:
        """Its model and serial, for a sentence."""
        return f"{self.what} {self.serial}" if self.serial else f"{self.what} (no serial)"

    @property
    def ykman(self) -> bool:
        """Whether ykman finds it: by its reader's name alone (ykman.pcsc, YK_READER_NAME)."""
        return "yubico yubikey" in self.reader.lower()

    @property
    def yubikey(self) -> bool:
        """Whether it says that it is one."""
        return self.what.lower().startswith(("yubikey", "yubico"))

    def answers_to(self, name: str) -> bool:
        """Whether a name means it, exactly: its serial, its reader or its identity."""
        return name in {self.serial, self.reader, self.where, self.identity}
