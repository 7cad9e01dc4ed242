"""Plugs in simulated keys: a security key on USB or as a card, or OATH keys in readers of a private pcscd."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.message import Message, clauses
from mfa_kit.lab import child
from mfa_kit.lab.devices import ctaphid
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.ctaphid import CtapHid
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import NOTICED, Readers
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.posix import processes

READER = "mfa-kit lab reader"
MODEL = "mfa-kit lab key"
# The time from today until the nextUpdate date of the metadata.
CURRENT = timedelta(days=30)


def plug_in_key(
    tell: Callable[[str], None],
    command: Sequence[str],
    *,
    attestation: str,
    touch: float | None,
    u2f: bool,
    pin: str | None,
    reader: bool,
    publish: Path | None,
) -> int:
    """Plug in a simulated security key, run a command, and return the command's exit status.

    Without a command, keep the key plugged in until Ctrl-C and return 0; `tell` prints the environment to export.
    `attestation` is one of the formats that KeyBehavior lists. `touch` is the time in seconds until the key's button is
    touched; None means never. With `u2f`, the key supports U2F only. With `reader`, it is a smart card in a virtual
    reader. Without `reader`, it is a USB device, or a smart card if USB cannot be simulated. FIDO metadata about the
    key is written to the folder `publish`, unless `publish` is None. Raise DeviceFault if the key cannot be simulated,
    and UsageFault if the folder cannot be used.
    """
    maker = AttestationCa(now=time.time())
    model = KeyModel(aaguid=None, versions=("U2F_V2",)) if u2f else KeyModel()
    key = lab_key(maker, model=model, behavior=KeyBehavior(attestation=attestation, touch=touch), pin=pin)
    if publish:
        _publish(maker, key, publish)
    if reader:
        return _in_reader(key, tell, command)
    try:
        return _on_usb(key, tell, command)
    except DeviceFault as fault:
        try:
            return _in_reader(key, tell, command)
        except DeviceFault as other:
            raise DeviceFault(f"{fault}; and {other}", clauses([fault.hint, Message("or: ", other.hint)])) from None


def _publish(maker: AttestationCa, key: SimulatedKey, folder: Path) -> None:
    """Write blob.jwt (FIDO metadata that lists the key) and root.der (its manufacturer's root certificate) to a folder.

    `maker` is the simulated manufacturer. The metadata entry of a U2F key has the key identifier of its attestation
    certificate instead of an AAGUID. Raise UsageFault if the folder cannot be written, or if it already contains files
    of these names that a lab did not write.
    """
    aaguid = key.model.aaguid.hex() if key.model.aaguid else ""
    dashed = "-".join((aaguid[:8], aaguid[8:12], aaguid[12:16], aaguid[16:20], aaguid[20:]))
    entry = maker.entry(MODEL, aaguid=dashed) if aaguid else maker.entry(MODEL, identifiers=[key.issued.identifier])
    due = datetime.now(UTC).date() + CURRENT
    blob, root = folder / "blob.jwt", folder / "root.der"
    try:
        if (os.path.lexists(blob) or os.path.lexists(root)) and not _is_of_a_lab(root, maker):
            raise UsageFault(
                f"{folder} contains metadata or a root certificate that is not from a lab", "use another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(maker.blob([entry], next_update=due))
        root.write_bytes(maker.root.der)
    except OSError as error:
        raise UsageFault(f"{folder} cannot be written: {error.strerror}", "use another folder") from None


def _is_of_a_lab(root: Path, maker: AttestationCa) -> bool:
    try:
        return x509.load_der_x509_certificate(root.read_bytes()).subject == maker.root.certificate.subject
    except (FileNotFoundError, ValueError):
        return False


def _on_usb(key: SimulatedKey, tell: Callable[[str], None], command: Sequence[str]) -> int:
    with ctaphid.Uhid(ctaphid.open_uhid(), product=key.model.product) as wire:
        thread = threading.Thread(target=CtapHid(key, wire).serve)
        thread.start()
        try:
            return _while_it_is_there({}, tell, command)
        finally:
            wire.stop()
            thread.join()


def _in_reader(key: SimulatedKey, tell: Callable[[str], None], command: Sequence[str]) -> int:
    with child.unwind_on_signals(), Readers([READER]) as readers:
        readers.insert(FidoCard(key))
        return _while_it_is_there(readers.env, tell, command)


def _while_it_is_there(env: Mapping[str, str], tell: Callable[[str], None], command: Sequence[str]) -> int:
    if command:
        return child.run_command(command, child.device_environment(os.environ, env))
    ended = threading.Event()
    _on_end(lambda *_: ended.set())
    tell(child.shell_exports(env, unset=()))
    ended.wait()
    return 0


Say = Callable[[str], None]


def plug_in_cards(tell: Say, command: Sequence[str], *, readers: Sequence[str], serial: int, touch_delay: float) -> int:
    """Plug a simulated OATH key into each reader, run a command, and return the command's exit status.

    Without a command, keep the keys plugged in until Ctrl-C and return 0; `tell` prints the environment to export.
    `readers` are names of virtual readers. The first key has the serial `serial`, the second the next number, and so
    on. Each key is touched `touch_delay` seconds after it begins to wait for a touch.
    """
    ended = threading.Event()
    if not command:
        _on_end(lambda *_: ended.set())
    unwinding = child.unwind_on_signals() if command else nullcontext()
    with unwinding, Readers(readers) as opened, suppress(KeyboardInterrupt):
        for number, card in enumerate(_cards(len(readers), serial, touch_delay)):
            opened.insert(card, number)
        if command:
            return child.run_command(command, child.device_environment(os.environ, opened.env))
        tell(child.shell_exports(opened.env, unset=()))
        ended.wait()
    return 0


def open_box(
    tell: Say,
    lines: Iterable[str],
    *,
    count: int,
    readers: Sequence[str],
    serial: int,
    touch_delay: float,
    note: Say,
) -> None:
    """Let the user plug in and pull out `count` simulated OATH keys until Ctrl-C or the last line.

    `lines` is what the user types: each line is the number of a key, from 1. `readers` are names of virtual readers.
    The first key has the serial `serial`, the second the next number, and so on. Each key is touched `touch_delay`
    seconds after it begins to wait for a touch. `tell` prints the environment to export, and `note` prints messages.
    """
    _on_end(signal.default_int_handler)
    with Readers(readers) as opened, suppress(KeyboardInterrupt):
        tell(child.shell_exports(opened.env, unset=()))
        _move_by_hand(opened, _cards(count, serial, touch_delay), lines, note)


def _cards(count: int, serial: int, touch_delay: float) -> list[YkoathCard]:
    return [YkoathCard(serial=serial + number, touch_delay=touch_delay) for number in range(count)]


def _on_end(act: Callable[..., object]) -> None:
    """Call `act` when a signal arrives that ends a lab.

    The signals are not blocked, because pcscd would inherit the block.
    """
    for end in processes.not_ignored(child.ENDS):
        signal.signal(end, act)


def _move_by_hand(readers: Readers, cards: Sequence[YkoathCard], lines: Iterable[str], note: Say) -> None:
    """For each line with the number of a key, insert the key into a free reader, or remove it if it is in a reader."""
    inside: dict[int, int] = {}
    note(f"keys 1 to {len(cards)} are in the box; type a key's number to plug the key in or to pull it out")
    for line in lines:
        number = int(line) if line.strip().isdecimal() else 0
        free = [reader for reader in range(len(readers.names)) if reader not in inside.values()]
        if number in inside:
            readers.remove(inside.pop(number))
            time.sleep(NOTICED)  # pcscd must see the removal before a key is inserted
            note(f"key {number} is unplugged")
        elif not 1 <= number <= len(cards):
            note(f"type a number from 1 to {len(cards)}")
        elif free:
            inside[number] = free[0]
            readers.insert(cards[number - 1], free[0])
            note(f"key {number} is plugged in, serial {cards[number - 1].serial}")
        else:
            note("no reader is free: pull a key out first")
