"""Finds and opens FIDO keys on USB HID and PC/SC. A deadline limits each wait for a packet or APDU.

A key can be both a USB device and a smart card. Devices are compared by their position on the USB bus, because any
device can report any name and serial number.
"""

import math
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from fido2 import hid
from fido2.attestation.base import InvalidAttestation
from fido2.client import ClientError, PinRequiredError
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap1 import ApduError
from fido2.hid import CTAPHID, ConnectionFailure, CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

from mfa_kit.adapters.fido import hidraw
from mfa_kit.core.errors import DeviceFault, InUse, LostError
from mfa_kit.core.firmware import Version
from mfa_kit.core.message import Message, ShellText, command, suggest
from mfa_kit.core.stopping import INTERRUPTS, put_outcome
from mfa_kit.core.text import without_controls
from mfa_kit.posix.card_readers import card_readers, is_empty, opened, readers_in_use
from mfa_kit.posix.processes import process_names
from mfa_kit.security_keys.authenticator import PIN_LOCKED, Link, PluggedKey

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


with suppress(ImportError):
    from fido2.pcsc import CtapPcscDevice
    from smartcard import System, scard

T = TypeVar("T")

# The errors that mean that the card in a reader is not a FIDO key.
NO_KEY: tuple[type[Exception], ...] = (*GARBLED, CtapError)

# Time limits in seconds. PROMPT is for requests that a key answers immediately. TOUCH is for requests that wait for a
# touch: all keys that we know wait at most 30 s. SLACK is added to TOUCH for transmission. TICK is the longest time
# between two calls of `tick`.
PROMPT = 4.0
TOUCH = 30.0
SLACK = 5.0
TICK = 0.25
# The instruction GET RESPONSE, and the first octet of a status word that announces more data (ISO 7816-4).
GET_RESPONSE, MORE = 0xC0, 0x61


class Deadline:
    """Waits for one packet or APDU at a time. Each call to the device runs in a thread of its own.

    If the device does not respond in time, the thread is abandoned and `mute` becomes true. During a wait, `tick` is
    called at least every TICK seconds.
    """

    def __init__(self) -> None:
        self._end = 0.0
        self._last = math.inf
        self.tick: Callable[[], None] = lambda: None
        self.mute = False

    def allow(self, seconds: float) -> None:
        """Limit the total time of all further calls, because a library could repeat a call forever."""
        self._last = time.monotonic() + seconds

    def start(self, seconds: float) -> None:
        """Limit the next call to a number of seconds."""
        self._end = min(time.monotonic() + seconds, self._last)

    def wait(self, call: Callable[[], T]) -> T:
        """Make a call and return its result. Raise DeviceFault if this call takes too long, or an earlier call did."""
        self.tick()
        if self.mute or time.monotonic() >= self._end:
            raise self._lost()
        answer = Future[T]()
        threading.Thread(target=put_outcome, args=(call, answer), daemon=True).start()
        while True:
            INTERRUPTS.check()
            if wait([answer], max(0.0, min(TICK, self._end - time.monotonic()))).done:
                return answer.result()
            self.tick()
            if time.monotonic() >= self._end:
                self.mute = True
                raise self._lost()

    def _lost(self) -> DeviceFault:
        return LostError("the key does not answer", "unplug it, plug it in again and repeat the command")


class _Packets(CtapHidConnection):
    """A python-fido2 packet connection with a deadline for each packet that is read."""

    def __init__(self, inner: CtapHidConnection, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._channel = b""

    def read_packet(self) -> bytes:
        """Return the next packet. If none arrives in time, cancel the request and raise DeviceFault."""
        try:
            packet = self._deadline.wait(self._inner.read_packet)
        except DeviceFault:
            # The key may still be waiting for a touch, so cancel the request.
            with suppress(OSError):
                self._inner.write_packet((self._channel + bytes([0x80 | CTAPHID.CANCEL])).ljust(64, b"\0"))
            raise
        if not packet:
            raise OSError("end of file")
        return packet

    def write_packet(self, data: bytes) -> None:
        """Write a packet. Its channel is stored, because a cancellation must use the same channel."""
        self._channel = data[:4]
        self._inner.write_packet(data)

    def close(self) -> None:
        """Close the connection, unless a read is still blocked in it."""
        # If the file were closed during a blocked read, its descriptor number could be reused for another file, and the
        # read could then take data from that file.
        if not self._deadline.mute:
            self._inner.close()


class CardConnection(Protocol):
    """The part of pyscard's card connection that is used here."""

    def connect(self, *, disposition: int) -> object:
        """Connect to the card. Raise an error of pyscard if that fails."""
        ...

    def transmit(self, apdu: list[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        """Send an APDU. Return the data of the response and the two octets of its status word."""
        ...

    def disconnect(self) -> object:
        """Disconnect from the card."""
        ...

    def release(self) -> object:
        """Release the context of the smart card service."""
        ...


class PcscReader(Protocol):
    """The part of pyscard's reader that is used here. str() of a reader is its name."""

    def createConnection(self) -> CardConnection:  # noqa: N802 - pyscard's name
        """Return a connection that is not open yet."""
        ...


class _Card:
    """A pyscard connection with a deadline for each call. The card stays powered for other programs."""

    def __init__(self, inner: CardConnection, reader: str, deadline: Deadline) -> None:
        self._inner, self._reader = inner, reader
        self._deadline = deadline

    def connect(self) -> None:
        """Connect to the card."""
        opened.append(self._reader)
        self._deadline.wait(lambda: self._inner.connect(disposition=scard.SCARD_LEAVE_CARD))

    def transmit(self, apdu: list[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        """Send an APDU and return the response.

        Raise DeviceFault if the response does not arrive in time. Raise it also if a part of the response is empty but
        announces more data, because such a response could be endless.
        """
        data, sw1, sw2 = self._deadline.wait(lambda: self._inner.transmit(apdu, protocol))
        if apdu[1] == GET_RESPONSE and sw1 == MORE and not data:
            raise DeviceFault("the key sends an endless answer", "unplug it, plug it in again and repeat the command")
        return data, sw1, sw2

    def disconnect(self) -> None:
        """Disconnect from the card and release the PC/SC context, unless a call is still blocked.

        If the context were not released here, pyscard would keep it until the next garbage collection. The service has
        a limited number of contexts, and mfa-kit connects several times per second while it waits for a key.
        """
        if not self._deadline.mute:
            try:
                self._inner.disconnect()
            finally:
                self._inner.release()
                opened.remove(self._reader)


class BoundedDevice(CtapDevice):
    """A FIDO device. Each call to it ends before a deadline.

    This class has no `connect` method, because python-fido2 would call it to send a PIN a second time.
    """

    def __init__(self, place: PluggedKey, inner: CtapDevice, deadline: Deadline) -> None:
        self.place = place
        self.deadline = deadline
        # This function is called before each request that may wait for a touch.
        self.finger: Callable[[], None] = lambda: None
        self._inner = inner

    @property
    def capabilities(self) -> int:
        """The key's capability flags, as defined for CTAPHID."""
        return self._inner.capabilities

    @property
    def version(self) -> Version | None:
        """The device version that the key reports in CTAPHID, or None if it reports none or only zeros.

        Manufacturers that set this version set it to the firmware version.
        """
        version = getattr(self._inner, "device_version", None)
        return Version(*version) if version and any(version) else None

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: threading.Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        """Send a command and return the response. A command that requires a touch gets more time."""
        finger = (_wants_finger if cmd == CTAPHID.CBOR else _wants_finger_u2f)(data)
        if finger:
            self.finger()
        # U2F: the key reports immediately that it has not been touched, and python-fido2 repeats the request.
        self.deadline.start(TOUCH + SLACK if finger and cmd == CTAPHID.CBOR else PROMPT)
        self.deadline.tick()
        return self._inner.call(cmd, data, event, on_keepalive)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Yield nothing, because `find_keys` finds the keys."""
        return iter(())


def _wants_finger(request: bytes) -> bool:
    """Return whether a key may wait for a touch before it answers this CTAP2 command."""
    match request[:1]:
        case b"\x01" | b"\x07" | b"\x0b":
            return True
        case b"\x02":
            return b"\x62up\xf4" not in request
        case b"\x06":
            return b"\x02\x06" in request[2:6]
        case _:
            return False


def _wants_finger_u2f(request: bytes) -> bool:
    """Return whether a U2F command requires a touch.

    Register requires a touch. Authenticate requires a touch unless it only checks a key handle.
    """
    return request[1:2] == b"\x01" or (request[1:2] == b"\x02" and request[2:3] != b"\x07")


def find_keys(reader_name: str | None = None) -> tuple[list[PluggedKey], list[DeviceFault]]:
    """Return the keys that can be opened, and a fault for each key that cannot be opened.

    A key that appears on USB and in a reader is listed once, on USB. If `reader_name` names a reader, no other
    reader is opened. Otherwise a card that another program has open is not opened, because selecting an applet ends the
    other program's session.
    """
    keys, wrong = _found(reader_name)
    return [key.place for key in keys], [*wrong, *map(barred_fault, hidraw.barred_nodes())]


def is_removed(key: PluggedKey) -> bool:
    """Return whether a key that was found is no longer plugged in. No request is sent to it."""
    if key.link is Link.PCSC:
        return any(ask_readers(lambda: [is_empty(key.where)]))
    return key.where not in [str(descriptor.path) for descriptor in hid.list_descriptors()]  # type: ignore[no-untyped-call]


def attached_names() -> list[str]:
    """Return the names of the keys on USB, and of the readers with a card that no other program uses.

    The result changes when a key is plugged in or removed, even if this user cannot open the key. No request is sent to
    a card.
    """
    usb = [str(descriptor.path) for descriptor in hid.list_descriptors()]  # type: ignore[no-untyped-call]
    return [*usb, *hidraw.barred_nodes(), *(_free_readers() if CARD_ERRORS else [])]


def _free_readers() -> list[str]:
    return [reader.name for reader in ask_readers(card_readers) if reader.present and not reader.in_use]


def ask_readers(call: Callable[[], list[T]]) -> list[T]:
    """Make a call to the smart card service and return its list, or an empty list if the service fails or is absent.

    Raise DeviceFault if the service does not respond in time.
    """
    deadline = Deadline()
    deadline.start(PROMPT)
    try:
        return deadline.wait(call)
    except CARD_ERRORS:
        return []


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that was found, and a function that opens it within a deadline."""

    place: PluggedKey
    open: Callable[[Deadline], CtapDevice]


def _found(reader_name: str | None) -> tuple[list[FoundKey], list[DeviceFault]]:
    usb = [_on_usb(descriptor) for descriptor in hid.list_descriptors()]  # type: ignore[no-untyped-call]
    cards, wrong = [], []
    readers = _readers()
    named = [reader for reader in readers if str(reader) == reader_name]
    busy = ask_readers(readers_in_use) if readers and not named else []
    for reader in _without_usb_keys(named or readers, usb):
        try:
            if str(reader) in busy:
                wrong.append(_in_use(str(reader)))
            elif _speaks_fido(reader):
                cards.append(FoundKey(PluggedKey(where=str(reader), link=Link.PCSC), partial(_open_reader, reader)))
        except DeviceFault as fault:
            wrong.append(DeviceFault(f"{reader}: {fault}", fault.hint))
    return sorted(usb, key=lambda key: key.place.where) + cards, wrong


def _without_usb_keys(readers: Sequence[PcscReader], usb: Sequence[FoundKey]) -> Iterator[PcscReader]:
    """Yield the readers that are not keys on USB.

    A key on USB may also appear as a reader whose name begins with the key's product name. So one such reader is
    skipped for each key on USB.
    """
    names = [key.place.product for key in usb if key.place.product]
    for reader in readers:
        if own := next(filter(str(reader).startswith, names), None):
            names.remove(own)
        else:
            yield reader


def _in_use(reader: str) -> DeviceFault:
    return InUse(
        f"the card in {without_controls(reader)} is in use by another program",
        "end that program or wait for it, and repeat the command",
    )


def _on_usb(descriptor: HidDescriptor) -> FoundKey:
    place = PluggedKey(
        where=str(descriptor.path),
        link=Link.HID,
        product=_word(descriptor.product_name),
        serial=_word(descriptor.serial_number),
    )
    return FoundKey(place, partial(_open_usb, descriptor))


def _readers() -> list[PcscReader]:
    # pyscard cannot open readers whose names have non-ASCII characters.
    return [reader for reader in ask_readers(System.readers) if str(reader).isascii()] if CARD_ERRORS else []


def _speaks_fido(reader: PcscReader) -> bool:
    """Return whether the card in a reader is a FIDO key.

    Raise DeviceFault if the card does not respond or another program is using it.
    """
    deadline = Deadline()
    try:
        _open_reader(reader, deadline).close()
    except CARD_ERRORS as error:
        if is_held(error):
            raise card_fault(error) from None
        return False
    except NO_KEY:
        return False
    return True


def find_key(key_name: str | None) -> FoundKey:
    """Return the key with this path or serial number. None means the only key that is plugged in.

    Raise DeviceFault if no key or several keys match. Two keys may have the same serial number.
    """
    keys, wrong = _found(key_name)
    matches = [key for key in keys if key_name in (None, key.place.where, key.place.serial)]
    if not matches:
        raise wrong[0] if wrong else _nothing(key_name)
    if len(matches) > 1:
        places = ", ".join(key.place.where for key in matches)
        raise DeviceFault(
            f"there are {len(matches)} keys: {places}", "leave only one plugged in, or select one with --key"
        )
    return matches[0]


def open_device(key: FoundKey) -> BoundedDevice:
    """Open a key. Raise DeviceFault if it does not respond, and the libraries' own errors for other failures."""
    deadline = Deadline()
    return BoundedDevice(key.place, key.open(deadline), deadline)


def _open_usb(descriptor: HidDescriptor, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    packets = _Packets(hid.open_connection(descriptor), deadline)  # type: ignore[no-untyped-call]
    try:
        return CtapHidDevice(descriptor, packets)
    except BaseException:
        # Close the connection on any exception, including Ctrl-C, because the caller has no reference to it yet.
        packets.close()
        raise


def _open_reader(reader: PcscReader, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    card = _Card(reader.createConnection(), str(reader), deadline)
    try:
        return CtapPcscDevice(card, str(reader))
    except BaseException:
        # Close the connection on any exception, including Ctrl-C, because the caller has no reference to it yet.
        with suppress(*CARD_ERRORS):
            card.disconnect()
        raise


def barred_fault(node: str) -> DeviceFault:
    """Return the error for a key whose device node this user has no permission to open."""
    return DeviceFault(
        f"there is a key, but you have no permission to open {node}",
        Message("install the udev rule", command("sudo {} udev install", ShellText('"$(command -v mfa-kit)"'))),
    )


def _nothing(key_name: str | None) -> DeviceFault:
    if key_name in (hidden := hidraw.barred_nodes()):
        return barred_fault(key_name)
    if key_name:
        return DeviceFault(f"there is no FIDO key {key_name}", suggest("to see which keys are plugged in", "key list"))
    if hidden:
        return barred_fault(", ".join(hidden))
    return DeviceFault(
        "there is no security key",
        "plug one in" if CARD_ERRORS else "plug one in; for NFC and smart card readers install 'mfa-kit[oath]'",
    )


def _word(text: object) -> str | None:
    return shortened(text) if text else None


# PC/SC describes a reader's channel by its type and a number (PC/SC part 3, 3.1.2). For USB, Debian's libccid makes the
# number from the bus and the address.
CHANNEL_USB = 0x20


def find_same_device(reader: str) -> str | None:
    """Return the device node or reader name of the FIDO key that is the same device as the card in this reader.

    Return None if there is no such key, or if several keys match.
    """
    keys, _ = find_keys(reader)
    if any(key.link is Link.PCSC and key.where == reader for key in keys):
        return reader
    address = _address_of_reader(reader)
    places = [key.where for key in keys if key.link is Link.HID and hidraw.address_of_node(key.where) == address]
    return places[0] if address and len(places) == 1 else None


def _address_of_reader(reader: str) -> tuple[int, int] | None:
    """Return the bus and address of a USB reader (SCARD_ATTR_CHANNEL_ID).

    Return None if the reader is not on USB, or its driver does not report its bus and address.
    """
    for line in ask_readers(lambda: [_channel(reader)]):
        if len(line) >= 4 and line[2] == CHANNEL_USB and not line[3]:  # noqa: PLR2004 - a little-endian DWORD
            return line[1], line[0]
    return None


def _channel(reader: str) -> list[int]:
    status, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    # After a failure, there is no PC/SC context to release.
    if status != scard.SCARD_S_SUCCESS:
        return []
    try:
        status, card, _ = scard.SCardConnect(
            context, reader, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        )
        if status != scard.SCARD_S_SUCCESS:
            return []
        _, channel = scard.SCardGetAttrib(card, scard.SCARD_ATTR_CHANNEL_ID)
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        return list(channel)
    finally:
        scard.SCardReleaseContext(context)
