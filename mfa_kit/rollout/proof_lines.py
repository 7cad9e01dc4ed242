"""Reads a file of proofs: CSV with a user, one or two codes, and the time at which the last code was read.

The file is untrusted, because its lines come from users. A wrong line does not affect the others.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from mfa_kit.core.csv_text import plain_cell
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import one_line
from mfa_kit.core.timestamps import checked_time
from mfa_kit.rollout.proofs import ProofLine, ReadTime
from mfa_kit.rollout.roster_text import CellFault, split_csv

COLUMNS = ("user", "code1", "code2", "time")
# Matches a cell with a code: digits and spaces, because apps show a code in two groups of digits.
CODE = re.compile(r"[\d ]{1,9}")
# If a time has no seconds, the code may have been read up to this many seconds later.
MINUTE = 59
CLOCK = re.compile(r"\d:\d\d")
# Matches spaces before the time zone. ISO 8601 does not allow these spaces.
GAP = re.compile(r"\s+(?=(?:[+-]\d|Z\Z))")


def read_proofs(text: str) -> list[ProofLine]:
    """Return the lines of a file of proofs.

    If a cell of the first line is `user`, the line is a header, which gives the order of COLUMNS. Other columns are
    ignored. Without a header, a line begins with the user, and then has the codes and the time in any order. Raise
    UsageFault if the file is empty, or if its header has no column `code1`.
    """
    names: list[str] | None = None
    lines: list[ProofLine] = []
    for row in split_csv(text.removeprefix("\ufeff")):
        if isinstance(row, CellFault):
            lines.append(ProofLine(number=row.line, user="", fault=row.what))
            continue
        number, cells = row
        if names is None and not lines and "user" in (heads := [cell.lower() for cell in cells]):
            names = _checked_header(heads, number)
        elif names is not None:
            lines.append(_named_line(number, dict(zip(names, map(plain_cell, cells), strict=False))))
        else:
            lines.append(_plain_line(number, [plain_cell(cell) for cell in cells]))
    if not lines:
        raise UsageFault("the file of proofs has no lines", f"write one line per user: {','.join(COLUMNS)}")
    return lines


def _checked_header(names: list[str], line: int) -> list[str]:
    if "code1" not in names:
        raise UsageFault(
            f"line {line}: the header has a column 'user', but no column 'code1'", f"begin with: {','.join(COLUMNS)}"
        )
    return names


def _named_line(number: int, cells: Mapping[str, str]) -> ProofLine:
    codes = tuple(filter(None, (cells.get("code1", ""), cells.get("code2", ""))))
    return _line(number, cells.get("user", ""), codes, cells.get("time", ""))


def _plain_line(number: int, cells: Sequence[str]) -> ProofLine:
    user, *others = cells
    codes = tuple(cell for cell in others if CODE.fullmatch(cell))
    return _line(number, user, codes, " ".join(cell for cell in others if cell not in codes).strip())


def _line(number: int, user: str, codes: tuple[str, ...], time: str) -> ProofLine:
    user = one_line(user)
    if not user:
        return ProofLine(number=number, user="", fault="the line has no user")
    if len(codes) not in {1, 2}:
        fault = "the line has more than two codes" if codes else "the line has no code"
        return ProofLine(number=number, user=user, fault=fault)
    try:
        return ProofLine(number=number, user=user, codes=codes, read=_read_time(time) if time else None)
    except ValueError as error:
        return ProofLine(number=number, user=user, fault=str(error))


def _read_time(text: str) -> ReadTime:
    """Return the time in a cell. If the time cannot be used, raise ValueError with the reason.

    The reason does not quote the cell, because the cell may contain a code.
    """
    example = "write 2026-11-26T09:32:10+01:00"
    try:
        moment = datetime.fromisoformat(GAP.sub("", text))
    except ValueError:
        raise ValueError(f"the time cannot be read; {example}") from None
    if not CLOCK.search(text):
        raise ValueError(f"the date has no time; {example}")
    if moment.tzinfo is None:
        raise ValueError(f"the time has no time zone; {example}, or Z for UTC")
    # The seconds are usually 0 because the user wrote none. A spreadsheet may have added `:00`.
    return ReadTime(checked_time(moment.timestamp()), 0 if moment.second else MINUTE)
