"""Ends this process after a signal, or when it has lost the locks of its runs.

After Ctrl-C or SIGTERM, the process first finishes the work in progress. After the loss of the locks, it ends at once.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Timer
from types import FrameType
from typing import NoReturn

from mfa_kit.cli.messages import BACK, EVENTS, LAST_ERROR
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.posix.processes import not_ignored

ENDING = "Stopping: finishing {}. Press Ctrl-C again to stop now."
# The maximum number of seconds for reporting why a process ends at once. A stopped terminal or a full pipe can block
# the report.
REPORTING = 2.0
_ENDED = Lock()


def end_at_once(fault: MfaKitError) -> NoReturn:
    """Report a fault, and end the process immediately, without settling its runs.

    Another process may be settling the same runs already, so this process must make no further call to IAM. If the
    report takes more than REPORTING seconds, the process ends without it.
    """
    late = Timer(REPORTING, os._exit, (fault.exit_code,))
    late.daemon = True
    with suppress(RuntimeError):  # the system may refuse to start a thread
        late.start()
    with _ENDED:  # several threads can notice that the ledger's session is lost, but only one of them reports the fault
        with suppress(OSError), Path("/dev/tty").open("wb", buffering=0) as tty:
            tty.write(BACK.encode())  # leave the alternate screen, which may show a secret
        LAST_ERROR.write(fault)
        os._exit(fault.exit_code)


@contextmanager
def stop_on_signals(
    stop: Event,
    *also: Callable[[], None],
    break_off: Callable[[], None] = lambda: None,
    waits_for: Callable[[], str] = lambda: "",
) -> Iterator[Event]:
    """On the first SIGINT or SIGTERM, set `stop`, print which work will still be finished, and call `also`.

    `waits_for` returns a description of that work. On the second signal, call `break_off` and raise KeyboardInterrupt.
    A signal that is ignored, such as SIGINT in the background of a shell script, stays ignored.

    Yield an event that shows whether a signal arrived. `stop` does not show this, because other code can set it too.
    """
    asked = Event()

    def end(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            break_off()
            INTERRUPTS.arrive(number, frame)
            return
        ending = ENDING.format(waits_for() or "what is in progress") + "\n"
        asked.set()
        stop.set()
        with suppress(OSError):  # the signal may interrupt a write to sys.stderr, so write to its descriptor
            os.write(2, f"{chr(10) * os.isatty(2)}{EVENTS.line('stopping') if EVENTS.on else ending}".encode())
        for act in also:
            act()

    before = {number: signal.signal(number, end) for number in not_ignored((signal.SIGINT, signal.SIGTERM))}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
