"""All backups of a folder sealed anew for new recipients, one by one, with a record of who may open each.

The record says who may open a file before the file is changed. So a run that was killed is finished by the next one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from mfa_kit.backups.contents import backup_call
from mfa_kit.backups.exposure import KnownRecipients
from mfa_kit.core.errors import IntegrityFault, OthersSeal
from mfa_kit.core.models import Backup, Call

# Backups after which the record is brought up to date; a run that was killed does so many again.
BATCH = 200


class Resealer(Protocol):
    """Seals backups anew for new recipients, with identities of the old recipients and perhaps of the new ones.

    What opens or seals raises IntegrityFault, and OthersSeal where none of the identities opens a backup.
    """

    @property
    def has_new_identity(self) -> bool:
        """Whether an identity of the new recipients was given."""
        ...

    def recipients(self) -> list[str]:
        """Return the new recipients."""
        ...

    def reseal(self, backup: Backup) -> bool:
        """Seal a backup that an old identity opens; return whether an identity that was given opens it then."""
        ...

    def reseal_with_new(self, backup: Backup) -> bool:
        """Do the same for a backup that a new identity opens."""
        ...

    def check_opens(self, backup: Backup) -> None:
        """Open a backup with a new identity."""
        ...


class SealRecords(Protocol):
    """The record of who can open which backup, by the names of backups."""

    def record_sealed(self, backups: Collection[str], recipients: Sequence[str]) -> None:
        """Record that recipients can open backups now, or will in a moment."""
        ...

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Take back what this object recorded of backups."""
        ...

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that nobody else can open backups now."""
        ...


@dataclass(frozen=True, slots=True)
class Resealed:
    """A backup was sealed anew; `opens`: an identity that was given opens it."""

    opens: bool


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """A backup was sealed for the new recipients before."""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """The names of backups that are on record for the new recipients alone (`done`), or for others besides (`begun`).

    Files in `begun` may come from a killed run. They count as already rekeyed only if one of the given identities could
    open the old version.
    """

    done: frozenset[str]
    begun: frozenset[str]

    @classmethod
    def of(cls, known: Iterable[KnownRecipients], wanted: Iterable[str], *, given: Iterable[str | None]) -> "OnRecord":
        """Compare the records with the `wanted` recipients; `given` are the recipients of the identities."""
        new, ours = frozenset(wanted), frozenset(each for each in given if each)
        recipients_of = {each.backup.name: frozenset(each.recipients or ()) for each in known}
        return cls(
            done=frozenset(name for name, recipients in recipients_of.items() if recipients == new),
            begun=frozenset(
                name for name, recipients in recipients_of.items() if recipients > new and (recipients - new) & ours
            ),
        )


@dataclass(slots=True)
class Rekeyed:
    """What came of a folder; `unopened` were sealed for recipients whose identities were not given."""

    found: int = 0
    done: list[Backup] = field(default_factory=list)
    already_done: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, str]] = field(default_factory=list)
    unopened: int = 0

    @property
    def finished(self) -> int:
        """How many backups were looked at."""
        return len(self.done) + len(self.already_done) + len(self.failed)


RekeyResult = tuple[Backup, Resealed | AlreadyDone | IntegrityFault]


def rekey_one(backup: Backup, *, resealer: Resealer, on_record: OnRecord) -> RekeyResult:
    """Seal one backup anew, unless that was done before; return what came of it."""
    try:
        try:
            return backup, Resealed(resealer.reseal(backup))
        except OthersSeal:
            return backup, _rekey_again(backup, resealer=resealer, on_record=on_record)
    except IntegrityFault as fault:
        return backup, fault


def _rekey_again(backup: Backup, *, resealer: Resealer, on_record: OnRecord) -> Resealed | AlreadyDone:
    """Continue with a backup that no old identity opens: it is done already, or opens with a new one.

    Raise OthersSeal.
    """
    if not resealer.has_new_identity:
        if backup.name not in on_record.done | on_record.begun:
            raise OthersSeal(f"{backup.path} was encrypted to a different key", "give another identity with -i")
    elif backup.name in on_record.done:
        resealer.check_opens(backup)
    else:
        return Resealed(resealer.reseal_with_new(backup))
    return AlreadyDone()


@dataclass(slots=True, kw_only=True)
class Rekeying:
    """Records in batches who may open the backups, and afterwards who can.

    `each` calls a function for every backup, in threads, and yields the results as they come; `log` notes calls.
    """

    resealer: Resealer
    on_record: OnRecord
    records: SealRecords
    log: Callable[[Sequence[Call]], None]
    done: Rekeyed
    _unsettled: set[str] = field(init=False, default_factory=set)
    _settled: list[str] = field(init=False, default_factory=list)
    _calls: list[Call] = field(init=False, default_factory=list)

    def over(
        self,
        found: Sequence[Backup],
        *,
        each: Callable[[Callable[[Backup], RekeyResult], Iterable[Backup]], Iterator[RekeyResult]],
        stoppable: Callable[[], AbstractContextManager[object]],
        counted: Callable[[Sequence[Backup]], Iterable[Backup]],
    ) -> None:
        """Seal all of these. Within `stoppable` a Ctrl-C lets no other backup be begun.

        What was begun is then finished and recorded, and KeyboardInterrupt is raised.
        """
        try:
            with stoppable():
                # After Ctrl-C there are fewer results than backups.
                for _, (backup, result) in zip(counted(found), each(self._act, self._recorded(found)), strict=False):
                    self._take(backup, result)
        except BaseException:  # some of those whose result did not come are sealed anew: all of them stay on record
            self._unsettled.intersection_update(backup.name for backup, _ in self.done.failed)
            raise
        finally:
            self._write_record()
            self.records.withdraw_sealed(self._unsettled)
        if self.done.finished < len(found):
            raise KeyboardInterrupt

    def _act(self, backup: Backup) -> RekeyResult:
        return rekey_one(backup, resealer=self.resealer, on_record=self.on_record)

    def _recorded(self, found: Sequence[Backup]) -> Iterator[Backup]:
        """Yield the backups; the record of a batch is written before its first one."""
        rest = iter(found)
        while batch := list(islice(rest, BATCH)):
            names = [backup.name for backup in batch]
            self._unsettled.update(names)
            self.records.record_sealed(names, self.resealer.recipients())
            yield from batch

    def _take(self, backup: Backup, result: Resealed | AlreadyDone | IntegrityFault) -> None:
        match result:
            case Resealed():
                self.done.done.append(backup)
                self.done.unopened += not result.opens
                self._calls.append(_call(backup, succeeded=True))
            case AlreadyDone():
                self.done.already_done.append(backup)
            case IntegrityFault():
                self.done.failed.append((backup, str(result)))
                self._calls.append(_call(backup, succeeded=False))
        if not isinstance(result, IntegrityFault):
            self._unsettled.discard(backup.name)
            self._settled.append(backup.name)
        if self.done.finished % BATCH == 0:
            self._write_record()

    def _write_record(self) -> None:
        self.log(self._calls)
        self.records.record_only(self._settled, self.resealer.recipients())
        self._calls.clear()
        self._settled.clear()


def _call(backup: Backup, *, succeeded: bool) -> Call:
    return backup_call("RekeyBackup", backup.path, user=backup.user, succeeded=succeeded)
