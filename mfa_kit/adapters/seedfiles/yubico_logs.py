"""Reads the log files of Yubico's personalization tool. The seeds in them are hexadecimal.

The tool can write its rows in two layouts, and a file may contain both.
"""

import re
from collections.abc import Iterator, Sequence

from mfa_kit.adapters.seedfiles.cells import Cells, Line, number, seed_row
from mfa_kit.adapters.seedfiles.encoding import SeedRow
from mfa_kit.tokens.seeds import DroppedRow, Factor, Token

STAMP = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)
# Event types of the traditional layout of Yubico's personalization tool.
EVENTS = re.compile(r"logging start|oath-hotp|yubico otp|static password|challenge-response|configuration ")
OTHER_EVENT = "is not an OATH one-time password"
# The number of columns in Yubico's own layout, up to and including the time.
UP_TO_TIME = 6


def is_traditional(first: Cells) -> bool:
    """Return whether the first row of a log has the traditional layout, which begins with an event."""
    return EVENTS.match(first[0].lower()) is not None


def is_yubico_layout(first: Cells) -> bool:
    """Return whether the first row of a log has Yubico's own layout, whose sixth cell is a time."""
    return len(first) >= UP_TO_TIME and STAMP.match(first[UP_TO_TIME - 1]) is not None


def read_log(table: Sequence[Line]) -> Iterator[SeedRow | DroppedRow | None]:
    """Yield the token and seed in each row, or a DroppedRow with the reason why the row cannot be used.

    For a row that only says that logging has started, yield None. The layout of each row is recognized separately. The
    tool appends to its log, so a file contains both layouts if the user changed the layout in the settings.
    """
    for line in table:
        where, cells = line
        if isinstance(cells, DroppedRow):
            yield cells
        elif is_traditional(cells):
            yield _traditional(where, cells)
        elif is_yubico_layout(cells):
            yield _yubico(where, cells)
        else:
            yield DroppedRow(where, "it fits neither of the two layouts of Yubico's log")


def _traditional(where: str, cells: Cells) -> SeedRow | DroppedRow | None:
    """Parse a row of the traditional layout: `event,time,slot,public id,private id,key,…,digits,counter,…`.

    It has no column for the serial, so the public ID and the slot are used instead.
    """
    event = cells[0].lower()
    if event == "logging start":
        return None
    if event != "oath-hotp":
        return DroppedRow(where, f"it {OTHER_EVENT}")
    cells = [*cells, *[""] * 13]
    return seed_row(
        where,
        cells[5],
        lambda: Token(
            serial=cells[3] and f"{cells[3]}:{cells[2]}",
            factor=Factor.HOTP,
            digits=number(cells[11], otherwise=6),
            counter=number(cells[12], otherwise=0),
            maker="Yubico",
        ),
    )


def _yubico(where: str, cells: Cells) -> SeedRow | DroppedRow:
    """Parse `serial,public id,moving factor,key,access code,time,`, Yubico's own layout.

    A row is for OATH if it has a moving factor.
    """
    cells = [*cells, *[""] * 6]
    if not re.fullmatch(r"\d{1,9}", cells[2], re.ASCII):
        return DroppedRow(where, f"it {OTHER_EVENT}")
    return seed_row(
        where,
        cells[3],
        lambda: Token(serial=cells[0], factor=Factor.HOTP, counter=number(cells[2], otherwise=0), maker="Yubico"),
    )
