"""How a key is found, opened and waited for: USB HID and PC/SC. Every packet and APDU has a deadline."""

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from fido2 import hid
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.hid import CTAPHID, CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor, parse_report_descriptor

from mfa_kit.adapters.fido.faults import CARD_ERRORS, GARBLED, card_fault, is_held, shortened
from mfa_kit.core.errors import DeviceFault, Lost
from mfa_kit.core.firmware import Version
from mfa_kit.security_keys.authenticator import Link, PluggedKey

with suppress(ImportError):
    from fido2.pcsc import CtapPcscDevice
    from smartcard import System, scard

T = TypeVar("T")

# What opening a card raises that is no FIDO key.
NO_KEY: tuple[type[Exception], ...] = (*GARBLED, CtapError)

# Seconds. A key answers at once, or waits for a finger for 30 s (the seen limit); the rest is for the way.
PROMPT = 4.0
TOUCH = 30.0
SLACK = 5.0
TICK = 0.25
SYSFS = Path("/sys/class/hidraw")


class Deadline:
    """Waits for one packet or APDU at a time, in a thread that is left behind when the device stays mute."""

    def __init__(self) -> None:
        self._end = 0.0
        self._last = math.inf
        self.tick: Callable[[], None] = lambda: None
        self.mute = False

    def allow(self, seconds: float) -> None:
        """Bound all that is begun from now on, however many calls it takes: a library may ask without end."""
        self._last = time.monotonic() + seconds

    def start(self, seconds: float) -> None:
        """Bound the next call."""
        self._end = min(time.monotonic() + seconds, self._last)

    def wait(self, call: Callable[[], T]) -> T:
        """Return what the call returns. Raise DeviceFault when it takes too long, now or before."""
        self.tick()
        if self.mute or time.monotonic() >= self._end:
            raise self._lost()
        answer: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        threading.Thread(target=_put_outcome, args=(call, answer), daemon=True).start()
        while True:
            try:
                outcome = answer.get(timeout=max(0.0, min(TICK, self._end - time.monotonic())))
            except queue.Empty:
                self.tick()
                if time.monotonic() >= self._end:
                    self.mute = True
                    raise self._lost() from None
            else:
                return outcome()

    def _lost(self) -> DeviceFault:
        return Lost("the key does not answer", "unplug it, plug it in again and repeat the command")


def _put_outcome(call: Callable[[], T], answer: queue.SimpleQueue[Callable[[], T]]) -> None:
    """Call, and put a function that returns what was returned, or raises what was raised."""
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised again in the thread that waits
        answer.put(partial(_raise, error))
    else:
        answer.put(lambda: value)


def _raise(error: BaseException) -> NoReturn:
    raise error


class _Packets(CtapHidConnection):
    """python-fido2's packet connection, with a deadline to each read."""

    def __init__(self, inner: CtapHidConnection, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._channel = b""

    def read_packet(self) -> bytes:
        """Return the next packet. Raise DeviceFault when none comes in time, and tell the key to stop."""
        try:
            packet = self._deadline.wait(self._inner.read_packet)
        except DeviceFault:
            # The key may still blink for a finger: tell it to stop.
            with suppress(OSError):
                self._inner.write_packet((self._channel + bytes([0x80 | CTAPHID.CANCEL])).ljust(64, b"\0"))
            raise
        if not packet:
            raise OSError("end of file")
        return packet

    def write_packet(self, data: bytes) -> None:
        """Write a packet; its channel is the one that a cancellation names."""
        self._channel = data[:4]
        self._inner.write_packet(data)

    def close(self) -> None:
        """Close the connection, unless somebody is still stuck in it."""
        # Whoever is stuck in a read must not wake up on a file that has since got the same number.
        if not self._deadline.mute:
            self._inner.close()


class CardConnection(Protocol):
    """pyscard's connection to a card, as far as it is used here."""

    def connect(self, *, disposition: int) -> object:
        """Connect to the card. Raise pyscard's errors."""
        ...

    def transmit(self, apdu: list[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        """Return the data and the two octets of the status that an APDU is answered with."""
        ...

    def disconnect(self) -> object:
        """Let go of the card."""
        ...


class CardReader(Protocol):
    """pyscard's reader; its text is its name."""

    def createConnection(self) -> CardConnection:  # noqa: N802 - pyscard's name
        """Return a connection that is not opened yet."""
        ...


class _Card:
    """pyscard's connection, with a deadline to each call; it leaves the card powered for others."""

    def __init__(self, inner: CardConnection, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def connect(self) -> None:
        """Connect to the card."""
        self._deadline.wait(lambda: self._inner.connect(disposition=scard.SCARD_LEAVE_CARD))

    def transmit(self, apdu: list[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        """Return what an APDU is answered with. Raise DeviceFault when no answer comes in time."""
        return self._deadline.wait(lambda: self._inner.transmit(apdu, protocol))

    def disconnect(self) -> None:
        """Let go of the card, unless somebody is still stuck in a call."""
        if not self._deadline.mute:
            self._inner.disconnect()


class BoundedDevice(CtapDevice):
    """A device whose calls end. It has no `connect`: python-fido2 would use that to send a PIN a second time."""

    def __init__(self, place: PluggedKey, inner: CtapDevice, deadline: Deadline) -> None:
        self.place = place
        self.deadline = deadline
        # Called before each request that may wait for a finger.
        self.finger: Callable[[], None] = lambda: None
        self._inner = inner

    @property
    def capabilities(self) -> int:
        """CTAPHID's capability flags."""
        return self._inner.capabilities

    @property
    def version(self) -> Version | None:
        """CTAPHID's device version: the firmware, where a maker says so."""
        version = getattr(self._inner, "device_version", None)
        return Version(*version) if version and any(version) else None

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: threading.Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        """Return the answer to a command, which has as long as a finger takes where it wants one."""
        finger = (_wants_finger if cmd == CTAPHID.CBOR else _wants_finger_u2f)(data)
        if finger:
            self.finger()
        # U2F answers at once that there is no finger, and is asked again.
        self.deadline.start(TOUCH + SLACK if finger and cmd == CTAPHID.CBOR else PROMPT)
        self.deadline.tick()
        return self._inner.call(cmd, data, event, on_keepalive)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Yield nothing: keys are found by `find_keys`."""
        return iter(())


def _wants_finger(request: bytes) -> bool:
    """Whether a key may wait for a finger before it answers this CTAP2 command."""
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
    """Whether a U2F command is done only with a finger: register, and authenticate unless it only checks a handle."""
    return request[1:2] == b"\x01" or (request[1:2] == b"\x02" and request[2:3] != b"\x07")


def find_keys() -> tuple[list[PluggedKey], list[DeviceFault]]:
    """Return the keys that can be opened, and what is wrong with others.

    A key that is seen on USB and in a reader is listed once, on USB.
    """
    found, wrong = _found()
    return [each.place for each in found], [*wrong, *map(barred_fault, barred_nodes())]


def attached_names() -> list[str]:
    """Return what changes when a key comes or goes, one that may not be opened too; no card is touched."""
    usb = [str(each.path) for each in hid.list_descriptors()]  # type: ignore[no-untyped-call]
    return [*usb, *barred_nodes(), *(ask_readers(_present) if CARD_ERRORS else [])]


def _present() -> list[str]:
    """Name the readers with a card in them (SCardGetStatusChange)."""
    status, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if status != scard.SCARD_S_SUCCESS:  # then the context is whatever was in memory
        return []
    try:
        _, names = scard.SCardListReaders(context, [])
        _, states = scard.SCardGetStatusChange(
            context, 0, [(name, scard.SCARD_STATE_UNAWARE) for name in names if name.isascii()]
        )
        return [name for name, event, _ in states if event & scard.SCARD_STATE_PRESENT]
    finally:
        scard.SCardReleaseContext(context)


def ask_readers(call: Callable[[], list[T]]) -> list[T]:
    """Ask the smart card service, for as long as a key may take; where there is none, there are no readers."""
    deadline = Deadline()
    deadline.start(PROMPT)
    try:
        return deadline.wait(call)
    except CARD_ERRORS:
        return []


def device_nodes() -> list[str]:
    """Name the device nodes of FIDO keys on USB; sysfs tells of them to everybody."""
    found = []
    for report in sorted(SYSFS.glob("*/device/report_descriptor")):
        node = f"/dev/{report.parts[-3]}"
        try:
            parse_report_descriptor(report.read_bytes())
        except (*GARBLED, OSError):
            continue
        found.append(node)
    return found


def barred_nodes() -> list[str]:
    """Name those that this user may not open."""
    return [node for node in device_nodes() if not os.access(node, os.R_OK | os.W_OK)]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key and where it is, with what opens it within a deadline."""

    place: PluggedKey
    open: Callable[[Deadline], CtapDevice]


def _found() -> tuple[list[FoundKey], list[DeviceFault]]:
    usb = [_on_usb(each) for each in hid.list_descriptors()]  # type: ignore[no-untyped-call]
    # The reader of a key on USB has the key's own name; each key hides one such reader.
    names = [each.place.product for each in usb if each.place.product]
    cards, wrong = [], []
    for reader in _readers():
        own = next((name for name in names if str(reader).startswith(name)), None)
        if own:
            names.remove(own)
            continue
        try:
            if _speaks_fido(reader):
                cards.append(FoundKey(PluggedKey(where=str(reader), link=Link.PCSC), partial(_open_reader, reader)))
        except DeviceFault as fault:
            wrong.append(DeviceFault(f"{reader}: {fault}", fault.hint))
    return sorted(usb, key=lambda each: each.place.where) + cards, wrong


def _on_usb(descriptor: HidDescriptor) -> FoundKey:
    place = PluggedKey(
        where=str(descriptor.path),
        link=Link.HID,
        product=_word(descriptor.product_name),
        serial=_word(descriptor.serial_number),
    )
    return FoundKey(place, partial(_open_usb, descriptor))


def _readers() -> list[CardReader]:
    # pyscard does not open readers whose names have other letters.
    return [each for each in ask_readers(System.readers) if str(each).isascii()] if CARD_ERRORS else []


def _speaks_fido(reader: CardReader) -> bool:
    """Whether a FIDO key is in a reader. Raise DeviceFault for a card that another program holds, or a mute one."""
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


def find_key(wanted: str | None) -> FoundKey:
    """Return the key at a place or with a serial, or the only one.

    Raise DeviceFault when that is not clear: a serial may be on two keys.
    """
    keys, wrong = _found()
    found = [each for each in keys if wanted in (None, each.place.where, each.place.serial)]
    if not found:
        raise wrong[0] if wrong else _nothing(wanted)
    if len(found) > 1:
        places = ", ".join(each.place.where for each in found)
        raise DeviceFault(
            f"there are {len(found)} keys: {places}", "leave one plugged in, or name its place with --key"
        )
    return found[0]


def open_device(found: FoundKey) -> BoundedDevice:
    """Open a key. Raise what the libraries raise, or DeviceFault when it is mute."""
    deadline = Deadline()
    return BoundedDevice(found.place, found.open(deadline), deadline)


def _open_usb(descriptor: HidDescriptor, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    packets = _Packets(hid.open_connection(descriptor), deadline)  # type: ignore[no-untyped-call]
    try:
        return CtapHidDevice(descriptor, packets)
    except BaseException:  # Ctrl-C too: nobody else knows this connection to close it
        packets.close()
        raise


def _open_reader(reader: CardReader, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    card = _Card(reader.createConnection(), deadline)
    try:
        return CtapPcscDevice(card, str(reader))
    except BaseException:  # Ctrl-C too: nobody else knows this connection to close it
        with suppress(*CARD_ERRORS):
            card.disconnect()
        raise


def barred_fault(node: str) -> DeviceFault:
    """Say that there is a key which this user may not open."""
    return DeviceFault(
        f"there is a key, but {node} may not be opened",
        "install the udev rule (docs/security-keys.md) and plug the key in again",
    )


def _nothing(wanted: str | None) -> DeviceFault:
    if wanted in (hidden := barred_nodes()):
        return barred_fault(wanted)
    if wanted:
        return DeviceFault(f"there is no FIDO key {wanted}", "`mfa-kit key list` shows where keys are")
    if hidden:
        return barred_fault(", ".join(hidden))
    return DeviceFault(
        "there is no security key",
        "plug one in" if CARD_ERRORS else "plug one in; for NFC and smart card readers install 'mfa-kit[oath]'",
    )


def _word(text: object) -> str | None:
    return shortened(text) if text else None
