"""The running processes, as far as this user can see them: proc(5). Linux only; other systems have no /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def process_names() -> Iterator[tuple[str, str]]:
    """Yield the ID of each process, and its name, which may contain control characters."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            yield folder.name, (folder / "comm").read_text("utf-8", "replace").strip()


def processes_with(library: str) -> Iterator[tuple[str, str]]:
    """Yield the ID and the name of each process, except this one, that has loaded a library.

    `library` is a part of the library's path. Processes whose memory map this user may not read are skipped.
    """
    for number, name in process_names():
        with suppress(OSError):
            if number != str(os.getpid()) and library in (PROC / number / "maps").read_text("utf-8", "replace"):
                yield number, name
