"""The time format of results, files and messages."""

from datetime import UTC, datetime


def iso_time(at: float) -> str:
    """Write a Unix time as ISO 8601 in UTC, to the second: `2026-11-26T08:32:00Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
