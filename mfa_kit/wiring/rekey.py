"""All backups of a folder sealed anew, and the passphrase of this desk's identity changed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.backups import lifecycle
from mfa_kit.cli.shutdown import orderly
from mfa_kit.core.errors import IntegrityFault, OthersSeal, UsageFault
from mfa_kit.core.models import Backup, Call
from mfa_kit.core.otp import Secret
from mfa_kit.rollout.workers import Workers
from mfa_kit.wiring.backup import event, passphrases
from mfa_kit.wiring.backup_records import custody
from mfa_kit.wiring.desk import backup_dir, harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.identities import Identity
    from mfa_kit.adapters.ledger.backup_records import Custody
    from mfa_kit.adapters.ledger.ledger import Ledger

# Backups after which the ledger is told how far it came; a run that was killed does these again.
AT_ONCE = 200
THREADS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Identities: those that open what is to be sealed anew, and those of the new recipients."""

    before: "Secret[list[Identity]]"
    after: "Secret[list[Identity]] | None"
    all: "Secret[list[Identity]]"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A backup was sealed anew; `opens`: an identity that was given opens it."""

    opens: bool


@dataclass(frozen=True, slots=True)
class Was:
    """A backup was sealed for the new recipients before."""


@dataclass(frozen=True, slots=True)
class Known:
    """The names of backups that are on record for the new recipients: as the only ones, or with others besides.

    The latter may be of a run that was killed. Of those the ones are meant that an identity would open that was given,
    if they were as they were before.
    """

    done: set[str]
    begun: set[str]


@dataclass(slots=True)
class Rekeyed:
    """What came of a folder; `unopened` were sealed for recipients whose identities were not given."""

    found: int = 0
    done: list[Backup] = field(default_factory=list)
    were: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, str]] = field(default_factory=list)
    unopened: int = 0

    @property
    def ended(self) -> int:
        return len(self.done) + len(self.were) + len(self.failed)


def rekey(
    folder: Path | None,
    keys: Sequence[Path],
    to: Sequence[str],
    to_files: Sequence[Path],
    *,
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rekeyed:
    """Seal each backup of a folder for these recipients and nobody else; one that fails stays as it was.

    The ledger is told for whom before a file is changed, so that a run that was killed knows afterwards what it did.
    """
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.backup_names import find_backups
    from mfa_kit.adapters.files.identities import read_identities, recipients_of, split_by_recipients
    from mfa_kit.adapters.files.recipients import read_recipients
    from mfa_kit.adapters.ledger.ledger import Ledger

    harden()
    vault = AgeFiles(backup_dir(folder), read_recipients(to, to_files))
    read = read_identities(keys, passphrases())
    before, after = split_by_recipients(read, vault.recipients())
    with Ledger(home()) as ledger, vault.alone():
        found = list(find_backups(backup_dir(folder)))
        seals = [each for each in custody(ledger).seals() if not each.own]
        run = _Run(
            vault=vault,
            keys=Keys(before=before, after=after, all=read),
            known=_known(lifecycle.openers(found, seals), set(vault.recipients()), given=recipients_of(read)),
            ledger=ledger,
            records=custody(ledger),
            done=Rekeyed(found=len(found)),
        )
        run.over(found, counted=counted)
    run.done.failed.sort(key=lambda each: each[0].path)
    return run.done


def _known(openers: Iterable[lifecycle.Opens], wanted: set[str], *, given: Iterable[str | None]) -> Known:
    of = {each.backup.name: set(each.recipients or ()) for each in openers}
    return Known(
        done={name for name, recipients in of.items() if recipients == wanted},
        begun={name for name, recipients in of.items() if recipients > wanted and (recipients - wanted) & set(given)},
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """Seals backups anew, and tells the ledger in batches for whom they may be, and afterwards for whom they are."""

    vault: "AgeFiles"
    keys: Keys
    known: Known
    ledger: "Ledger"
    records: "Custody"
    done: Rekeyed
    undone: set[str] = field(default_factory=set)
    settled: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def over(self, found: Sequence[Backup], *, counted: Callable[[Sequence[Backup]], Iterable[Backup]]) -> None:
        """Seal these. Threads wait for the disk together, which is most of the time that a file takes.

        At Ctrl-C what was begun is finished and noted, and then KeyboardInterrupt raised.
        """
        stop = Event()
        workers = Workers(act=self._act, number=THREADS, stop=stop)
        try:
            with orderly(stop):
                # After Ctrl-C fewer come.
                for _, (backup, came) in zip(counted(found), workers.work_through(self._noted(found)), strict=False):
                    self._take(backup, came)
        except BaseException:  # of what was begun and did not come, some are sealed anew: all of it stays on record
            self.undone.intersection_update(each.name for each, _ in self.done.failed)
            raise
        finally:
            self._tell()
            self.records.not_sealed(self.undone)
        if self.done.ended < len(found):
            raise KeyboardInterrupt

    def _act(self, backup: Backup) -> tuple[Backup, Sealed | Was | IntegrityFault]:
        return backup, _one(backup, vault=self.vault, keys=self.keys, known=self.known)

    def _noted(self, found: Sequence[Backup]) -> Iterator[Backup]:
        rest = iter(found)
        while batch := list(islice(rest, AT_ONCE)):
            names = [each.name for each in batch]
            self.undone.update(names)
            self.records.sealed(names, self.vault.recipients())
            yield from batch

    def _take(self, backup: Backup, came: Sealed | Was | IntegrityFault) -> None:
        match came:
            case Sealed():
                self.done.done.append(backup)
                self.done.unopened += not came.opens
                self.calls.append(event("RekeyBackup", backup.path, "OK"))
            case Was():
                self.done.were.append(backup)
            case IntegrityFault():
                self.done.failed.append((backup, str(came)))
                self.calls.append(event("RekeyBackup", backup.path, "Failed"))
        if not isinstance(came, IntegrityFault):
            self.undone.discard(backup.name)
            self.settled.append(backup.name)
        if self.done.ended % AT_ONCE == 0:
            self._tell()

    def _tell(self) -> None:
        self.ledger.called(*self.calls)
        self.records.only(self.settled, self.vault.recipients())
        self.calls.clear()
        self.settled.clear()


def _one(backup: Backup, *, vault: "AgeFiles", keys: Keys, known: Known) -> Sealed | Was | IntegrityFault:
    """Seal one backup anew, unless that was done before."""
    try:
        try:
            return Sealed(vault.rekey(backup, keys.before, proof=keys.all))
        except OthersSeal:
            return _again(backup, vault=vault, keys=keys, known=known)
    except IntegrityFault as fault:
        return fault


def _again(backup: Backup, *, vault: "AgeFiles", keys: Keys, known: Known) -> Sealed | Was:
    """Go on with a backup that the identities from before do not open: it was sealed anew, or opens with the new ones.

    Raise OthersSeal.
    """
    from mfa_kit.adapters.files.agefile import open_backup

    if keys.after is None:
        if backup.name not in known.done | known.begun:
            raise OthersSeal(f"{backup.path} is sealed for other identities", "give another one with -i")
    elif backup.name in known.done:
        open_backup(backup.path, keys.after)
    else:
        return Sealed(vault.rekey(backup, keys.after, proof=keys.all))
    return Was()


def own_identity(file: Path | None) -> Path:
    """Return the identity file that is meant: the one of this desk when none is named. Raise UsageFault."""
    if file is not None:
        if not file.is_file():
            raise UsageFault(f"there is no file {file}", "name the identity that your passphrase opens")
        return file
    found = sorted(home().glob("identity-age1*.age"))
    if len(found) == 1:
        return found[0]
    raise UsageFault(
        f"there are {len(found)} identities with a passphrase in {home()}",
        "name the file: mfa-kit backup passphrase FILE" if found else "a backup with --passphrase makes one",
    )


def change_passphrase(file: Path, before: Secret[str], after: Secret[str]) -> None:
    """Seal an identity by another passphrase; backups are not touched."""
    from mfa_kit.adapters.files.identities import change_passphrase

    change_passphrase(file.absolute(), before, after)
