"""Reads CloudTrail's event history of an account, one Region at a time (cloudtrail:LookupEvents).

The answers contain session tokens and addresses. They are passed on as text, and are not logged.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from mfa_kit.usage.events import EventPage, EventQuery

T = TypeVar("T")

# LookupEvents allows two requests a second for each account and Region, and this cannot be raised (CloudTrail API
# reference, LookupEvents). Its pages have up to 50 events.
SECONDS = 0.5
PAGE = 50


class AskService(Protocol):
    """Makes one read call with the client of a service in a Region and returns its result."""

    def __call__(self, service: str, region: str | None, call: Callable[[Any], T]) -> T: ...


class AwsEventHistory:
    """Implements the port UseHistory. Calls in different Regions may be made at the same time."""

    def __init__(
        self, ask: AskService, *, sleep: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._sleep, self._clock = ask, sleep, clock
        self._next: dict[str, float] = {}

    def regions(self) -> Sequence[str]:
        """Return the Regions that are enabled in the account (ec2:DescribeRegions)."""
        answer = self._ask("ec2", None, lambda ec2: ec2.describe_regions(AllRegions=False))
        return sorted(str(region["RegionName"]) for region in answer["Regions"])

    def page(self, query: EventQuery, token: str | None) -> EventPage:
        """Return the page of an answer that `token` names, or the first page."""
        self._wait(query.region)
        arguments: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": str(query.event)}],
            "StartTime": datetime.fromtimestamp(query.start, UTC),
            "EndTime": datetime.fromtimestamp(query.end, UTC),
            "MaxResults": PAGE,
            **({"NextToken": token} if token else {}),
        }
        answer = self._ask("cloudtrail", query.region, lambda cloudtrail: cloudtrail.lookup_events(**arguments))
        events = answer.get("Events", ())
        times = [event["EventTime"].timestamp() for event in events if "EventTime" in event]
        return EventPage(
            events=[str(event.get("CloudTrailEvent", "")) for event in events],
            oldest=min(times, default=None),
            token=answer.get("NextToken") or None,
        )

    def _wait(self, region: str) -> None:
        """Wait until the next request in this Region is allowed. Each Region is read by one thread."""
        while (pause := self._next.get(region, 0.0) - self._clock()) > 0:
            self._sleep(pause)
        self._next[region] = self._clock() + SECONDS
