"""Virtual card readers for simulated cards: a private pcscd with Debian's vpcd drivers. Needs Linux and root.

This pcscd runs in a mount namespace with a private /run and private drivers, so it finds no other pcscd, no polkit and
no real reader. It also runs in a network namespace, because vpcd listens on all addresses without authentication.
Several such pcscds can run at once, and they never affect the system's pcscd. setns(2), netdevice(7)
"""

import ctypes
import fcntl
import platform
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
from mfa_kit.posix.card_readers import listens
from mfa_kit.posix.processes import is_root

if sys.platform == "win32":
    raise ImportError("not on Windows")

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def connect_within(process: int, port: int) -> socket.socket:
    """Connect to a port on the loopback interface of a process's network namespace, and bring this interface up.

    The calling thread enters this namespace and stays in it; other threads do not (setns(2)). Raise OSError if the
    connection fails.
    """
    with Path(f"/proc/{process}/ns/net").open("rb") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    wire = socket.socket()
    fcntl.ioctl(wire, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    wire.connect(("127.0.0.1", port))
    return wire


DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
DRIVERS = Path("/usr/lib/pcsc/drivers")
RUN = Path("/run")
# The port of the first reader's first slot. The second slot of a reader listens on the next port. All labs can use
# the same ports, because each lab has its own network namespace.
PORT = 0x8C7B
POWER_ON, GET_ATR = 1, 4
# The maximum length of a reader's name, and the maximum number of readers. pcscd appends a number such as " 00 00" to
# each name and limits the result to MAX_READERNAME. It limits the number of slots to PCSCLITE_MAX_READERS_CONTEXTS
# (pcsclite.h), and each reader here has two slots.
LONGEST_NAME, MOST = 120, 8
# START is the time in seconds to wait until pcscd has started, or has powered a card. TICK is the time in seconds
# between two checks whether pcscd has powered a card.
START, TICK = 20.0, 0.05
# How many seconds to wait until pcscd exits, before it is killed. pcscd never exits while its driver waits for a card
# that was removed.
END = 5.0
# NOTICED is the time in seconds within which pcscd sees a new card: twice its polling interval. pcscd asks a new card
# twice for its ATR, and then powers it. If pcscd has asked UNNOTICED times and not powered the card, it takes the card
# for an earlier one.
NOTICED: float = 0.9
UNNOTICED: int = 3
YUBIKEY = "Yubico YubiKey OTP+FIDO+CCID"
# The script that runs in the new namespaces. It changes to the folder $1 first, because a mount may hide this folder.
INSIDE = """
cd "$1" && mount --bind drivers "$3" && mount --bind run "$2" &&
exec setpriv --pdeathsig TERM pcscd --foreground $4 --config "$2/readers"
"""


class SimulatedCard(Protocol):
    """The interface of a card that can be inserted into a virtual reader.

    The reader sets `gone` when it removes the card, and `powered` when pcscd has powered the card.
    """

    atr: bytes
    gone: threading.Event
    powered: threading.Event

    def power(self) -> None:
        """Discard the state of the last session, as a card does when it is powered up or reset."""
        ...

    def answer(self, octets: bytes) -> bytes:
        """Return the response to a command APDU. Raise Pulled if the card is pulled out of the reader meanwhile."""
        ...


@dataclass
class OccupiedReader:
    """A reader with a card in it. `wire` connects the card to pcscd, and `thread` answers for the card.

    `looks` counts how often pcscd asked for the card's ATR before it powered the card.
    """

    card: SimulatedCard
    looks: int = 0
    wire: socket.socket | None = None
    thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the card still answers."""
        return self.thread is not None and self.thread.is_alive()


class Readers:
    """Virtual readers with the given names, in a private pcscd.

    With `polkit`, this pcscd asks polkit for permission, and refuses every client because it cannot reach polkit.
    Usage: `with Readers() as readers: readers.insert(card)`. PC/SC clients need the environment `readers.env`.
    """

    def __init__(self, names: Sequence[str] = (YUBIKEY,), *, polkit: bool = False) -> None:
        self.names: Sequence[str] = names
        self.polkit = polkit
        self._seats: dict[int, OccupiedReader] = {}

    def __enter__(self) -> Self:
        _check_requirements()
        _check_names(self.names)
        # The name is set before the folder is made, so that __exit__ can remove the folder even if a signal arrives
        # in between.
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
            # A driver serves only one reader, so each reader gets a copy of the driver.
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
                lines = (self.folder / "log").read_text("utf-8", "replace").strip().splitlines()
                raise DeviceFault(
                    f"the private pcscd did not start: {lines[0] if lines else 'it printed nothing'}",
                    "run the command as root; a container also needs the capability SYS_ADMIN",
                )
            time.sleep(0.01)

    def _listens(self) -> bool:
        return listens(str(self.socket))

    @property
    def socket(self) -> Path:
        """The socket of the private pcscd."""
        return self.folder / "run" / "pcscd" / "pcscd.comm"

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes a PC/SC client use the private pcscd."""
        return {"PCSCLITE_CSOCK_NAME": str(self.socket)}

    def insert(self, card: SimulatedCard, reader: int = 0) -> None:
        """Insert a card, and wait until pcscd has powered it, which takes about half a second.

        Raise DeviceFault if pcscd does not power the card within START seconds.
        """
        # If a card is pulled in the middle of an exchange, pcscd may not notice. It then takes the next card for the
        # pulled one, and does not power it until the reader was empty for a while. So a card that pcscd does not power
        # is removed and inserted again. Once pcscd has asked for the ATR, this waits for UNNOTICED requests, because
        # after fewer requests pcscd may be about to power the card.
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
        raise DeviceFault("the virtual reader accepts no card", "check whether pcscd is still running")

    def _connect(self, card: SimulatedCard, reader: int) -> OccupiedReader:
        card.gone.clear()
        seat = OccupiedReader(card)
        connection_attempted = threading.Event()

        def run() -> None:
            with suppress(OSError, Pulled):
                try:
                    seat.wire = connect_within(self.process.pid, PORT + 2 * reader)
                finally:
                    connection_attempted.set()
                with seat.wire:
                    _serve(seat, seat.wire)

        seat.thread = threading.Thread(target=run, daemon=True, name=f"card in reader {reader}")
        seat.thread.start()
        connection_attempted.wait()
        self._seats[reader] = seat
        return seat

    def swap(self, card: SimulatedCard, reader: int = 0) -> bool:
        """Replace the card in a reader. Return True, or False if the reader is empty or has a card with another ATR.

        pcscd does not notice the new card, because it reads the ATR only when it powers a card.
        """
        seat = self._seats.get(reader)
        if seat is None or not seat.alive or seat.card.atr != card.atr:
            return False
        seat.card.gone.set()
        card.gone.clear()
        card.power()
        seat.card = card
        return True

    def remove(self, reader: int = 0) -> None:
        """Remove the card, even in the middle of an exchange. Do nothing for an empty reader."""
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
        """Stop pcscd and remove its folder. If a second Ctrl-C interrupts the wait for pcscd, kill it."""
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


def _check_requirements() -> None:
    """Raise DeviceFault if this computer lacks something that a private pcscd needs."""
    if platform.system() != "Linux" or not is_root():
        raise DeviceFault("virtual readers need Linux and root", "run the command as root, for instance in a container")
    lacks = [str(DRIVER)] if not DRIVER.exists() else []
    lacks += [program for program in ("pcscd", "unshare", "setpriv") if not shutil.which(program)]
    if lacks:
        raise DeviceFault(
            f"virtual readers need {', '.join(lacks)}",
            "install them: apt-get install --no-install-recommends pcscd vsmartcard-vpcd; then remove "
            "/etc/reader.conf.d/vpcd, because the reader in that file listens on all addresses",
        )


def _check_names(names: Sequence[str]) -> None:
    """Raise UsageFault for a name that pcscd would refuse, and if there are no names or more than MOST."""
    for name in names:
        if not 0 < len(name.encode()) <= LONGEST_NAME or '"' in name or not name.strip() or "\n" in name:
            raise UsageFault(
                f"invalid reader name: {name!r}",
                f"use 1 to {LONGEST_NAME} octets in UTF-8, without quotation marks and line breaks",
            )
    if not 0 < len(names) <= MOST:
        raise UsageFault(f"{len(names)} readers cannot be simulated", f"give 1 to {MOST} names")


def _serve(seat: OccupiedReader, wire: socket.socket) -> None:
    """Answer vpcd's messages. Raise Pulled or OSError when the card is removed.

    A message is two octets of length, then a control octet or a command APDU.
    """
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
        if sys.platform == "linux":
            # Without this, the kernel delays its acknowledgement and each APDU takes 40 ms.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = wire.recv(size - len(data))
        if not part:
            raise Pulled
        data += part
    return data
