"""Start a lab, use a running lab, and plug in simulated keys."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.lab import child
from mfa_kit.lab.plugged import open_box as open_box  # noqa: PLC0414 - commands call these as wiring.lab.open_box
from mfa_kit.lab.plugged import plug_in_cards as plug_in_cards  # noqa: PLC0414
from mfa_kit.lab.plugged import plug_in_key as plug_in_key  # noqa: PLC0414
from mfa_kit.posix.processes import wait_for_signal
from mfa_kit.wiring.settings import command_for_extra

if TYPE_CHECKING:
    from mfa_kit.lab.aws.server import Lab

# A function that prints a line on standard output.
Print = Callable[[str], None]
# Before mfa-kit starts one of these shells in the lab, it prints WELCOME.
SHELLS = {"bash", "dash", "fish", "sh", "zsh"}
WELCOME = "this is the lab: nothing here reaches AWS; leave it with: exit"


class LabChoices(TypedDict, total=False):
    """The options of commands that start a lab. `mfa_kit.lab.session.LabOptions` describes each of them."""

    users: int | None
    accounts: int | None
    source: Path | None
    folder: Path | None
    latency: float
    rate: float
    burst: float
    rules: Path | None
    timings: Sequence[str]


def run(command: Sequence[str], *, region: str | None, progress: Progress, **choices: Unpack[LabChoices]) -> int:
    """Run a command in a new lab, and return the command's exit status. Before a shell in SHELLS, print WELCOME."""
    with _running(region=region, **choices) as (lab, home):
        if Path(command[0]).name in SHELLS and len(command) == 1:
            progress.note(WELCOME)
        env = child.child_environment(lab.env, caller=os.environ, home=home)
        return child.run_command(child.marked_shell(command, home), env)


def serve(tell: Print, *, region: str | None, port: int, **choices: Unpack[LabChoices]) -> None:
    """Serve a lab until Ctrl-C. `tell` prints the variables that another shell must export to use the lab."""
    with _running(region=region, port=port, **choices) as (lab, home):
        ours = lab.env | {"MFA_KIT_HOME": str(home)}
        tell(child.shell_exports(ours, unset=child.variables_to_unset(os.environ, ours)))
        wait_for_signal(child.ENDS)


def tour(tell: Print, *, person: Interaction) -> list[str]:
    """Run the tour in a new lab, and return the titles of the steps that failed.

    `tell` prints a line. At a terminal, each step waits until the user presses Enter.
    """

    def pause() -> None:
        with suppress(Declined):
            person.pause("press Enter for the next step", instead="")

    with _running() as (lab, home):
        from mfa_kit.lab import tour

        env = child.child_environment(lab.env, caller=os.environ, home=home)
        if not sys.stdout.isatty():
            return tour.walk(lab, env, home, tell)
        return tour.walk(lab, env, home, tell, pause=pause)


def register_fido_key(user: str, name: str) -> str:
    """Register a FIDO key in the running lab, and return its ARN. Raise UsageFault if no lab is running."""
    from mfa_kit.lab import remote

    return str(remote.ask_lab("POST", "fido", {"user": user, "name": name}, env=os.environ)["SerialNumber"])


@contextmanager
def _running(
    *, region: str | None = None, port: int = 0, **choices: Unpack[LabChoices]
) -> Iterator[tuple["Lab", Path]]:
    """Run a lab, and yield the lab and the folder that is its MFA_KIT_HOME.

    Raise UsageFault if the extra `lab` is not installed.
    """
    try:
        from mfa_kit.lab import session
    except ModuleNotFoundError as error:
        raise UsageFault(f"the lab needs {error.name}, which is not installed", command_for_extra("lab")) from None
    options = session.LabOptions(region=region, port=port, **choices)
    with child.unwind_on_signals(), session.running_lab(options) as running:
        yield running
