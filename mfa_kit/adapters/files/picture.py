"""Reads a picture file that the user names, and overwrites and removes it on request. Symlinks are refused."""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Png
from mfa_kit.disk.files import open_folder
from mfa_kit.posix.open_files import NO_LINK, NO_WAIT

# The maximum size of a picture in octets. A photograph of a screen takes a few megabytes.
LARGEST = 20 << 20
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture and the file from which it was read. `inode` is the file's device number and inode number."""

    picture: Png
    path: Path
    inode: tuple[int, int]


def load_image(path: Path) -> ImageFile:
    """Read a picture file. Raise UsageFault if it cannot be read or is larger than 20 MB."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | NO_LINK | NO_WAIT), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageFault(f"{path} is not a file", "name a picture file, or - for stdin")
            return ImageFile(read_image(file), path, (status.st_dev, status.st_ino))
    except OSError as error:
        is_link = os.path.islink(path)  # noqa: PTH114 - Path.is_symlink may raise PermissionError
        hint = "name the file itself, because symlinks are not followed" if is_link else "check --image"
        raise UsageFault(f"the image {path} cannot be read: {error.strerror}", hint) from None


def read_image(file: IO[bytes]) -> Png:
    """Read a picture from an open file. Raise UsageFault if it is larger than 20 MB."""
    picture = Png(file.read(LARGEST + 1))
    if len(picture.reveal()) > LARGEST:
        raise UsageFault("the picture is larger than 20 MB", "crop the picture to the QR code")
    return picture


def shred_image(image: ImageFile) -> int:
    """Overwrite a picture file with random octets and remove it. Return how many other hard links the file has.

    Raise IntegrityFault if that fails, or if the file was replaced after it was read.
    """
    try:
        with os.fdopen(os.open(image.path, os.O_WRONLY | NO_LINK), "wb") as file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != image.inode:
                raise IntegrityFault(
                    f"{image.path} was replaced after mfa-kit read it", "check the file, and delete it yourself"
                )
            for offset in range(0, status.st_size, CHUNK):
                file.write(secrets.token_bytes(min(CHUNK, status.st_size - offset)))
            file.flush()
            os.fsync(file.fileno())
        image.path.unlink()
        with open_folder(image.path.parent) as folder:
            os.fsync(folder)
    except OSError as error:
        raise IntegrityFault(
            f"{image.path} cannot be overwritten and removed: {error.strerror}",
            "delete it yourself, because it contains the secret",
        ) from None
    return status.st_nlink - 1
