"""All backups of a folder sealed anew, and the passphrase of this desk's identity changed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit import backups
from mfa_kit.cli.kit.backup import event, passphrases
from mfa_kit.cli.kit.custody import custody
from mfa_kit.cli.kit.desk import backup_dir, harden, home
from mfa_kit.errors import IntegrityFault, OthersSeal, UsageFault
from mfa_kit.models import Backup, Call
from mfa_kit.otp import Secret

if TYPE_CHECKING:
    from mfa_kit.adapters.agefile import AgeFiles, Identity
    from mfa_kit.adapters.ledger import Ledger

# Backups after which the ledger is told how far it came; a run that was killed does these again.
AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Identities: those that open what is to be sealed anew, and those of the new recipients."""

    before: "Secret[list[Identity]]"
    after: "Secret[list[Identity]]"
    all: "Secret[list[Identity]]"


@dataclass(slots=True)
class Rekeyed:
    """What came of a folder; `unopened` were sealed for recipients whose identities were not given."""

    found: int = 0
    done: list[Backup] = field(default_factory=list)
    were: list[Backup] = field(default_factory=list)
    failed: list[tuple[Backup, str]] = field(default_factory=list)
    unopened: int = 0


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
    from mfa_kit.adapters import agefile
    from mfa_kit.adapters.ledger import Ledger

    harden()
    vault = agefile.AgeFiles(backup_dir(folder), agefile.recipients(to, to_files))
    read = agefile.identities(keys, passphrases())
    before, after = agefile.apart(read, vault.recipients())
    with Ledger(home()) as ledger, vault.alone():
        found = list(agefile.backups(backup_dir(folder)))
        wanted = set(vault.recipients())
        begun = {
            each.backup.name
            for each in backups.openers(found, custody(ledger).seals())
            if each.recipients and wanted <= set(each.recipients)
        }
        done = Rekeyed(found=len(found))
        rest = iter(counted(found))
        while batch := list(islice(rest, AT_ONCE)):
            _batch(
                batch, done, vault=vault, keys=Keys(before=before, after=after, all=read), ledger=ledger, begun=begun
            )
    return done


def _batch(
    batch: Sequence[Backup], done: Rekeyed, *, vault: "AgeFiles", keys: Keys, ledger: "Ledger", begun: set[str]
) -> None:
    records = custody(ledger)
    records.sealed([each.name for each in batch], vault.recipients())
    calls: list[Call] = []
    settled, untouched = [], {each.name for each in batch}
    try:
        for backup in batch:
            untouched.discard(backup.name)
            try:
                new = _one(backup, done, vault=vault, keys=keys, begun=backup.name in begun)
            except IntegrityFault as fault:
                done.failed.append((backup, str(fault)))
                untouched.add(backup.name)
                calls.append(event("RekeyBackup", backup.path, "Failed"))
                continue
            (done.done if new else done.were).append(backup)
            settled.append(backup.name)
            if new:
                calls.append(event("RekeyBackup", backup.path, "OK"))
    finally:
        ledger.called(*calls)
        records.only(settled, vault.recipients())
        records.not_sealed(untouched)


def _one(backup: Backup, done: Rekeyed, *, vault: "AgeFiles", keys: Keys, begun: bool) -> bool:
    """Seal one backup anew; False where that was done before. Raise IntegrityFault."""
    from mfa_kit.adapters import agefile

    try:
        done.unopened += not vault.rekey(backup, keys.before, proof=keys.all)
    except OthersSeal:
        if not begun:
            agefile.open_backup(backup.path, keys.after)
        return False
    return True


def own_identity(file: Path | None) -> Path:
    """Return the identity file that is meant: the one of this desk when none is named. Raise UsageFault."""
    if file is not None:
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
    from mfa_kit.adapters import agefile

    agefile.changed(file.absolute(), before, after)
