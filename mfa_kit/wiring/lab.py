"""The lab, for the verbs that run one or speak to one that runs."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfa_kit.cli.messages import Talk
from mfa_kit.core.errors import UsageFault

if TYPE_CHECKING:
    from mfa_kit.lab.aws.server import Lab
    from mfa_kit.lab.devices.oathcard import YkoathCard
    from mfa_kit.lab.devices.reader import Readers


def run(command: Sequence[str], **wish: Any) -> int:
    """Run a command against a lab of its own; return its status."""
    from mfa_kit.lab import child

    with _opened(wish) as (lab, home):
        return child.run_command(command, child.child_environment(lab.env, caller=os.environ, home=home))


def serve(tell: Callable[[str], None], **wish: Any) -> None:
    """Serve a lab until it is interrupted; tell the environment to export."""
    import signal

    from mfa_kit.lab import child

    with _opened(wish) as (lab, home):
        ours = lab.env | {"MFA_KIT_HOME": str(home)}
        tell(child.shell_exports(ours, unset=child.variables_to_unset(os.environ, ours)))
        signal.pthread_sigmask(signal.SIG_BLOCK, child.ENDS)
        signal.sigwait(child.ENDS)


def card(
    tell: Callable[[str], None],
    command: Sequence[str],
    *,
    names: Sequence[str],
    serial: int,
    touch_delay: float,
    box: int,
) -> int:
    """Plug a key into each reader, and run a command that sees them, or wait until we are interrupted.

    With a box they are put in and pulled out by hand.
    """
    import signal
    import threading

    from mfa_kit.lab import child
    from mfa_kit.lab.devices.oathcard import YkoathCard
    from mfa_kit.lab.devices.reader import Readers

    ended = threading.Event()
    if not command:  # by handlers, for pcscd would inherit signals that are blocked
        for end in child.ENDS:
            signal.signal(end, signal.default_int_handler if box else lambda *_: ended.set())
    with (
        child.unwind_on_signals() if command else nullcontext(),
        Readers(names) as readers,
        suppress(KeyboardInterrupt),
    ):
        cards = [YkoathCard(serial=serial + number, touch_delay=touch_delay) for number in range(box or len(names))]
        for number, card in enumerate(() if box else cards):
            readers.insert(card, number)
        if command:
            return child.run_command(command, {**os.environ, **readers.env})
        tell(child.shell_exports(readers.env, unset=()))
        if box:
            _by_hand(readers, cards, Talk().note)
        else:
            ended.wait()
    return 0


def _by_hand(readers: "Readers", cards: "Sequence[YkoathCard]", note: Callable[[str], None]) -> None:
    """Put a key of a box into a free reader, or pull it out, for each number that is read from stdin."""
    from mfa_kit.lab.devices.reader import NOTICED

    inside: dict[int, int] = {}
    note(f"keys 1 to {len(cards)} are in the box; type a number to put that one in, and again to pull it out")
    for line in sys.stdin:
        number = int(line) if line.strip().isdecimal() else 0
        free = [reader for reader in range(len(readers.names)) if reader not in inside.values()]
        if number in inside:
            readers.remove(inside.pop(number))
            time.sleep(NOTICED)  # a key that is put in before pcscd saw the last one go would be missed
            note(f"key {number} is out")
        elif not 1 <= number <= len(cards):
            note(f"type a number from 1 to {len(cards)}")
        elif free:
            inside[number] = free[0]
            readers.insert(cards[number - 1], free[0])
            note(f"key {number} is in, serial {cards[number - 1].serial}")
        else:
            note("no reader is free: pull one out")


def ask(method: str, path: str, **payload: Any) -> Any:
    """Ask the lab of this environment."""
    from mfa_kit.lab import remote

    return remote.ask_lab(method, path, payload, env=os.environ)


@contextmanager
def _opened(wish: dict[str, Any]) -> Iterator[tuple["Lab", Path]]:
    try:
        from mfa_kit.lab import child, session
    except ModuleNotFoundError as error:
        raise UsageFault(f"the lab needs {error.name}, which is not installed", "pip install 'mfa-kit[lab]'") from None
    with child.unwind_on_signals(), session.running_lab(session.LabOptions(**wish)) as opened:
        yield opened


def tour(say: Callable[[str], None]) -> list[str]:
    """Walk through a rehearsal in a lab of its own; return the steps that did not end as they should."""
    with _opened({}) as (lab, home):
        from mfa_kit.lab import child, tour

        return tour.walk(lab, child.child_environment(lab.env, caller=os.environ, home=home), home, say)
