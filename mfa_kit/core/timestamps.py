"""The format of times in results, files and messages."""

from datetime import UTC, datetime

# The first and the last Unix time that can be written in every time zone. They are one day inside datetime's limits.
FIRST = datetime(1, 1, 2, tzinfo=UTC).timestamp()
LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def iso_time(at: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, to the second: `2026-11-26T08:32:00Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def checked_time(at: float) -> float:
    """Return an untrusted Unix time unchanged. Raise ValueError if it cannot be written as a date."""
    if not FIRST <= at <= LAST:
        raise ValueError("a time is not in the years 1 to 9999")
    return at
