"""Files that a command line names: one that holds a secret, and a new one for the result."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from mfa_kit.adapters.files.private_files import write_new
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret

LONGEST_SECRET = 4096


def read_secret(descriptor: int) -> Secret[str]:
    """Read the first line of an open file, in UTF-8. Raise UsageFault where that is not possible."""
    try:
        with open(descriptor, "rb", closefd=False) as file:
            line = Secret(file.readline(LONGEST_SECRET))
        return Secret(line.reveal().decode().rstrip("\r\n"))
    except (OSError, UnicodeDecodeError):
        raise UsageFault(f"no secret can be read from file descriptor {descriptor}", "open it: 3<FILE") from None


def read_secret_line() -> Secret[str]:
    """Read the next line of standard input, in UTF-8 whatever the locale. Raise UsageFault, which does not quote it."""
    line = Secret(sys.stdin.buffer.readline(LONGEST_SECRET))
    with suppress(UnicodeDecodeError):
        return Secret(line.reveal().decode().rstrip("\r\n"))
    raise UsageFault("the line on standard input is not in UTF-8, so nothing was tried", "write it in UTF-8")


def write_new_file(path: Path, data: bytes | Secret[bytes]) -> None:
    """Write a new file, 0600, never over another, in a folder that is there."""
    check_new(path)
    write_new(path.absolute().parent.resolve() / path.name, data)


def check_new(path: Path) -> None:
    """Raise UsageFault or IntegrityFault where a new file could not be written, before the work for it begins."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageFault(f"there is no folder {folder}", "make it first, or name a file in another one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageFault(f"{folder} is not a folder that you can write to", "name a file in another one")
    if os.path.lexists(path):
        raise IntegrityFault(f"{path} exists already", "choose another name, for nothing is written over")
