"""Proofs that a user's app works: codes that the user sent, and the time at which they were read.

A file of proofs is CSV with a user, one or two codes, and that time. A proof counts if the codes belong to time steps
near it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from mfa_kit.core import otp, wrong_codes
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.file_formats import plain_cell
from mfa_kit.core.otp import PERIOD, WITHIN, Seed, codes
from mfa_kit.core.text import checked_time, one_line
from mfa_kit.core.wrong_codes import Mistake
from mfa_kit.rollout.roster_files import CellFault, split_csv


def find_pairs(seed: Seed, first: str, second: str, steps: range) -> Iterator[int]:
    """Yield each step at which the device shows one of two codes, if it shows the other one at the step before.

    Both steps are within `steps`. The order in which the codes are given does not matter.

    To save time, only the code of every second step is computed, because one of two consecutive steps is always such a
    step. If a code matches, the codes of the step before and the step after are computed too. By chance, about one step
    in half a million shows one of the two codes. A chance match of both codes is a million times rarer.
    """
    other_code_of = {first: second, second: first}
    searched = range(steps.start + 1, steps.stop, 2)
    for step, code in zip(searched, codes(seed, searched), strict=True):
        other = other_code_of.get(code)
        if other is None:
            continue
        before, _, after = codes(seed, range(step - 1, step + 2))
        if other == before:
            yield step
        if other == after and step + 1 < steps.stop:
            yield step + 1


def find_code(seed: Seed, code: str, steps: range) -> Iterator[int]:
    """Yield each of `steps` at which the device shows a code."""
    yield from (step for step, shown_code in zip(steps, codes(seed, steps), strict=True) if shown_code == code)


# How far back and ahead codes are searched, in seconds. A user's message may take days. The clock of a phone may be an
# hour ahead, because its daylight saving time was not changed.
BACK, AHEAD = 7 * 24 * 60 * 60, 60 * 60
# For a user who sent one code instead of two: how many seconds the time of the code may differ from the time that the
# user gave. In a longer period, a mistyped code could match by chance.
SINGLE = 10 * 60
# If the user gave a time without seconds, several offsets of the phone's clock are possible. The smallest offset may be
# at most WITHIN steps, and the largest at most TOLERATED steps. Others have recorded that AWS accepts codes up to two
# steps off at sign-in.
TOLERATED = 2
# The largest number of lines for one user. Each line takes some milliseconds, and each is another guess at the codes.
MOST_LINES = 50
FIX = "ask the user to let the phone set its time automatically, and to send two new codes with the time"
AGAIN = "ask the user for two new codes, one after the other, and for the time"


class ReadTime(NamedTuple):
    """When the last code was read, as the user wrote it: between `at` and `at + within`, in Unix seconds."""

    at: float
    within: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofLine:
    """What one line of a file of proofs says: the codes as the user typed them, and the time, or None.

    `number` is the number of the line. `fault` is not empty if the line cannot be used, and says why.
    """

    number: int
    user: str
    codes: tuple[str, ...] = ()
    read: ReadTime | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class AppProof:
    """A proof that the app has the secret.

    `offset` is how many seconds the phone's clock is ahead; None if this is unknown. `skew` is the offset in steps. IAM
    stores the skew of the codes with which a device is enabled, so `activate` sends codes with this skew.
    """

    offset: float | None
    skew: int = 0

    def __str__(self) -> str:
        return f"the phone's clock is {_in_words(self.offset)}" if self.offset is not None else "clock unknown"


def prove(lines: Sequence[ProofLine], seed: Seed, *, now: float, accept_unknown: bool) -> AppProof:
    """Return the proof of the first line that proves that the user's app works.

    `now` is AWS's time in Unix seconds. With `accept_unknown`, two codes without a time are enough. Raise Lockout with
    the reason for each line if none of them is a proof, or if there are more than MOST_LINES lines.
    """
    if len(lines) > MOST_LINES:
        raise Lockout(f"the file has more than {MOST_LINES} lines for this user", "keep only the user's newest lines")
    refused: list[Lockout] = []
    for line in lines:
        try:
            return judge(line, seed, now=now, accept_unknown=accept_unknown)
        except Lockout as error:
            refused.append(error)
    message = "; ".join(f"line {line.number}: {error}" for line, error in zip(lines, refused, strict=True))
    raise Lockout(message, refused[-1].hint if refused else AGAIN)


def judge(line: ProofLine, seed: Seed, *, now: float, accept_unknown: bool) -> AppProof:
    """Return the proof that a line gives. If the line is not a proof, raise Lockout with the reason."""
    if line.fault:
        raise Lockout(line.fault, f"correct the line, or {AGAIN}")
    typed = [_digits(code) for code in line.codes]
    if line.read:
        _check_time(line.read, now)
    last = _find_pair(typed, seed, line.read, now) if len(typed) > 1 else _find_single(typed[0], seed, line.read)
    if last - otp.step(now) > WITHIN:  # AWS does not accept these codes yet, so the phone's clock is ahead
        ahead = (last - otp.step(now)) * PERIOD
        raise Lockout(f"AWS expects these codes later, so the phone's clock is at least {_length(ahead)} ahead", FIX)
    if line.read is None:
        if accept_unknown:
            return AppProof(None)
        raise Lockout(
            "clock unknown: the line has no time, so the phone's clock cannot be checked",
            "ask the user for two new codes with the time, or use --accept-unknown-clock",
        )
    return _check_clock(last, line.read)


def _digits(typed: str) -> str:
    code = wrong_codes.digits(typed)
    if isinstance(code, Mistake):
        zero = " (a spreadsheet may have removed zeros at the beginning)" if 0 < len(typed.strip()) < otp.DIGITS else ""
        raise Lockout(f"a code is wrong: {code.what}{zero}", AGAIN)
    return code


def _check_time(read: ReadTime, now: float) -> None:
    """Raise Lockout if the time of a line cannot be right, or is too long ago."""
    if read.at > now + PERIOD:
        raise Lockout("the time is in the future", "check the time and its time zone, or ask the user for new codes")
    if read.at + read.within < now - BACK:
        raise Lockout("the time is more than 7 days ago", AGAIN)


def _find_pair(typed: Sequence[str], seed: Seed, read: ReadTime | None, now: float) -> int:
    """Return the time step of the later of two codes.

    If several steps match, return the one that is nearest to the time in the line, or to `now` if the line has no time.
    """
    first, second = typed
    if first == second:
        raise Lockout("both codes are the same", AGAIN)
    steps = find_pairs(seed, first, second, range(otp.step(now - BACK), otp.step(now + AHEAD) + 1))
    if (last := _nearest(steps, read.at if read else now)) is None:
        raise Lockout(
            "in the last 7 days and the next hour, this device never shows these two codes one after the other",
            "check that the user reads this device's entry in the app; then ask for two new codes and the time",
        )
    return last


def _find_single(code: str, seed: Seed, read: ReadTime | None) -> int:
    """Return the time step of a single code. If several steps match, return the one nearest to the time in the line."""
    if read is None:
        raise Lockout("a single code counts only together with its time", AGAIN)
    steps = range(otp.step(read.at - SINGLE), otp.step(read.at + read.within + SINGLE) + 1)
    if (last := _nearest(find_code(seed, code, steps), read.at)) is None:
        raise Lockout("the device does not show this single code within 10 minutes of the time in the line", AGAIN)
    return last


def _nearest(steps: Iterable[int], time: float) -> int | None:
    return min(steps, key=lambda step: abs(step - otp.step(time)), default=None)


def _check_clock(last: int, read: ReadTime) -> AppProof:
    """Return the proof if AWS tolerates the offset of the phone's clock at sign-in. Otherwise raise Lockout.

    `last` is the step of the last code. If the time has no seconds, the offset in steps is not exact.
    """
    possible = [last - otp.step(read.at), last - otp.step(read.at + read.within)]
    offset = (last + 0.5) * PERIOD - (read.at + read.within / 2)
    skew = min(possible, key=abs)
    if abs(skew) > WITHIN or max(map(abs, possible)) > TOLERATED:
        later = "" if offset > 0 else ", or the time was noted later than the codes"
        raise Lockout(f"AWS would refuse the codes: the phone's clock is {_in_words(offset)}{later}", FIX)
    return AppProof(offset, skew)


def _in_words(offset: float) -> str:
    """Return the offset of a clock in words, such as `about 4 minutes behind` or `right to within 30 s`."""
    if abs(offset) <= PERIOD:
        return f"right to within {PERIOD} s"
    return f"about {_length(abs(offset))} {'ahead' if offset > 0 else 'behind'}"


def _length(seconds: float) -> str:
    for unit, size in (("days", 24 * 60 * 60), ("hours", 60 * 60), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds, -1):.0f} s"


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
