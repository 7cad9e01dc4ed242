"""Text to show: text from outside made safe, and names, numbers and times in sentences."""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TypeAlias

from mfa_kit.core.errors import UsageFault

# The version of all JSON schemas.
VERSION = 1
# The value of a cell of a result. Nested values are for JSON. None means that the cell is empty.
Cell: TypeAlias = "str | float | Sequence[Cell] | Mapping[str, Cell] | None"
ResultRow: TypeAlias = "Mapping[str, Cell]"


def encoding_of(octets: bytes) -> str:
    """Return the name of a text's encoding: UTF-16 if its byte order mark says so, or else UTF-8, without its mark."""
    return "utf-16" if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def is_control(char: str) -> bool:
    """Return whether a character is a line or paragraph separator, or is in Unicode's category C.

    Category C includes control, format (bidi), surrogate, private-use and unassigned characters.
    """
    return unicodedata.category(char).startswith(("C", "Zl", "Zp"))


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Matches a time in ISO 8601 and UTC, or a date after a word that says that it is one. Neither is a part of a name.
ISO_TIME = re.compile(
    r"(?:(?<![^\s(])|(?P<before>(?<![\w-])(?:since|until|on|from|to) ))"
    r"(?P<time>\d{4}-\d\d-\d\d(?(before)(?:T[\d:]+Z)?|T[\d:]+Z))(?![^\s,;:.)]|[.:]\w)"
)


def one_line(text: str) -> str:
    r"""Return the text with control characters written as escapes (`\x1b`, `\u202e`) and line breaks as `\n`."""
    if text.isprintable():  # true for most texts, and much faster than a check of each character
        return text
    return "".join(char.encode("unicode_escape").decode() if is_control(char) else char for char in text)


def printable(text: str) -> str:
    """Return the text with control characters written as escapes. Line breaks are kept."""
    return "\n".join(map(one_line, text.split("\n")))


def without_controls(text: str) -> str:
    """Return a name, such as that of a card reader, without control characters and surrounding spaces."""
    return "".join(char for char in text if not is_control(char)).strip()


def is_private_key(text: str) -> bool:
    """Return whether a text looks like an age identity, a plugin's identity or the first line of an SSH private key.

    People paste such keys where a name or a file belongs. An error message must not quote them.
    """
    return any(word in text.upper() for word in ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY-----"))


def refuse_private_key(path: str) -> None:
    """Raise UsageFault if a path that cannot be used looks like a private key. The message does not quote it."""
    if is_private_key(path):
        raise UsageFault(
            "a private key was given instead of the name of its file",
            "write it to a file that only you can read, and name the file",
        ) from None  # the error of the system has the path


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return the number and the noun, such as `1 user` or `2 users`. Without `plural`, the plural ends with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def counts_of(names: Iterable[str], entries: Iterable[str]) -> str:
    """Return how often each of the names is in `entries`, such as `3 pass, 1 fail`. Names that are not are left out."""
    counts = Counter(entries)
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name])


def few(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first `most` names and the number of the others, such as `a, b, c, d, e and 3 more`."""
    others = len(names) - most
    return separator.join(names[:most]) + (f"{separator.removeprefix(',')}and {others} more" if others > 0 else "")


# The first and the last Unix time that can be written in every time zone. They are one day inside datetime's limits.
FIRST = datetime(1, 1, 2, tzinfo=UTC).timestamp()
LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
# AWS refuses a request if its time is off by more than this many seconds (IAM user guide, "AWS Signature Version 4").
CLOCK_LIMIT = 300.0


def iso_time(time: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, to the second: `2026-11-26T08:32:00Z`."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def readable_time(time: datetime, zone: str = "UTC") -> str:
    """Return a time for people, without seconds: `30 Nov 2026, 06:18 UTC`."""
    return f"{readable_day(time)}, {time:%H:%M} {zone}"


def readable_day(day: date) -> str:
    """Return a date for people: `30 Nov 2026`."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def day_of(time: float) -> str:
    """Return the day of a Unix time in UTC for people: `30 Nov 2026`."""
    return readable_day(datetime.fromtimestamp(time, UTC))


def with_readable_times(text: str) -> str:
    """Return a text in which the times in ISO 8601, and the dates after words such as `since`, are for people."""

    def readable(match: re.Match[str]) -> str:
        try:
            time = datetime.fromisoformat(match["time"])
        except ValueError:
            return match[0]
        return f"{match['before'] or ''}{readable_time(time) if 'T' in match['time'] else readable_day(time)}"

    return ISO_TIME.sub(readable, text)


def age_text(seconds: float) -> str:
    """Return an age as hours and minutes, such as `3 h 59 min`. A negative age is `0 h 0 min`."""
    minutes = max(0, int(seconds)) // 60
    return f"{minutes // 60} h {minutes % 60} min"


def clock_difference(offset: float) -> str:
    """Return a text that says how far this computer's clock is off.

    `offset` is AWS's time minus this computer's time, in seconds.
    """
    seconds = abs(offset)
    amount = f"{seconds:.0f} s" if seconds <= CLOCK_LIMIT else f"{seconds / 60:,.0f} min"
    return f"this computer's clock is {amount} {'behind' if offset > 0 else 'ahead of'} AWS's"


def checked_time(time: float) -> float:
    """Return an untrusted Unix time unchanged. Raise ValueError if it cannot be written as a date."""
    if not FIRST <= time <= LAST:
        raise ValueError("a time is not in the years 1 to 9999")
    return time


UNSAFE = re.compile(r"[^a-z0-9_-]")


def encoded(text: str) -> str:
    """Percent-encode all characters of a text except a-z, 0-9, _ and -, so that the result can be part of a path.

    The result is never `..`. Names that differ only in case remain different, even on file systems that ignore case.
    """
    return UNSAFE.sub(lambda char: f"%{ord(char[0]):02X}", text)
