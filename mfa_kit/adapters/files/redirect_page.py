"""Writes a local HTML page that redirects a browser to an address that contains a secret.

The address must not be an argument of the browser, because other users can read the arguments of a process.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mfa_kit.core.otp import Secret
from mfa_kit.posix.open_files import NO_LINK

# How many seconds a sign-in token of AWS is valid (IAM user guide).
GOOD = 15 * 60


@contextmanager
def write_page(folder: Path, address: Secret[str], *, page: Callable[[str], str]) -> Iterator[Path]:
    """Write a page that redirects to `address`, and yield the page's path. At the end, remove the page.

    `page` makes the HTML of the page for an address. Only this user can read the page. Also remove the pages that
    killed processes left, if the pages are so old that their sign-in tokens have expired.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in folder.glob("console-*.html"):
        with suppress(OSError):
            if old.lstat().st_mtime < time.time() - GOOD:
                old.unlink()
    path = folder / f"console-{secrets.token_hex(8)}.html"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_LINK, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page(address.reveal()))
        yield path
    finally:
        path.unlink(missing_ok=True)
