"""Ports of OATH keys: the applet of one key, and the keys that are plugged in."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.oath_keys.credential import OathKey


class OathApplet(Protocol):
    """An open applet of an OATH key. Each call raises DeviceFault. Names are octets because they need not be UTF-8."""

    def names(self) -> list[bytes]:
        """Return the names of the credentials."""
        ...

    def held(self) -> dict[bytes, bool | None]:
        """Return the names of the credentials, and whether each requires a touch for its codes; None is unknown."""
        ...

    def put(self, label: str, seed: Seed, *, touch: bool) -> None:
        """Write a TOTP credential, replacing one with the same name."""
        ...

    def code(self, label: str, at: float, *, touch: bool | None) -> str:
        """Return the code for a Unix time. `touch` says whether the credential requires one; None means unknown."""
        ...

    def delete(self, label: str) -> None:
        """Delete a credential."""
        ...


class PluggedOathKeys(Protocol):
    """The OATH keys that are plugged in."""

    def look(self) -> tuple[Sequence[OathKey], Sequence[DeviceFault]]:
        """Return the keys that answer, and the faults of the readers without a usable key."""
        ...

    def choose(self, wanted: str | None) -> OathKey:
        """Return the named key, or the only key if none is named."""
        ...

    def open(self, key: OathKey) -> AbstractContextManager[OathApplet]:
        """Open the applet of a key, with its password if it has one."""
        ...


class PasswordApplet(Protocol):
    """An open applet, as far as its password is concerned. Each call raises DeviceFault."""

    @property
    def guarded(self) -> bool:
        """Whether the applet has a password."""
        ...

    def derive_key(self, password: Secret[str]) -> Secret[bytes]:
        """Derive the access key from a password (YKOATH, Set Code)."""
        ...

    def set_key(self, key: Secret[bytes] | None) -> None:
        """Set the access key. None removes the password."""
        ...


class LockableKeys(Protocol):
    """The OATH keys that are plugged in, and their passwords."""

    def choose(self, wanted: str | None) -> OathKey:
        """Return the named key, or the only key if none is named."""
        ...

    def open(self, key: OathKey) -> AbstractContextManager[PasswordApplet]:
        """Open the applet of a key, with its password if it has one."""
        ...

    def ask_new_password(self, key: OathKey) -> Secret[str]:
        """Return a new password for a key. Raise UsageFault for an empty one."""
        ...

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Use this access key to open the key from now on."""
        ...
