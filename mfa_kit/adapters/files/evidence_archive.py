"""The files of an evidence export: reads the secret for pseudonyms, and writes the archive."""

import io
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import Message, command
from mfa_kit.disk.files import create_file, open_folder

# The date of all files in the archive: the earliest date that ZIP allows. It is fixed, so that archives with the same
# files are equal.
DATE = (1980, 1, 1, 0, 0, 0)
# The minimum and maximum length of the secret for pseudonyms, in octets.
LEAST_KEY = 16
LARGEST_KEY = 1 << 20
# The permission bits of all users except the owner.
OTHERS = 0o077


def read_secret(file: Path) -> bytes:
    """Return the secret for pseudonyms, which is the content of a file or pipe.

    Raise UsageFault if the file cannot be read, if the secret is too short or too long, or if other users of this
    computer could read the file.
    """
    make = "make one: (umask 077; openssl rand -hex 32 > FILE)"
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & OTHERS:
                raise UsageFault(
                    f"{file} has mode {stat.S_IMODE(status.st_mode):04o}, so other users of this computer could learn "
                    "the secret of the pseudonyms",
                    Message("allow only its owner", command("chmod 600 {}", str(file))),
                )
            secret = opened.read(LARGEST_KEY + 1).strip()
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", make) from None
    if len(secret) < LEAST_KEY:
        raise UsageFault(f"{file} has fewer than {LEAST_KEY} bytes, so pseudonyms could be guessed", make)
    if len(secret) > LARGEST_KEY:
        raise UsageFault(f"{file} is too large for a secret", make)
    return secret


def write_archive(file: Path, contents: Mapping[str, bytes]) -> None:
    """Write the archive with mode 0600. Raise IntegrityFault if the file exists or cannot be written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            archive.writestr(entry, data)
    try:
        with open_folder(file.absolute().parent) as folder:
            create_file(folder, file.name, buffer.getvalue())
    except OSError as error:
        raise IntegrityFault(f"{file} cannot be written: {error.strerror}", "give a new file: -o FILE") from None
