"""Start a lab (a local simulation of AWS), use a running lab, and plug in simulated keys."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.lab import child, plugged
from mfa_kit.posix.signals import wait_for_signal
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


def plug_in_cards(
    tell: Print, command: Sequence[str], *, readers: Sequence[str], serial: int, touch_delay: float
) -> int:
    """Plug a simulated OATH key into each reader while a command runs, and return the command's exit status.

    Without a command, the keys stay plugged in until Ctrl-C. `touch_delay` is in seconds.
    """
    return plugged.plug_in_cards(tell, command, readers=readers, serial=serial, touch_delay=touch_delay)


def open_box(
    tell: Print, *, count: int, readers: Sequence[str], serial: int, touch_delay: float, progress: Progress
) -> None:
    """Simulate a box of `count` OATH keys, and readers for them, until Ctrl-C or the end of stdin.

    Each line of stdin is the number of a key to plug in, or to remove if it is already plugged in. `touch_delay` is in
    seconds.
    """
    plugged.open_box(
        tell, sys.stdin, count=count, readers=readers, serial=serial, touch_delay=touch_delay, note=progress.note
    )


def plug_in_key(
    tell: Print,
    command: Sequence[str],
    *,
    attestation: str,
    touch: float | None,
    u2f: bool,
    pin: str | None,
    reader: bool,
    publish: Path | None,
) -> int:
    """Plug in a simulated security key while a command runs, and return the command's exit status.

    Without a command, the key stays plugged in until Ctrl-C.
    """
    return plugged.plug_in_key(
        tell, command, attestation=attestation, touch=touch, u2f=u2f, pin=pin, reader=reader, publish=publish
    )


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
