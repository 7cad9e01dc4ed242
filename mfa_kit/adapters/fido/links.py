"""How a key is found, opened and waited for: USB HID and PC/SC. Every packet and APDU has a deadline."""

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fido2 import hid
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.hid import CTAPHID, CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor, parse_report_descriptor

from mfa_kit.adapters.fido.faults import CARD_ERRORS, GARBLED, card_lost, cut, is_held
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
            raise self.told()
        box: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def run() -> None:
            try:
                box.put((True, call()))
            except BaseException as error:  # noqa: BLE001 - it is raised again by who waits
                box.put((False, error))

        threading.Thread(target=run, daemon=True).start()
        while True:
            try:
                done, value = box.get(timeout=max(0.0, min(TICK, self._end - time.monotonic())))
            except queue.Empty:
                self.tick()
                if time.monotonic() >= self._end:
                    self.mute = True
                    raise self.told() from None
            else:
                if done:
                    answer: T = value
                    return answer
                raise value

    def told(self) -> DeviceFault:
        return Lost("the key does not answer", "unplug it, plug it in again and repeat the command")


class _Packets(CtapHidConnection):
    """python-fido2's packet connection, with a deadline to each read."""

    def __init__(self, inner: CtapHidConnection, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._channel = b""

    def read_packet(self) -> bytes:
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
        self._channel = data[:4]
        self._inner.write_packet(data)

    def close(self) -> None:
        # Whoever is stuck in a read must not wake up on a file that has since got the same number.
        if not self._deadline.mute:
            self._inner.close()


class _Card:
    """pyscard's connection, with a deadline to each call; it leaves the card powered for others."""

    def __init__(self, inner: Any, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def connect(self) -> None:
        self._deadline.wait(lambda: self._inner.connect(disposition=scard.SCARD_LEAVE_CARD))

    def transmit(self, apdu: Sequence[int], protocol: int | None = None) -> tuple[list[int], int, int]:
        answer: tuple[list[int], int, int] = self._deadline.wait(lambda: self._inner.transmit(apdu, protocol))
        return answer

    def disconnect(self) -> None:
        if not self._deadline.mute:
            self._inner.disconnect()


class Device(CtapDevice):
    """A device whose calls end. It has no `connect`: python-fido2 would use that to send a PIN a second time."""

    def __init__(self, place: PluggedKey, inner: CtapDevice, deadline: Deadline) -> None:
        self.place = place
        self.deadline = deadline
        # Called before each request that may wait for a finger.
        self.finger: Callable[[], None] = lambda: None
        self._inner = inner

    @property
    def capabilities(self) -> int:
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
        finger = (_wants_finger if cmd == CTAPHID.CBOR else _wants_finger_u2f)(data)
        if finger:
            self.finger()
        # U2F answers at once that there is no finger, and is asked again.
        self.deadline.start(TOUCH + SLACK if finger and cmd == CTAPHID.CBOR else PROMPT)
        self.deadline.tick()
        return self._inner.call(cmd, data, event, on_keepalive)

    def close(self) -> None:
        self._inner.close()

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
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


def plugged() -> tuple[list[PluggedKey], list[DeviceFault]]:
    """Return the keys that can be opened, and what is wrong with others.

    A key that is seen on USB and in a reader is listed once, on USB.
    """
    found, wrong = _found()
    return [each for each, _ in found], [*wrong, *map(barred, out_of_reach())]


def state() -> list[str]:
    """Return what changes when a key comes or goes, one that may not be opened too; no card is touched."""
    usb = [str(each.path) for each in hid.list_descriptors()]  # type: ignore[no-untyped-call]
    return [*usb, *out_of_reach(), *(within(_present) if CARD_ERRORS else [])]


def _present() -> list[str]:
    """Name the readers with a card in them (SCardGetStatusChange)."""
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    try:
        _, names = scard.SCardListReaders(context, [])
        _, states = scard.SCardGetStatusChange(
            context, 0, [(name, scard.SCARD_STATE_UNAWARE) for name in names if name.isascii()]
        )
        return [name for name, event, _ in states if event & scard.SCARD_STATE_PRESENT]
    finally:
        scard.SCardReleaseContext(context)


def within(call: Callable[[], list[T]]) -> list[T]:
    """Ask the smart card service, for as long as a key may take; where there is none, there are no readers."""
    deadline = Deadline()
    deadline.start(PROMPT)
    try:
        return deadline.wait(call)
    except CARD_ERRORS:
        return []


def nodes() -> list[str]:
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


def out_of_reach() -> list[str]:
    """Name those that this user may not open."""
    return [node for node in nodes() if not os.access(node, os.R_OK | os.W_OK)]


def _found() -> tuple[list[tuple[PluggedKey, Any]], list[DeviceFault]]:
    usb: list[tuple[PluggedKey, Any]] = [
        (
            PluggedKey(
                where=str(each.path),
                link=Link.HID,
                product=_word(each.product_name),
                serial=_word(each.serial_number),
            ),
            each,
        )
        for each in hid.list_descriptors()  # type: ignore[no-untyped-call]
    ]
    # The reader of a key on USB has the key's own name; each key hides one such reader.
    names = [each.product for each, _ in usb if each.product]
    cards, wrong = [], []
    for reader in _readers():
        own = next((name for name in names if str(reader).startswith(name)), None)
        if own:
            names.remove(own)
            continue
        try:
            if _speaks_fido(reader):
                cards.append((PluggedKey(where=str(reader), link=Link.PCSC), reader))
        except DeviceFault as fault:
            wrong.append(DeviceFault(f"{reader}: {fault}", fault.hint))
    return sorted(usb, key=lambda pair: pair[0].where) + cards, wrong


def _readers() -> list[Any]:
    # pyscard does not open readers whose names have other letters.
    return [each for each in within(System.readers) if str(each).isascii()] if CARD_ERRORS else []


def _speaks_fido(reader: Any) -> bool:
    """Whether a FIDO key is in a reader. Raise DeviceFault for a card that another program holds, or a mute one."""
    deadline = Deadline()
    try:
        _open_reader(reader, deadline).close()
    except CARD_ERRORS as error:
        if is_held(error):
            raise card_lost(error) from None
        return False
    except NO_KEY:
        return False
    return True


def the_one(wanted: str | None) -> tuple[PluggedKey, Any]:
    """Return the key at a place or with a serial, or the only one, and what opens it.

    Raise DeviceFault when that is not clear: a serial may be on two keys.
    """
    keys, wrong = _found()
    found = [(each, handle) for each, handle in keys if wanted in (None, each.where, each.serial)]
    if not found:
        raise wrong[0] if wrong else _nothing(wanted)
    if len(found) > 1:
        places = ", ".join(each.where for each, _ in found)
        raise DeviceFault(
            f"there are {len(found)} keys: {places}", "leave one plugged in, or name its place with --key"
        )
    return found[0]


def open_device(place: PluggedKey, handle: Any) -> Device:
    deadline = Deadline()
    return Device(place, (_open_usb if place.link is Link.HID else _open_reader)(handle, deadline), deadline)


def _open_usb(descriptor: HidDescriptor, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    packets = _Packets(hid.open_connection(descriptor), deadline)  # type: ignore[no-untyped-call]
    try:
        return CtapHidDevice(descriptor, packets)
    except BaseException:
        packets.close()
        raise


def _open_reader(reader: Any, deadline: Deadline) -> CtapDevice:
    deadline.start(PROMPT)
    card = _Card(reader.createConnection(), deadline)
    try:
        return CtapPcscDevice(card, str(reader))
    except BaseException:
        with suppress(*CARD_ERRORS):
            card.disconnect()
        raise


def barred(node: str) -> DeviceFault:
    """Say that there is a key which this user may not open."""
    return DeviceFault(
        f"there is a key, but {node} may not be opened",
        "install the udev rule (docs/security-keys.md) and plug the key in again",
    )


def _nothing(wanted: str | None) -> DeviceFault:
    if wanted in (hidden := out_of_reach()):
        return barred(wanted)
    if wanted:
        return DeviceFault(f"there is no FIDO key {wanted}", "`mfa-kit key list` shows where keys are")
    if hidden:
        return barred(", ".join(hidden))
    return DeviceFault(
        "there is no security key",
        "plug one in" if CARD_ERRORS else "plug one in; for NFC and smart card readers install 'mfa-kit[oath]'",
    )


def _word(text: object) -> str | None:
    return cut(text) if text else None
