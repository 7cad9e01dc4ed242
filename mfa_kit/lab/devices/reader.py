"""Card readers that are not there: a pcscd of our own with Debian's vpcd drivers, for cards of this process.

It lives in a mount namespace, where /run is a private folder, so that it meets no other pcscd and no polkit, and no
driver of a real reader is seen, and in a network namespace, for vpcd listens on all addresses and asks nobody who they
are. So any number of them run beside each other and beside the system's, which is never touched. Linux and root only.
"""

import ctypes
import fcntl
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.lab.devices.apdu import Pulled

DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
DRIVERS = Path("/usr/lib/pcsc/drivers")
RUN = Path("/run")
# Each namespace has all ports for itself. A reader's second slot listens on the next one.
PORT = 0x8C7B
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
POWER_ON, GET_ATR = 1, 4
# pcsclite.h, MAX_READERNAME and PCSCLITE_MAX_READERS_CONTEXTS; a reader here has two slots, told apart by " 00 00".
LONGEST_NAME, MOST = 120, 8
START, TICK = 20.0, 0.05
# Seconds that pcscd has to end; one whose driver waits for a card that is gone never does.
END = 5.0
# Seconds until the driver looks at a card, twice what pcscd's polling takes; it looks twice before it powers one.
NOTICED, UNNOTICED = 0.9, 3
YUBIKEY = "Yubico YubiKey OTP+FIDO+CCID"
# The folder is entered first, for it may be in what is hidden then.
INSIDE = """
cd "$1" && mount --bind drivers "$3" && mount --bind run "$2" &&
exec setpriv --pdeathsig TERM pcscd --foreground $4 --config "$2/readers"
"""


class SimulatedCard(Protocol):
    """What can be put into a reader: octets in and octets out, and whether it is still there."""

    atr: bytes
    gone: threading.Event
    powered: threading.Event

    def power(self) -> None: ...

    def answer(self, octets: bytes) -> bytes: ...


@dataclass
class OccupiedReader:
    """A reader with a card in it, and the wire between them; `looks`: how often it was seen and not yet powered."""

    card: SimulatedCard
    looks: int = 0
    wire: socket.socket | None = None
    thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Readers:
    """`with Readers() as readers: readers.insert(Card()); readers.env` while real PC/SC clients see the card."""

    def __init__(self, names: Sequence[str] = (YUBIKEY,), *, polkit: bool = False) -> None:
        self.names, self.polkit = names, polkit
        self._seats: dict[int, OccupiedReader] = {}

    def __enter__(self) -> Self:
        _can_start()
        _can_be(self.names)
        # Named before it is made, so that a signal finds it whenever it comes.
        self.folder = Path(tempfile.gettempdir(), f"mfa-kit-pcsc-{secrets.token_hex(4)}")
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self.folder.mkdir(0o700)
        self.folder.chmod(0o755)
        for name in ("run/pcscd", "run/readers", "drivers"):
            (self.folder / name).mkdir(parents=True)
        for number, name in enumerate(self.names):
            # One driver has one reader, so each gets a copy of its own.
            shutil.copy(DRIVER, self.folder / "drivers" / f"{number}.so")
            (self.folder / "run" / "readers" / f"{number}").write_text(
                f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:{PORT + 2 * number:#x}\n'
                f"LIBPATH {DRIVERS / f'{number}.so'}\nCHANNELID {PORT + 2 * number:#x}\n",
                "utf-8",
            )
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - fixed words and our own paths
                [
                    *("/usr/bin/unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", INSIDE, "sh"),
                    *(str(self.folder), str(RUN), str(DRIVERS), "" if self.polkit else "--disable-polkit"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "log").read_text("utf-8", "replace").strip().splitlines()
                raise DeviceFault(
                    f"the private pcscd did not start: {said[0] if said else 'it said nothing'}",
                    "namespaces need root, and a container needs the capability SYS_ADMIN",
                )
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "pcscd" / "pcscd.comm"

    @property
    def env(self) -> dict[str, str]:
        """What a PC/SC client has to have in its environment."""
        return {"PCSCLITE_CSOCK_NAME": str(self.socket)}

    def insert(self, card: SimulatedCard, reader: int = 0) -> None:
        """Put a card in, and return when pcscd has powered it, within half a second."""
        # Of a card that was pulled in the middle of an exchange pcscd may not notice that it went: then it looks at the
        # next one without powering it, and wants to see none in between. One that it has not looked at so often is
        # left in, for it may be powering it now.
        last = time.monotonic() + START
        while time.monotonic() < last:
            card.powered.clear()
            seat = self._connect(card, reader)
            until = time.monotonic() + NOTICED
            while seat.alive and seat.looks < UNNOTICED and time.monotonic() < (last if seat.looks else until):
                if card.powered.wait(TICK):
                    return
            self.remove(reader)
            time.sleep(TICK)
        raise DeviceFault("the virtual reader takes no card", "see whether pcscd still runs")

    def _connect(self, card: SimulatedCard, reader: int) -> OccupiedReader:
        card.gone.clear()
        seat = OccupiedReader(card)
        there = threading.Event()

        def live() -> None:
            with suppress(OSError, Pulled):
                try:
                    seat.wire = _connected(self.process.pid, PORT + 2 * reader)
                finally:
                    there.set()
                with seat.wire:
                    _serve(seat, seat.wire)

        seat.thread = threading.Thread(target=live, daemon=True, name=f"card in reader {reader}")
        seat.thread.start()
        there.wait()
        self._seats[reader] = seat
        return seat

    def swap(self, card: SimulatedCard, reader: int = 0) -> bool:
        """Put another card in the place of one, unnoticed until its next power-up. False where none is in."""
        seat = self._seats.get(reader)
        if seat is None or not seat.alive:
            return False
        seat.card.gone.set()
        card.gone.clear()
        card.power()
        seat.card = card
        return True

    def remove(self, reader: int = 0) -> None:
        """Pull a card, in the middle of an exchange too; harmless where none is in."""
        seat = self._seats.pop(reader, None)
        if seat is None or seat.wire is None or seat.thread is None:
            return
        seat.card.gone.set()
        with suppress(OSError):
            seat.wire.shutdown(socket.SHUT_RDWR)
        seat.thread.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            for reader in list(self._seats):
                self.remove(reader)
        finally:
            self._end()

    def _end(self) -> None:
        """End pcscd and take its folder away, at a second Ctrl-C too."""
        try:
            if hasattr(self, "process"):
                self.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(END)
        finally:
            if hasattr(self, "process"):
                self.process.kill()
                self.process.wait()
            with suppress(FileNotFoundError):
                shutil.rmtree(self.folder)


def _can_start() -> None:
    """Raise DeviceFault that says what a private pcscd lacks here."""
    if sys.platform != "linux" or os.geteuid():
        raise DeviceFault("virtual readers need Linux and root", "run it as root, in a container for instance")
    lacks = [str(DRIVER)] if not DRIVER.exists() else []
    lacks += [program for program in ("pcscd", "unshare", "setpriv") if not shutil.which(program)]
    if lacks:
        raise DeviceFault(
            f"virtual readers need {', '.join(lacks)}",
            "apt-get install --no-install-recommends pcscd vsmartcard-vpcd, then rm /etc/reader.conf.d/vpcd, "
            "for that reader listens on all addresses",
        )


def _can_be(names: Sequence[str]) -> None:
    """Raise UsageFault for names of readers that pcscd does not take; it has places for 16 slots."""
    for name in names:
        if not 0 < len(name.encode()) <= LONGEST_NAME or '"' in name or not name.strip() or "\n" in name:
            raise UsageFault(
                f"a reader cannot be called {name!r}", f"use 1 to {LONGEST_NAME} letters, without quotation marks"
            )
    if not 0 < len(names) <= MOST:
        raise UsageFault(f"there cannot be {len(names)} readers", f"name 1 to {MOST}")


def _connected(process: int, port: int) -> socket.socket:
    """Connect within a process's network namespace; only the calling thread moves there (setns(2))."""
    with Path(f"/proc/{process}/ns/net").open("rb") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    wire = socket.socket()
    fcntl.ioctl(wire, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    wire.connect(("127.0.0.1", port))
    return wire


def _serve(seat: OccupiedReader, wire: socket.socket) -> None:
    """Speak vpcd's protocol: two octets of length, then one octet of control or a command APDU."""
    while True:
        message = _read(wire, int.from_bytes(_read(wire, 2)))
        card = seat.card
        if len(message) > 1:
            reply = card.answer(message)
        elif message[0] == GET_ATR:
            reply = card.atr
            seat.looks += not card.powered.is_set()
        else:
            card.power()
            if message[0] == POWER_ON:
                card.powered.set()
            continue
        wire.sendall(len(reply).to_bytes(2) + reply)


def _read(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        # Without it the kernel delays its acknowledgement, and each APDU takes 40 ms.
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = wire.recv(size - len(data))
        if not part:
            raise Pulled
        data += part
    return data
