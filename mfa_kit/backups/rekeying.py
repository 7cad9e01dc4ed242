"""Re-encrypts all backups of a folder to new recipients, and records the recipients of each backup.

The new recipients are recorded before the file is changed, so that the next run can finish what a killed run started.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from mfa_kit.backups.contents import backup_call
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.models import Backup, BackupLocation, Call, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRecipients:
    """A backup and its recipients. `recipients` is None if the ledger has no recipients of this backup."""

    backup: Backup
    recipients: tuple[str, ...] | None


def choose_backups(backups: Iterable[Backup], only: BackupLocation | None) -> list[Backup]:
    """Return the backups, or only the one with the path `only`. Raise UsageFault if it is not among them."""
    chosen = [backup for backup in backups if only is None or backup.path == only.absolute()]
    if only and not chosen:
        raise UsageFault(f"{only} is not a backup in this folder", "name its folder: --backup-dir DIR")
    return chosen


def known_recipients(backups: Iterable[Backup], seals: Iterable[Seal], *, own: bool = True) -> list[KnownRecipients]:
    """Return each backup with its current recipients, according to `seals`, the ledger's records of recipients.

    With `own`, if the user has a copy that is encrypted to their own public key, this key counts as a recipient.
    """
    current: dict[str, dict[str, None]] = {}
    for seal in seals:
        if seal.until is None and (own or not seal.own):
            current.setdefault(seal.backup, {})[seal.recipient] = None
    return [
        KnownRecipients(backup=backup, recipients=tuple(current[backup.name]) if backup.name in current else None)
        for backup in backups
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """A backup that a recipient's key can decrypt or could decrypt earlier, and the period in which it can do so.

    `since` and `until` are Unix times. `since` is None if the recipients are not recorded. `until` is None if the key
    can still decrypt the file, or if the recipients are not recorded.
    """

    backup: Backup
    since: float | None
    until: float | None = None


def find_exposed(
    recipient: str, backups: Iterable[Backup], seals: Iterable[Seal], *, gone: Collection[str]
) -> list[Exposed]:
    """Return the backups that a recipient's key can decrypt or could decrypt earlier.

    `seals` are the ledger's records of recipients. A backup whose recipients are not recorded is included. `gone` has
    the names of backups whose device no longer exists; these backups are left out.
    """
    known: set[str] = set()
    opened_by_it: dict[str, list[Seal]] = {}
    for seal in seals:
        known.add(seal.backup)
        if seal.recipient == recipient:
            opened_by_it.setdefault(seal.backup, []).append(seal)
    return [
        _exposed(backup, opened_by_it.get(backup.name, []))
        for backup in backups
        if backup.name not in gone and (backup.name in opened_by_it or backup.name not in known)
    ]


def _exposed(backup: Backup, seals: Sequence[Seal]) -> Exposed:
    ends = [seal.until for seal in seals if seal.until is not None]
    return Exposed(
        backup=backup,
        since=min((seal.since for seal in seals), default=None),
        until=max(ends) if ends and len(ends) == len(seals) else None,
    )


# The number of backups after which the ledger is updated. After a killed run, up to this many backups are encrypted
# again.
BATCH = 200


class Resealer(Protocol):
    """Decrypts backups with identities of the old recipients, and re-encrypts them to new recipients.

    The identities may include identities of new recipients. The methods raise WrongIdentityError if none of the
    identities can decrypt a backup, and IntegrityFault if a backup is damaged or cannot be read or written.
    """

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the given identities belongs to a new recipient."""
        ...

    def recipients(self) -> list[str]:
        """Return the public keys of the new recipients."""
        ...

    def reseal(self, backup: Backup) -> bool:
        """Re-encrypt a backup that an identity of the old recipients can decrypt.

        Return whether one of the given identities can decrypt the new file.
        """
        ...

    def reseal_with_new(self, backup: Backup) -> bool:
        """Decrypt a backup with an identity of a new recipient, and re-encrypt it.

        This is called if none of the given identities of old recipients can decrypt the backup. Afterward, only the new
        recipients can decrypt the backup, even if it had other recipients before. Return whether one of the given
        identities can decrypt the new file.
        """
        ...

    def check_opens(self, backup: Backup) -> None:
        """Raise WrongIdentityError if no identity of a new recipient can decrypt a backup."""
        ...


class SealRecords(Protocol):
    """The ledger's records of who can decrypt which backup. Backups are given by name."""

    def record_sealed(self, backups: Collection[str], recipients: Sequence[str]) -> None:
        """Record that these recipients can decrypt the backups. This is called before the files are written."""
        ...

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Remove the records that this object added for these backups."""
        ...

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that only these recipients can now decrypt the backups."""
        ...


@dataclass(frozen=True, slots=True)
class Resealed:
    """The backup was re-encrypted to the new recipients.

    `opens` says whether one of the given identities can decrypt the new file.
    """

    opens: bool


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The backup was re-encrypted to the new recipients before this run."""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """The names of backups for which the ledger records the new recipients.

    `done` has the backups with only the new recipients on record. `begun` has backups with old recipients on record
    too, because a run may have been killed before it updated the record. `begun` contains only backups whose old
    version could be decrypted by one of the given identities.
    """

    done: frozenset[str]
    begun: frozenset[str]

    @classmethod
    def of(
        cls, known: Iterable[KnownRecipients], new_recipients: Iterable[str], *, own_recipients: Iterable[str | None]
    ) -> "OnRecord":
        """Return the OnRecord for the backups in `known`.

        `own_recipients` has the recipients that belong to the given identities. None means an unknown
        recipient.
        """
        new, ours = frozenset(new_recipients), frozenset(recipient for recipient in own_recipients if recipient)
        recipients_of = {entry.backup.name: frozenset(entry.recipients or ()) for entry in known}
        return cls(
            done=frozenset(name for name, recipients in recipients_of.items() if recipients == new),
            begun=frozenset(
                name for name, recipients in recipients_of.items() if recipients > new and (recipients - new) & ours
            ),
        )


@dataclass(slots=True)
class Rekeyed:
    """The results of re-encrypting the backups of a folder.

    `found` is the number of backups. `done` has those that were re-encrypted, `already_done` those that an earlier run
    re-encrypted, and `failed` the others, each with the reason. `unopened` is the number of new files that none of the
    given identities can decrypt.
    """

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


@dataclass(slots=True, kw_only=True)
class Rekeying:
    """Re-encrypts backups in batches.

    Before each batch, the new recipients are recorded in addition to the old recipients. After the batch, only the
    recipients who can decrypt the files are on record.
    """

    resealer: Resealer
    on_record: OnRecord
    records: SealRecords
    log: Callable[[Sequence[Call]], None]
    done: Rekeyed = field(default_factory=Rekeyed)
    _unsettled: set[str] = field(init=False, default_factory=set)
    _settled: list[str] = field(init=False, default_factory=list)
    _calls: list[Call] = field(init=False, default_factory=list)

    def run(
        self,
        backups: Sequence[Backup],
        *,
        run_each: Callable[[Callable[[Backup], RekeyResult], Iterable[Backup]], Iterator[RekeyResult]],
        stoppable: Callable[[], AbstractContextManager[object]],
        counted: Callable[[Sequence[Backup]], Iterable[Backup]],
    ) -> Rekeyed:
        """Re-encrypt all these backups, and return the results. After Ctrl-C, start no further backup.

        The backups in progress are then finished and recorded, and KeyboardInterrupt is raised. `stoppable` returns the
        context manager in which Ctrl-C has this effect. `run_each` calls a function for every backup, in threads, and
        yields the results as they arrive. `counted` yields the backups while it shows progress.
        """
        try:
            with stoppable():
                # Not strict, because after Ctrl-C there are fewer results than backups.
                for _, (backup, result) in zip(
                    counted(backups), run_each(self._rekey, self._recorded(backups)), strict=False
                ):
                    self._take(backup, result)
        except BaseException:  # backups without a result may be re-encrypted already, so their records stay
            self._unsettled.intersection_update(backup.name for backup, _ in self.done.failed)
            raise
        finally:
            self._write_record()
            self.records.withdraw_sealed(self._unsettled)
        self.done.failed.sort(key=lambda failure: str(failure[0].path))
        self.done.found = len(backups)
        if self.done.finished < len(backups):
            raise KeyboardInterrupt
        return self.done

    def _rekey(self, backup: Backup) -> RekeyResult:
        """Re-encrypt one backup to the new recipients unless an earlier run did so. Return the result."""
        try:
            try:
                return backup, Resealed(self.resealer.reseal(backup))
            except WrongIdentityError:
                return backup, self._rekey_again(backup)
        except IntegrityFault as fault:
            return backup, fault

    def _rekey_again(self, backup: Backup) -> Resealed | AlreadyDone:
        """Return the result for a backup that no identity of the old recipients can decrypt.

        The result is AlreadyDone if an earlier run re-encrypted the backup. Otherwise, decrypt the backup with an
        identity of a new recipient, and re-encrypt it. Raise WrongIdentityError if neither is possible.
        """
        if not self.resealer.has_new_identity:
            if backup.name not in self.on_record.done | self.on_record.begun:
                raise WrongIdentityError(
                    f"{backup.path} was encrypted to a different key", "give another identity with -i"
                )
        elif backup.name in self.on_record.done:
            self.resealer.check_opens(backup)
        else:
            return Resealed(self.resealer.reseal_with_new(backup))
        return AlreadyDone()

    def _recorded(self, backups: Sequence[Backup]) -> Iterator[Backup]:
        """Yield the backups. Before each batch, record that the new recipients can decrypt the backups of the batch."""
        remaining_backups = iter(backups)
        while batch := list(islice(remaining_backups, BATCH)):
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
