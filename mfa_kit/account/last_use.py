"""When each MFA device was last used, as far as CloudTrail was read. IAM itself does not say it.

An event proves a use. That no event was seen proves nothing about times and Regions that were not read, so the answer
for a device is a time, or "no use seen since" a time, or unknown; it is never "never".
"""

from dataclasses import dataclass

from mfa_kit.account.snapshot import AccountUsage, DeviceUse, EventsRead, UseEvent
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.text import iso_time

DAY = 86400.0
# A device is called unused only if the events were read until at most this many seconds ago.
FRESH = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """The last use of a device that was seen, in Unix seconds, or None.

    `unseen_since` says since when all events were read without a use, or is None if that is unknown. `is_current`
    says whether a later use would have been seen: all Regions were read, until at most FRESH seconds ago. `event` and
    `region` are those of the use.
    """

    at: float | None = None
    event: str | None = None
    region: str | None = None
    unseen_since: float | None = None
    is_current: bool = False
    from_files: bool = False

    @property
    def text(self) -> str:
        """The day of the last use, or `no use seen since DAY`, or `unknown`, and whether that comes from files."""
        if self.at is None and self.unseen_since is None:
            return "unknown"
        mark = " (from files)" if self.from_files else ""
        if self.at is not None:
            return f"{_day(self.at)}{mark}"
        return f"no use seen since {_day(self.unseen_since or 0.0)}{mark}"

    def is_unused(self, days: float, *, now: float) -> bool | None:
        """Return whether the device was not used for this many days before `now`, or None if that is unknown."""
        last = self.unseen_since if self.at is None else self.at
        if last is None:
            return None
        if now - last < days * DAY:
            return False
        return True if self.is_current else None


def _day(time: float) -> str:
    return iso_time(time)[:10]


class LastUses:
    """Finds the last use of each device of an account. `now` is the Unix time at which the answers are given."""

    def __init__(self, usage: AccountUsage, *, now: float) -> None:
        self.now = now
        self._by_serial: dict[str, list[DeviceUse]] = {}
        for use in usage.uses:
            self._by_serial.setdefault(use.serial, []).append(use)
        # What this computer read itself counts more than files, and more than what other computers say.
        trusted_last = sorted(usage.reads, key=lambda read: (not read.from_files, read.until or 0.0))
        self._reads = {(read.region, read.event): read for read in trusted_last}

    @property
    def is_known(self) -> bool:
        """Whether events were read at all."""
        return bool(self._reads)

    @property
    def is_current(self) -> bool:
        """Whether all Regions were read, until at most FRESH seconds ago."""
        return self.is_known and all(self._is_current(read) for read in self._reads.values())

    def _is_current(self, read: EventsRead) -> bool:
        return read.is_complete and (read.until or 0.0) >= self.now - FRESH

    @property
    def read_until(self) -> float | None:
        """The Unix time until which each complete Region was read, or None if there is no such Region."""
        complete = self._complete_regions()
        times = [read.until for read in self._reads.values() if read.region in complete and read.until is not None]
        return min(times, default=None)

    @property
    def regions(self) -> str:
        """How many Regions were read completely, such as `17 of 18 Regions`."""
        return f"{len(self._complete_regions())} of {len({region for region, _ in self._reads})} Regions"

    @property
    def coverage(self) -> str:
        """How far the events were read, for a message: `read until TIME, 17 of 18 Regions`, or `not read`."""
        return f"read until {iso_time(self.read_until)}, {self.regions}" if self.read_until else "not read completely"

    def _complete_regions(self) -> set[str]:
        failed = {region for (region, _), read in self._reads.items() if not read.is_complete}
        return {region for region, _ in self._reads} - failed

    def of(self, device: Device, *, user_id: str = "") -> LastUse:
        """Return the last use of a device of IAM's list. `user_id` is the ID of its user in IAM, if it is known.

        An event counts if it is not older than the device, because a serial can be used again, and if it has the same
        user ID.
        """
        enabled, reads = device.since or 0.0, self._reads_about(device)
        is_current = bool(reads) and all(map(self._is_current, reads))
        uses = [use for use in self._by_serial.get(device.serial, ()) if _is_of(use, enabled, user_id)]
        if uses:
            last = max(uses, key=lambda use: (use.at, not use.from_files))
            return LastUse(
                at=last.at, event=last.event, region=last.region, is_current=is_current, from_files=last.from_files
            )
        if not reads or not all(read.is_complete for read in reads):
            return LastUse()
        unseen_since = max(enabled, *(read.since or 0.0 for read in reads))
        from_files = any(read.from_files for read in reads)
        return LastUse(unseen_since=unseen_since, is_current=is_current, from_files=from_files)

    def _reads_about(self, device: Device) -> list[EventsRead]:
        # A security key works for the console only (IAM user guide, "MFA-protected API access").
        events = {UseEvent.CONSOLE_LOGIN} if device.type is DeviceType.FIDO2 else {*UseEvent}
        return [read for (_, event), read in self._reads.items() if event in events]


def _is_of(use: DeviceUse, enabled: float, user_id: str) -> bool:
    """Return whether a use is of a device that was enabled at this Unix time, by the user with this ID, if known."""
    return use.at >= enabled and ("" in {user_id, use.principal} or use.principal == user_id)
