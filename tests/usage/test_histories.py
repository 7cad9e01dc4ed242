"""Last uses in random histories, compared with an oracle that looks at everything that happened."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from mfa_kit.account.last_use import LastUse, LastUses
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.usage_records import UsageRecords
from mfa_kit.core.errors import AccessDenied, AwsFault
from mfa_kit.core.models import Device, UseEvent
from mfa_kit.core.text import iso_time
from mfa_kit.usage.events import EventPage, EventQuery
from mfa_kit.usage.updating import HISTORY_DAYS, HistoryReader, update_account
from tests.ledgers import Place
from tests.sizes import size
from tests.usage.test_events import call, login

DAY = 86400.0
BEGIN = 1_780_000_000.0
REGIONS = ["eu-north-1", "us-east-1", "us-east-2"]


class Killed(BaseException):
    """Stands for a kill of the process between two requests."""


@dataclass
class History:
    """CloudTrail's event history, as cloudtrail:LookupEvents answers: newest first, in pages, for 90 days."""

    account: str
    events: list[tuple[float, str, str, str]] = field(default_factory=list)  # time, Region, name, text
    now: float = BEGIN
    page_size: int = 3
    denied: set[str] = field(default_factory=set)
    kill_after: int | None = None
    calls: int = 0
    delay: float = 0.0

    def regions(self) -> Sequence[str]:
        return REGIONS

    def page(self, query: EventQuery, token: str | None) -> EventPage:
        self.calls += 1
        if self.calls == self.kill_after:
            raise Killed
        if query.region in self.denied:
            raise AccessDenied("AWS answers AccessDenied: no", "ask")
        start = max(int(query.start), self.now - HISTORY_DAYS * DAY)
        rows = sorted(
            (row for row in self.events if row[1:3] == (query.region, query.event) and start <= row[0] <= query.end),
            reverse=True,
        )
        rows = [row for row in rows if row[0] + self.delay <= self.now]
        first = int(token or 0)
        page = rows[first : first + self.page_size]
        more = first + self.page_size < len(rows)
        return EventPage(
            events=[row[3] for row in page],
            oldest=min((row[0] for row in page), default=None),
            token=str(first + self.page_size) if more else None,
        )


@dataclass(frozen=True)
class Life:
    """A device from its enabling to its end: the same serial may live several times."""

    serial: str
    user: str
    user_id: str
    since: float
    until: float
    uses: Sequence[float]


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    with place.open() as ledger:
        yield ledger


def reader(history: History, ledger: Ledger) -> HistoryReader:
    return HistoryReader(
        account=history.account,
        history=history,
        records=UsageRecords(ledger),
        now=lambda: history.now,
        turn=lambda act: act(),
        on_page=lambda _region, _time: None,
    )


def event_text(life: Life, used: float, name: UseEvent, region: str, account: str) -> str:
    identity = {"type": "IAMUser", "principalId": life.user_id, "accountId": account, "userName": life.user}
    more = {"eventTime": iso_time(used), "awsRegion": region, "recipientAccountId": account, "userIdentity": identity}
    if name is UseEvent.CONSOLE_LOGIN:
        return json.dumps(login(additionalEventData={"MFAUsed": "Yes", "MFAIdentifier": life.serial}, **more))
    return json.dumps(call(name, **more) | {"requestParameters": {"serialNumber": life.serial}})


def random_history(number: int) -> tuple[History, list[Life]]:
    """Return a history of 200 days: users are deleted and made again, and so are devices, with the same names."""
    chance = random.Random(number)
    account = f"{number:012}"
    history = History(account, page_size=chance.randint(1, 7), delay=chance.choice([0.0, 600.0, 3000.0]))
    lives = []
    for user_number in range(chance.randint(1, 4)):
        user, moment = f"user-{user_number}", BEGIN - 120 * DAY
        while moment < BEGIN + 80 * DAY:
            end = moment + chance.choice([5, 30, 90, 200]) * DAY
            kind = chance.choice(["mfa", "u2f/user"])
            uses = sorted(
                float(int(chance.uniform(moment + 1, min(end, BEGIN + 80 * DAY)))) for _ in range(chance.randint(0, 6))
            )
            serial = f"arn:aws:iam::{account}:{kind}/{user}"
            user_id = f"AIDA{user_number}{int(moment)}"
            lives.append(Life(serial, user, user_id, moment, end, uses))
            moment = end + chance.choice([0, 1, 10]) * DAY + 1
    for life in lives:
        for used in life.uses:
            name = UseEvent.CONSOLE_LOGIN if "u2f" in life.serial else chance.choice([*UseEvent])
            region = chance.choice(REGIONS)
            history.events.append((used, region, name, event_text(life, used, name, region, account)))
    chance.shuffle(history.events)
    return history, lives


def update_at_random(
    history: History, ledger: Ledger, chance: random.Random
) -> tuple[list[tuple[float, set[str]]], int]:
    """Update several times, with kills before and Regions that deny.

    Return the time of each update with the Regions that denied it, and the number of kills.
    """
    times, kills = list[tuple[float, set[str]]](), 0
    for _ in range(chance.randint(1, 4)):
        history.now = history.now + chance.choice([0.1, 3, 20, 95]) * DAY if times else BEGIN
        history.denied = {region for region in REGIONS[1:] if chance.random() < 0.15}
        times.append((history.now, history.denied))
        for _ in range(chance.randint(0, 3)):
            history.calls, history.kill_after = 0, chance.randint(1, 12)
            with suppress(Killed):
                update_account(reader(history, ledger), map)
                kills -= 1
            kills += 1
        history.kill_after = None
        update_account(reader(history, ledger), map)
    return times, kills


def test_last_uses_in_random_histories_are_those_of_the_oracle(
    ledger: Ledger, record_property: Callable[[str, object], None]
) -> None:
    counts = Counter[str]()
    for number in range(size(60, 300)):
        history, lives = random_history(number)
        chance = random.Random(-number)
        times, kills = update_at_random(history, ledger, chance)
        counts["killed"] += kills
        regions = {used: region for used, region, *_ in history.events}
        asked = history.now + chance.choice([0, 1, 6]) * DAY
        last_uses = LastUses(UsageRecords(ledger).usage(history.account), now=asked)
        read_until = min(filter(None, last_uses.periods_by_region().values()), default=None)
        for life in (life for life in lives if life.since <= asked < life.until):
            last = last_uses.of(Device(life.serial, life.user, life.since), user_id=life.user_id)
            seen = [
                used
                for used in life.uses
                if any(
                    time - HISTORY_DAYS * DAY <= used <= time - history.delay and regions[used] not in denied
                    for time, denied in times
                )
            ]
            counts[check(last, life, seen, read_until, is_whole=not history.denied)] += 1
    record_property("counts", dict(counts))
    assert min(counts[name] for name in ("killed", "used", "no use seen", "unknown")) >= 10


def check(last: LastUse, life: Life, seen: Sequence[float], read_until: float | None, *, is_whole: bool) -> str:
    """Compare an answer with the uses that could be seen, and with all uses. Return the kind of the answer."""
    if is_whole:
        assert last.at == max(seen, default=None), life
    if last.at is not None:
        assert last.at in life.uses, life
        since = last.at if last.unseen_since is None else last.unseen_since
        assert read_until is None or not is_whole or not [used for used in life.uses if since < used <= read_until], (
            life
        )
        return "used"
    if last.unseen_since is None:
        return "unknown"
    assert is_whole or "u2f" in life.serial
    assert read_until is None or not [used for used in life.uses if last.unseen_since <= used <= read_until], life
    return "no use seen"


def test_a_killed_update_goes_on_where_it_was(ledger: Ledger) -> None:
    history, _ = random_history(7)
    history.page_size = 1
    update_account(reader(history, ledger), map)
    whole = history.calls
    assert whole > 9
    for number in range(1, whole + 1):
        again, lives = random_history(7)
        again = History(f"9{number:011}", page_size=1, kill_after=number)
        for life in lives:
            for used in life.uses:
                text = event_text(life, used, UseEvent.CONSOLE_LOGIN, "us-east-1", again.account)
                again.events.append((used, "us-east-1", UseEvent.CONSOLE_LOGIN, text))
        with pytest.raises(Killed):
            update_account(reader(again, ledger), map)
        again.kill_after = None
        update_account(reader(again, ledger), map)
        first = History(f"8{number:011}", page_size=1, events=[])
        for used, region, name, text in again.events:
            first.events.append((used, region, name, text.replace(again.account, first.account)))
        update_account(reader(first, ledger), map)
        ends = [
            {(use.serial[-6:], use.at) for use in UsageRecords(ledger).usage(account).uses}
            for account in (again.account, first.account)
        ]
        assert ends[0] == ends[1], number


def test_the_known_period_begins_with_the_oldest_event_that_was_left_when_its_page_was_read(ledger: Ledger) -> None:
    """Reading takes up to an hour. An event that was 90 days old at the beginning is not in the last page any more."""
    history = History("111122223333", now=BEGIN)
    life = Life("arn:aws:iam::111122223333:mfa/ana", "ana", "AIDAANA", 0.0, BEGIN, ())
    for number in range(20):
        used = BEGIN - HISTORY_DAYS * DAY + 600.0 * number
        text = event_text(life, used, UseEvent.CONSOLE_LOGIN, "us-east-1", history.account)
        history.events.append((used, "us-east-1", UseEvent.CONSOLE_LOGIN, text))
    answer = history.page

    def slow_answer(query: EventQuery, token: str | None) -> EventPage:
        history.now += 600.0
        return answer(query, token)

    history.page = slow_answer  # type: ignore[method-assign]
    update_account(reader(history, ledger), map)
    usage = UsageRecords(ledger).usage(history.account)
    assert usage.uses
    since = [read.since or 0.0 for read in usage.reads if read.region == "us-east-1"]
    assert min(since) > BEGIN - HISTORY_DAYS * DAY + 3600


class Endless(History):
    """A server that is not AWS, whose pages name each other in turn."""

    def page(self, query: EventQuery, token: str | None) -> EventPage:
        self.calls += 1
        return EventPage(events=[], token="b" if token == "a" else "a")


def test_pages_that_do_not_end_are_an_error(ledger: Ledger) -> None:
    history = Endless("111122223333")
    with pytest.raises(AwsFault, match="returned a page twice"):
        update_account(reader(history, ledger), map)
    assert history.calls < 20 * len(REGIONS)
