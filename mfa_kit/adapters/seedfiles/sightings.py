"""Reads CSV with codes that people read from tokens and wrote down. The header is optional.

The columns are `serial,code[,second code][,time]`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from mfa_kit.adapters.seedfiles.cells import Cells, split_rows
from mfa_kit.tokens.seeds import DroppedRow, TypedCodes, WrittenReading

# Some displays show a code as two groups of digits.
CODE = re.compile(r"\d{6,9}|\d{3,5} \d{3,4}", re.ASCII)
PLAIN = re.compile(r"[A-Za-z ]+")
# RFC 4226 was published in 2005, so no code is older. A time may be up to AHEAD seconds in the future, because the
# clock of the computer that recorded the time may be fast.
FIRST = datetime(2005, 1, 1, tzinfo=UTC).timestamp()
AHEAD = 60


def read_written(text: str, *, now: float) -> list[WrittenReading | DroppedRow]:
    """Return the serial and the codes in each row, or a DroppedRow with the reason why the row cannot be used.

    If a row has no time, its codes count as displayed at `now` (Unix seconds). A time without a UTC offset is in UTC.
    """
    return list(_rows(text, now))


def _rows(text: str, now: float) -> Iterator[WrittenReading | DroppedRow]:
    for ordinal, (where, cells) in enumerate(split_rows(text)):
        if isinstance(cells, DroppedRow):
            yield cells
        elif ordinal or len(cells) < 2 or not PLAIN.fullmatch(cells[1]):  # noqa: PLR2004 - or else it is the header
            yield _written(where, cells, now)


def _written(where: str, cells: Cells, now: float) -> WrittenReading | DroppedRow:
    codes = tuple("".join(cell.split()) for cell in cells[1:3] if CODE.fullmatch(cell))
    times = [cell for cell in cells[1:] if cell and not CODE.fullmatch(cell)]
    if not cells[0] or not codes:
        return DroppedRow(where, "it needs a serial number and a code")
    try:
        time = _moment(times[0]) if times else now
    except ValueError:
        return DroppedRow(where, "the value after its serial number is neither a code nor a time")
    if not FIRST <= time <= now + AHEAD:
        return DroppedRow(where, "its time is before 2005" if time < FIRST else "its time is in the future")
    return WrittenReading(where, cells[0], TypedCodes(codes=codes, at=time))


def _moment(text: str) -> float:
    if re.fullmatch(r"\d{9,11}", text, re.ASCII):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
