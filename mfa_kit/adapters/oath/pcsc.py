"""Uses PC/SC with time limits, and converts errors of PC/SC and yubikit to DeviceFault.

Cards are opened only with pyscard and yubikit, because ykman's device classes end GnuPG's scdaemon if it uses the card.
Control characters are removed from reader names before the names are shown. A call may hang, so waiting for it has a
time limit, and a signal can interrupt the wait.
"""

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import ClassVar, TypeVar

from smartcard import scard
from smartcard.CardConnection import CardConnection
from smartcard.Exceptions import CardConnectionException, NoCardException, SmartcardException
from smartcard.pcsc.PCSCCardConnection import PCSCCardConnection
from smartcard.pcsc.PCSCExceptions import BaseSCardException
from smartcard.System import readers as pcsc_readers
from yubikit.core import TRANSPORT, ApplicationNotAvailableError, CommandError, NotSupportedError
from yubikit.core.smartcard import ApduError, SmartCardConnection

from mfa_kit.core.errors import DeviceFault, InUse, NoApplet
from mfa_kit.core.message import Message, ShellText, command, suggest
from mfa_kit.core.stopping import INTERRUPTS, put_outcome
from mfa_kit.core.text import without_controls
from mfa_kit.posix.card_readers import CardReader, card_readers, listens, opened, readers_in_use
from mfa_kit.posix.processes import processes_with

T = TypeVar("T")

# Seconds to wait for the last call of a thread, and for an interrupted call after the end of its time limit.
LAST = 6.0


class DeadlineThread:
    """A thread for calls that may hang. Waiting for a call has a time limit. Ctrl-C ends the wait, but not the call."""

    # Threads with an interrupted call that is still running. A thread whose call reached its time limit is not in the
    # list. The whole process shares the list, because an interrupted call keeps its card busy for the whole process.
    stuck: ClassVar[list["DeadlineThread"]] = []

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = self._mute = False
        self._until = 0.0
        self.thread = threading.Thread(target=self._work, daemon=True, name="pcsc")
        self.thread.start()

    def _work(self) -> None:
        while job := self._jobs.get():
            job()
            del job

    def call(self, act: Callable[[], T], *, seconds: float, tick: Callable[[float], None] = lambda _: None) -> T:
        """Call `act` in the thread and return its result.

        Raise TimeoutError after `seconds` seconds. `tick` is called once per second with the remaining seconds.
        """
        answer = Future[T]()
        self._jobs.put(partial(put_outcome, act, answer))
        until = self._until = time.monotonic() + seconds
        self._busy = True
        while (remaining_seconds := until - time.monotonic()) > 0:
            INTERRUPTS.check()
            if wait([answer], min(remaining_seconds, 1)).done:
                self._busy = False
                return answer.result()
            tick(until - time.monotonic())
        self._mute = True
        raise TimeoutError

    def await_stuck(self) -> bool:
        """Wait for an interrupted call, at most until LAST seconds after its time limit. Return whether it ended."""
        self.thread.join(max(0.0, self._until - time.monotonic()) + LAST)
        return not self.thread.is_alive()

    def close(self, act: Callable[[], None]) -> None:
        """End the thread after a last call, `act`. Wait up to LAST seconds, unless an earlier call hangs."""
        self._jobs.put(partial(put_outcome, act, Future[None]()))
        self._jobs.put(None)
        if not self._busy:
            self.thread.join(LAST)
        elif not self._mute:
            DeadlineThread.stuck.append(self)


# The time limit, in seconds, for one command with all parts of its response.
COMMAND = 6.0
# The maximum length of a response in octets. The list of 255 credentials with the longest names takes less than a third
# of it.
LONGEST_ANSWER = 1 << 16
SEND_REMAINING = {0xA5, 0xC0}
# The instructions whose responses contain data: SELECT and CALCULATE ALL (both A4), READ CONFIG of the management
# applet, LIST, CALCULATE, VALIDATE, and those that request the rest of a response.
WITH_DATA = {0xA4, 0x1D, 0xA1, 0xA2, 0xA3, *SEND_REMAINING}
MORE = 0x61
# How many times in a row another program may reset the card before mfa-kit gives up.
RESETS = 5
# PC/SC status codes (pcsclite.h).
REFUSED, HELD, RESET, UNRESPONSIVE = 0x8010006A, 0x8010000B, 0x80100068, {0x80100066, 0x80100067}
# The status codes for a card that is gone: no card, unknown reader, reader unavailable, removed, invalid handle,
# transaction failed, communication error, and protocol mismatch, because a card that was removed and inserted again has
# no protocol yet. pyscard reports an incomplete response with status 0.
GONE = {0x8010000C, 0x80100009, 0x80100017, 0x80100069, 0x80100003, 0x80100016, 0x8010002F, 0x8010000F, 0}
# A contactless reader constructs an ATR whose second octet has this value in its high half (PC/SC part 3, 3.1.3.2.3).
CONTACTLESS = 0x80
REPLUG = "unplug it, plug it in again and try again"
# The socket of Linux's smart card service, pcscd(8).
PCSCD = "/run/pcscd/pcscd.comm"

# pyscard's errors derive from two classes with no common base class.
SCARD = (SmartcardException, BaseSCardException)
# The errors that yubikit's parsers raise for a malformed response.
NONSENSE = (CommandError, NotSupportedError, ValueError, LookupError, TypeError, struct.error)


def with_le(apdu: bytes, *, t0: bool = False) -> bytes:
    """Return the command with Le added (ISO 7816-4, 5.1), if its response contains data.

    yubikit omits Le, and CanoKey's firmware then sends no data. The result is always a short APDU, because the data is
    never too long for it. With T=0, a command with data cannot have Le (ISO 7816-3, 12.2.5).
    """
    if apdu[1] not in WITH_DATA:
        return apdu
    body = apdu[4:]
    if body.startswith(b"\0\0"):  # an extended Lc
        body = body[2:]
    lacks_le = not body if t0 else not body or 1 < len(body) == 1 + body[0]
    return apdu[:4] + body + b"\0" * lacks_le


class Wire(SmartCardConnection):
    """A connection to the card in a reader, in PC/SC's shared mode. yubikit uses it to send commands with pyscard.

    The connection holds a PC/SC transaction, so that other programs wait and cannot select another applet. Set
    `unlocked` before a command that lets the card accept commands that need a password: the card is then reset at the
    end. Otherwise it is left as it is, because a reset would end the sessions of other programs.
    """

    def __init__(self, reader: str) -> None:
        self.reader, self.exchanges, self.unlocked = reader, 0, False
        self._thread = DeadlineThread()
        self._card: PCSCCardConnection | None = None
        self._limit, self._tick = COMMAND, lambda _: None
        self._until, self._octets = 0.0, 0
        self._t0 = False
        try:
            self._transport = self._thread.call(self._open, seconds=COMMAND)
        except BaseException:
            # Close the connection on any exception, including Ctrl-C, because the caller has no reference to it yet.
            self.close()
            raise

    def _open(self) -> TRANSPORT:
        self._card = PCSCCardConnection(self.reader)
        opened.append(self.reader)
        self._card.connect(disposition=scard.SCARD_LEAVE_CARD)
        status = RESET
        for _ in range(RESETS):
            status = scard.SCardBeginTransaction(self._card.hcard)
            if status & 0xFFFFFFFF != RESET:
                break
            # Another program reset the card when it ended its session, as programs usually do. Connect again.
            scard.SCardReconnect(
                self._card.hcard,
                scard.SCARD_SHARE_SHARED,
                scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1,
                scard.SCARD_LEAVE_CARD,
            )
        if status != scard.SCARD_S_SUCCESS:
            raise CardConnectionException("no transaction", hresult=status)
        self._t0 = self._card.getProtocol() == CardConnection.T0_protocol
        atr = self._card.getATR()
        return TRANSPORT.NFC if len(atr) > 1 and atr[1] & 0xF0 == CONTACTLESS else TRANSPORT.USB

    @property
    def transport(self) -> TRANSPORT:
        """The transport of the key: NFC for a contactless reader, and USB for any other reader."""
        return self._transport

    @contextmanager
    def waiting(self, seconds: float, tick: Callable[[float], None]) -> Iterator[None]:
        """Allow the commands in this context more time, because the user has to act.

        `tick` is called once per second with the remaining seconds.
        """
        self._limit, self._tick = seconds, tick
        try:
            yield
        finally:
            self._limit, self._tick = COMMAND, lambda _: None

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Send a command. Return the data and the status word of its response.

        Raise TimeoutError or pyscard's errors if the command fails. Raise DeviceFault if the response is too long, or
        if a later part of it is empty but says that more data follows.
        """
        if apdu[1] not in SEND_REMAINING:
            self._until, self._octets = time.monotonic() + self._limit, 0
        card = self._card
        assert card is not None  # noqa: S101 - _open has set it
        seconds = self._until - time.monotonic()
        if self._octets > LONGEST_ANSWER:
            raise self._endless()
        self.exchanges += 1
        command = list(with_le(apdu, t0=self._t0))
        data, sw1, sw2 = self._thread.call(lambda: card.transmit(command), seconds=seconds, tick=self._tick)
        if apdu[1] in SEND_REMAINING and sw1 == MORE and not data:
            raise self._endless()
        self._octets += len(data)
        return bytes(data), sw1 << 8 | sw2

    def _endless(self) -> DeviceFault:
        return DeviceFault(f"the key in {without_controls(self.reader)} sends an endless answer", REPLUG)

    def close(self) -> None:
        """Disconnect from the card after its last command has ended."""
        self._thread.close(self._hang_up)

    def _hang_up(self) -> None:
        """Disconnect. Reset the card if it may be unlocked, so that no other program finds it unlocked.

        pyscard's __del__ then has nothing left to do.
        """
        card = self._card
        if card is not None:
            if self.unlocked:
                card.disposition = scard.SCARD_RESET_CARD
            for act in (card.disconnect, card.release):
                with suppress(SmartcardException):
                    act()
            card.hcontext = None
            opened.remove(self.reader)


@contextmanager
def card_faults(reader: str) -> Iterator[None]:
    """Convert errors of PC/SC and yubikit to DeviceFault, whose message contains no APDU and no secret."""
    name = without_controls(reader)
    try:
        yield
    except TimeoutError:
        raise DeviceFault(f"the key in {name} does not answer", f"{REPLUG}{_holders()}") from None
    except NoCardException:
        raise DeviceFault(f"the key in {name} was removed", "plug it in and try again") from None
    except SCARD as error:
        raise _pcsc(name, error.hresult & 0xFFFFFFFF) from None
    except ApplicationNotAvailableError:
        raise NoApplet(f"the card in {name} has no OATH applet", "use a key that has the OATH applet") from None
    except ApduError as error:
        raise DeviceFault(f"the key in {name} refused the command with status {error.sw:04x}", REPLUG) from None
    except NONSENSE as error:
        raise DeviceFault(f"the key in {name} sent an invalid answer ({type(error).__name__})", REPLUG) from None


def _pcsc(name: str, status: int) -> DeviceFault:
    if status in GONE:
        return DeviceFault(f"the key in {name} was removed", "plug it in and try again")
    if status == HELD:
        return in_use_fault(name)
    if status == REFUSED:
        return DeviceFault(
            f"polkit does not allow this session to use the key in {name}",
            suggest(
                "work at the computer itself, or allow org.debian.pcsc-lite.access_card in polkit; see",
                "help keys/oath-keys",
            ),
        )
    if status == RESET:
        return DeviceFault(f"another program reset the key in {name}", f"close that program and try again{_holders()}")
    if status in UNRESPONSIVE:
        return DeviceFault(f"the card in {name} does not answer", REPLUG)
    return DeviceFault(f"PC/SC cannot reach the key in {name}: {_message(status)}", REPLUG)


def in_use_fault(reader: str) -> InUse:
    """Return the error for a card that another program has open."""
    holders = _holders() or "; it may be GnuPG's scdaemon, a browser or Yubico Authenticator"
    return InUse(
        f"the card in {without_controls(reader)} is in use by another program",
        f"close that program and try again{holders}",
    )


def _message(status: int) -> str:
    """Return PC/SC's own message for a status code."""
    return str(scard.SCardGetErrorMessage(status)).rstrip(".")


def _holders() -> str:
    """Return a text that names the other programs that use PC/SC, as far as this user can see them."""
    programs = sorted(f"{without_controls(name)} (process {number})" for number, name in processes_with("libpcsclite"))
    return f"; programs using smart cards now: {', '.join(programs)}" if programs else ""


def reader_states() -> list[CardReader]:
    """Return the state of each reader, or an empty list if PC/SC is not available. No command is sent to a card."""
    return _ask(card_readers)


def busy_readers() -> list[str]:
    """Return the names of the readers whose cards only other programs have open. No command is sent to a card."""
    return _ask(readers_in_use)


def _ask(call: Callable[[], list[T]]) -> list[T]:
    """Make a call to PC/SC. Return its list, or an empty list if it fails or does not end within COMMAND."""
    thread = DeadlineThread()
    try:
        return thread.call(call, seconds=COMMAND)
    except (TimeoutError, *SCARD):
        return []
    finally:
        thread.close(lambda: None)


def service_listens() -> bool:
    """Return whether the smart card service is running. Return True also if the service rejects this user."""
    return listens(os.environ.get("PCSCLITE_CSOCK_NAME") or PCSCD)


def reader_names() -> list[str]:
    """Return the names of the readers as PC/SC reports them, which may include control characters.

    Raise DeviceFault with the reason if PC/SC is unavailable.
    """
    thread = DeadlineThread()
    try:
        return [str(reader.name) for reader in thread.call(pcsc_readers, seconds=COMMAND)]
    except TimeoutError:
        raise DeviceFault(
            "the smart card service does not answer", Message("restart it", command("sudo systemctl restart pcscd"))
        ) from None
    except SCARD as error:
        if service_listens():
            raise DeviceFault(
                "the smart card service rejects this session",
                suggest(
                    "polkit does not allow SSH sessions to use cards: work at the computer itself, or allow "
                    "org.debian.pcsc-lite.access_pcsc; for the rule, see",
                    "help keys/oath-keys",
                ),
            ) from None
        raise DeviceFault(
            f"there is no smart card service: {_message(error.hresult)}",
            Message(
                "install and start it",
                command("sudo apt install pcscd {} sudo systemctl start pcscd.socket", ShellText("&&")),
            ),
        ) from None
    finally:
        thread.close(lambda: None)
