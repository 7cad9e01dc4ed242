"""Ports of FIDO security keys: a key, what is published of its model, and the person or script that knows its PIN."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
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

# Seconds between two looks at what is plugged in.
LOOK = 0.3


class Authenticator(Protocol):
    """One FIDO key that is plugged in. Each call raises DeviceFault: mute, removed, not touched, a wrong PIN."""

    def info(self) -> KeyInfo:
        """Return what the key says of itself; touches nothing."""
        ...

    def register(self, *, verify: bool, pin: Pin | None, known: Sequence[bytes] = ()) -> Registration | None:
        """Make a credential that is not resident; a touch. None: the key made one of the `known` ones before."""
        ...

    def assertion(self, *, verify: bool, pin: Pin | None) -> Assertion:
        """Sign a challenge with the last registration's credential; a touch."""
        ...


class ExaminedKey(Authenticator, Protocol):
    """An Authenticator that tells which relying party it registered with, and which credential it made."""

    @property
    def relying_party(self) -> str:
        """The domain that it registers with."""
        ...

    @property
    def credential(self) -> bytes:
        """The public half of the last registration; empty before the first."""
        ...


class PinAuthenticator(Protocol):
    """One FIDO key, to its PIN. Each call is one try, and raises DeviceFault."""

    def info(self) -> KeyInfo:
        """Return what the key says of itself; touches nothing."""
        ...

    def set_pin(self, new: Pin) -> None:
        """Give a PIN to a key that has none (CTAP 2.1, 6.5.5.5)."""
        ...

    def change_pin(self, old: Pin, new: Pin) -> None:
        """Give the key another PIN (CTAP 2.1, 6.5.5.6)."""
        ...

    def try_pin(self, pin: Pin) -> None:
        """Have the key take a PIN, for nothing else."""
        ...

    def set_pin_policy(self, pin: Pin | None, *, shortest: int | None, force_change: bool) -> None:
        """Call setMinPINLength (CTAP 2.1, 6.11.4)."""
        ...

    def reset(self) -> None:
        """Erase the key; a touch, in the first ten seconds after it was plugged in."""
        ...


class OpenedKey(ExaminedKey, PinAuthenticator, Protocol):
    """One FIDO key that is plugged in, with all that it can be asked."""


class PluggedKeys(Protocol):
    """The FIDO keys that are plugged in now."""

    def state(self) -> object:
        """Return what changes when a key comes or goes, without touching a key."""
        ...

    def look(self) -> tuple[Sequence[PluggedKey], Sequence[MfaKitError]]:
        """Return the keys that can be opened, and what is wrong with others."""
        ...

    def open(self, wanted: str | None, *, relying_party: str | None = None) -> AbstractContextManager[OpenedKey]:
        """Open the key at a place or with a serial, or the only one. Raise DeviceFault where it is not there.

        It registers with this relying party, else with one that nobody has.
        """
        ...


class Metadata(Protocol):
    """What the FIDO Alliance publishes of models."""

    def source(self) -> MetadataSource:
        """Return where the metadata comes from, and how old it is."""
        ...

    def model(self, aaguid: str) -> Model | None:
        """Return what is published of a FIDO2 model, whoever claims to be one."""
        ...

    def trust(self, registration: Registration, *, at: float) -> Trusted | Untrusted:
        """Verify the chain of a registration against the roots of the model that it names, at a Unix time."""
        ...


class PinEntry(Protocol):
    """Asks for a key's PIN. Raise Declined when nobody may be asked."""

    def pin(self, left: int | None) -> Pin:
        """Ask for the PIN, telling how many tries are left."""
        ...

    def risk(self, left: int) -> None:
        """Have a person confirm, by typing, that one of the last tries may be lost; raise Declined otherwise."""
        ...


class NewPinEntry(PinEntry, Protocol):
    """A PinEntry that asks for new PINs too."""

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN of so many characters or more."""
        ...


class NewPinSource(Protocol):
    """Gives a new PIN, and keeps it somewhere before the key has it."""

    @property
    def kept(self) -> str:
        """Where a generated PIN is: `was shown`, `is sealed in FILE`; empty for one that was given."""
        ...

    def check(self) -> None:
        """Raise UsageFault, IntegrityFault or Declined where a PIN could not be kept, before anything is asked."""
        ...

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Return a PIN of so many characters or more, for the key that says this of itself."""
        ...
