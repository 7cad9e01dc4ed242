"""The ledger's records of when MFA devices were last used, and how far the events of CloudTrail were read.

Each computer has rows of its own, so that no other computer can replace what this one has read.
"""

from collections.abc import Iterable

from mfa_kit.account.snapshot import AccountUsage, EventsRead
from mfa_kit.adapters.ledger.tables import SqlRow, Tables
from mfa_kit.core.models import DeviceUse, UseEvent
from mfa_kit.usage.events import EventsReading

# The sources of rows: CloudTrail's event history, and log files.
HISTORY, FILES = "history", "files"
# In a shared ledger, a trigger sets the column `writer` to the role and the computer.
USE = """
    insert into device_uses (account, serial, principal, source, writer, "user", at, event, region)
    values ($1, $2, $3, $4, '', $5, $6, $7, $8)
    on conflict (account, serial, principal, source, writer) do update set
        "user" = excluded."user", at = excluded.at, event = excluded.event, region = excluded.region
        where excluded.at > device_uses.at
"""
READ = """
    insert into event_reads (account, region, event, source, writer, since, until, reached, top, unread, why)
    values ($1, $2, $3, $4, '', $5, $6, $7, $8, $9, $10)
    on conflict (account, region, event, source, writer) do update set since = excluded.since, until = excluded.until,
        reached = excluded.reached, top = excluded.top, unread = excluded.unread, why = excluded.why
"""
USES = 'select serial, principal, source, "user", at, event, region, {} from device_uses where account = $1'
READS = "select region, event, source, since, until, reached, top, unread, why, {} from event_reads where account = $1"
# Whether this session's role and computer wrote a row.
OWN = "case when role = session_user and computer = my_computer() then 1 else 0 end"


class UsageRecords:
    """Stores the last use of each device of all accounts, and implements the port EventRecords."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def usage(self, account: str) -> AccountUsage:
        """Return what is known of the uses of an account's devices, from all computers that share the ledger."""
        uses = self._select(USES, account, types="text text text text time use text integer")
        return AccountUsage(
            uses=tuple(
                DeviceUse(
                    serial=serial,
                    principal=principal,
                    user=user,
                    at=used_at,
                    event=UseEvent(event),
                    region=region,
                    from_files=source == FILES or not own,
                )
                for serial, principal, source, user, used_at, event, region, own in uses
            ),
            reads=tuple(
                EventsRead(
                    region=region,
                    event=UseEvent(event),
                    since=since,
                    until=until,
                    why=why,
                    from_files=source == FILES or not own,
                )
                for region, event, source, since, until, _, _, _, why, own in self._reads(account)
            ),
        )

    def own_readings(self, account: str) -> dict[tuple[str, UseEvent], EventsReading]:
        """Return how far this computer read the event history of an account, by Region and event."""
        return {
            (region, UseEvent(event)): EventsReading(
                region=region,
                event=UseEvent(event),
                since=since,
                until=until,
                why=why,
                reached=reached,
                top=top,
                unread=unread,
            )
            for region, event, source, since, until, reached, top, unread, why, own in self._reads(account)
            if own and source == HISTORY
        }

    def record(self, account: str, uses: Iterable[DeviceUse], readings: Iterable[EventsReading]) -> None:
        """Record uses, and how far events were read, all or nothing. A use replaces an older one of the device."""
        self._tables.write(
            (
                USE,
                [
                    (account, use.serial, use.principal, _source(use), use.user, use.at, use.event, use.region)
                    for use in uses
                ],
            ),
            (
                READ,
                [
                    (account, reading.region, reading.event, _source(reading), *_position(reading))
                    for reading in readings
                ],
            ),
        )

    def _reads(self, account: str) -> list[SqlRow]:
        return self._select(READS, account, types="text use text time? time? time? time? integer text integer")

    def _select(self, sql: str, account: str, *, types: str) -> list[SqlRow]:
        return self._tables.select(sql.format(OWN if self._tables.shared else "1"), (account,), types=types)


def _source(row: DeviceUse | EventsReading) -> str:
    return FILES if row.from_files else HISTORY


def _position(reading: EventsReading) -> tuple[object, ...]:
    """Return the values of the columns that say how far events were read."""
    return reading.since, reading.until, reading.reached, reading.top, reading.unread, reading.why
