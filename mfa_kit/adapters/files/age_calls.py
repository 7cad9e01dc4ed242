"""Helps to call pyrage, the age library, with untrusted input.

pyrage is written in Rust. When Rust code panics, pyo3 raises PanicException. `except Exception` would not catch it,
because it does not derive from Exception. Rust also writes a report of the panic to stderr.
"""

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.otp import Secret

STDERR = 2
# Part of the message of pyrage.DecryptError for a file that none of the identities can decrypt.
NOT_FOR_US = "No matching keys"
# The first and last line of an armored file (age-encryption.org/v1, "ASCII armor").
ARMOR = (b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----")
ONE_AT_A_TIME = threading.Lock()


def without_armor(content: Secret[bytes]) -> Secret[bytes]:
    """Return the binary form of an armored file (`age -a`). Other content, and damaged armor, are returned unchanged.

    `content` is a Secret, because it may be an identity file without a passphrase.
    """
    if not content.reveal().lstrip().startswith(ARMOR[0]):
        return content
    lines = [line.strip() for line in content.reveal().strip().splitlines()]
    if lines[-1] != ARMOR[1]:
        return content
    try:
        return Secret(base64.b64decode(b"".join(lines[1:-1]), validate=True))
    except ValueError:
        return content


def count_recipients(sealed: bytes) -> int:
    """Return the number of recipients of an age file (age-encryption.org/v1, "Header").

    Dummy stanzas, whose type ends with `-grease`, are not counted.
    """
    header = without_armor(Secret(sealed)).reveal().partition(b"\n---")[0]
    types = [line.split(b" ")[1] for line in header.split(b"\n") if line.startswith(b"-> ")]
    return sum(not stanza_type.endswith(b"-grease") for stanza_type in types)


@contextmanager
def contain_panics(fault: MfaKitError) -> Iterator[None]:
    """Raise `fault` if pyrage panics in the `with` block."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise fault from None
        raise


@contextmanager
def without_stderr() -> Iterator[None]:
    """Discard what this process writes to stderr during the `with` block, such as the report of a panic.

    Only one thread at a time can be in such a block. Other threads wait.
    """
    with ONE_AT_A_TIME:
        yield from _redirected()


def _redirected() -> Iterator[None]:
    try:
        before = os.dup(STDERR)
    except OSError:  # stderr is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(nowhere)
        os.close(before)
