"""Programs at a terminal or without one: mfa-kit as a fork, and others as they are. A full check has no forks."""

import os
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pexpect
from ptyprocess import PtyProcess

from tests.fork_server import STREAMS, Fork, fork_server
from tests.sizes import FULL

MFA_KIT = (sys.executable, "-m", "mfa_kit")


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    apart: Path | None = None,
    fork: bool = True,
    dimensions: tuple[int, int] = (24, 80),
    **how: Any,
) -> "pexpect.spawn[str]":
    """Start a program at a pseudo-terminal, and return it. The other options are those of pexpect.

    With `apart`, stdout and stderr go to files of that name, with the suffixes .out and .err. With fork=False, mfa-kit
    is a real process.
    """
    folder = str(cwd or Path.cwd())
    if fork and can_fork(command, env):
        child: pexpect.spawn[str] = pexpect.spawn(None, encoding="utf-8", **how)  # type: ignore[arg-type]
        process = _fork_at_terminal(command[len(MFA_KIT) :], dict(env), folder, apart=apart, dimensions=dimensions)
        child.ptyproc = process  # type: ignore[attr-defined]
        child.pid, child.child_fd = process.pid, process.fd
        child.closed = child.terminated = False
        return child
    if apart:
        command = ["/bin/sh", "-c", 'exec "$@" >"$0.out" 2>"$0.err"', str(apart), *command]
    return pexpect.spawn(
        command[0], [*command[1:]], env=dict(env), cwd=folder, dimensions=dimensions, encoding="utf-8", **how
    )


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    fork: bool = True,
    stdin: int = subprocess.DEVNULL,
) -> "subprocess.Popen[str]":
    """Start a program without a terminal. Return its process, which has pipes for its output."""
    streams = {**STREAMS, "stdin": stdin}
    if fork and can_fork(command, env):
        return fork_server().start(command[len(MFA_KIT) :], env=dict(env), cwd=cwd, **streams)
    return subprocess.Popen(command, env=env, cwd=cwd, text=True, start_new_session=True, **streams)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    fork: bool = True,
    told: str | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end as `start` does, with a text as its input. Return its exit code and output."""
    stdin = subprocess.DEVNULL if told is None else subprocess.PIPE
    with start(command, env=env, cwd=cwd, fork=fork, stdin=stdin) as process:
        try:
            out, err = process.communicate(told, timeout=150)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def can_fork(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether a program is mfa-kit, and may be a fork."""
    return tuple(command[: len(MFA_KIT)]) == MFA_KIT and not FULL and fork_server().fits(env)


def _fork_at_terminal(
    words: Sequence[str], env: dict[str, str], cwd: str, *, apart: Path | None, dimensions: tuple[int, int]
) -> "ForkedProcess":
    ours, theirs = os.openpty()
    termios.tcsetwinsize(ours, dimensions)
    with ExitStack() as files:
        files.callback(os.close, theirs)
        streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        for stream in ("stdout", "stderr") if apart else ():
            streams[stream] = files.enter_context(Path(f"{apart}.{stream[3:]}").open("wb"))
        return ForkedProcess(fork_server().start(words, terminal=True, env=env, cwd=cwd, **streams), ours)


class ForkedProcess(PtyProcess):  # type: ignore[misc]
    """ptyprocess's process, for a fork: its exit code comes from the fork server."""

    def __init__(self, fork: Fork, terminal: int) -> None:
        super().__init__(fork.pid, terminal)
        self.fork = fork

    def isalive(self) -> bool:
        # as in ptyprocess: what has closed its terminal is about to end
        return not self._ended(self.fork.wait() if self.flag_eof else self.fork.poll())

    def wait(self) -> int | None:
        self._ended(self.fork.wait())
        return self.exitstatus

    def _ended(self, code: int | None) -> bool:
        if code is not None:
            self.terminated = True
            self.exitstatus: int | None = code if code >= 0 else None
            self.signalstatus: int | None = -code if code < 0 else None
        return code is not None
