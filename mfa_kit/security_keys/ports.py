"""Interfaces to FIDO security keys, to the published data of their models, and to the sources of their PINs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mfa_kit.core.errors import MfaKitError
    from mfa_kit.security_keys.authenticator import (
        Assertion,
        KeyInfo,
        MetadataSource,
        Model,
        Pin,
        PluggedKey,
        Registration,
        Trusted,
        Untrusted,
    )

# Seconds between two checks of the keys that are plugged in.
LOOK = 0.3


class Authenticator(Protocol):
    """One FIDO key that is plugged in.

    Each call raises DeviceFault if the key does not answer, is removed or is not touched, and for a wrong PIN.
    """

    def info(self) -> KeyInfo:
        """Return what the key reports about itself. The user need not touch the key."""
        ...

    def register(self, *, verify: bool, pin: Pin | None, known: Sequence[bytes] = ()) -> Registration | None:
        """Make a non-resident credential after a touch.

        If `verify` is true, the key also verifies its user: with the PIN `pin`, or if `pin` is None, with a method of
        its own such as a fingerprint. Return None if the key made one of the `known` credentials.
        """
        ...

    def assertion(self, *, verify: bool, pin: Pin | None) -> Assertion:
        """Have the key sign a challenge with the credential of the last registration, after a touch.

        If `verify` is true, the key also verifies its user: with the PIN `pin`, or if `pin` is None, with a method of
        its own such as a fingerprint.
        """
        ...


class ExaminedKey(Authenticator, Protocol):
    """An Authenticator that also has its relying party and the credential of its last registration."""

    @property
    def relying_party(self) -> str:
        """The domain that the key registers with."""
        ...

    @property
    def credential(self) -> bytes:
        """The credential of the last registration, without its private key. Empty before the first registration."""
        ...


class PinAuthenticator(Protocol):
    """The operations of a FIDO key that concern its PIN, and the reset. Each raises DeviceFault if it fails.

    Each call sends the key's PIN at most once, because each wrong PIN uses up one of the key's tries.
    """

    def info(self) -> KeyInfo:
        """Return what the key reports about itself. The user need not touch the key."""
        ...

    def set_pin(self, new: Pin) -> None:
        """Give a PIN to a key that has none (CTAP 2.1, 6.5.5.5)."""
        ...

    def change_pin(self, old: Pin, new: Pin) -> None:
        """Change the PIN of the key (CTAP 2.1, 6.5.5.6)."""
        ...

    def try_pin(self, pin: Pin) -> None:
        """Have the key check a PIN, and do nothing else."""
        ...

    def set_pin_policy(self, pin: Pin | None, *, shortest: int | None, force_change: bool) -> None:
        """Raise the minimum PIN length to `shortest`, require a new PIN, or both: setMinPINLength (CTAP 2.1, 6.11.4).

        `pin` is the key's PIN, or None if the key has none. `shortest` is None if the minimum stays as it is.
        """
        ...

    def toggle_always_uv(self, pin: Pin) -> None:
        """Switch the option alwaysUv on if it is off, and off if it is on (CTAP 2.1, 6.11.2)."""
        ...

    def reset(self) -> None:
        """Erase the key after a touch. The key accepts this only within ten seconds after it was plugged in."""
        ...


class OpenedKey(ExaminedKey, PinAuthenticator, Protocol):
    """One FIDO key that is plugged in, with all its operations."""


class PluggedKeys(Protocol):
    """The FIDO keys that are plugged in now."""

    def state(self) -> object:
        """Return a value that changes when a key is plugged in or removed. No key is accessed."""
        ...

    def look(self) -> tuple[Sequence[PluggedKey], Sequence[MfaKitError]]:
        """Return the keys that can be opened, and the faults of the keys that cannot be opened."""
        ...

    def open(self, key_name: str | None, *, relying_party: str | None = None) -> AbstractContextManager[OpenedKey]:
        """Open the key with the path or serial `key_name`, or if that is None, the only key that is plugged in.

        The key registers with the domain `relying_party`, or if that is None, with a random domain that does not exist.
        Raise DeviceFault if no key or several keys match `key_name`.
        """
        ...


class Metadata(Protocol):
    """The data that the FIDO Alliance publishes about models."""

    def source(self) -> MetadataSource:
        """Return the source of the metadata, with the metadata's version number and the date of its next update."""
        ...

    def model(self, aaguid: str) -> Model | None:
        """Return the published data of the FIDO2 model with this AAGUID, or None. Any key can claim an AAGUID."""
        ...

    def trust(self, registration: Registration, *, time: float) -> Trusted | Untrusted:
        """Verify a registration's certificate chain at a Unix time, and return whether the key's model is proven.

        The root certificates are those published for the model that the registration names.
        """
        ...


class PinEntry(Protocol):
    """Supplies a key's PIN, from a person at the terminal or from a script."""

    def pin(self, tries_left: int | None) -> Pin:
        """Return the PIN. `tries_left` is the number of tries that are left, or None if it is unknown.

        Raise Declined if a person has to be asked, but there is no terminal.
        """
        ...

    def risk(self, tries_left: int) -> None:
        """Ask the user to type a word to confirm that one of the last `tries_left` PIN tries may be used.

        Raise Declined if the user does not confirm or cannot be asked.
        """
        ...

    def replugged(self, tries_left: int | None) -> bool:
        """Return whether the user wants to try one PIN although the key still asks to be unplugged.

        Return False if the user cannot be asked. `tries_left` is the number of tries that are left, or None if it is
        unknown.
        """
        ...


class NewPinEntry(PinEntry, Protocol):
    """A PinEntry that also supplies new PINs."""

    def new(self, shortest: int) -> Pin:
        """Return a new PIN. A person is told that it needs `shortest` characters, but its length is not checked."""
        ...


class NewPinSource(Protocol):
    """Supplies a new PIN. A PIN that it generates is shown or stored before the key gets it."""

    @property
    def kept(self) -> str:
        """What happened to a generated PIN, such as `was shown` or `is encrypted in FILE`. Empty for any other PIN."""
        ...

    def check(self) -> None:
        """Raise UsageFault, IntegrityFault or Declined if a generated PIN could not be shown or stored.

        This is called before `new_pin`.
        """
        ...

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Return a PIN for the key that reported `info`. A generated PIN has at least `shortest` characters."""
        ...


@dataclass(slots=True)
class SeenKeys:
    """The keys that were examined, identified by the credential that each made for one relying party.

    The credential is used because nothing else that keys reveal reliably distinguishes two keys of one model.
    `relying_party` is None until a key was examined.
    """

    relying_party: str | None = None
    credentials: tuple[bytes, ...] = ()

    def copy(self) -> SeenKeys:
        """Return a copy of this object."""
        return SeenKeys(self.relying_party, self.credentials)

    def become(self, other: SeenKeys) -> None:
        """Replace the keys of this object with the keys of another object."""
        self.relying_party, self.credentials = other.relying_party, other.credentials
