"""What `mfa-kit backup add` does: a QR code that somebody else showed becomes a sealed backup."""

from dataclasses import replace

from mfa_kit.backups.lifecycle import ROOT
from mfa_kit.cli import messages, options, output
from mfa_kit.cli.deeds.enroll import Sealing
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import DEVICE_NAME, Backup, Caller, Entry, Kind, Reached, Verb, intent_of
from mfa_kit.core.otp import Created
from mfa_kit.enrollment import revoke
from mfa_kit.enrollment.device_status import entry_of
from mfa_kit.enrollment.enroll import user_named
from mfa_kit.enrollment.phone import prove
from mfa_kit.enrollment.ports import Desk
from mfa_kit.wiring import backup as kit
from mfa_kit.wiring import desk as desk_kit
from mfa_kit.wiring import image as images

INSTEAD = "a terminal, for a code of the device proves that the picture is the right one"
# Of the virtual device of root as the console names it where nobody does.
ROOT_DEVICE = "root-account-mfa-device"
NO_PROMISE = (
    "what an SSD or a file system that copies on write keeps of it, a snapshot, a cloud's folder or another program's "
    "copy, overwriting does not reach"
)


def add(user: str | None, *, root: bool, image: str, wanted: str | None, sealing: Sealing, shred: bool) -> None:
    """Read the picture, have a code typed, seal; the picture is named for deletion, or overwritten and removed."""
    common = options.common()
    if (user is None) is not root:
        raise UsageFault("whose device it is is not clear", "name a USER, or give --root, for one of the two")
    if shred and image == images.STDIN:
        raise UsageFault("what came on standard input cannot be overwritten", "give the file: --image FILE")
    person = common.interaction
    person.check(instead=INSTEAD)
    created, shredding = images.load(image)
    vault = sealing.vault({"codes": "generated"})
    vault.check()
    with desk_kit.desk(common, vault=vault) as (desk, caller):
        _check_account(created, caller)
        entry = None if user is None else _standing(user, wanted, created, caller=caller, desk=desk)
        name = entry.intent.name if entry else wanted or kit.labelled(created)[0] or ROOT_DEVICE
        whose = entry.intent.user if entry else ROOT
        if not DEVICE_NAME.fullmatch(name):
            raise UsageFault(f"{name!r} is not the name of an MFA device", "name it: --mfa-device NAME")
        run = entry.run if entry else desk_kit.run_id(desk.inventory)
        backup = desk.vault.new(caller.account, whose, name, run=run)
        if not common.dry_run:
            person.say(f"type the code that the phone shows for {name} of {whose}")
            prove(created.seed, typed=1, now=desk.inventory.now, interaction=person, instead=INSTEAD)
            desk.vault.keep(backup, created.uri)
            if entry:
                desk.journal.record(replace(entry, backup=str(backup.path), sealed=True))
    shredded = None if shredding is None else False
    if shredding and not common.dry_run:
        shredded = shred
        _put_away(image, shredding if shred else None)
    _report(backup, image=image, shredded=shredded)


def _check_account(created: Created, caller: Caller) -> None:
    _, account = kit.labelled(created)
    if kit.ACCOUNT.fullmatch(account) and account != caller.account:
        raise UsageFault(
            f"this QR code is of account {account}, and these credentials are of {caller.account}",
            "choose another --profile, or another picture",
        )


def _standing(user: str, wanted: str | None, created: Created, *, caller: Caller, desk: Desk) -> Entry:
    """Return the journal's entry of the device that is meant, or one that says that only its backup is ours."""
    name = user_named(user, caller=caller, inventory=desk.inventory)
    devices = [each for each in desk.inventory.devices(name) if each.kind is Kind.VIRTUAL]
    device = revoke.choose(name, wanted, devices=devices)
    found = entry_of(device, name, caller=caller, desk=desk)
    if found and (there := desk.vault.find(found)):
        raise UsageFault(f"there is a backup of {device.serial} already: {there}", "see: mfa-kit backup verify")
    intent = intent_of(device.serial, user=name, account=caller.account, partition=caller.partition)
    if intent.name != (labelled := kit.labelled(created)[0]):
        desk.progress.note(f"warning: the label in the picture says {labelled}, and the device is {intent.name}")
    if found and (ours := desk.journal.find(device.serial, run=found.run)):
        return ours
    run = found.run if found else desk_kit.run_id(desk.inventory)
    return Entry(run=run, intent=intent, verb=Verb.ADD, reached=Reached.CONFIRMED)


def _put_away(image: str, shred: images.Shred | None) -> None:
    talk = messages.Talk()
    if shred is None:
        talk.note(f"{image} holds the seed in the clear: delete it, and empty the trash (--shred does the first)")
        return
    names = shred()
    talk.note(f"{image} was overwritten and removed; {NO_PROMISE}")
    if names:
        talk.note(f"other names that this file has: {names}; what is in it is overwritten")


def _report(backup: Backup, *, image: str, shredded: bool | None) -> None:
    common = options.common()
    row = {
        "outcome": "planned" if common.dry_run else "sealed",
        "user": backup.user,
        "device": backup.device,
        "backup": str(backup.path),
        "image": image if image != images.STDIN else None,
        "shredded": shredded,
    }
    output.one("backup-add", row, output=options.form())
