"""The udev rule for security keys (udev(7)): its file and its group, and how udev reads its rules again.

Linux only: udevadm(8), groupadd(8), groupdel(8).
"""

import os
import stat
import subprocess
from pathlib import Path
from shutil import which

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.message import Message, command
from mfa_kit.posix.processes import group_name

NAME = "70-mfa-kit.rules"
# The folders from which udev reads rules (udev(7), "Rules files"). The first is for an administrator's own rules.
FOLDERS = tuple(Path(place) / "udev/rules.d" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))


def find_rule() -> Path | None:
    """Return the path of the installed rule, or None. udev uses the file in the first of FOLDERS that has it."""
    return next((folder / NAME for folder in FOLDERS if (folder / NAME).exists()), None)


def has_current_text(rule: Path) -> bool:
    """Return whether the file of an installed rule has the same content as the rule of this version of mfa-kit."""
    try:
        return rule.read_bytes() == rule_text()
    except OSError:
        return False


def write_rule() -> Path:
    """Write the rule to the first folder, replacing an older version. Return its path. Raise DeviceFault on failure."""
    rule = FOLDERS[0] / NAME
    beside = rule.with_suffix(".partial")  # udev reads only files whose names end in .rules
    try:
        rule.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:
            file.write(rule_text())
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.rename(rule)
    except OSError as error:
        raise DeviceFault(f"{rule} cannot be written: {error.strerror}", "check the folder, and try again") from None
    return rule


def remove_rule() -> bool:
    """Remove the rule from the first folder. Return whether it was there. mfa-kit never writes to the other folders."""
    rule = FOLDERS[0] / NAME
    try:
        rule.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DeviceFault(f"{rule} cannot be removed: {error.strerror}", "check the folder, and try again") from None
    return True


def rule_text() -> bytes:
    """Return the rule of this version of mfa-kit: from the wheel, or from the folder udev/ of a checkout."""
    packaged = Path(__file__).with_name(NAME)
    return (packaged if packaged.exists() else Path(__file__).parents[3] / "udev" / NAME).read_bytes()


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
