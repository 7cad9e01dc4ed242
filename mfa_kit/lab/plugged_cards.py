"""Plugs simulated OATH keys into readers of a private pcscd: one key per reader, or keys that the user chooses."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress

from mfa_kit.lab import child
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import NOTICED, Readers
from mfa_kit.posix import signals

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
    for end in signals.not_ignored(child.ENDS):
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
