"""Sealed backups, for the verbs that open them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.cli import flags, terminal
from mfa_kit.cli import keys as options
from mfa_kit.cli.kit.desk import backup_dir, harden, home
from mfa_kit.cli.kit.files import check_new, secret_from
from mfa_kit.errors import IntegrityFault, UsageFault
from mfa_kit.models import Backup, Call, Intent, Kind
from mfa_kit.otp import Created, Png, Secret

if TYPE_CHECKING:
    from mfa_kit.adapters.agefile import Identity
    from mfa_kit.adapters.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One backup that was tried: the label in its QR code, or what is wrong with it."""

    file: Path
    label: str | None = None
    fault: str | None = None


def list_backups(folder: Path | None) -> list[Backup]:
    """Return the backups below a folder. Raise UsageFault for one that was named and is not there."""
    from mfa_kit.adapters import agefile

    place = backup_dir(folder)
    if place != home() / "backups" and not place.is_dir():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir")
    return list(agefile.backups(place))


def show_backup(file: Path, keys: Sequence[Path], out: Path) -> None:
    """Open a backup and write its picture to a new file, 0600, in a folder that is there."""
    from mfa_kit.adapters import agefile

    harden()
    check_new(out)
    agefile.write_new(out.absolute().parent.resolve() / out.name, _opened(file, keys))


def verify_backups(files: Sequence[Path], keys: Sequence[Path]) -> list[Verified]:
    """Open each backup and read its QR code: the label in it is proof that it can be used, and no secret."""
    from mfa_kit.adapters import agefile
    from mfa_kit.adapters.ledger import Ledger

    harden()
    secrets = agefile.identities(keys, _ask())
    with Ledger(home()) as ledger:
        return [_verified(file, secrets, ledger) for file in files]


def _verified(file: Path, secrets: "Secret[list[Identity]]", ledger: "Ledger") -> Verified:
    from mfa_kit import keyuri, qr
    from mfa_kit.adapters import agefile

    try:
        picture = agefile.open_backup(file, secrets)
    except IntegrityFault as fault:
        ledger.called(_opening(file, "Failed"))
        return Verified(file=file, fault=str(fault))
    ledger.called(_opening(file, "OK"))
    try:
        return Verified(file=file, label=keyuri.label_of(qr.read(picture)))
    except IntegrityFault as fault:
        return Verified(file=file, fault=str(fault))


def open_created(file: Path, keys: Sequence[Path]) -> Created:
    """Open a backup, and return what IAM gave when the device was made."""
    from mfa_kit.adapters.ledger import Ledger

    with Ledger(home()) as ledger:
        return opener(keys, ledger.called)(file)


def opener(keys: Sequence[Path], observe: Callable[[Call], None]) -> Callable[[Path], Created]:
    """Read identities once, to open many backups."""
    from mfa_kit import keyuri, qr
    from mfa_kit.adapters import agefile

    secrets = agefile.identities(keys, _ask())

    def opened(file: Path) -> Created:
        uri = qr.read(_told(file, secrets, observe))
        return Created(keyuri.seed_of(uri), uri)

    return opened


def intent_in(file: Path, created: Created) -> Intent:
    """Return what a backup is of, for a key that is to hold its seed too.

    Account and user are those that its path tells; a file that was moved has the account in its label or none at all.
    """
    from mfa_kit import keyuri
    from mfa_kit.adapters import agefile

    name, _, account = keyuri.label_of(created.uri).rpartition(":")[2].rpartition("@")
    told = agefile.told(file)
    return Intent(
        account=told.account if told else account,
        partition="aws",
        user=told.user if told else name,
        name=told.device if told else name,
        kind=Kind.OATH,
    )


def _opened(file: Path, keys: Sequence[Path]) -> Png:
    """Open a backup; the ledger remembers that, whatever came of it."""
    from mfa_kit.adapters import agefile
    from mfa_kit.adapters.ledger import Ledger

    secrets = agefile.identities(keys, _ask())
    with Ledger(home()) as ledger:
        return _told(file, secrets, ledger.called)


def _told(file: Path, secrets: "Secret[list[Identity]]", observe: Callable[[Call], None]) -> Png:
    from mfa_kit.adapters import agefile

    answer = "Failed"
    try:
        opened = agefile.open_backup(file, secrets)
        answer = "OK"
    finally:
        observe(_opening(file, answer))
    return opened


def _opening(file: Path, answer: str) -> Call:
    from mfa_kit.adapters import agefile

    told = agefile.told(file)
    return Call(
        operation="OpenBackup",
        user=told.user if told else None,
        serial=None,
        request_id=None,
        answer=answer,
        file=str(file.absolute()),
    )


def _ask() -> Callable[[Path], Secret[str]]:
    """Return what gives the passphrase of an identity: a file descriptor, which is read once, or a person."""

    @cache
    def piped(descriptor: int) -> Secret[str]:
        return secret_from(descriptor)

    def ask(file: Path) -> Secret[str]:
        if (descriptor := options.given("passphrase_fd")) is not None:
            return piped(descriptor)
        return terminal.person(flags.common()).ask_secret(
            f"passphrase of {file}", instead="--passphrase-fd N, or an identity without a passphrase: -i FILE"
        )

    return ask
