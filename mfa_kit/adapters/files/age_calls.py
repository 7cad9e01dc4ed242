"""Calls of age's library with input that anyone may have written.

pyrage is written in Rust. Where that code panics, pyo3 raises PanicException, which is no Exception, so nothing that
catches errors would see it; and Rust writes to standard error.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mfa_kit.core.errors import MfaKitError

STDERR = 2
ONE_AT_A_TIME = threading.Lock()


@contextmanager
def contain_panics(fault: MfaKitError) -> Iterator[None]:
    """Raise `fault` where pyrage panics."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise fault from None
        raise


@contextmanager
def without_stderr() -> Iterator[None]:
    """Discard what this process writes to standard error, such as the report of a panic. One thread at a time."""
    with ONE_AT_A_TIME:
        yield from _redirected()


def _redirected() -> Iterator[None]:
    try:
        before = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(nowhere)
        os.close(before)
