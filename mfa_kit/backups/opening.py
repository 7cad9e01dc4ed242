"""Checks whether decrypted backups can be used, and whether they may be restored."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from mfa_kit.backups.contents import Opened, device_and_account, intent_in, is_account
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Intent
from mfa_kit.core.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result of decrypting one backup: the label of its QR code and notes, or why the file cannot be used."""

    file: Place
    label: str | None = None
    fault: str | None = None
    notes: tuple[str, ...] = ()


def verify_files(files: Iterable[Place], open_backup: Callable[[Place], Opened]) -> Iterator[Verified]:
    """Decrypt each file, and yield the label of its QR code or the fault. The label is not secret."""
    for file in files:
        try:
            opened = open_backup(file)
            yield Verified(file=file, label=opened.label, notes=opened.notes)
        except IntegrityFault as fault:
            yield Verified(file=file, fault=str(fault))


def restorable(
    opened: Opened,
    *,
    path_of: Callable[[str, str], str],
    losses_of: Callable[[str | None, Collection[str]], Iterable[str]],
) -> Intent:
    """Return an Intent for putting the secret of a backup on another phone or OATH key.

    `path_of` returns the IAM path of a device, given its run ID and name. `losses_of` returns the IDs of the runs that
    reported a device as lost, given the device's account (None if unknown) and its possible names. Raise IntegrityFault
    if neither the path nor the label of the backup names a device, and UsageFault if the device was reported lost.
    """
    intent = intent_in(opened, path_of=path_of)
    account = intent.account if is_account(intent.account) else None
    losses = losses_of(account, {intent.name, device_and_account(opened.label)[0]})
    check_not_lost(intent.name, opened.named.run if opened.named else None, losses=losses)
    return intent


def check_not_lost(device: str, run: str | None, *, losses: Iterable[str]) -> None:
    """Raise UsageFault if the device of a backup was reported lost.

    Anyone who finds the lost device would see the same codes as on a restored device. `run` is the run ID of the
    backup, or None if it is unknown. `losses` has the IDs of the runs that reported a device of this name as lost. A
    loss that is older than the backup does not count, because it concerns an earlier device of the same name. If `run`
    is None, every loss counts. Run IDs sort by time.
    """
    if any(run is None or loss >= run for loss in losses):
        raise UsageFault(
            f"{device} was reported lost, and anyone who finds it can see its codes",
            "give the user a new device: mfa-kit enroll USER",
        )
