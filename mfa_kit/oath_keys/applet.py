"""Interfaces to OATH keys: to the applet of one key, and to the keys that are plugged in."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.oath_keys.credential import OathKey


class OathApplet(Protocol):
    """An open applet of an OATH key. Each call raises DeviceFault if the key fails.

    Names of credentials are octets because they need not be UTF-8.
    """

    def names(self) -> list[bytes]:
        """Return the names of the credentials."""
        ...

    def held(self) -> dict[bytes, bool | None]:
        """Return the names of the credentials, and whether each requires a touch for its codes.

        None means that the key does not report this.
        """
        ...

    def put(self, label: str, seed: Seed, *, touch: bool) -> None:
        """Write a TOTP credential. This replaces a credential with the same name."""
        ...

    def code(self, label: str, time: float, *, touch: bool | None) -> str:
        """Return the code of a credential for a Unix time.

        `touch` says whether the credential requires a touch; None means unknown.
        """
        ...

    def delete(self, label: str) -> None:
        """Delete a credential."""
        ...


class PluggedOathKeys(Protocol):
    """The OATH keys that are plugged in."""

    def look(self) -> tuple[Sequence[OathKey], Sequence[DeviceFault]]:
        """Return the keys that answer, and the faults of the readers without a usable key."""
        ...

    def choose(self, key_name: str | None) -> OathKey:
        """Return the key whose serial, reader or identity is `key_name`.

        If `key_name` is None, return the only key, or the one that the user chooses. Raise DeviceFault if no key
        matches, and Declined if several keys match and there is no terminal to choose at.
        """
        ...

    def open(self, key: OathKey) -> AbstractContextManager[OathApplet]:
        """Open the applet of a key. If it has a password, ask the user for the password."""
        ...


class PasswordApplet(Protocol):
    """The operations of an open applet that concern its password. Each raises DeviceFault if the key fails."""

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
    """The OATH keys that are plugged in, with the operations that concern their passwords."""

    def choose(self, key_name: str | None) -> OathKey:
        """Return the key whose serial, reader or identity is `key_name`.

        If `key_name` is None, return the only key, or the one that the user chooses. Raise DeviceFault if no key
        matches, and Declined if several keys match and there is no terminal to choose at.
        """
        ...

    def open(self, key: OathKey) -> AbstractContextManager[PasswordApplet]:
        """Open the applet of a key. If it has a password, ask the user for the password."""
        ...

    def ask_new_password(self, key: OathKey) -> Secret[str]:
        """Ask for a new password for a key, and return it. Raise UsageFault for an empty password."""
        ...

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Keep the access key that was derived from a new password, so that `open` does not ask for the password."""
        ...
