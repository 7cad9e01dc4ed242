"""The format of times in results, files and messages."""

from datetime import UTC, datetime

# The first and the last Unix time that can be written in every time zone. They are one day inside datetime's limits.
FIRST = datetime(1, 1, 2, tzinfo=UTC).timestamp()
LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
# AWS refuses a request if its time is off by more than this many seconds (IAM user guide, "AWS Signature Version 4").
CLOCK_LIMIT = 300.0


def iso_time(time: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, to the second: `2026-11-26T08:32:00Z`."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


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
