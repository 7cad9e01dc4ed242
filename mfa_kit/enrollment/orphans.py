"""Unassigned virtual devices (orphans): the run that made each device, and whether the device may be removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import AccessDenied, Conflict, MfaKitError, NoSuchEntity, UsageFault
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import RUN_TAG, STAGED_TAG, USER_TAG, JournalEntry, JournalState, RunKind, run_time
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.settling import delete_command, is_complete, settle_each, still_stands

OPEN = {JournalState.INTENT, JournalState.CREATED, JournalState.REVOKING}
# Nobody has begun to revoke such a device.
NOT_REVOKED = {JournalState.INTENT, JournalState.CREATED, JournalState.UNDONE}


class OrphanStanding(StrEnum):
    """The state of an unassigned device, according to this computer's journal, the device's tags and IAM."""

    DEAD = "ours, half-made by an interrupted run"
    ALIVE = "ours, being created now"
    LATE = "ours, appeared after its run was undone"
    LEFT = "ours, but deactivated by other means"
    STAGED = "staged, to be enabled later"
    DESK = "another computer's"
    UNPROVEN = "perhaps ours, but no tag shows it"
    FOREIGN = "not ours"
    ON_KEY = "removed from IAM, but still on a key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """One unassigned virtual device.

    `run` is the ID of the run that made it, `user` the intended user, and `since` the start of the run in Unix seconds.
    They come from the tags or the journal, and are None if unknown. If `key` is set, IAM no longer has the device, but
    its credential may still be on the OATH key with this serial or label.
    """

    serial: str
    standing: OrphanStanding
    run: str | None = None
    user: str | None = None
    since: float | None = None
    key: str | None = None

    def goes(self, *, older_than: float, now: float) -> bool:
        """Return whether `orphans clean` removes this device.

        A device that another computer made is removed only if its run started more than `older_than` seconds before
        `now` (Unix seconds).
        """
        if self.standing is OrphanStanding.DESK:
            return self.since is not None and now - self.since > older_than
        return self.standing in {OrphanStanding.DEAD, OrphanStanding.LATE, OrphanStanding.ON_KEY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """The result of `orphans clean` for one device. `ended` says what happened to the device.

    If the device could not be removed, `error` says why.
    """

    serial: str
    ended: str
    error: MfaKitError | None = None


def find_orphans(*, ports: EnrollmentPorts) -> list[Orphan]:
    """Return all unassigned virtual devices, with one request for the tags of each device.

    If IAM denies the tags of a device, the device counts as untagged. Raise MfaKitError if another request fails.
    """
    return [orphan for serial in ports.iam_reader.unassigned() if (orphan := _orphan(serial, ports=ports))]


def find_waiting(account: str, orphans: Sequence[Orphan], *, ports: EnrollmentPorts) -> list[Orphan]:
    """Return an Orphan for each credential that may still be on a key although the user no longer has its device.

    Only interrupted runs on this computer are considered, with up to two calls to IAM per run. Credentials of the
    devices in `orphans` are left out.
    """
    known = {(orphan.serial, orphan.run) for orphan in orphans}
    return [
        Orphan(
            serial=entry.spec.serial,
            standing=OrphanStanding.ON_KEY,
            run=entry.run,
            user=entry.spec.user,
            since=entry.began,
            key=entry.spec.hardware,
        )
        for entry in ports.journal.dead(account)
        if entry.spec.method.name in ports.on_keys
        and entry.reached in {JournalState.CREATED, JournalState.REVOKING}
        and entry.purpose is not RunKind.LOST
        and (entry.spec.serial, entry.run) not in known
        and not still_stands(entry, ports=ports)
    ]


def remove_orphans(
    orphans: Sequence[Orphan],
    *,
    account: str,
    older_than: float,
    limit: int,
    ports: EnrollmentPorts,
    lost: str | None = None,
) -> Iterator[Cleaned]:
    """Settle this computer's interrupted runs, and remove the devices for which `Orphan.goes` is true.

    Yield one result per device. `lost` is the serial or label of a lost key. Interrupted runs that need this key are
    settled without it. Raise UsageFault before any change if more than `limit` devices would be removed.
    """
    now = ports.iam_reader.now()
    going = [orphan for orphan in orphans if orphan.goes(older_than=older_than, now=now)]
    if len(going) > limit:
        raise UsageFault(
            f"{len(going)} devices would be removed, more than --max {limit}",
            Message("check them", mfa_kit("orphans list"), f"to remove all: --max {len(going)}"),
        )
    for entry, ended in settle_each(account, None, ports=ports, leave_assigned=True, lost=lost):
        error = ended if isinstance(ended, MfaKitError) else None
        yield Cleaned(serial=entry.spec.serial, ended="still exists" if error else str(ended), error=error)
    for orphan in going:
        if orphan.standing not in {OrphanStanding.DEAD, OrphanStanding.ON_KEY}:
            yield _remove(orphan, ports=ports)


def _remove(orphan: Orphan, *, ports: EnrollmentPorts) -> Cleaned:
    """Delete a device unless it has changed since it was listed, and return the result."""
    try:
        if _orphan(orphan.serial, ports=ports) != orphan:
            return Cleaned(serial=orphan.serial, ended="changed in the meantime; kept")
        ports.device_writer.delete(orphan.serial)
    except NoSuchEntity:
        return Cleaned(serial=orphan.serial, ended="already deleted")
    except Conflict:
        return Cleaned(serial=orphan.serial, ended="assigned in the meantime; kept")
    except MfaKitError as error:
        if isinstance(error, AccessDenied):
            error.hint = Message("ask an administrator to run", delete_command(orphan.serial))
        return Cleaned(serial=orphan.serial, ended="still exists", error=error)
    return Cleaned(serial=orphan.serial, ended="deleted")


def _orphan(serial: str, *, ports: EnrollmentPorts) -> Orphan | None:
    """Return the Orphan for an unassigned device, from its tags and the journal; None if it no longer exists."""
    try:
        tags = ports.iam_reader.tags(serial)
    except NoSuchEntity:
        return None
    except AccessDenied:
        tags = {}
    run = tags.get(RUN_TAG)
    entry = ports.journal.find(serial, run=run)
    if run is None:
        return _untagged(serial, entry, ports=ports)
    try:
        since = run_time(run)
    except ValueError:  # anyone can set tags, and the value of this tag is not a run ID
        return Orphan(serial=serial, standing=OrphanStanding.FOREIGN)
    return Orphan(
        serial=serial,
        standing=_tagged_standing(run, entry, tags, ports=ports),
        run=run,
        user=tags.get(USER_TAG),
        since=since,
    )


def _untagged(serial: str, entry: JournalEntry | None, *, ports: EnrollmentPorts) -> Orphan:
    """Return the Orphan for a device that has no run tag, or whose tags could not be read.

    `entry` is the device's journal entry, or None. The state is ALIVE or UNPROVEN if the entry shows an unfinished
    operation, otherwise FOREIGN.
    """
    if entry is None or entry.reached not in OPEN:
        return Orphan(serial=serial, standing=OrphanStanding.FOREIGN)
    standing = OrphanStanding.ALIVE if ports.journal.lives(entry.run) else OrphanStanding.UNPROVEN
    return Orphan(serial=serial, standing=standing, run=entry.run, user=entry.spec.user, since=entry.began)


def _tagged_standing(
    run: str, entry: JournalEntry | None, tags: Mapping[str, str], *, ports: EnrollmentPorts
) -> OrphanStanding:
    """Return the state of a device with the run tag `run`. `entry` is the device's journal entry, or None."""
    if entry is None:
        return OrphanStanding.STAGED if STAGED_TAG in tags else OrphanStanding.DESK
    if entry.reached is JournalState.STAGED:
        return OrphanStanding.STAGED
    if entry.reached in OPEN and ports.journal.lives(run):
        return OrphanStanding.ALIVE
    if entry.reached in NOT_REVOKED and is_complete(entry, ports=ports):
        return OrphanStanding.STAGED
    if entry.reached in OPEN:
        return OrphanStanding.DEAD
    return OrphanStanding.LATE if entry.reached is JournalState.UNDONE else OrphanStanding.LEFT
