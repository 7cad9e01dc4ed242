"""Manages the group of the udev rule, and reloads udev's rules. Linux only: udevadm(8), groupadd(8), groupdel(8)."""

import stat
import subprocess
from pathlib import Path
from shutil import which

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.message import Message, command
from mfa_kit.posix.processes import group_name

GROUP = "mfa-kit"
READ_WRITE = 0o660
# The folders that may contain the programs below. The PATH that sudo sets may lack some of these folders.
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 60


def create_group() -> None:
    """Create GROUP as a system group."""
    _run("groupadd", "--system", GROUP)


def delete_group() -> None:
    """Delete GROUP."""
    _run("groupdel", GROUP)


def reload_rules() -> None:
    """Make udev read its rules again and apply them to all connected keys. Return when udev has finished."""
    _run("udevadm", "control", "--reload")
    _run("udevadm", "trigger", "--action=change", "--subsystem-match=hidraw")
    _run("udevadm", "settle", "--timeout=30")


def is_given_to_group(node: Path) -> bool:
    """Return whether a device node belongs to the group, and only its owner and the group can read and write it."""
    try:
        status = node.stat()
    except OSError:
        return False
    return group_name(status.st_gid) == GROUP and stat.S_IMODE(status.st_mode) == READ_WRITE


def _run(program: str, *arguments: str) -> None:
    """Run a program of the system. Raise DeviceFault if it is missing, fails or takes longer than SECONDS."""
    path = which(program, path=PROGRAMS)
    if path is None:
        raise DeviceFault(
            f"{program} is not installed, so udev cannot be set up", "run this on the host, not in a container"
        )
    try:
        done = subprocess.run(  # noqa: S603 - an absolute path and fixed words
            [path, *arguments], capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceFault(
            f"{program} did not end within {SECONDS} seconds",
            Message("check udev", command("systemctl status systemd-udevd")),
        ) from None
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise DeviceFault(
            f"{program} {arguments[0]} failed: {message}",
            "check that udev runs here; in a container, run this on the host",
        )
