"""The CloudTrail events of one account: how they are kept, found and checked. events.py makes them.

An event is a dictionary in the form of a record of a log file (CloudTrail user guide, "CloudTrail record contents").
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.wire import new_request_id

Event = Mapping[str, Any]
# The Regions that are enabled in each account (AWS account management guide, "Regions enabled by default"), by
# partition.
REGIONS = {
    "aws": (
        *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
        *("ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1"),
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
    ),
    "aws-us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "aws-cn": ("cn-north-1", "cn-northwest-1"),
}
# The fields that an event must have.
NEEDED = ("awsRegion", "eventName", "eventSource", "eventTime")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class Position(NamedTuple):
    """The place of an event among those of its Region: its time, and its number among all events of the account."""

    time: str
    number: int


def event_time(seconds: float) -> str:
    """Return a Unix time in the form of `eventTime`, which is UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_time(event: Event) -> float:
    """Return the `eventTime` of an event as a Unix time."""
    return datetime.fromisoformat(event["eventTime"]).timestamp()


class EventHistory:
    """The events of one account, by Region."""

    def __init__(self) -> None:
        self._events: dict[str, list[tuple[Position, Event]]] = {}
        self._number = 0
        # The Regions whose events are sorted.
        self._sorted: set[str] = set()

    def add(self, event: object) -> Event:
        """Add an event of any time, and return it. An event without `eventID` gets one.

        Raise UsageFault if it is not an event.
        """
        if not isinstance(event, dict) or any(not isinstance(event.get(name), str) for name in NEEDED):
            raise UsageFault(f"an event of CloudTrail needs the texts {', '.join(NEEDED)}", "add the missing field")
        if not TIME.fullmatch(event["eventTime"]):
            raise UsageFault(f"{event['eventTime']!r} is not the time of an event", "write it as 2026-09-14T22:01:30Z")
        kept: Event = {"eventID": new_request_id(), **event}
        self._number += 1
        region = kept["awsRegion"]
        self._events.setdefault(region, []).append((Position(kept["eventTime"], self._number), kept))
        self._sorted.discard(region)
        return kept

    def all(self) -> list[Event]:
        """Return the events of all Regions, in the order in which they were added."""
        entries = [entry for entries in self._events.values() for entry in entries]
        return [event for _, event in sorted(entries, key=lambda entry: entry[0].number)]

    def newest_first(self, region: str, *, start: str, end: str, before: Position) -> Iterator[tuple[Position, Event]]:
        """Yield the events of a Region from `start` to `end`, the newest first, with their positions.

        Leave out the events at `before` and after it. The times have the form of `eventTime`.
        """
        entries = self._events.get(region, [])
        if region not in self._sorted:
            entries.sort(key=itemgetter(0))
            self._sorted.add(region)
        last = min(
            bisect_right(entries, end, key=lambda entry: entry[0].time),
            bisect_left(entries, before, key=itemgetter(0)),
        )
        for index in range(last - 1, -1, -1):
            if entries[index][0].time < start:
                return
            yield entries[index]
