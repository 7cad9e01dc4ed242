"""Finds the use of an MFA device in an event of CloudTrail.

Only a successful sign-in to the console, and GetSessionToken and AssumeRole with a code, name the device (CloudTrail
user guide, "AWS Management Console sign-in events"; IAM user guide, "Logging IAM and AWS STS API calls"). Sign-ins
before November 2022 say only that MFA was used; their device is "". An event also has session tokens, addresses and
programs. Nothing of it is kept but the device, its user, the time, the name of the event and the Region.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mfa_kit.account.last_use import AHEAD
from mfa_kit.account.snapshot import EventsRead
from mfa_kit.core.models import DeviceUse, UseEvent

SOURCES = {
    UseEvent.CONSOLE_LOGIN: "signin.amazonaws.com",
    UseEvent.GET_SESSION_TOKEN: "sts.amazonaws.com",
    UseEvent.ASSUME_ROLE: "sts.amazonaws.com",
}
# The types of identities that have MFA devices in IAM. The other types sign in elsewhere.
IDENTITIES = {"IAMUser", "Root"}
VERSION = re.compile(r"1\.\d{1,4}", re.ASCII)
REGION = re.compile(r"[a-z]{2,10}(-[a-z]{2,20}){1,3}-\d{1,2}", re.ASCII)
# A serial number, an ARN, a user name or an ID: printable ASCII.
NAME = re.compile(r"[!-~]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsReading(EventsRead):
    """How far the events of one name in a Region were read.

    If reading was interrupted, the events from the newest, at `top`, down to `reached` are read too, in Unix seconds.
    `unread` is the number of events in that part that could not be read.
    """

    reached: float | None = None
    top: float | None = None
    unread: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """A question for the event history: the events of one name in a Region in a period, in Unix seconds."""

    region: str
    event: UseEvent
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """A page of the answer, newest events first: their texts as JSON, the Unix time of the oldest, and the next page.

    `oldest` is None for an empty page, and `token` is None for the last page.
    """

    events: Sequence[str]
    oldest: float | None = None
    token: str | None = None


class UnreadableEvent(Exception):
    """Raised for an event that may be a use, but is not as documented. The message completes "an event that ..."."""


def device_use(event: Mapping[str, object], account: str, *, now: float, from_files: bool = False) -> DeviceUse | None:
    """Return the use of a device of `account` that an event proves, or None if it proves none.

    `now` is AWS's time in Unix seconds. Raise UnreadableEvent if the event may be a use, but is not as documented.
    """
    name = _name_of(event)
    if name is None:
        return None
    identity, serial = _object(event, "userIdentity"), _serial(name, event)
    if serial is None or str(identity.get("type")) not in IDENTITIES:
        return None
    # An AssumeRole of another account's role is recorded in both accounts. Only the account of the user counts.
    if [identity.get("accountId"), event.get("recipientAccountId", account)] != [account, account]:
        return None
    used_at = _time(event)
    if used_at > now + AHEAD:
        raise UnreadableEvent("is in the future")
    principal = _name(identity.get("principalId"))
    if not (serial or principal):
        raise UnreadableEvent("names neither a device nor a user")
    return DeviceUse(
        serial=_name(serial),
        principal=principal,
        # CloudTrail writes the account's alias as the name of root.
        user=_name(identity.get("userName")) if identity["type"] == "IAMUser" else "",
        at=used_at,
        event=name,
        region=_region(event),
        from_files=from_files,
    )


def _name_of(event: Mapping[str, object]) -> UseEvent | None:
    """Return the name of an event that may be a use, or None. Raise UnreadableEvent for another version than 1."""
    name = next((name for name in UseEvent if event.get("eventName") == name), None)
    if name is None or event.get("eventSource") != SOURCES[name]:
        return None
    version = event.get("eventVersion")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise UnreadableEvent("has another version than 1")
    return name


def _serial(name: UseEvent, event: Mapping[str, object]) -> object:
    """Return the serial of the device that was used, or "" if it is not named, or None if no device was used."""
    if event.get("errorCode") is not None or event.get("errorMessage") is not None:
        return None
    if name is not UseEvent.CONSOLE_LOGIN:
        return _object(event, "requestParameters").get("serialNumber") or None
    if _object(event, "responseElements").get("ConsoleLogin") != "Success":
        return None
    more = _object(event, "additionalEventData")
    serial = more.get("MFAIdentifier", "")
    return serial if str(more.get("MFAUsed", bool(serial) and "Yes")).lower() == "yes" else None


def _object(event: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a member of an event that is an object, or {} for null, which CloudTrail writes for what it leaves out."""
    value = event.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise UnreadableEvent(f"has another {name} than documented")
    return value or {}


def _name(text: object) -> str:
    if not text or (isinstance(text, str) and NAME.fullmatch(text)):
        return str(text or "")
    raise UnreadableEvent("names no valid device or user")


def _region(event: Mapping[str, object]) -> str:
    region = event.get("awsRegion")
    if not isinstance(region, str) or not REGION.fullmatch(region):
        raise UnreadableEvent("names no valid Region")
    return region


def _time(event: Mapping[str, object]) -> float:
    time = parse_time(event.get("eventTime"))
    if time is None:
        raise UnreadableEvent("has no valid time")
    return time


def parse_time(text: object) -> float | None:
    """Return the time of an event in Unix seconds, or None if it is not a time with a zone, in ISO 8601."""
    try:
        time = datetime.fromisoformat(str(text))
        return time.timestamp() if time.tzinfo is not None and time.timestamp() >= 0 else None
    except (OverflowError, ValueError):
        return None


class UseCollector:
    """Keeps the last use of each device in events of an account, and counts the events that could not be read.

    `now` is AWS's time in Unix seconds. With `from_files`, the events come from log files.
    """

    def __init__(self, account: str, *, now: float, from_files: bool = False) -> None:
        self._account, self._now, self._from_files = account, now, from_files
        self._uses: dict[tuple[str, str], DeviceUse] = {}
        self.problems = Counter[str]()

    @property
    def uses(self) -> list[DeviceUse]:
        """The last use of each device by each user."""
        return list(self._uses.values())

    def add(self, event: Mapping[str, object]) -> None:
        """Add an event, if it proves a use. If it cannot be read, count it in `problems` by reason."""
        try:
            use = device_use(event, self._account, now=self._now, from_files=self._from_files)
        except UnreadableEvent as error:
            self.problems[str(error)] += 1
        else:
            self.add_uses([use] if use else ())

    def add_uses(self, uses: Iterable[DeviceUse]) -> None:
        """Add uses that were found before."""
        for use in uses:
            known = self._uses.get((use.serial, use.principal))
            if known is None or known.at < use.at:
                self._uses[use.serial, use.principal] = use
