"""Code that the commands of `mfa-kit rollout` share: counting lookups, and stopping on a signal."""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

from mfa_kit.cli.flags import command_line
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.cli.status_line import counting
from mfa_kit.core.errors import Note
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.row_status import look_up_devices

if TYPE_CHECKING:
    from mfa_kit.cli.rollout.tally import Tally


def look_up_counted(
    users: Sequence[str], ports: EnrollmentPorts, *, workers: int, progress: LiveProgress
) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's devices from IAM, by user name. Show how many users have been looked up.

    The value is () for a user who was deleted or has no device. Up to `workers` requests are in progress at a time.
    """
    with counting(progress, "looking up users", users, len(users)) as counted:
        return look_up_devices(counted, ports=ports, workers=workers)


@contextmanager
def name_next_command() -> Iterator[None]:
    """After a KeyboardInterrupt, add a note that says how to continue: by running the same command again."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(Note(f"to continue: {command_line()}"))
        raise


def take_results(
    results: Generator[RowResult, None, None],
    tally: "Tally",
    *,
    execution: Execution,
    progress: LiveProgress,
    take: Callable[[RowResult], None] | None = None,
) -> bool:
    """Process each result as it arrives. Return whether Ctrl-C or SIGTERM requested a stop.

    `take` processes a result; its default is the tally's `take`. A second signal raises KeyboardInterrupt.
    """
    pace = tally.pace
    # Results that are printed to the terminal show the progress, so there is no status line.
    printed = tally.output.form == "jsonl" and sys.stdout.isatty()
    with (
        nullcontext() if printed else progress.showing(tally.line),
        stop_on_signals(execution.stop, pace.stop, break_off=pace.break_off) as asked,
        closing(results),
    ):
        for result in results:
            (take or tally.take)(result)
    return asked.is_set()
