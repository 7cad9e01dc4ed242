"""Encryption of all backups of a folder to new recipients, one by one, with a record of the recipients of each.

The record is written before the file is changed. So the next run can finish what a killed run started.
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

# The record is updated after this many backups. After a killed run, up to this many are encrypted again.
BATCH = 200


class Resealer(Protocol):
    """Encrypts backups to new recipients, with identities of the old recipients and perhaps of the new ones.

    Its methods raise IntegrityFault, and OthersSeal if none of the identities opens a backup.
    """

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the identities belongs to a new recipient."""
        ...

    def recipients(self) -> list[str]:
        """Return the new recipients."""
        ...

    def reseal(self, backup: Backup) -> bool:
        """Encrypt a backup that an old identity opens; return whether one of the identities opens the new file."""
        ...

    def reseal_with_new(self, backup: Backup) -> bool:
        """Encrypt a backup that only a new identity opens; return the same as `reseal`."""
        ...

    def check_opens(self, backup: Backup) -> None:
        """Open a backup with a new identity."""
        ...


class SealRecords(Protocol):
    """The record of the recipients of backups, by the names of the backups."""

    def record_sealed(self, backups: Collection[str], recipients: Sequence[str]) -> None:
        """Record that these recipients can open backups, now or in a moment."""
        ...

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Remove the records that this object made of backups."""
        ...

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that only these recipients can open backups now."""
        ...


@dataclass(frozen=True, slots=True)
class Resealed:
    """The backup was encrypted to the new recipients; `opens` says whether one of the identities opens it."""

    opens: bool


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The backup was encrypted to the new recipients before this run."""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """Names of backups. The records of `done` have only the new recipients, those of `begun` also others.

    Files in `begun` may come from a killed run. They count as already rekeyed only if one of the given identities could
    open the old version.
    """

    done: frozenset[str]
    begun: frozenset[str]

    @classmethod
    def of(cls, known: Iterable[KnownRecipients], wanted: Iterable[str], *, given: Iterable[str | None]) -> "OnRecord":
        """Compare the records with the `wanted` recipients. `given` are the recipients of the identities."""
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
    """The result for a folder. `unopened` counts new files that none of the identities opens."""

    found: int = 0
    done: list[Backup] = field(default_factory=list)
    already_done: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, str]] = field(default_factory=list)
    unopened: int = 0

    @property
    def finished(self) -> int:
        """The number of backups with a result."""
        return len(self.done) + len(self.already_done) + len(self.failed)


RekeyResult = tuple[Backup, Resealed | AlreadyDone | IntegrityFault]


def rekey_one(backup: Backup, *, resealer: Resealer, on_record: OnRecord) -> RekeyResult:
    """Encrypt one backup to the new recipients unless that was done before; return the result."""
    try:
        try:
            return backup, Resealed(resealer.reseal(backup))
        except OthersSeal:
            return backup, _rekey_again(backup, resealer=resealer, on_record=on_record)
    except IntegrityFault as fault:
        return backup, fault


def _rekey_again(backup: Backup, *, resealer: Resealer, on_record: OnRecord) -> Resealed | AlreadyDone:
    """Continue with a backup that no old identity opens: it is already done, or a new identity opens it.

    Raise OthersSeal if neither is true.
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
    """Encrypts backups in batches. Before a batch it records the recipients to be, and afterwards the actual ones."""

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
        """Encrypt all of these. After a Ctrl-C within `stoppable`, no other backup is started.

        The backups in progress are then finished and recorded, and KeyboardInterrupt is raised. `each` calls a function
        for every backup, in threads, and yields the results as they come.
        """
        try:
            with stoppable():
                # After Ctrl-C, there are fewer results than backups.
                for _, (backup, result) in zip(counted(found), each(self._act, self._recorded(found)), strict=False):
                    self._take(backup, result)
        except BaseException:  # backups without a result may be encrypted already, so their records stay
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
        """Yield the backups. The record of a batch is written before its first backup."""
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
