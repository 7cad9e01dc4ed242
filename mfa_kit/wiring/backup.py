"""Sealed backups, for the verbs that open them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.backups import lifecycle
from mfa_kit.cli import keys as options
from mfa_kit.cli import options as flags
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Backup, Call, Intent, Kind
from mfa_kit.core.otp import Created, Png, Secret
from mfa_kit.wiring.backup_records import custody
from mfa_kit.wiring.desk import backup_dir, harden, home
from mfa_kit.wiring.files import check_new, secret_from

if TYPE_CHECKING:
    from mfa_kit.adapters.files.identities import Identity
    from mfa_kit.adapters.ledger.backup_records import Custody
    from mfa_kit.adapters.ledger.ledger import Ledger

ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One backup that was tried: the label in its QR code, or what is wrong with it."""

    file: Path
    label: str | None = None
    fault: str | None = None


def list_backups(folder: Path | None, *, own: bool = False) -> list[Backup]:
    """Return the backups below a folder, with `own` also the copies that are sealed for their users alone.

    Raise UsageFault for a folder that was named and is not there.
    """
    from mfa_kit.adapters.files.backup_names import OWN, find_backups

    place = backup_dir(folder)
    if place != home() / "backups" and not place.is_dir():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir")
    return [*find_backups(place), *(find_backups(place / OWN) if own else ())]


def show_backup(file: Path, keys: Sequence[Path], out: Path) -> None:
    """Open a backup and write its picture to a new file, 0600, in a folder that is there."""
    from mfa_kit.adapters.files.private_files import write_new

    harden()
    check_new(out)
    with opening(keys) as (opened, _):
        picture = opened.picture(file)
    write_new(out.absolute().parent.resolve() / out.name, picture)


def verify_backups(files: Iterable[Path], keys: Sequence[Path]) -> list[Verified]:
    """Open each backup and read its QR code: the label in it is proof that it can be used, and no secret."""
    with opening(keys) as (opened, ledger), ledger.lightly():
        return [_verified(file, opened) for file in files]


def _verified(file: Path, opened: "Opener") -> Verified:
    from mfa_kit.qr_codes import key_uri

    try:
        return Verified(file=file, label=key_uri.label_of(opened.created(file).uri))
    except IntegrityFault as fault:
        return Verified(file=file, fault=str(fault))


class Opener:
    """Opens backups with identities that are read once; the ledger remembers each opening, whatever came of it."""

    def __init__(self, observe: Callable[[Call], None], secrets: "Secret[list[Identity]]") -> None:
        self._observe, self._secrets = observe, secrets

    def picture(self, file: Path) -> Png:
        from mfa_kit.adapters.files.agefile import open_backup

        answer = "Failed"
        try:
            opened = open_backup(file, self._secrets)
            answer = "OK"
        finally:
            self._observe(event("OpenBackup", file, answer))
        return opened

    def created(self, file: Path) -> Created:
        """Return what IAM gave when the device was made."""
        from mfa_kit.qr_codes import key_uri, symbol

        uri = symbol.read(self.picture(file))
        return Created(key_uri.seed_of(uri), uri)


def opener(keys: Sequence[Path], observe: Callable[[Call], None]) -> Callable[[Path], Created]:
    """Read identities once, with the passphrases of those that have one, to open many backups."""
    from mfa_kit.adapters.files.identities import read_identities

    return Opener(observe, read_identities(keys, passphrases())).created


@contextmanager
def opening(keys: Sequence[Path]) -> Iterator[tuple[Opener, "Ledger"]]:
    """Read identities, and open the ledger."""
    from mfa_kit.adapters.files.identities import read_identities
    from mfa_kit.adapters.ledger.ledger import Ledger

    harden()
    secrets = read_identities(keys, passphrases())
    with Ledger(home()) as ledger:
        yield Opener(ledger.called, secrets), ledger


def event(operation: str, file: Path, answer: str) -> Call:
    """Return what the ledger remembers of a backup file."""
    from mfa_kit.adapters.files.backup_names import backup_at

    told = backup_at(file)
    return Call(
        operation=operation,
        user=told.user if told else None,
        serial=None,
        request_id=None,
        answer=answer,
        file=str(file.absolute()),
    )


def open_created(file: Path, keys: Sequence[Path]) -> Created:
    """Open a backup, and return what IAM gave when the device was made."""
    with opening(keys) as (opened, _):
        return opened.created(file)


def intent_in(file: Path, created: Created, *, records: "Custody") -> Intent:
    """Return what a backup is of, for a key that holds or is to hold its seed too.

    Account and user are those that its path tells; a file that was moved has the account in its label or none at all.
    Raise IntegrityFault where neither is of a device: authenticator apps let people write labels as they like.
    """
    from mfa_kit.adapters.files.backup_names import backup_at

    name, account = labelled(created)
    told = backup_at(file)
    try:
        return Intent(
            account=told.account if told else account,
            partition="aws",
            user=told.user if told else name,
            name=told.device if told else name,
            kind=Kind.OATH,
            path=records.path(told.run, told.device) if told else "/",
        )
    except UsageFault:
        raise IntegrityFault(
            f"neither its path nor its label, {of(created)!r}, tells of which device {file} is",
            "give it the name and the folders that it had: ACCOUNT/USER/DEVICE-RUN.png.age",
        ) from None


def name_of(file: Path) -> str:
    """Return the name of a backup, by which it is on record wherever it is."""
    return "/".join(file.absolute().parts[-3:])


def recipient_text(text: str) -> str:
    """Return a recipient as it is on record. Raise UsageFault for what is none."""
    from mfa_kit.adapters.files.recipients import read_recipients

    return read_recipients([text])[0].text


def of(created: Created) -> str:
    """Return the label in a QR code."""
    from mfa_kit.qr_codes import key_uri

    return key_uri.label_of(created.uri)


def labelled(created: Created) -> tuple[str, str]:
    """Return the device and the account, or its alias, that the label in a QR code tells."""
    from mfa_kit.qr_codes import key_uri

    name, _, account = key_uri.label_of(created.uri).rpartition(":")[2].rpartition("@")
    return name, account


def restorable(file: Path, keys: Sequence[Path]) -> tuple[Intent, Created]:
    """Open a backup that is to live on one more device. Raise UsageFault when its own was reported lost."""
    from mfa_kit.adapters.files.backup_names import backup_at

    told = backup_at(file)
    with opening(keys) as (opened, ledger):
        created, records = opened.created(file), custody(ledger)
        intent = intent_in(file, created, records=records)
        account = intent.account if ACCOUNT.fullmatch(intent.account) else None
        lost = records.lost(account, {intent.name, labelled(created)[0]})
    lifecycle.check_not_lost(intent.name, told.run if told else None, lost=lost)
    return intent, created


@contextmanager
def remembered() -> Iterator["Custody"]:
    """Open what this desk remembers of backups."""
    from mfa_kit.adapters.ledger.ledger import Ledger

    with Ledger(home()) as ledger:
        yield custody(ledger)


def by_name(names: Iterable[str]) -> list[Backup]:
    """Return what the names of backups tell that are somewhere, or were."""
    from mfa_kit.adapters.files.backup_names import backup_at

    return [told for name in names if (told := backup_at(Path("/", name)))]


def prune(folder: Path | None, chosen: Sequence[Backup]) -> dict[Path, str]:
    """Remove backups for good; the ledger remembers each. Return why those stay that cannot be removed."""
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.ledger.ledger import Ledger

    vault = AgeFiles(backup_dir(folder), [])
    with Ledger(home()) as ledger:
        stay = {}
        for backup in chosen:
            try:
                vault.discard(backup)
            except IntegrityFault as fault:
                stay[backup.path] = str(fault)
            ledger.called(event("RemoveBackup", backup.path, "Failed" if backup.path in stay else "OK"))
    return stay


def passphrases() -> Callable[[Path], Secret[str]]:
    """Return what gives the passphrase of an identity: a file descriptor, which is read once, or a person."""

    @cache
    def piped(descriptor: int) -> Secret[str]:
        return secret_from(descriptor)

    def ask(file: Path) -> Secret[str]:
        if (descriptor := options.given("passphrase_fd")) is not None:
            return piped(descriptor)
        return flags.common().interaction.ask_secret(
            f"passphrase of {file}", instead="--passphrase-fd N, or an identity without a passphrase: -i FILE"
        )

    return ask
