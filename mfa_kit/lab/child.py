"""Runs a command against a lab: its environment, its signals, and its exit status.

The command never reaches a real account. It does not inherit the variables of the caller that could lead an AWS client
to another account, another endpoint or a proxy.
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.token_of_lab import is_lab

# Variables that an AWS client or mfa-kit reads: settings of botocore and boto2, mfa-kit's own folder, proxies.
AWS_CLIENTS = ("AWS_", "BOTO")
PREFIXES = (*AWS_CLIENTS, "MFA_KIT_")
# The variables of mfa-kit that choose credentials or an endpoint.
CHOOSING = ("MFA_KIT_PROFILE", "MFA_KIT_ENDPOINT_URL")
SUFFIX = "_PROXY"
# Variables to unset in the shell that exports the lab's environment. That shell may have variables that the serving
# shell does not have.
ELSEWHERE = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_ORGANIZATIONS",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    *(f"{scheme}_PROXY" for scheme in ("ALL", "HTTP", "HTTPS")),
    *(f"{scheme}_proxy" for scheme in ("all", "http", "https")),
)
# With this environment, an AWS client finds no credentials and no AWS endpoint.
NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "BOTO_CONFIG": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Signals that only this process gets, so it passes them on to the child. ENDS are all the signals that end a lab.
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
ENDS = (signal.SIGINT, *PASSED_ON)
# A shell's status for a command that a signal ended is this number plus the signal's number.
KILLED = 128
SignalReceiver = Callable[[int], None]


def device_environment(caller: Mapping[str, str], devices: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command that gets the lab's keys.

    If the caller's environment is that of a lab, keep it. Otherwise remove all credentials, so that the lab's keys are
    never registered in a real account.
    """
    if is_lab(caller):
        return {**caller, **devices}
    return _without(caller, (*AWS_CLIENTS, *CHOOSING)) | NOWHERE | dict(devices)


def child_environment(lab: Mapping[str, str], *, caller: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the caller's environment with the lab's variables, without the variables that could lead to AWS."""
    return _without(caller, PREFIXES) | dict(lab) | {"MFA_KIT_HOME": str(home)}


def _without(caller: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Return an environment without proxies and without the variables that have these prefixes."""
    return {
        name: value
        for name, value in caller.items()
        if not name.upper().startswith(prefixes) and not name.upper().endswith(SUFFIX)
    }


def run_command(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command. Return its status, or 128 + n if signal n ended it. Raise UsageFault for an unknown program."""
    program = shutil.which(command[0], path=env.get("PATH"))
    if program is None:
        raise UsageFault(f"the program {command[0]!r} was not found", "use a command that is on the PATH")
    early: list[int] = []

    with _receiving(early.append) as change, subprocess.Popen([program, *command[1:]], env=dict(env)) as child:  # noqa: S603
        change(child.send_signal)
        for number in early:
            child.send_signal(number)
        status = child.wait()
    return status if status >= 0 else KILLED - status


@contextmanager
def _receiving(first: SignalReceiver) -> Iterator[Callable[[SignalReceiver], None]]:
    """Catch the signals that only this process gets, even before the child exists.

    Yield a function that replaces the receiver `first`. The terminal sends Ctrl-C to the child too, so this process
    does nothing on Ctrl-C. It catches the signal instead of ignoring it, because a child would inherit the ignored
    signal.
    """
    receivers = [first]
    before = {number: signal.signal(number, lambda number, _: receivers[-1](number)) for number in PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield receivers.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unwind_on_signals() -> Iterator[None]:
    """On SIGTERM and SIGHUP, clean up folders and processes as on Ctrl-C. An ignored signal stays ignored."""

    def end(number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second signal would interrupt the cleanup
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
    """Return the names of variables that a shell must unset before it exports `ours`."""
    return sorted({*caller, *ELSEWHERE} - set(child_environment({}, caller=caller, home=Path())) - set(ours))


def shell_exports(env: Mapping[str, str], *, unset: Sequence[str]) -> str:
    """Return an environment as commands of a POSIX shell. The variables in `unset` are unset first."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join([*(f"unset {name}" for name in unset), *lines])


def marked_shell(command: Sequence[str], home: Path) -> list[str]:
    """Return the command. For `bash` without arguments, add an option so that its prompt shows the lab.

    The option names a startup file, which is written to `home`.
    """
    if [Path(each).name for each in command] != ["bash"]:
        return list(command)
    file = home / "lab.bashrc"
    file.write_text('[ -f ~/.bashrc ] && . ~/.bashrc\nPS1="(lab) $PS1"\n', "utf-8")
    return [*command, "--rcfile", str(file)]


def user_names(count: int) -> list[str]:
    """Return the names of a lab's users: alice, bob, carol, dave and erin, then user0001 and so on."""
    first = ["alice", "bob", "carol", "dave", "erin"]
    return [*first[:count], *(f"user{number:04}" for number in range(1, count - len(first) + 1))]
