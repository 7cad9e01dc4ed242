"""Creates a backup of an existing device from the QR code that the console or an authenticator app showed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mfa_kit.backups.contents import device_and_account, is_account
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import suggest
from mfa_kit.core.models import (
    DEVICE_NAME,
    ROOT,
    Backup,
    Caller,
    DeviceType,
    JournalEntry,
    JournalState,
    RunKind,
    intent_of,
)
from mfa_kit.core.otp import Created, KeyUri, Seed
from mfa_kit.enrollment.backends import prove
from mfa_kit.enrollment.planning import choose_device, recorded_entry, resolve_user
from mfa_kit.enrollment.ports import EnrollmentPorts

INSTEAD = "a terminal: you type a code from the device to prove that the picture belongs to it"
# The console's default name for the virtual device of the root user.
ROOT_DEVICE = "root-account-mfa-device"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePicture:
    """What was read from a QR code: the secret of a device, its label, and notes for the user."""

    created: Created
    label: str
    notes: tuple[str, ...] = ()


def add(
    picture: DevicePicture,
    *,
    uri_of: Callable[[Seed, Backup], KeyUri],
    user: str | None,
    device_name: str | None,
    run: str,
    caller: Caller,
    ports: EnrollmentPorts,
    person: Interaction,
) -> Backup:
    """Ask for a code from the device, then write the secret in the picture as an encrypted backup. Return the backup.

    `uri_of` returns the key URI with the device's own label, because the label in the picture may be any text from an
    app. A dry run neither asks nor writes. The device belongs to `user`, or to root if `user` is None. `device_name` is
    the name or ARN of the device, or None. `run` is the run ID of the backup if the journal has no run for the device.
    Raise UsageFault if the picture belongs to another account, or if the device already has a backup.
    """
    for note in picture.notes:
        ports.progress.alert(f"note: {note}")
    _check_account(picture.label, caller)
    entry = None if user is None else _entry(user, device_name, picture, run=run, caller=caller, ports=ports)
    if entry:
        backup = ports.store.new(caller.account, entry.spec.user, entry.spec.name, run=entry.run)
    else:
        backup = ports.store.new(caller.account, ROOT, _root_device(device_name, picture), run=run)
    if not ports.dry:
        person.say(f"type the code that the phone now shows for {backup.device} of {backup.user}")
        prove(picture.created.seed, typed=1, now=ports.iam_reader.now, interaction=person, instead=INSTEAD)
        ports.store.store_existing(backup, uri_of(picture.created.seed, backup))
        if entry:
            ports.journal.record(replace(entry, backup=str(backup.path), sealed=True))
    return backup


def _check_account(label: str, caller: Caller) -> None:
    _, account = device_and_account(label)
    if is_account(account) and account != caller.account:
        raise UsageFault(
            f"this key URI belongs to account {account}, but the credentials belong to {caller.account}",
            "choose another --profile, or another picture",
        )


def _root_device(device_name: str | None, picture: DevicePicture) -> str:
    """Return the name of the root user's device. Raise UsageFault for an invalid name."""
    name = device_name or device_and_account(picture.label)[0] or ROOT_DEVICE
    if not DEVICE_NAME.fullmatch(name):
        raise UsageFault(f"{name!r} is not the name of an MFA device", "give its name: --mfa-device NAME")
    return name


def _entry(
    user: str, device_name: str | None, picture: DevicePicture, *, run: str, caller: Caller, ports: EnrollmentPorts
) -> JournalEntry:
    """Return the device's journal entry, or a new entry if the journal has none.

    Raise UsageFault if the device already has a backup.
    """
    name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
    devices = [device for device in ports.iam_reader.devices(name) if device.type is DeviceType.VIRTUAL]
    device = choose_device(name, device_name, devices=devices)
    entry = recorded_entry(device, name, caller=caller, ports=ports)
    if entry and (path := ports.store.find(entry)):
        raise UsageFault(
            f"{device.serial} already has a backup: {path}",
            suggest("check it", "backup verify {} -i IDENTITY", path),
        )
    spec = intent_of(device.serial, user=name, account=caller.account, partition=caller.partition)
    if spec.name != (labeled := device_and_account(picture.label)[0] or picture.label):
        ports.progress.alert(f"warning: the label says {labeled!a}, but the device is {spec.name}")
    if entry and (ours := ports.journal.find(device.serial, run=entry.run)):
        return ours
    return JournalEntry(run=entry.run if entry else run, spec=spec, purpose=RunKind.ADD, reached=JournalState.CONFIRMED)


def choose_account(labels: Sequence[str], *, of: int, which: str, person: Interaction) -> int:
    """Return the index of the label that the user chooses from an authenticator app's export.

    `labels` has the label of each account in the export that can belong to AWS. If there is only one, return 0 without
    a question. `of` is the number of all accounts in the picture, and `which` is the number of the picture, such as
    "1 of 2". Raise IntegrityFault if there are no labels.
    """
    if not labels:
        raise IntegrityFault(
            f"none of the {of} accounts in this export (picture {which}) can belong to AWS",
            "export only the AWS account, or give the picture that contains it",
        )
    if len(labels) == 1:
        return 0
    instead = "an export that contains only that account"
    return person.choose(f"account to use from picture {which}", labels, instead=instead)
