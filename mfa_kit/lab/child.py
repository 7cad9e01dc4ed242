"""Runs a command against a lab: the command's environment, signals and exit status.

The command never reaches a real account, because it does not inherit environment variables with which an AWS client
would choose other credentials, another endpoint or a proxy.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import is_lab
from mfa_kit.core.message import PROGRAM
from mfa_kit.posix import processes

# Prefixes of the variables that AWS clients (botocore and boto2) read, and of those that mfa-kit reads.
AWS_CLIENTS = ("AWS_", "BOTO")
PREFIXES = (*AWS_CLIENTS, "MFA_KIT_")
# The variables of mfa-kit that choose credentials or an endpoint.
CHOOSING = ("MFA_KIT_PROFILE", "MFA_KIT_ENDPOINT_URL")
# The suffix of proxy variables.
SUFFIX = "_PROXY"
# Variables that are always unset. They may be set in the shell that exports the lab's variables, even if they are not
# set in the shell that runs the lab.
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
# Signals that may reach only this process, so this process passes them on to the child. ENDS are all the signals that
# end a lab.
PASSED_ON = (processes.TERMINATED, processes.HUNG_UP)
ENDS = (signal.SIGINT, *PASSED_ON)
# If signal n ends a command, a shell reports the exit status 128 + n.
KILLED = 128
SignalReceiver = Callable[[int], None]


def device_environment(caller: Mapping[str, str], devices: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command that uses simulated OATH keys or security keys.

    `devices` has the variables with which programs find these keys. If `caller` is the environment of a lab, all its
    variables are kept. Otherwise its credentials, endpoints and proxies are removed, so that simulated keys are never
    registered in a real account.
    """
    if is_lab(caller):
        return {**caller, **devices}
    return _without(caller, (*AWS_CLIENTS, *CHOOSING)) | NOWHERE | dict(devices)


def child_environment(lab: Mapping[str, str], *, caller: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment of a command that uses a lab.

    It has the variables of `lab`, and MFA_KIT_HOME is `home`. It also has the variables of `caller`, except those for
    AWS clients, for mfa-kit and for proxies. PATH ends with the folder of the program `mfa-kit`, so that it is found.
    """
    # pip writes the program beside its Python, or for one user elsewhere
    folders = (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent)
    own = next((folder for folder in folders if (folder / PROGRAM).is_file()), folders[-1])
    path = os.pathsep.join([caller.get("PATH", os.defpath), str(own)])
    return _without(caller, PREFIXES) | dict(lab) | {"PATH": path, "MFA_KIT_HOME": str(home)}


def _without(caller: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of `caller`, without proxy settings and without names that start with these prefixes."""
    return {
        name: value
        for name, value in caller.items()
        if not name.upper().startswith(prefixes) and not name.upper().endswith(SUFFIX)
    }


def run_command(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command. Return its exit status, or 128 + n if signal n ended it.

    Raise UsageFault for an unknown program.
    """
    program = shutil.which(command[0], path=env.get("PATH"))
    if program is None:
        raise UsageFault(f"the program {command[0]!r} was not found", "use a command that is on the PATH")
    early: list[int] = []

    with _receiving(early.append) as change, subprocess.Popen([program, *command[1:]], env=dict(env)) as child:  # noqa: S603
        change(child.send_signal)
        for number in early:
            child.send_signal(number)
        # A handler does not run if its signal arrives just before waitpid(2) blocks. So this wait returns every second.
        status = None
        while status is None:
            with suppress(subprocess.TimeoutExpired):
                status = child.wait(timeout=1)
    return status if status >= 0 else KILLED - status


@contextmanager
def _receiving(first: SignalReceiver) -> Iterator[Callable[[SignalReceiver], None]]:
    """Catch SIGTERM, SIGHUP and Ctrl-C until the context ends, even before the child is started.

    The receiver, a function, is called with the number of each SIGTERM or SIGHUP. The receiver is `first` until another
    receiver is passed to the function that this context yields. The terminal sends Ctrl-C to the child too, so this
    process does nothing on Ctrl-C. It catches SIGINT instead of ignoring it, because a child would inherit an ignored
    signal. If SIGINT was ignored from the start, it stays ignored for both.
    """
    receivers = [first]
    with (
        _handling(PASSED_ON, lambda number, _: receivers[-1](number)),
        _handling(processes.not_ignored([signal.SIGINT]), lambda _number, _frame: None),
    ):
        yield receivers.append


@contextmanager
def _handling(numbers: Iterable[signal.Signals], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle these signals with `handler` until the context ends."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def unwind_on_signals() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP, so that `with` blocks remove their folders and end their processes.

    The exit status is 128 + n for signal n. An ignored signal stays ignored.
    """
    numbers = processes.not_ignored(PASSED_ON)

    def end(number: int, _frame: object) -> None:
        for signal_number in numbers:
            signal.signal(signal_number, signal.SIG_IGN)  # a second signal would interrupt the cleanup
        raise SystemExit(KILLED + number)

    with _handling(numbers, end):
        yield


@contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Delay SIGTERM and SIGHUP while a program is started, so that neither can leave the program running.

    Yield a function that ends the delay and delivers the signals that arrived. The end of the context does the same. An
    ignored signal stays ignored.
    """
    pending_signals: list[int] = []
    before = {number: handler for number in PASSED_ON if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _frame: pending_signals.append(number))

    def release() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()
        while pending_signals:
            signal.raise_signal(pending_signals.pop(0))

    try:
        yield release
    finally:
        release()


def variables_to_unset(caller: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Return the sorted names of variables that a shell must unset before it exports the lab's variables `ours`.

    With these variables, an AWS client might reach AWS instead of the lab. They are all names in ELSEWHERE, and the
    variables of `caller` (the environment of this process) that `child_environment` leaves out. Names in `ours` are not
    returned, because the export replaces their values.
    """
    return sorted({*caller, *ELSEWHERE} - set(child_environment({}, caller=caller, home=Path())) - set(ours))


def shell_exports(env: Mapping[str, str], *, unset: Sequence[str]) -> str:
    """Return an environment as commands of a POSIX shell. The variables in `unset` are unset first."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join([*(f"unset {name}" for name in unset), *lines])


def marked_shell(command: Sequence[str], home: Path) -> list[str]:
    """Return `command`. If it is `bash` without arguments, use a startup file that puts `(lab)` in front of the prompt.

    The startup file is written to the folder `home`.
    """
    if [Path(word).name for word in command] != ["bash"]:
        return list(command)
    file = home / "lab.bashrc"
    file.write_text('[ -f ~/.bashrc ] && . ~/.bashrc\nPS1="(lab) $PS1"\n', "utf-8")
    return [*command, "--rcfile", str(file)]


def user_names(count: int) -> list[str]:
    """Return `count` names for the users of a lab: alice, bob, carol, dave and erin, then user0001 and so on."""
    first = ["alice", "bob", "carol", "dave", "erin"]
    return [*first[:count], *(f"user{number:04}" for number in range(1, count - len(first) + 1))]
