"""What is asked of a FIDO security key, of what is published of its model, and of the person whose PIN it has."""

from collections.abc import Sequence
from typing import Protocol

from mfa_kit.security_keys.authenticator import (
    Assertion,
    KeyInfo,
    MetadataSource,
    Model,
    Pin,
    Registration,
    Trusted,
    Untrusted,
)


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


class PinAuthenticator(Protocol):
    """One FIDO key, to its PIN. Each call is one try, and raises DeviceFault."""

    def info(self) -> KeyInfo: ...

    def set_pin(self, new: Pin) -> None: ...

    def change_pin(self, old: Pin, new: Pin) -> None: ...

    def try_pin(self, pin: Pin) -> None:
        """Have the key take a PIN, for nothing else."""
        ...

    def set_pin_policy(self, pin: Pin | None, *, shortest: int | None, force_change: bool) -> None:
        """Call setMinPINLength (CTAP 2.1, 6.11.4)."""
        ...

    def reset(self) -> None:
        """Erase the key; a touch, in the first ten seconds after it was plugged in."""
        ...


class Metadata(Protocol):
    """What the FIDO Alliance publishes of models."""

    def source(self) -> MetadataSource: ...

    def model(self, aaguid: str) -> Model | None:
        """Return what is published of a FIDO2 model, whoever claims to be one."""
        ...

    def trust(self, registration: Registration, *, at: float) -> Trusted | Untrusted:
        """Verify the chain of a registration against the roots of the model that it names, at a Unix time."""
        ...


class PinEntry(Protocol):
    """Asks a person for a key's PIN. Raise Declined when none may be asked."""

    def pin(self, left: int | None) -> Pin:
        """Ask for the PIN, telling how many tries are left."""
        ...

    def risk(self, left: int) -> None:
        """Have a person confirm, by typing, that one of the last tries may be lost; raise Declined otherwise."""
        ...
