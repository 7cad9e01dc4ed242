"""Code shared by the verbs that process many users: progress output, and stopping on a signal."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

from mfa_kit.cli import options, terminal
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment.pacing import Pace
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.wiring.settings import Settings


def open_progress(settings: Settings) -> Progress:
    """Return a progress line that is redrawn if stderr is a terminal and redraws are allowed, otherwise plain lines."""
    return settings.progress if settings.still or not sys.stderr.isatty() else terminal.StatusLine()


@contextmanager
def name_next_command() -> Iterator[None]:
    """Add the command that continues the work to an interruption: it is the same one."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(f"to continue: {options.command_line()}")
        raise


def take_results(
    results: Generator[RowResult, None, None], take: Callable[[RowResult], None], *, execution: Execution, pace: Pace
) -> bool:
    """Process each result as it arrives; return whether Ctrl-C or SIGTERM requested a stop.

    A second signal raises KeyboardInterrupt.
    """
    with stop_on_signals(execution.stop, pace.stop, break_off=pace.break_off) as asked, closing(results):
        for result in results:
            take(result)
    return asked.is_set()
