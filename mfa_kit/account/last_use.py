"""When each MFA device was last used, as far as CloudTrail was read. IAM itself does not say it.

An event proves a use. That no event was seen proves nothing about times and Regions that were not read, so the answer
for a device is a time, or "no use seen since" a time, or unknown; it is never "never".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mfa_kit.account.snapshot import AccountUsage, EventsRead
from mfa_kit.core.models import Device, DeviceType, DeviceUse, UseEvent
from mfa_kit.core.text import count_of, iso_time

DAY = 86400.0
# A device is called unused only if the events were read until at most this many seconds ago.
FRESH = 7 * DAY
# Seconds by which the time of an event may be ahead of AWS's clock.
AHEAD = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """The last use of a device that was seen, in Unix seconds, or None.

    `unseen_since` says since when all events were read without a use. It is None if that is unknown, or if all events
    since `at` were read. `is_whole` says whether these are all events since the device was enabled. `is_current` says
    whether a later use would have been seen: all Regions were read, until at most FRESH seconds ago. With `is_unnamed`,
    the user signed in later with a device that CloudTrail does not name.
    """

    at: float | None = None
    unseen_since: float | None = None
    is_whole: bool = False
    is_current: bool = False
    is_unnamed: bool = False
    from_files: bool = False

    @property
    def text(self) -> str:
        """The day of the last use, or `no use seen since DAY`, or `unknown`, and whether that comes from files.

        `or later` means that events after the use were not read.
        """
        if self.at is None and self.unseen_since is None:
            return "unknown: used MFA, device not named" if self.is_unnamed else "unknown"
        mark = " (from files)" if self.from_files else ""
        if self.at is not None:
            return f"{_day(self.at)}{' or later' if self.unseen_since is not None else ''}{mark}"
        return f"no use seen since {_day(self.unseen_since or 0.0)}{mark}"

    def is_unused(self, days: float, *, now: float) -> bool | None:
        """Return whether the device was not used for this many days before `now`, or None if that is unknown."""
        if self.at is not None and now - self.at < days * DAY:
            return False
        since = self.at if self.unseen_since is None else self.unseen_since
        if since is None:
            return None
        if now - since >= days * DAY:
            return True if self.is_current else None
        # Nothing is known about the time before the first event that was read.
        return False if self.at is None and self.is_whole else None


def _day(time: float) -> str:
    return iso_time(time)[:10]


class LastUses:
    """Finds the last use of each device of an account. `now` is the Unix time at which the answers are given."""

    def __init__(self, usage: AccountUsage, *, now: float) -> None:
        self.now = now
        # Another computer can write any time into a shared ledger.
        self.uses = [use for use in usage.uses if use.at <= now + AHEAD]
        self._by_serial: dict[str, list[DeviceUse]] = {}
        for use in self.uses:
            self._by_serial.setdefault(use.serial, []).append(use)
        # This computer knows which Regions are enabled, if it read the event history. Then files and other computers
        # add no Region, and count only for a Region that this computer could not read.
        own = {(read.region, read.event) for read in usage.reads if not read.from_files}
        reads = [read for read in usage.reads if not own or (read.region, read.event) in own]
        best_last = sorted(reads, key=lambda read: (*self._quality(read), read.until or 0.0))
        self._reads = {(read.region, read.event): read for read in best_last}
        # A security key works for the console only (IAM user guide, "MFA-protected API access").
        self._without_use = {True: self._of_unused({UseEvent.CONSOLE_LOGIN}), False: self._of_unused(UseEvent)}

    def _quality(self, read: EventsRead) -> tuple[bool, bool, bool]:
        return self._is_current(read), read.is_complete, not read.from_files

    @property
    def is_known(self) -> bool:
        """Whether events were read at all."""
        return bool(self._reads)

    def covers(self, days: float) -> bool:
        """Return whether all events of the last `days` days were read, in all Regions."""
        unseen = self._without_use[False]
        return unseen.is_current and (unseen.unseen_since or self.now) <= self.now - days * DAY

    def _is_current(self, read: EventsRead) -> bool:
        return read.is_complete and (read.until or 0.0) >= self.now - FRESH

    @property
    def coverage(self) -> str:
        """How far the events were read, for a message: `read until TIME, 17 of 18 Regions`, or `not read`."""
        return coverage_of([self])

    def periods_by_region(self) -> dict[str, float | None]:
        """Return the Unix time until which each Region was read, or None for a Region that was not read completely."""
        periods: dict[str, float | None] = {}
        for (region, _), read in self._reads.items():
            until = periods.get(region, read.until)
            periods[region] = min(until, read.until) if until and read.until and read.is_complete else None
        return periods

    def of(self, device: Device, *, user_id: str = "") -> LastUse:
        """Return the last use of a device of IAM's list. `user_id` is the ID of its user in IAM, if it is known.

        An event counts if it is not older than the device, because a serial can be used again, and if it has the same
        user ID. So nothing is known about a device if IAM does not say when it was enabled.
        """
        enabled = device.since
        if enabled is None:
            return LastUse()
        uses = [use for use in self._by_serial.get(device.serial, ()) if _is_of(use, enabled, user_id)]
        last = max(uses, key=lambda use: (use.at, not use.from_files), default=None)
        unseen = self._without_use[device.type is DeviceType.FIDO2]
        if self._has_unnamed_use(device, last.at if last else enabled, user_id):
            unseen = LastUse(is_unnamed=True)
        if last:
            gap_end = unseen.unseen_since if (unseen.unseen_since or 0.0) > last.at else None
            return replace(unseen, at=last.at, unseen_since=gap_end, from_files=last.from_files)
        if unseen.unseen_since is None:
            return unseen
        return replace(unseen, unseen_since=max(enabled, unseen.unseen_since), is_whole=unseen.unseen_since <= enabled)

    def _of_unused(self, events: Iterable[UseEvent]) -> LastUse:
        """Return the answer for a device without a use, whose uses are events with these names."""
        reads = [read for (_, event), read in self._reads.items() if event in events]
        if not reads or not all(read.is_complete for read in reads):
            return LastUse()
        return LastUse(
            unseen_since=max(read.since or 0.0 for read in reads),
            is_current=all(map(self._is_current, reads)),
            from_files=any(read.from_files for read in reads),
        )

    def _has_unnamed_use(self, device: Device, since: float, user_id: str) -> bool:
        """Return whether the device's user signed in since a Unix time with a device that the event does not name."""
        return any(
            use.at >= since and (use.principal == user_id if user_id else use.user == device.user)
            for use in self._by_serial.get("", ())
        )


def _is_of(use: DeviceUse, enabled: float, user_id: str) -> bool:
    """Return whether a use is of a device that was enabled at this Unix time, by the user with this ID, if known."""
    return use.at >= enabled and ("" in {user_id, use.principal} or use.principal == user_id)


def coverage_of(accounts: Sequence[LastUses]) -> str:
    """Return how far the events of one or several accounts were read, for a message."""
    periods = [until for uses in accounts for until in uses.periods_by_region().values()]
    known = [until for until in periods if until is not None]
    if not periods:
        return "not read"
    time = f"read until {iso_time(min(known))}" if known else "not read completely"
    unread = sum(not uses.is_known for uses in accounts)
    others = f", and not read in {count_of(unread, 'account')}" if unread else ""
    return f"{time}, {len(known)} of {len(periods)} Regions{others}"
