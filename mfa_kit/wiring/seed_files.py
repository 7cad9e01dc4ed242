"""Read seed files, tables of codes that people read from display tokens, and codes from standard input or the user."""

import sys
import time
from pathlib import Path
from typing import TypedDict

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.matching import CodeSource
from mfa_kit.tokens.seeds import (
    DroppedRow,
    Encoding,
    SeedFile,
    WrittenReading,
    joined_reasons,
)
from mfa_kit.wiring.files import LONGEST_SECRET, read_secret
from mfa_kit.wiring.settings import Settings, command_for_extra, harden

COLUMNS = "write one row per token: serial, code[, second code][, time]; the time in ISO 8601 or Unix seconds"


class SeedFileOptions(TypedDict):
    """The options for reading a seed file: how its seeds are encoded, and the source of its passphrase or key.

    If `encoding` is None, seeds are decoded as the file's format says, or in each way that fits all seeds. The
    passphrase or key is the first line of stdin with `unlock_stdin`, or of the file descriptor `unlock_fd`. Otherwise
    the user types the passphrase or key.
    """

    encoding: Encoding | None
    unlock_stdin: bool
    unlock_fd: int | None


def open_seed_file(path: Path, options: SeedFileOptions, *, settings: Settings) -> SeedFile:
    """Return the tokens in a seed file, and the rejected rows. The passphrase is read only if the file is encrypted.

    Raise UsageFault if the extra `tokens` is not installed, and UsageFault or IntegrityFault for a file that cannot be
    read or decrypted.
    """
    try:
        from mfa_kit.adapters.seedfiles import files
    except ModuleNotFoundError as error:
        raise UsageFault(f"seed files need {error.name}, which is not installed", command_for_extra("tokens")) from None

    def unlock(secret_name: str) -> Secret[str]:
        """Return the passphrase or pre-shared key that decrypts the file. `secret_name` names it in the prompt."""
        descriptor = sys.stdin.fileno() if options["unlock_stdin"] else options["unlock_fd"]
        if descriptor is not None:
            return read_secret(descriptor)
        return settings.interaction.ask_secret(f"the {secret_name} of {path.name}", instead="--unlock-fd N")

    harden()
    return files.read_seed_file(files.load_file(path), unlock, now=time.time(), encoding=options["encoding"])


def read_readings(path: Path) -> list[WrittenReading | DroppedRow]:
    """Read a table of codes that someone read from display tokens and wrote down without mfa-kit.

    Return a WrittenReading for each usable row and a DroppedRow for each other row. Raise UsageFault or IntegrityFault
    if the file is not such a table, or if no row is usable.
    """
    from mfa_kit.adapters.seedfiles.files import read_written_file

    try:
        rows = read_written_file(path, now=time.time())
    except (UsageFault, IntegrityFault) as error:
        raise type(error)(f"no codes can be read from {path.name}: {error}", COLUMNS) from None
    bad = [row for row in rows if isinstance(row, DroppedRow)]
    if len(bad) == len(rows):
        raise UsageFault(f"{path.name} has no usable codes: {joined_reasons(bad) or 'it has no rows'}", COLUMNS)
    return rows


def open_codes(settings: Settings, *, codes_stdin: bool) -> CodeSource:
    """Return the source of codes: standard input with `codes_stdin`, otherwise the user."""
    return CodeSource(interaction=settings.interaction, now=time.time, piped=_read_codes if codes_stdin else None)


def _read_codes() -> list[str]:
    return [line.strip() for line in sys.stdin.read(LONGEST_SECRET).splitlines() if line.strip()]
