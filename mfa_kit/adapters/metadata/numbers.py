"""Records for each root certificate the highest number of a BLOB that was used, and rejects BLOBs with lower numbers.

The file of numbers has one line per new highest number: the SHA-256 of the root certificate, and the number. Each line
is appended in a single write, so concurrent processes lose no line.
"""

import os
from contextlib import suppress
from pathlib import Path
from shlex import quote

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.posix.open_files import NO_LINK
from mfa_kit.security_keys.authenticator import MetadataSource

_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK


def check_number(file: Path, source: MetadataSource, *, allow_older: bool) -> None:
    """Raise UsageFault if the number of `source` is lower than one that was used before, unless `allow_older` is true.

    `file` has the numbers that were used before. Only those with the root certificate of `source` count. If the number
    of `source` is higher than all of them, append it to the file, and ignore errors while writing. Raise IntegrityFault
    if the file exists but cannot be read.
    """
    seen = _seen(file, str(source.root))
    if seen is not None and source.number < seen and not allow_older:
        raise UsageFault(
            f"{source.name} has number {source.number}, but number {seen} was used before",
            "download blob.jwt again from https://mds3.fidoalliance.org/, or use this older file with --allow-older",
        )
    if seen is None or source.number > seen:
        with suppress(OSError):
            opened = os.open(file, _APPENDING, 0o600)
            try:
                # Begin with a line break, in case a crash cut the previous line short.
                os.write(opened, f"\n{source.root} {source.number}\n".encode())
            finally:
                os.close(opened)


def _seen(file: Path, root: str) -> int | None:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be read: {error.strerror}", f"change its owner: sudo chown $USER {quote(str(file))}"
        ) from None
    numbers = []
    for line in lines:
        with suppress(ValueError):
            of, number = line.split()
            if of == root:
                numbers.append(int(number))
    return max(numbers, default=None)
