"""The time format of results, files and messages."""

from datetime import UTC, datetime

# Unix times that can be written in every time zone: a day after the first and before the last that datetime has.
FIRST = datetime(1, 1, 2, tzinfo=UTC).timestamp()
LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def iso_time(at: float) -> str:
    """Write a Unix time as ISO 8601 in UTC, to the second: `2026-11-26T08:32:00Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def checked_time(at: float) -> float:
    """Return a Unix time from outside. Raise ValueError if it cannot be written as a date."""
    if not FIRST <= at <= LAST:
        raise ValueError("a time is not in the years 1 to 9999")
    return at
