"""Programs at a terminal, or without one: mfa-kit as a fork, and others as they are. A full check has no forks."""

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

from tests.conftest import fork_server
from tests.fork_server import STREAMS, Fork
from tests.sizes import FULL

MFA_KIT = (sys.executable, "-m", "mfa_kit")


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    apart: Path | None = None,
    fork: bool = True,
    **how: Any,
) -> "pexpect.spawn[str]":
    """Start a program. The other options are those of pexpect.

    With `apart`, stdout and stderr go to files of that name, with the suffixes .out and .err.
    """
    how |= {"env": dict(env), "cwd": str(cwd or Path.cwd()), "encoding": "utf-8"}
    if fork and can_fork(command, env):
        return Forked(command, apart, **how)
    if apart:
        command = ["/bin/sh", "-c", 'exec "$@" >"$0.out" 2>"$0.err"', str(apart), *command]
    return pexpect.spawn(command[0], [*command[1:]], **how)


def start(command: Sequence[str], *, env: Mapping[str, str], **how: Any) -> "subprocess.Popen[str]":
    """Start a program without a terminal, at first without input. The other options are those of Popen."""
    how = {**STREAMS, **how}
    if can_fork(command, env):
        return fork_server().start(command[len(MFA_KIT) :], env=dict(env), **how)
    return subprocess.Popen(command, env=env, text=True, start_new_session=True, **how)


def run(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program without a terminal and without input, to its end."""
    with start(command, env=env, cwd=cwd) as process:
        out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def can_fork(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether a program is mfa-kit, and may be a fork."""
    return tuple(command[: len(MFA_KIT)]) == MFA_KIT and not FULL and fork_server().fits(env)


class Forked(pexpect.spawn):  # type: ignore[type-arg]
    """pexpect's spawn, for a fork."""

    def __init__(self, command: Sequence[str], apart: Path | None, **how: Any) -> None:
        self.apart = apart
        super().__init__(command[0], [*command[1:]], **how)

    def _spawnpty(
        self, args: Sequence[bytes], *, env: dict[str, str], cwd: str, dimensions: tuple[int, int] = (24, 80), **_: Any
    ) -> PtyProcess:
        words = [os.fsdecode(arg) for arg in args[len(MFA_KIT) :]]
        ours, theirs = os.openpty()
        termios.tcsetwinsize(ours, dimensions)
        with ExitStack() as files:
            files.callback(os.close, theirs)
            streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
            for stream in ("stdout", "stderr") if self.apart else ():
                streams[stream] = files.enter_context(Path(f"{self.apart}.{stream[3:]}").open("wb"))
            return ForkedProcess(fork_server().start(words, terminal=True, env=env, cwd=cwd, **streams), ours)


class ForkedProcess(PtyProcess):  # type: ignore[misc]
    """ptyprocess's process, for a fork: its exit code comes from the fork server."""

    def __init__(self, fork: Fork, terminal: int) -> None:
        super().__init__(fork.pid, terminal)
        self.fork = fork

    def isalive(self) -> bool:
        return not self._ended(self.fork.poll())

    def wait(self) -> int | None:
        self._ended(self.fork.wait())
        return self.exitstatus

    def _ended(self, code: int | None) -> bool:
        if code is not None:
            self.terminated = True
            self.exitstatus: int | None = code if code >= 0 else None
            self.signalstatus: int | None = -code if code < 0 else None
        return code is not None
