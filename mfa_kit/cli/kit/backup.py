"""Sealed backups, for the verbs that open them."""

from collections.abc import Sequence
from pathlib import Path

from mfa_kit.cli import flags, terminal
from mfa_kit.cli.kit.desk import backup_dir, harden, home
from mfa_kit.models import Backup, Call, Intent, Kind
from mfa_kit.otp import Created, Png, Secret


def list_backups(folder: Path | None) -> list[Backup]:
    from mfa_kit.adapters import agefile

    return list(agefile.backups(backup_dir(folder)))


def show_backup(file: Path, keys: Sequence[Path], out: Path) -> None:
    """Open a backup and write its picture to a new file, 0600."""
    from mfa_kit.adapters import agefile

    harden()
    agefile.write_new(out.absolute(), _opened(file, keys))


def verify_backup(file: Path, keys: Sequence[Path]) -> str:
    """Open a backup, read its QR code, and return the label in it: proof that it can be used, and no secret."""
    from mfa_kit import keyuri, qr

    harden()
    return keyuri.label_of(qr.read(_opened(file, keys)))


def open_created(file: Path, keys: Sequence[Path]) -> Created:
    """Open a backup, and return what IAM gave when the device was made."""
    from mfa_kit import keyuri, qr

    uri = qr.read(_opened(file, keys))
    return Created(keyuri.seed_of(uri), uri)


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

    secrets = agefile.identities(keys, _ask)
    told = agefile.told(file)
    with Ledger(home()) as ledger:
        answer = "Failed"
        try:
            opened = agefile.open_backup(file, secrets)
            answer = "OK"
        finally:
            ledger.called(
                Call(
                    operation="OpenBackup",
                    user=told.user if told else None,
                    serial=None,
                    request_id=None,
                    answer=answer,
                    file=str(file.absolute()),
                )
            )
    return opened


def _ask(file: Path) -> Secret[str]:
    return terminal.person(flags.common()).ask_secret(
        f"passphrase of {file}", instead="an identity without a passphrase: -i FILE"
    )
