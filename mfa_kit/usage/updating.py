"""Reads the uses of MFA devices from CloudTrail's event history or from its log files, and records them.

The history of a Region is read from the newest event to the oldest. After each page, the uses on it and the position
are recorded together, so that after a kill the next run goes on from there.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Protocol

from mfa_kit.account.last_use import AHEAD, DAY
from mfa_kit.core.device_records import LAST_TIME
from mfa_kit.core.errors import AwsFault, Expired, MfaKitError
from mfa_kit.core.file_formats import JsonError, object_of, read_json
from mfa_kit.core.models import Device, DeviceType, DeviceUse, UseEvent
from mfa_kit.core.text import count_of, one_line
from mfa_kit.enrollment.pacing import CallPolicy
from mfa_kit.usage.events import EventPage, EventQuery, EventsReading, UseCollector, parse_time

if TYPE_CHECKING:
    from mfa_kit.account.reading import MapEach

# The age of the oldest events that LookupEvents returns (CloudTrail API reference).
HISTORY_DAYS = 90
# AWS does not say how long it takes until an event can be looked up. Events of the last hour are read again.
DELAY = 3600.0
NOT_JSON = "is not JSON"
# The end of the known period of a Region that is not enabled any more, in Unix seconds.
FOREVER = LAST_TIME - 1
# The number of pages of each event and Region that UseSearch reads. Services of AWS may cause many AssumeRole events.
MOST_PAGES = 200
# The number of accounts whose events are counted separately. A file can name any number of accounts.
MOST_OTHERS = 1000


class UseHistory(Protocol):
    """Reads the event history of an account (cloudtrail:LookupEvents). Each method may raise MfaKitError."""

    def regions(self) -> Sequence[str]:
        """Return the Regions that are enabled in the account."""
        ...

    def page(self, query: EventQuery, token: str | None) -> EventPage:
        """Return the page of an answer that `token` names, or the first page."""
        ...


class EventRecords(Protocol):
    """The ledger's records of uses and of the events that were read."""

    def own_readings(self, account: str) -> Mapping[tuple[str, UseEvent], EventsReading]:
        """Return how far this computer read the event history of an account, by Region and event."""
        ...

    def record(self, account: str, uses: Iterable[DeviceUse], readings: Iterable[EventsReading]) -> None:
        """Record uses, and how far events were read, all or nothing. A use replaces an older one of the device."""
        ...


class EventFile(Protocol):
    """A log file of CloudTrail, with its name for messages."""

    @property
    def name(self) -> str:
        """The path or URL."""
        ...

    def events(self) -> Iterator[Mapping[str, object]]:
        """Yield the events, one at a time. Raise MfaKitError for what is not a log file, or is cut off or damaged."""
        ...


@dataclass(slots=True, kw_only=True)
class RegionResult:
    """The result for one Region: how many pages were read, the devices that were used, and how far it was read.

    `problems` counts the events that could not be read, by reason, and `error` is why reading ended early.
    """

    region: str
    error: MfaKitError | None = None
    pages: int = 0
    devices: set[str] = field(default_factory=set)
    readings: list[EventsReading] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def why(self) -> str:
        """The reason why the Region was not read completely, or "" if it was."""
        return next((reading.why for reading in self.readings if reading.why), "")

    @property
    def since(self) -> float | None:
        """The Unix time since which all events were read, or None."""
        times = [reading.since for reading in self.readings if reading.since is not None]
        return max(times) if times and len(times) == len(self.readings) else None

    @property
    def until(self) -> float | None:
        """The Unix time until which all events were read, or None."""
        times = [reading.until for reading in self.readings if reading.until is not None]
        return min(times) if times and len(times) == len(self.readings) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReader:
    """Reads the event history of one account. `now` returns AWS's time in Unix seconds, and `turn` makes each call.

    `on_page` is called after each page, with the Region and the Unix time of the oldest event that was reached.
    """

    account: str
    history: UseHistory
    records: EventRecords
    now: Callable[[], float]
    turn: CallPolicy
    on_page: Callable[[str, float], object]

    def read_region(self, region: str) -> RegionResult:
        """Read what is new in a Region. An error is recorded as the reason why the Region is not complete.

        Raise Expired if the credentials have expired, because no other Region can be read either.
        """
        result = RegionResult(region=region)
        for event in UseEvent:
            try:
                reading = self._read(self._known(region, event), result)
            except Expired:
                raise
            except MfaKitError as error:
                result.error = result.error or error
                reading = replace(self._known(region, event), why=one_line(str(error))[:1000])
                self.records.record(self.account, (), [reading])
            result.readings.append(reading)
        return result

    def _known(self, region: str, event: UseEvent) -> EventsReading:
        return self.records.own_readings(self.account)[region, event]

    def _read(self, reading: EventsReading, result: RegionResult) -> EventsReading:
        """Read the rest of an interrupted run and then what is new. Return how far the events are read then."""
        top = self.now()
        oldest = top - HISTORY_DAYS * DAY
        if reading.reached is not None and reading.reached > oldest:
            reading = self._read_down(reading, max(reading.until or 0.0, oldest), result)
        reading = replace(reading, top=top, reached=top, unread=0)
        return self._read_down(reading, max(reading.until or 0.0, oldest), result)

    def _read_down(self, reading: EventsReading, floor: float, result: RegionResult) -> EventsReading:
        """Read the events from `reading.reached` down to `floor`, and record the position after each page."""
        query = EventQuery(region=reading.region, event=reading.event, start=floor, end=reading.reached or floor)
        token, used_tokens = None, set[str | None]()
        while True:
            page = self.turn(partial(self.history.page, query, token))
            if page.token in used_tokens:  # the pages would not end
                raise AwsFault("CloudTrail returned a page twice", "try again; report it if it happens again")
            uses, problems = self._uses(page)
            result.pages += 1
            result.devices.update(use.serial for use in uses)
            result.problems.update(problems)
            unread = reading.unread + problems.total()
            reading = replace(reading, reached=page.oldest or reading.reached, unread=unread)
            if page.token is None:
                # While pages are read, the oldest events leave the history.
                reading = _completed(reading, max(floor, self.now() - HISTORY_DAYS * DAY))
            self.records.record(self.account, uses, [reading])
            self.on_page(reading.region, reading.reached or floor)
            if page.token is None:
                return reading
            token = page.token
            used_tokens.add(token)

    def _uses(self, page: EventPage) -> tuple[list[DeviceUse], Counter[str]]:
        """Return the last use of each device on a page, and how many events could not be read, by reason."""
        collector = uses_on_page(page, self.account, now=self.now())
        return collector.uses, collector.problems


def uses_on_page(page: EventPage, account: str, *, now: float) -> UseCollector:
    """Return the uses in the events of a page. `now` is AWS's time in Unix seconds."""
    collector = UseCollector(account, now=now)
    for text in page.events:
        try:
            collector.add(object_of(read_json(text)))
        except (JsonError, TypeError):
            collector.problems[NOT_JSON] += 1
    return collector


@dataclass(frozen=True, slots=True, kw_only=True)
class UseSearch:
    """Searches the event history for a use of each of some devices since the device was enabled.

    Nothing is read from the ledger or recorded there, because another computer could have written it. `missing` has the
    devices without a known use, and `uses` gets the first use that is found of each other device, both by serial.
    `unread` gets the reason why a Region could not be read completely, by Region. `now` returns AWS's time in Unix
    seconds. The search ends early once `stopped` returns True.
    """

    account: str
    history: UseHistory
    now: Callable[[], float]
    stopped: Callable[[], bool]
    missing: dict[str, Device]
    uses: dict[str, DeviceUse] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def run(self, map_each: "MapEach") -> None:
        """Read each enabled Region, until a use of each device is found. `map_each` is used like `map`.

        Raise Expired if the credentials have expired.
        """
        try:
            regions = self.history.regions()
        except Expired:
            raise
        except MfaKitError as error:
            self.unread["any Region"] = one_line(str(error))
            return
        for event in UseEvent:
            for _ in map_each(partial(self._read_region, event), regions):
                pass

    def _sought(self, event: UseEvent) -> list[Device]:
        """Return the missing devices of which an event with this name can be a use.

        A security key works for the console only (IAM user guide, "MFA-protected API access").
        """
        for_keys = event is UseEvent.CONSOLE_LOGIN
        return [device for device in [*self.missing.values()] if for_keys or device.type is not DeviceType.FIDO2]

    def _read_region(self, event: UseEvent, region: str) -> None:
        """Read the events of one name in a Region, newest first. An error is the reason in `unread`."""
        try:
            self._read_pages(event, region)
        except Expired:
            raise
        except MfaKitError as error:
            self.unread[region] = one_line(str(error))

    def _read_pages(self, event: UseEvent, region: str) -> None:
        now, token, used_tokens = self.now(), None, set[str | None]()
        if not (sought := self._sought(event)):
            return
        start = max(min(device.since or 0.0 for device in sought), now - HISTORY_DAYS * DAY)
        query = EventQuery(region=region, event=event, start=start, end=now)
        while self._sought(event) and token not in used_tokens and not self.stopped():
            used_tokens.add(token)
            if len(used_tokens) > MOST_PAGES:
                self.unread[region] = f"only the newest {MOST_PAGES} pages of {event} were read"
                return
            page = self.history.page(query, token)
            for use in uses_on_page(page, self.account, now=now).uses:
                self._add(use)
            if page.token is None:
                return
            token = page.token

    def _add(self, use: DeviceUse) -> None:
        """Add a use of a missing device by its user. A use before the device was enabled was one of another device."""
        device = self.missing.get(use.serial)
        if device is None or device.since is None or use.at < device.since:
            return
        if use.user.casefold() == (device.user or "").casefold():
            self.uses.setdefault(use.serial, use)
            self.missing.pop(use.serial, None)


def update_account(reader: HistoryReader, map_each: "MapEach") -> list[RegionResult]:
    """Read what is new in each enabled Region. `map_each` is used like `map` for several Regions at a time.

    A Region that is not enabled any more has no events, so its known period begins anew. If no Region can be read,
    raise the error of the first.
    """
    regions, known, now = reader.turn(reader.history.regions), reader.records.own_readings(reader.account), reader.now()
    # These rows come first, so that after an interruption the other Regions count as unread.
    unread = [
        EventsReading(region=region, event=event, why="not read yet")
        for region, event in product(regions, UseEvent)
        if (region, event) not in known or known[region, event].until == FOREVER
    ]
    closed = [
        EventsReading(region=reading.region, event=reading.event, since=max(now, reading.since or 0.0), until=FOREVER)
        for reading in known.values()
        if reading.region not in regions and reading.until != FOREVER
    ]
    reader.records.record(reader.account, (), [*unread, *closed])
    results = list(map_each(reader.read_region, regions))
    errors = [result.error for result in results if result.error is not None]
    if errors and len(errors) == len(results):
        raise errors[0]
    return results


def _completed(reading: EventsReading, floor: float) -> EventsReading:
    """Return an EventsReading that has reached `floor`. After an unreadable event, the known period begins anew."""
    until = max((reading.top or floor) - DELAY, floor)
    has_gap = reading.until is None or reading.until < floor
    since = floor if has_gap else reading.since
    why = f"{count_of(reading.unread, 'event')} could not be read" if reading.unread else ""
    return replace(
        reading, since=until if reading.unread else since, until=until, why=why, reached=None, top=None, unread=0
    )


@dataclass(slots=True, kw_only=True)
class FilesResult:
    """What log files say about some accounts, whose IDs are the keys of `collectors`.

    `periods` has the times of the first and the last event of each account and Region, as CloudTrail wrote them.
    `problems` has what could not be read, and `others` the number of events of other accounts by account.
    """

    collectors: Mapping[str, UseCollector]
    files: int = 0
    periods: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, other: "FilesResult") -> None:
        """Add the result for other files."""
        self.files += other.files
        self.problems += other.problems
        self.others += other.others
        for account, collector in other.collectors.items():
            self.collectors[account].add_uses(collector.uses)
            self.collectors[account].problems += collector.problems
        for key, (first, last) in other.periods.items():
            begin, end = self.periods.get(key, (first, last))
            self.periods[key] = min(first, begin), max(last, end)


def read_file(file: EventFile, accounts: Collection[str], *, now: float) -> FilesResult:
    """Read a log file: the uses of devices of these accounts, and the period of its events.

    What cannot be read is among the `problems` of the result. `now` is AWS's time in Unix seconds.
    """
    result = FilesResult(collectors=collectors_for(accounts, now=now), files=1)
    periods = result.periods
    try:
        for event in file.events():
            account, region, time = str(event.get("recipientAccountId")), event.get("awsRegion"), event.get("eventTime")
            if account not in result.collectors:
                result.others[account[:12] if len(result.others) < MOST_OTHERS else ""] += 1
                continue
            if isinstance(region, str) and isinstance(time, str):
                first, last = periods.get((account, region), LATER_AND_EARLIER)
                if not first <= time <= last:
                    periods[account, region] = min(first, time), max(last, time)
            if str(event.get("eventName")) in EVENTS:
                result.collectors[account].add(event)
    except Expired:
        raise
    except MfaKitError as error:
        result.problems.append(f"{file.name} {error}")
    return result


EVENTS = frozenset(UseEvent)
# The period of no event: it begins after every time that CloudTrail writes, and ends before.
LATER_AND_EARLIER = ("~", "")


def collectors_for(accounts: Collection[str], *, now: float) -> dict[str, UseCollector]:
    """Return a UseCollector for each account. `now` is AWS's time in Unix seconds."""
    return {account: UseCollector(account, now=now, from_files=True) for account in accounts}


def record_files(
    result: FilesResult, account: str, regions: Iterable[str], records: EventRecords, *, now: float
) -> list[RegionResult]:
    """Record what log files say about an account. Return the result for each Region.

    `regions` are those that are enabled. If anything could not be read, or the files have no event of a Region, they do
    not prove that a device was not used.
    """
    collector = result.collectors[account]
    is_whole = not result.problems and not collector.problems
    periods = {region: period for (owner, region), period in result.periods.items() if owner == account}
    results = [
        RegionResult(
            region=region,
            devices={use.serial for use in collector.uses if use.region == region},
            readings=_readings(region, periods.get(region), is_whole=is_whole, now=now),
        )
        for region in sorted({*periods, *regions})
    ]
    records.record(account, collector.uses, [reading for found in results for reading in found.readings])
    return results


def _readings(region: str, period: tuple[str, str] | None, *, is_whole: bool, now: float) -> list[EventsReading]:
    """Return how far log files go in a Region. `period` has the times of the first and the last event."""
    since, until = map(parse_time, period or LATER_AND_EARLIER)
    why = "" if is_whole else "not all events could be read"
    if since is None or until is None or until > now + AHEAD:
        why = why or "an event has no valid time" if period else "the log files have no event of this Region"
        since, until = None, None
    return [
        EventsReading(
            region=region,
            event=event,
            since=since,
            until=None if until is None else min(until, now),
            why=why,
            from_files=True,
        )
        for event in UseEvent
    ]
