"""Converts errors of the libraries for security keys to DeviceFault, and lists the errors that mean malformed data."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from fido2.attestation.base import InvalidAttestation
from fido2.client import ClientError, PinRequiredError
from fido2.ctap import CtapError
from fido2.ctap1 import ApduError
from fido2.hid import ConnectionFailure

from mfa_kit.core.errors import DeviceFault, LostError
from mfa_kit.core.message import Message, ShellText, command, suggest
from mfa_kit.core.text import without_controls
from mfa_kit.posix.processes import process_names
from mfa_kit.security_keys.authenticator import PIN_LOCKED

try:
    from smartcard.Exceptions import SmartcardException
    from smartcard.pcsc.PCSCExceptions import BaseSCardException
except ImportError:
    CARD_ERRORS: tuple[type[Exception], ...] = ()
else:
    # pyscard's errors derive from two classes, which have no base class in common except Exception.
    CARD_ERRORS = (SmartcardException, BaseSCardException)

# Texts from a device or a library are cut to this many characters.
LONGEST_WORD = 64

SET_PIN = suggest("set a PIN first", "key pin set")
# PC/SC status codes (pcsclite.h): another program has exclusive access to the card, and another program has reset it.
BUSY = 0x8010000B
RESET = 0x80100068
# PC/SC status codes for a card that no longer answers: removed, no card, reader gone, not transacted, unknown reader,
# invalid handle, data lost, unresponsive, unpowered. pyscard reports 0 for an incomplete response.
GONE = {0x80100069, 0x8010000C, 0x80100017, 0x80100016, 0x80100009, 0x80100003, 0x8010002F, 0x80100066, 0x80100067, 0}
# Programs that are known to keep cards open.
HOLDERS = {"scdaemon", "yubikey-agent", "yubioath-flutter", "authenticator"}

# CTAP statuses (CTAP 2.1, 8.2): the key was not touched, or the request timed out or was canceled.
UNTOUCHED = {0x27, 0x2D, 0x2F, 0x3A, 0x05}
# Other CTAP statuses (CTAP 2.1, 8.2), each with its message and hint.
SAYINGS: dict[int | None, tuple[str, str]] = {
    0x32: PIN_LOCKED,
    0x34: (
        "the key accepts no PIN until it is unplugged",
        "unplug it, plug it in again and repeat the command",
    ),
    0x35: ("the key requires a PIN, but has none", SET_PIN),
    0x36: ("the key requires user verification, but has no PIN or fingerprint", SET_PIN),
    0x37: (
        "the key requires a new PIN first",
        suggest("change the PIN first", "key pin change"),
    ),
    0x3C: ("the key currently accepts no fingerprint", "plug it in again and use its PIN"),
    0x3F: ("the fingerprint does not match", "repeat the command"),
}

# The errors that python-fido2 and cryptography raise for malformed data.
GARBLED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    struct.error,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    UnsupportedAlgorithm,
    InvalidSignature,
    InvalidAttestation,
)


@contextmanager
def key_faults() -> Iterator[None]:
    """Convert the errors that the libraries raise in the `with` block to DeviceFault with a message and a hint."""
    try:
        yield
    except OSError as error:
        raise _lost(error) from None
    except CARD_ERRORS as error:
        raise card_fault(error) from None
    except ConnectionFailure:
        raise _shared() from None
    except PinRequiredError:
        raise DeviceFault(
            "the key currently accepts only its PIN, not a fingerprint", "plug it in again and repeat the command"
        ) from None
    except (CtapError, ClientError, ApduError) as error:
        raise _refused(error) from None
    except GARBLED:
        raise DeviceFault(
            "the key's answer cannot be read", "unplug it, plug it in again and repeat the command"
        ) from None


def _lost(error: OSError) -> DeviceFault:
    if isinstance(error, PermissionError):
        return DeviceFault(
            f"you have no permission to open {error.filename or 'the key'}",
            Message("install the udev rule", command("sudo {} udev install", ShellText('"$(command -v mfa-kit)"'))),
        )
    return LostError("the key was removed", "plug it in and repeat the command")


def _shared() -> DeviceFault:
    return DeviceFault("another program is using this key", "close that program or wait for it, and repeat the command")


def _hresult(error: Exception) -> int:
    return int(getattr(error, "hresult", 0)) & 0xFFFFFFFF


def is_held(error: Exception) -> bool:
    """Return whether an error of pyscard says that another program is using the card."""
    return _hresult(error) == BUSY


def card_fault(error: Exception) -> DeviceFault:
    """Convert a pyscard error to DeviceFault. Its PC/SC status code decides the message."""
    code = _hresult(error)
    if code == BUSY:
        return DeviceFault(
            f"{_holder() or 'another program'} is using the card",
            "end that program or wait for it, and repeat the command",
        )
    if code == RESET:
        return _shared()
    if code in GONE or type(error).__name__ == "NoCardException":
        return _lost(OSError())
    return DeviceFault(
        f"the reader failed (0x{code:08X})", "take the key off the reader, put it back and repeat the command"
    )


def _holder() -> str | None:
    """Return the name and process ID of a running program that is known to keep cards open, or None."""
    return next((f"{name} (process {number})" for number, name in process_names() if name in HOLDERS), None)


def ctap_status(error: Exception) -> int | None:
    """Return the CTAP status code of an error from python-fido2, or None if the error has none."""
    inner = error.cause if isinstance(error, ClientError) else error
    return int(inner.code) if isinstance(inner, CtapError) else None


def _refused(error: Exception) -> DeviceFault:
    code = ctap_status(error)
    if code in UNTOUCHED or getattr(error, "code", None) is ClientError.ERR.TIMEOUT:
        return DeviceFault("the key was not touched", "repeat the command and touch the key when it blinks")
    if code in SAYINGS:
        return DeviceFault(*SAYINGS[code])
    reason = short_reason(error if code is not None else getattr(error, "cause", None) or error)
    return DeviceFault(f"the key rejected the command: {reason}", suggest("to see what it supports", "key info"))


def shortened(text: object) -> str:
    """Return a text without control characters, cut to LONGEST_WORD characters."""
    return without_controls(str(text))[:LONGEST_WORD]


def all_shortened(texts: Sequence[object]) -> tuple[str, ...]:
    """Return the texts, each without control characters and cut to LONGEST_WORD characters."""
    return tuple(shortened(text) for text in texts)


def short_reason(error: BaseException) -> str:
    """Return the message of an error, shortened, or the name of its class if it has no message."""
    return shortened(str(error) or type(error).__name__)
