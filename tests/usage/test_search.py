"""The search in the event history for a use of each of some devices: what counts, and when it ends."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from mfa_kit.core.errors import AwsFault, Expired, MfaKitError
from mfa_kit.core.models import Device, UseEvent
from mfa_kit.usage.events import EventPage, EventQuery
from mfa_kit.usage.updating import UseSearch
from tests.usage.test_events import ACCOUNT, NOW, PHONE, USED, call, login

KEY = f"arn:aws:iam::{ACCOUNT}:u2f/user/ana/key-A"


@dataclass
class History:
    """An event history with pages by Region and event. An error is raised instead of a page."""

    pages: dict[tuple[str, UseEvent], list[list[dict[str, Any]] | MfaKitError]]
    asked: list[tuple[str, UseEvent]] = field(default_factory=list)
    endless: bool = False

    def regions(self) -> Sequence[str]:
        return ["us-east-1", "us-east-2"]

    def page(self, query: EventQuery, token: str | None) -> EventPage:
        self.asked.append((query.region, query.event))
        pages, number = self.pages.get((query.region, query.event), [[]]), int(token or 0)
        page = pages[number]
        if isinstance(page, MfaKitError):
            raise page
        more = "0" if self.endless else str(number + 1) if number + 1 < len(pages) else None
        return EventPage(events=[json.dumps(event) for event in page], token=more)


def search(history: History, *devices: Device) -> UseSearch:
    found = UseSearch(
        account=ACCOUNT,
        history=history,
        now=lambda: NOW,
        stopped=lambda: False,
        missing={device.serial: device for device in devices},
    )
    found.run(map)
    return found


def signed_in(serial: str = PHONE, **changes: Any) -> dict[str, Any]:
    return login(additionalEventData={"MFAUsed": "Yes", "MFAIdentifier": serial}, **changes)


FIRST, SECOND = ("us-east-1", UseEvent.CONSOLE_LOGIN), ("us-east-2", UseEvent.CONSOLE_LOGIN)
ANA = Device(PHONE, "Ana", USED - 10)


def test_the_search_ends_when_each_device_was_used() -> None:
    history = History({FIRST: [[signed_in()], [signed_in()]]})
    found = search(history, ANA)
    assert ({*found.uses}, found.missing, history.asked) == ({PHONE}, {}, [FIRST])


def test_an_older_device_of_the_same_name_hides_no_use() -> None:
    """Another device is looked for too, which was enabled earlier, so older events are read."""
    old = signed_in(eventTime="2026-09-14T21:00:00Z")
    history = History({FIRST: [[old]], SECOND: [[signed_in()]]})
    found = search(history, ANA, Device(KEY, "ana", USED - 86400))
    assert (found.uses[PHONE].at, {*found.missing}) == (USED, {KEY})


@pytest.mark.parametrize("device", [Device(PHONE, "bob", USED - 10), Device(PHONE, "ana"), Device(KEY, "ana", 1.0)])
def test_uses_by_other_users_or_of_other_devices_do_not_count(device: Device) -> None:
    assert search(History({FIRST: [[signed_in()]]}), device).uses == {}


def test_only_sign_ins_are_read_for_security_keys() -> None:
    history = History({("us-east-1", UseEvent.GET_SESSION_TOKEN): [[call("GetSessionToken")]]})
    search(history, Device(KEY, "ana", 1.0))
    assert history.asked == [FIRST, SECOND]
    assert search(history, ANA, Device(KEY, "ana", 1.0)).uses[PHONE].event is UseEvent.GET_SESSION_TOKEN


def test_an_error_concerns_one_region_but_expired_credentials_all() -> None:
    history = History({FIRST: [AwsFault("no answer", "")], SECOND: [[signed_in()]]})
    found = search(history, ANA)
    assert (found.unread, {*found.uses}) == ({"us-east-1": "no answer"}, {PHONE})
    with pytest.raises(Expired):
        search(History({FIRST: [Expired("expired", "")]}), ANA)


def test_pages_that_repeat_end() -> None:
    history = History({FIRST: [[]]}, endless=True)
    assert search(history, ANA).uses == {}
    assert len(history.asked) <= 4 * len(UseEvent)
