"""Runs commands of mfa-kit in forks of a process that has imported them: a start takes a tenth of the CPU time.

`python -m tests.fork_server SOCKET` is the server. `ForkServer` starts it, and is its client in a test. `CLIENT` is a
program that a shell can call in place of `mfa-kit`. A command gets the caller's arguments, environment, folder, umask
and open files, a session of its own, and with `terminal` its stdin as controlling terminal. It ends when its caller is
killed. What a test says about the process itself (signals while it starts, its interpreter, and how that ends) needs a
real one.
"""

import atexit
import fcntl
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3

from tests.botocore_once import work_once
from tests.cheap_scrypt import cheap_scrypt

ROOT = Path(__file__).parents[1]
# The longest message, and the number of open files that it can pass.
LONGEST, FILES = 200_000, 64
# Received files are moved above this number, before they get the numbers that they have in the caller.
ABOVE = 500
# The streams of a command, if a test does not say otherwise.
STREAMS: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
# Variables that an interpreter or a library reads once, when it starts or is imported. A command imports the library of
# card readers itself, so PCSCLITE_CSOCK_NAME is not one of them.
READ_ONCE = ("PYTHON", "LD_", "LC_", "LANG", "SSL_", "TZ", "MFA_KIT_TEST")
# What most commands import.
USUAL = (
    "mfa_kit.adapters.aws.iam",
    "mfa_kit.adapters.files.agefile",
    "mfa_kit.adapters.ledger.sqlite_database",
    "mfa_kit.cli.backup_options",
    "mfa_kit.cli.enroll",
    "mfa_kit.cli.rollout.apply",
    "mfa_kit.cli.rollout.plan",
    "mfa_kit.cli.settings",
    "mfa_kit.cli.status",
    "mfa_kit.qr_codes.decoding",
    "mfa_kit.qr_codes.symbol",
    "mfa_kit.wiring.ledger",
    "mfa_kit.wiring.ports",
    "mfa_kit.wiring.rollout",
    "mfa_kit.wiring.stores",
    "PIL.Image",
    "pyrage",
)
# What many commands import if the extras are installed.
WITH_EXTRAS = ("mfa_kit.adapters.ledger.postgresql.database", "mfa_kit.adapters.web.app", "mfa_kit.adapters.web.server")
# What the commands of the lab import, which others do not need.
LAB = "mfa_kit.lab.aws.server"
CLIENT = """#!{python} -ISE
import json, os, signal, socket, sys

files = []
for name in os.listdir("/proc/self/fd"):
    try:
        os.fstat(int(name))
        files.append(int(name))
    except OSError:
        pass
umask = os.umask(0)
os.umask(umask)
job = {{"argv": sys.argv, "env": dict(os.environ), "folder": os.getcwd(), "umask": umask, "files": files}}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(job).encode()], files)
    child = int(server.recv(100))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = int(server.recv(100))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class ForkServer:
    """A server, and its client. The server is that Python, which has those variables too."""

    def __init__(self, python: Sequence[str] = (sys.executable,), **env: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mfa-kit-forks-")
        self.address = f"{self._folder.name}/socket"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self._env = {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **cheap_scrypt(), **env}
        self._process = subprocess.Popen(
            [*python, "-m", "tests.fork_server", self.address],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline(), "the server did not start"

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def fits(self, env: Mapping[str, str]) -> bool:
        """Return whether a fork can have these variables: what is read once must be as the server has it.

        The server's further variables, such as that of the cheap scrypt, apply to each command.
        """
        read_once = {name for name in env if name.startswith(READ_ONCE)}
        return all(env[name] == self._env.get(name) for name in read_once)

    def run(self, args: Sequence[str], env: Mapping[str, str], *, timeout: float, **how: Any) -> tuple[int, str, str]:
        """Run a command without input. Return its exit code, and what it printed on stdout and stderr.

        Raise TimeoutExpired after that many seconds.
        """
        with self.start(args, env=dict(env), **STREAMS, **how) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            return process.returncode, out, err

    def start(self, args: Sequence[str], **how: Any) -> "Fork":
        """Start a command.

        The options are `terminal`, and of Popen `env`, `cwd`, `pass_fds`, the streams, and `user`, with `group` and
        `extra_groups`.
        """
        return Fork(self.address, args, text=True, **how)

    def program(self) -> str:
        """Return the text of a program that a shell can call in place of `mfa-kit`."""
        return CLIENT.format(python=sys.executable, address=self.address)

    def client(self, folder: Path) -> Path:
        """Write the program `mfa-kit` into a folder, and return the folder."""
        folder.mkdir()
        program = folder / "mfa-kit"
        program.write_text(self.program(), "utf-8")
        program.chmod(0o755)
        return folder


@cache
def fork_server() -> ForkServer:
    """Start the fork server of this process, or return it."""
    return ForkServer()


class Fork(subprocess.Popen[str]):
    """A running command. Its exit code comes from the server, whose child it is."""

    def __init__(self, address: str, args: Sequence[str], *, terminal: bool = False, **how: Any) -> None:
        self._address, self._terminal = address, terminal
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(args, **how)

    def _execute_child(self, args: Any, *how: Any) -> None:
        _, _, _, passed, folder, env, _, _, _, stdin, ours_in, ours_out, stdout, ours_err, stderr, *more = how
        streams = [own if file == -1 else file for own, file in enumerate((stdin, stdout, stderr))]
        job = {"argv": ["-c", *args], "env": env, "folder": str(folder or Path.cwd()), "umask": 0o022}
        _, *who, _, _, _ = more
        job |= {"files": [0, 1, 2, *passed], "terminal": self._terminal, "who": who}
        message = json.dumps(job).encode()
        try:
            self._server.connect(self._address)
            socket.send_fds(self._server, [message], [*streams, *passed])
            self.pid = int(self._server.recv(100))
            self._child_created = True
        finally:
            self._close_pipe_fds(stdin, ours_in, ours_out, stdout, ours_err, stderr)  # type: ignore[attr-defined]

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._server.recv(100))
            self._server.close()
        return self.returncode


def serve(address: str) -> None:
    """Run the command of each connection, until stdin ends."""
    from mfa_kit.cli.main import main  # noqa: PLC0415

    for name in (*USUAL, *(() if sys.flags.no_site else WITH_EXTRAS)):
        import_module(name)
    # Imports and reads what botocore loads when it makes a client.
    work_once()
    for service in ("iam", "sts"):
        boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        gc.collect()
        gc.freeze()  # so that the collector of a fork does not touch, and thereby copy, all objects
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        running = set[int]()
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [], 1)
            # Those that ended are waited for, so that their CPU time counts as that of this process.
            running = {pid for pid in running if os.waitpid(pid, os.WNOHANG) == (0, 0)}
            if 0 in ready:
                break
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                text, files, _, _ = socket.recv_fds(connection, LONGEST, FILES)
                job = json.loads(text)
                if job["argv"][1:2] == ["lab"] and not sys.flags.no_site:
                    import_module(LAB)
                if (pid := os.fork()) == 0:
                    listener.close()
                    os._exit(end(main) if attend(connection, job, files) else 0)
                running.add(pid)
                connection.close()
                for file in files:
                    os.close(file)
        for pid in running:
            os.waitpid(pid, 0)


def attend(connection: socket.socket, job: Mapping[str, Any], files: Sequence[int]) -> bool:
    """Fork the command of a connection, wait for it, and tell its exit code. Return true in the command's process."""
    if (pid := os.fork()) == 0:
        os.setsid()
        if job.get("terminal"):
            fcntl.ioctl(files[0], termios.TIOCSCTTY)
        connection.send(b"%d" % os.getpid())  # only now, because the caller may kill the process group at once
        connection.close()
        become(job, files)
        return True
    for file in files:
        os.close(file)
    ended = os.pidfd_open(pid)
    # stdin is the server's, which ends with the tests
    ready, _, _ = select.select([ended, connection.fileno(), 0], [], [])
    if ended not in ready:  # the caller was killed, or left it running
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.send(b"%d" % os.waitstatus_to_exitcode(status))
    return False


def end(main: Callable[[], None]) -> int:
    """Run a command as the interpreter does, and return its exit code, but leave the modules as they are."""
    code = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def become(job: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take over the folder, open files, environment and arguments of a job."""
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, ABOVE) for file in files]
    os.closerange(0, ABOVE)
    for file, number in zip(moved, job["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    os.umask(job["umask"])
    os.chdir(job["folder"])
    group, groups, user = job.get("who", (None, None, None))
    if user is not None:
        os.setgroups(groups)
        os.setgid(group)
        os.setuid(user)
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv[:] = job["argv"]
    time.tzset()
    tempfile.tempdir = None
    for name, number, errors in (("stdout", 1, "surrogateescape"), ("stderr", 2, "backslashreplace")):
        raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        stream = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    stdin = io.BufferedReader(io.FileIO(0, closefd=False))
    sys.stdin = io.TextIOWrapper(stdin, "utf-8", "surrogateescape", newline="\n")


if __name__ == "__main__":
    serve(sys.argv[1])
