"""A command against a lab: what it inherits, what it does not, and how its end is told.

The lab never reaches production. A child gets nothing of the caller's by which an AWS client could find another
account, another endpoint or a proxy, whatever the caller has set.
"""

import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mfa_kit.core.errors import UsageFault

# What an AWS client or this tool reads: botocore's and boto2's settings, proxies, our own folder.
PREFIXES = ("AWS_", "BOTO", "MFA_KIT_")
SUFFIX = "_PROXY"
# What leads elsewhere is often set in the shell that takes our environment, and not in the one that serves.
ELSEWHERE = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    *(f"{scheme}_PROXY" for scheme in ("ALL", "HTTP", "HTTPS")),
    *(f"{scheme}_proxy" for scheme in ("all", "http", "https")),
)
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
ENDS = (signal.SIGINT, *PASSED_ON)
KILLED = 128
Hearer = Callable[[int], None]


def child_environment(lab: Mapping[str, str], *, caller: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the caller's environment without what leads elsewhere, with the lab's in its place."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.upper().startswith(PREFIXES) and not name.upper().endswith(SUFFIX)
    }
    return kept | dict(lab) | {"MFA_KIT_HOME": str(home)}


def run_command(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command to its end; return its status, or 128 and the signal's number."""
    program = shutil.which(command[0], path=env.get("PATH"))
    if program is None:
        raise UsageFault(f"there is no program {command[0]!r} to run", "give a command that is on the PATH")
    told: list[int] = []

    with _listening(told.append) as hand_on, subprocess.Popen([program, *command[1:]], env=dict(env)) as child:  # noqa: S603
        hand_on(child.send_signal)
        for number in told:
            child.send_signal(number)
        status = child.wait()
    return status if status >= 0 else KILLED - status


@contextmanager
def _listening(first: Hearer) -> Iterator[Callable[[Hearer], None]]:
    """Hear what only we are told, from before there is a child; yield a function that changes who hears.

    Ctrl-C is the child's, whom the terminal tells as well. It is caught, not ignored: a child inherits what is ignored.
    """
    hearers = [first]
    before = {number: signal.signal(number, lambda number, _: hearers[-1](number)) for number in PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield hearers.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unwind_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind what was begun, its folders and processes, as Ctrl-C does. One ignored stays so."""

    def end(number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough: a second one would break off the unwinding
        raise SystemExit(KILLED + number)

    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def variables_to_unset(caller: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Name what a shell has to unset before it exports ours."""
    return sorted({*caller, *ELSEWHERE} - set(child_environment({}, caller=caller, home=Path())) - set(ours))


def shell_exports(env: Mapping[str, str], *, unset: Sequence[str]) -> str:
    """Write an environment as a shell takes it."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join([*(f"unset {name}" for name in unset), *lines])


def user_names(count: int) -> list[str]:
    """Name a lab's users: five by name, then by number."""
    first = ["alice", "bob", "carol", "dave", "erin"]
    return [*first[:count], *(f"user{number:04}" for number in range(1, count - len(first) + 1))]
