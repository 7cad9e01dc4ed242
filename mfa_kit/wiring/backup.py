"""Sealed backups, for the verbs that list, open and remove them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.backups import contents, drill, pruning
from mfa_kit.backups.contents import Opened, Verified
from mfa_kit.backups.drill import Drilled
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Backup, Call, Intent
from mfa_kit.core.otp import Created, Png
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.files import check_new
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.this_computer import backup_dir, harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.files.identities import Identity
    from mfa_kit.adapters.ledger.backup_records import BackupRecords
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.core.otp import Secret


def list_backups(folder: Path | None, *, own: bool = False) -> list[Backup]:
    """Return the backups below a folder, with `own` also the copies that are sealed for their users alone.

    Raise UsageFault for a folder that was named and is not there.
    """
    from mfa_kit.adapters.files.backup_names import OWN, find_backups

    place = backup_dir(folder)
    if place != home() / "backups" and not place.is_dir():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir")
    return [*find_backups(place), *(find_backups(place / OWN) if own else ())]


class Opener:
    """Opens backups with identities that are read once. The log has each opening, also one that failed."""

    def __init__(self, log: Callable[[Call], None], identities: "Secret[list[Identity]]") -> None:
        self._log, self._identities = log, identities

    def picture(self, file: Path) -> Png:
        """Return the picture in a backup. Raise IntegrityFault for a file that does not open."""
        from mfa_kit.adapters.files.agefile import open_backup
        from mfa_kit.adapters.files.backup_names import backup_at

        succeeded, named = False, backup_at(file)
        try:
            picture = open_backup(file, self._identities)
            succeeded = True
        finally:
            user = named.user if named else None
            self._log(contents.backup_call("OpenBackup", file, user=user, succeeded=succeeded))
        return picture

    def open(self, file: Path) -> Opened:
        """Return what is in a backup. Raise IntegrityFault for a file without the QR code of a device."""
        from mfa_kit.adapters.files.backup_names import backup_at
        from mfa_kit.qr_codes import key_uri

        created = self.created(file)
        return Opened(file=file, created=created, label=key_uri.label_of(created.uri), named=backup_at(file))

    def created(self, file: Path) -> Created:
        """Return what IAM returned when the device of a backup was made. Raise IntegrityFault as `open` does."""
        from mfa_kit.qr_codes import key_uri, symbol

        uri = symbol.read(self.picture(file))
        return Created(key_uri.seed_of(uri), uri)


@contextmanager
def opening(identities: Identities) -> Iterator[tuple[Opener, "Ledger"]]:
    """Read identities, and open the ledger."""
    from mfa_kit.adapters.ledger.ledger import Ledger

    harden()
    secrets = identities.read()
    with Ledger(home()) as ledger:
        yield Opener(ledger.called, secrets), ledger


def opener(identities: Identities | Sequence[Path], log: Callable[[Call], None]) -> Callable[[Path], Created]:
    """Read identities once to open many backups."""
    return Opener(log, _identities(identities).read()).created


def open_created(file: Path, identities: Identities | Sequence[Path]) -> Created:
    """Open a backup, and return what IAM returned when the device was made."""
    with opening(_identities(identities)) as (opened, _):
        return opened.created(file)


def _identities(named: Identities | Sequence[Path]) -> Identities:
    """Take bare files from the verbs that do not make Identities yet."""
    if isinstance(named, Identities):
        return named
    from mfa_kit.cli import keys, options

    return Identities(named, passphrase_fd=keys.given("passphrase_fd"), person=options.common().interaction)


def show_backup(file: Path, identities: Identities, out: Path) -> None:
    """Open a backup and write its picture to a new file, 0600, in a folder that is there."""
    from mfa_kit.adapters.files.private_files import write_new

    harden()
    check_new(out)
    with opening(identities) as (opened, _):
        picture = opened.picture(file)
    write_new(out.absolute().parent.resolve() / out.name, picture)


def verify_backups(files: Iterable[Path], identities: Identities) -> list[Verified]:
    """Open each file, and say what is wrong with those that do not open."""
    with opening(identities) as (opened, ledger), ledger.lightly():
        return list(contents.verify(files, opened.open))


def drill_backups(
    files: Iterable[Path], identities: Identities, judge: Callable[[Intent, Opened], Drilled]
) -> list[Drilled]:
    """Open each file, have a code of its device judged, and record the result."""
    with opening(identities) as (opened, ledger):
        return list(
            drill.drill_all(
                files,
                open_backup=opened.open,
                intent_of=lambda found: contents.intent_in(found, path_of=backup_records(ledger).path),
                judge=judge,
                record=lambda file, result: backup_records(ledger).record_drill(name_of(file), result),
            )
        )


def open_restorable(file: Path, identities: Identities) -> tuple[Intent, Opened]:
    """Open a backup that is to live on one more device. Raise UsageFault when its own was reported lost."""
    with opening(identities) as (opener_, ledger):
        opened, records = opener_.open(file), backup_records(ledger)
        return contents.restorable(opened, path_of=records.path, losses_of=records.losses), opened


@contextmanager
def open_records() -> Iterator["BackupRecords"]:
    """Open what this computer records of backups."""
    from mfa_kit.adapters.ledger.ledger import Ledger

    with Ledger(home()) as ledger:
        yield backup_records(ledger)


def name_of(file: Path) -> str:
    """Return the name of a backup, by which it is on record wherever it is."""
    return "/".join(file.absolute().parts[-3:])


def backups_named(names: Iterable[str]) -> list[Backup]:
    """Return the backups of these names, wherever they are; a name that is none of a backup is left out."""
    from mfa_kit.adapters.files.backup_names import backup_at

    return [named for name in names if (named := backup_at(Path("/", name)))]


def recipient_text(text: str) -> str:
    """Return a recipient as it is on record. Raise UsageFault for text that is not a recipient."""
    from mfa_kit.adapters.files.recipients import read_recipients

    return read_recipients([text])[0].text


def remove_backups(folder: Path | None, chosen: Sequence[Backup]) -> dict[Path, str]:
    """Remove backups for good; the log has each removal. Return why a backup stays, for those that stay."""
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.ledger.ledger import Ledger

    vault = AgeFiles(backup_dir(folder), [])
    with Ledger(home()) as ledger:
        return pruning.remove(chosen, discard=vault.discard, log=ledger.called)
