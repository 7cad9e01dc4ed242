"""Writes a local HTML page that redirects a browser to an address that contains a secret.

The address must not be an argument of the browser, because other users can read the arguments of a process.
"""

import html
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mfa_kit.core.otp import Secret
from mfa_kit.posix.open_files import NO_LINK

# How many seconds a sign-in token of AWS is valid (IAM user guide).
GOOD = 15 * 60
PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>mfa-kit</title>
<meta http-equiv="refresh" content="0; url={address}">
<p>Opening {destination}. <a href="{address}">Open it here</a> if nothing happens.</p>
"""


@contextmanager
def write_page(folder: Path, address: Secret[str], *, destination: str = "the AWS console") -> Iterator[Path]:
    """Write a page that redirects to `address`, and yield the page's path. At the end, remove the page.

    Only this user can read the page. Its text says that `destination` is being opened. Also remove the pages that
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
            file.write(PAGE.format(address=html.escape(address.reveal(), quote=True), destination=destination))
        yield path
    finally:
        path.unlink(missing_ok=True)
