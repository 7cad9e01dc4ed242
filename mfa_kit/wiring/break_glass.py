"""Opens the folders, the records, the keys and the backups for the use cases of `break_glass/`."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.identities import NewIdentity
from mfa_kit.adapters.files.layers import (
    RecoveryIdentity,
    RecoveryKeyFolders,
    open_set,
    owner_test,
    read_file,
    remove_outer_layer,
)
from mfa_kit.adapters.files.plugins import count_recipients
from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.backups.opening import ReadAhead
from mfa_kit.backups.rekeying import KnownRecipients, Rekeyed
from mfa_kit.break_glass.creating import NewCustodian
from mfa_kit.break_glass.custodians import FILE
from mfa_kit.break_glass.drilling import DrilledBackups
from mfa_kit.break_glass.ports import BreakGlassPorts
from mfa_kit.break_glass.rotating import RotatedBackups
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, BackupLocation, backup_name
from mfa_kit.core.otp import Secret
from mfa_kit.wiring.age_keys import Identities, open_plugins, read_recipients
from mfa_kit.wiring.backups import (
    backup_reader,
    known_recipients_of,
    open_opener,
    reencrypt,
)
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.ledger import backup_records, open_ledger
from mfa_kit.wiring.settings import Settings, harden, home
from mfa_kit.wiring.stores import open_age_files

if TYPE_CHECKING:
    from mfa_kit.adapters.files.plugins import Identity


def open_ports(settings: Settings) -> "BreakGlassPorts[Secret[list[Identity]], RecoveryIdentity]":
    """Return the ports of the use cases of recovery keys."""
    person = settings.interaction
    plugins = open_plugins(person)
    return BreakGlassPorts(
        folders=RecoveryKeyFolders(home() / "break-glass"),
        records=partial(_records, settings),
        add_record=partial(_add_record, settings),
        new_identity=_new_identity,
        files_of=lambda identity, manifest: identity.files(manifest, plugins),
        read_keys=partial(_read_keys, person=person),
        owner_test=lambda custodians: owner_test(custodians, plugins),
        open_set=lambda file, chosen, keys, recipient: open_set(file, chosen, keys, recipient=recipient),
        remove_layer=lambda file, keys: remove_outer_layer(read_file(file), keys, where=str(file)),
        check_new_file=check_new,
        write_new_file=write_new_file,
        person=person,
        progress=settings.progress,
        now=time.time,
        dry_run=settings.dry_run,
    )


def _new_identity() -> RecoveryIdentity:
    harden()
    return RecoveryIdentity.new()


def new_custodian(name: str) -> NewCustodian:
    """Make a private key for a custodian."""
    harden()
    identity = NewIdentity()
    return NewCustodian(name=name, key=identity.recipient, identity=identity.text)


def _read_keys(file: Path, person: Interaction) -> "Secret[list[Identity]]":
    return Identities([file], passphrase_fd=None, person=person).read()


def _records(settings: Settings) -> list[Record]:
    """Return all records. The ledger is not kept open, because a meeting may take long."""
    with open_ledger(settings) as ledger:
        return BreakGlassRecords(ledger).all()


def _add_record(settings: Settings, record: Record) -> None:
    with open_ledger(settings) as ledger:
        BreakGlassRecords(ledger).add(record)


def folder_beside(file: Path) -> Path | None:
    """Return the folder that contains a file if the folder has a manifest, else None."""
    return file.absolute().parent if (file.absolute().parent / FILE).is_file() else None


@contextmanager
def open_drilled(settings: Settings, identity: RecoveryIdentity) -> Iterator[DrilledBackups]:
    """Yield the backups that a drill opens with an identity."""
    ahead = ReadAhead(backup_reader(settings), settings.stop)
    with open_opener(settings, identity.keys, read=ahead.read) as (opener, ledger), ledger.without_fsync():
        yield DrilledBackups(
            open=opener.open,
            prefetch=ahead.prefetch,
            record=lambda file, result: backup_records(ledger).record_drill(backup_name(file), result),
        )


@contextmanager
def open_rotated(
    settings: Settings,
    folder: BackupLocation | None,
    before: RecoveryIdentity,
    after: RecoveryIdentity,
    *,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Iterator[RotatedBackups]:
    """Yield a locked folder of backups, to be re-encrypted from one identity to another.

    `until` and `counted` are as in `rekey`.
    """
    with (
        open_opener(settings, before.keys) as (opener, ledger),
        open_age_files(settings, folder, ()).exclusively(),
    ):
        secrets, read = before.keys_with(after), backup_reader(settings)

        def reencrypt_to(known: Sequence[KnownRecipients], recipients: Sequence[str]) -> Rekeyed:
            store = open_age_files(settings, folder, read_recipients(recipients))
            return reencrypt(known, store=store, secrets=secrets, ledger=ledger, until=until, counted=counted)

        yield RotatedBackups(
            known=lambda backups: known_recipients_of(backups, ledger),
            check_opens=lambda backup: opener.picture(backup.path),
            count_recipients=lambda backup: count_recipients(read(backup.path)),
            reencrypt=reencrypt_to,
        )
