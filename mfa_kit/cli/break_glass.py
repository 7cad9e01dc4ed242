"""`mfa-kit break-glass`: identities that only several custodians can open together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.backups.contents import device_and_account
from mfa_kit.break_glass import creating, drilling, meeting, rotating, showing
from mfa_kit.break_glass.creating import NewGroup, WriteLetters, group_of, plan, reseal
from mfa_kit.break_glass.drilling import check_users, concerned, drill_protocol
from mfa_kit.break_glass.meeting import OwnLayer, meet
from mfa_kit.break_glass.proof import find, find_current, find_for_backup, locate, prove
from mfa_kit.break_glass.uses import Record, due, last
from mfa_kit.cli.backup.list import backup_named
from mfa_kit.cli.backup_options import ACCEPT_LABEL, BACKUP_DIR, PASSPHRASE_FD, identity
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.cli.value_types import LocalPath, PlaceType
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Progress, counted
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.core.text import ResultRow, day_of, iso_time
from mfa_kit.letters.sheet import Paper

if TYPE_CHECKING:
    from mfa_kit.break_glass.custodians import CustodianSet, RecoveryKey
    from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.wiring.settings import Settings

RECOVERY_KEY_DIR = click.option(
    "--dir", "folder", type=LocalPath(), metavar="DIR", help="Folder of the break-glass files [default: the newest]."
)
PRESENT = identity("Identity of a custodian who is present. Other custodians name theirs at the terminal.")
ACCEPT = click.option(
    "--accept-unrecorded",
    "accept",
    is_flag=True,
    help="Ask for the whole recipient of a folder that this computer did not record, and then accept the folder.",
)
THRESHOLD = click.option(
    "--threshold", required=True, type=click.IntRange(min=1), metavar="M", help="How many custodians are needed."
)
CUSTODIAN = click.option(
    "--custodian",
    "custodians",
    multiple=True,
    required=True,
    metavar="NAME[=KEY]",
    help="A custodian's name, and their public key (an age or SSH key). Give this option once for each custodian, in "
    "the order in which they decrypt.",
)
LETTERS = click.option(
    "--letters",
    type=LocalPath(),
    metavar="DIR",
    help="Existing folder for PDF letters: each custodian without KEY gets a new private key, on a letter only.",
)


def _new_group(threshold: int, custodians: tuple[str, ...], *, letters: bool) -> NewGroup:
    """Return the group that these options describe. Raise the errors of `group_of`."""
    return group_of(
        threshold,
        custodians,
        letters=letters,
        parse_key=lambda key, source: wiring.age_keys.read_recipients([key], source=source)[0].text,
        new_key=wiring.break_glass.new_custodian,
    )


def _confirm_letters(chosen: NewGroup, folder: Path | None, paper: str, ports: BreakGlassPorts[K, V]) -> WriteLetters:
    """Return the function that writes letters into a folder. Raise the errors of `NewGroup.confirm_letters`."""

    def file_of(name: str) -> wiring.files.LetterFile:
        return wiring.files.LetterFile(path=(folder or Path()) / f"break-glass-{name}.pdf", paper=Paper(paper))

    return chosen.confirm_letters(ports, file_of, text=wiring.files.packaged_text("break_glass/custodian_letter.md"))


def _print_plan(sizes: Mapping[CustodianSet, int], output: Output) -> None:
    """Print each set of custodians who can open the identity together, and the name and octets of the set's file."""
    rows: list[ResultRow] = [
        {"file": custodian_set.file, "custodians": custodian_set.names, "octets": size}
        for custodian_set, size in sizes.items()
    ]
    output.many("break-glass-plan", rows, empty="")


def _recovery_key_row(recovery_key: RecoveryKey, outcome: str) -> ResultRow:
    """Return the result row for a folder of break-glass files that was written."""
    group = recovery_key.manifest.group
    return {
        "outcome": outcome,
        "recipient": recovery_key.manifest.recipient,
        "threshold": group.threshold,
        "custodians": group.names,
        "files": len(group.sets()),
        "folder": str(recovery_key.folder),
    }


@click.command(cls=Verb, needs_config=False)
@THRESHOLD
@CUSTODIAN
@click.option(
    "--dir",
    "folder",
    type=LocalPath(),
    metavar="DIR",
    help="New folder for the files [default: one in mfa-kit's own folder].",
)
@LETTERS
@PAPER
def create(
    *,
    threshold: int,
    custodians: tuple[str, ...],
    folder: Path | None,
    letters: Path | None,
    paper: str,
    settings: Settings,
    output: Output,
) -> None:
    """Make an identity that M of these custodians can open together, and print its recipient.

    The new folder has a file for each set of M custodians: the identity, encrypted to each of them in turn.
    """
    ports = wiring.break_glass.open_ports(settings)
    chosen = _new_group(threshold, custodians, letters=letters is not None)
    if settings.dry_run:
        _print_plan(plan(chosen.group, ports), output)
        return
    recovery_key = creating.create(chosen.group, folder, ports, letters=_confirm_letters(chosen, letters, paper, ports))
    settings.progress.note(f"to encrypt backups to the new identity, use: -r {recovery_key.manifest.recipient}")
    settings.progress.note(
        suggest(f"give each custodian a copy of {recovery_key.folder}, and hold a drill", "break-glass drill")
    )
    output.one("break-glass-create", _recovery_key_row(recovery_key, "created"))


@click.command("custodians", cls=Verb, needs_config=False)
@PRESENT
@THRESHOLD
@CUSTODIAN
@RECOVERY_KEY_DIR
@ACCEPT
@LETTERS
@PAPER
def custodians(
    *,
    keys: tuple[Path, ...],
    threshold: int,
    custodians: tuple[str, ...],
    folder: Path | None,
    accept: bool,
    letters: Path | None,
    paper: str,
    settings: Settings,
    output: Output,
) -> None:
    """Hold a meeting of the current custodians, and write the same identity for the named custodians to a new folder.

    The files of the old folder still open the identity, so rotate it if a custodian is no longer trusted.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports)
    prove(recovery_key, ports, accept=accept)
    chosen = _new_group(threshold, custodians, letters=letters is not None)
    if settings.dry_run:
        _print_plan(plan(chosen.group, ports), output)
        return
    write_letters = _confirm_letters(chosen, letters, paper, ports)
    opened = meet(recovery_key, keys, ports)
    written = reseal(recovery_key, opened.identity, chosen.group, ports=ports, letters=write_letters)
    settings.progress.alert(
        suggest(
            f"{recovery_key.manifest.group.threshold} of the earlier custodians can still open the identity with "
            f"any copy of {recovery_key.folder}; destroy the copies, or replace the identity",
            "break-glass rotate",
        )
    )
    output.one("break-glass-custodians", _recovery_key_row(written, "sealed"))


@click.command("open", cls=Verb, needs_config=False)
@click.option(
    "--backup",
    "file",
    required=True,
    type=PlaceType(),
    metavar="USER|FILE",
    help="The backup to open: a path, a file name of `backup list`, or the user of the only backup.",
)
@PRESENT
@click.option(
    "--from",
    "source",
    type=LocalPath(),
    metavar="FILE",
    help="File from which other custodians removed their layers (break-glass pass).",
)
@click.option("--codes", is_flag=True, help="Show the codes of the device instead of its QR code.")
@ACCEPT_LABEL
@RECOVERY_KEY_DIR
def open_backup(
    *,
    file: BackupLocation,
    keys: tuple[Path, ...],
    source: Path | None,
    codes: bool,
    accept_label: bool,
    folder: Path | None,
    settings: Settings,
    output: Output,
) -> None:
    """Open a backup: the custodians name their identity files one after the other, in any order.

    The QR code is on the alternate screen until you press Enter. The opening is recorded in the ledger.
    """
    person, ports = settings.interaction, wiring.break_glass.open_ports(settings)
    file = backup_named(file, settings)
    recovery_key = find_for_backup(file, folder, ports, seals=lambda: wiring.backups.read_seals(settings)[0])
    person.check(instead=suggest("a terminal, or age itself; see", "help break-glass"))
    if not codes:
        person.check(wiring.backups.sample_symbol(file), instead=showing.UNSEEN)
    wiring.backups.backup_reader(settings)(file)  # it can be read, so the custodians do not meet in vain
    row = {"backup": str(file), "recipient": recovery_key.manifest.recipient}
    if settings.dry_run:
        output.one("break-glass-open", {"outcome": "planned", **row})
        return
    met = meet(recovery_key, keys, ports, only=source)
    ports.record(recovery_key.manifest, RecoveryKeyAction.OPENED, met.names, backups=1)
    settings.progress.alert(suggest("the identity was opened, so replace it soon", "break-glass rotate"))
    opened = wiring.backups.open_with(settings, {file: ()}, met.identity.keys, accept_label=accept_label)
    if codes:
        showing.show_codes(opened.created.seed, opened.label, now=time.time, person=person)
    else:
        symbol = wiring.files.draw(opened.created.seed, *device_and_account(opened.label))
        showing.show_picture(symbol, opened.label, person=person)
    output.one(
        "break-glass-open",
        {"outcome": "opened", **row, "label": opened.label, "custodians": met.names},
    )


@click.command("pass", cls=Verb, needs_config=False)
@click.argument("file", type=LocalPath())
@identity(required=True)
@PASSPHRASE_FD
@click.option("-o", "--out", required=True, type=LocalPath(), metavar="NEXT", help="New file for the next custodian.")
@click.option(
    "--dir",
    "folder",
    type=LocalPath(),
    metavar="DIR",
    help="Folder of manifest.json [default: that of FILE, or the newest].",
)
def pass_on(
    *,
    file: Path,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    out: Path,
    folder: Path | None,
    settings: Settings,
    output: Output,
) -> None:
    """Remove your layer of FILE, and write the rest to NEXT. Send NEXT to the custodian whom mfa-kit then names.

    Keep `set-NN` at the start of both file names, because it says which set of custodians can open the file.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = find(folder or wiring.break_glass.folder_beside(file), ports)
    identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
    layer = meeting.pass_on(recovery_key, file, identities.read, out, ports)
    if not settings.dry_run:
        _say_what_is_next(layer, out, settings.progress)
    row = {
        "outcome": "planned" if settings.dry_run else "passed",
        "file": str(file),
        "custodian": layer.name,
        "next": layer.after[0],
        "out": str(out),
    }
    output.one("break-glass-pass", row)


def _say_what_is_next(layer: OwnLayer, out: Path, progress: Progress) -> None:
    following = layer.after[0]
    if len(layer.after) > 1:
        progress.alert(
            f"send {out} to {following}, then delete it; {', '.join(layer.after)} must still remove their layers"
        )
        return
    progress.alert(f"send {out} to {following}, then delete it; {following} needs no other custodian")
    progress.alert(
        suggest(
            f"FOLDER is {following}'s copy of the break-glass folder; {following} runs",
            "break-glass open --backup BACKUP --from {} --dir FOLDER -i IDENTITY",
            out.name,
        )
    )


@click.command(cls=Verb, needs_config=False)
@PRESENT
@click.option(
    "--phone",
    "users",
    multiple=True,
    metavar="USER",
    help="Also compare the backups of this user, or of root, with their phone.",
)
@click.option(
    "--protocol",
    type=LocalPath(),
    metavar="FILE",
    help="New PDF file for the record of the drill, which the custodians sign. It contains no secret.",
)
@PAPER
@RECOVERY_KEY_DIR
@BACKUP_DIR
def drill(
    *,
    keys: tuple[Path, ...],
    users: tuple[str, ...],
    protocol: Path | None,
    paper: str,
    folder: Path | None,
    backup_dir: BackupLocation | None,
    settings: Settings,
    output: Output,
) -> int:
    """Hold a meeting, and test that the identity opens every backup that is encrypted to it. No secret is shown.

    The ledger records the date, the custodians and the number of backups. The exit code is 5 if a backup fails.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = find(folder, ports)
    known = concerned(wiring.backups.known_backups(settings, backup_dir), recovery_key.manifest.recipient)
    if not known:
        raise UsageFault(
            f"no backup is encrypted to {recovery_key.manifest.recipient}",
            "encrypt a backup to this recipient, or name the folder of the backups: --backup-dir DIR",
        )
    check_users(users, known)
    row = {"recipient": recovery_key.manifest.recipient}
    if settings.dry_run:
        output.one("break-glass-drill", {"outcome": "planned", **row, "backups": len(known)})
        return 0
    letter = wiring.files.LetterFile(path=protocol, paper=Paper(paper)) if protocol else None
    if letter:
        letter.check()
    opened = meet(recovery_key, keys, ports)
    result = drilling.drill(
        recovery_key,
        opened,
        known,
        users=users,
        ports=ports,
        backups=partial(wiring.break_glass.open_drilled, settings),
        counted=partial(counted, progress=settings.progress, doing="testing backups"),
    )
    if letter:
        text, date = wiring.files.packaged_text("break_glass/drill_protocol.md"), day_of(time.time())
        letter.write(drill_protocol(result, opened.names, recovery_key.manifest, text=text, date=date))
    output.one(
        "break-glass-drill",
        {
            "outcome": "passed" if result.passed else "failed",
            **row,
            "custodians": opened.names,
            "backups": len(result.tested),
            "opened": result.good,
            "faults": result.faults or None,
        },
    )
    return 0 if result.passed else IntegrityFault.exit_code


@click.command(cls=Verb, needs_config=False)
@RECOVERY_KEY_DIR
@BACKUP_DIR
@click.option("--ask-iam", is_flag=True, help="Also ask IAM whether the custodians still have users with their names.")
@ACCEPT
def status(
    *,
    folder: Path | None,
    backup_dir: BackupLocation | None,
    ask_iam: bool,
    accept: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Show the custodians and their keys, the last drill and opening, and what is due.

    Without --dir, this is the identity that this computer recorded last and did not rotate. If this computer did not
    record the custodians, the recipient is not shown, and the exit code is 5.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports) if folder else find_current(ports)
    manifest, recorded = recovery_key.manifest, _is_recorded(recovery_key, ports, settings.progress, accept=accept)
    leaving = _without_user(manifest.group.names, backup_dir, settings) if ask_iam else []
    known, records = wiring.backups.known_backups(settings, backup_dir), ports.records()
    row: ResultRow = {
        "folder": str(recovery_key.folder),
        "recorded": recorded,
        "recipient": manifest.recipient if recorded else None,
        "made": iso_time(manifest.made),
        "threshold": manifest.group.threshold,
        "custodians": manifest.group.names,
        "keys": [f"{custodian.name} {custodian.fingerprint}" for custodian in manifest.group.custodians],
        "removed": [custodian.name for custodian in manifest.former] or None,
        "last_drill": _time(last(records, manifest.recipient, RecoveryKeyAction.DRILLED)),
        "last_opened": _time(last(records, manifest.recipient, RecoveryKeyAction.OPENED, RecoveryKeyAction.PASSED)),
        "backups": sum(manifest.recipient in (entry.recipients or ()) for entry in known),
        "due": [*due(manifest, records, now=ports.now()), *leaving] or None,
    }
    if recorded or output.search is None:  # a script must not take `null` for a recipient
        output.one("break-glass-status", row)
    return 0 if recorded else IntegrityFault.exit_code


def _is_recorded(recovery_key: RecoveryKey, ports: BreakGlassPorts[K, V], progress: Progress, *, accept: bool) -> bool:
    """Return whether this computer recorded the custodians, after `accept` at the latest. If not, print why."""
    try:
        prove(recovery_key, ports, accept=accept)
    except IntegrityFault as fault:
        progress.alert(clauses([str(fault), fault.hint]))
        return False
    return True


def _without_user(names: Sequence[str], backup_dir: BackupLocation | None, settings: Settings) -> list[str]:
    """Return what is due for the custodians in `names` who have no IAM user of that name, in any case."""
    with wiring.ports.open_ports(settings, store=wiring.stores.open_backup_store(settings, backup_dir)) as (ports, _):
        users = {name.lower() for name in ports.iam_reader.users()}
    leaving = [name for name in names if name.lower() not in users]
    return [f"replace {name}, who has no user in this account: break-glass custodians" for name in leaving]


def _time(record: Record | None) -> str | None:
    return iso_time(record.at) if record else None


@click.command(cls=Verb, needs_config=False)
@PRESENT
@RECOVERY_KEY_DIR
@BACKUP_DIR
@ACCEPT
def rotate(
    *,
    keys: tuple[Path, ...],
    folder: Path | None,
    backup_dir: BackupLocation | None,
    accept: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Make a new identity for the same custodians, and re-encrypt all backups of the old identity to the new one.

    The custodians hold a meeting for this. If the command is interrupted, run it again. The other recipients of the
    backups stay.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports)
    if settings.dry_run:
        prove(recovery_key, ports, accept=accept)
        old = rotating.old_key(recovery_key, ports)
        known = concerned(wiring.backups.known_backups(settings, backup_dir), old.manifest.recipient)
        output.one("break-glass-rotate", {"outcome": "planned", "backups": len(known)})
        return 0
    done = rotating.rotate(
        recovery_key,
        keys,
        accept=accept,
        ports=ports,
        stored=lambda: wiring.stores.stored_backups(settings, backup_dir),
        open_backups=partial(
            wiring.break_glass.open_rotated,
            settings,
            backup_dir,
            until=partial(stop_on_signals, break_off=settings.stop.set),
            counted=partial(counted, progress=settings.progress, doing="encrypting backups"),
        ),
    )
    old, new, backups = done.old, done.new, done.backups
    settings.progress.alert(f"encrypt new backups to {new.manifest.recipient}, not to {old.manifest.recipient}")
    settings.progress.alert(f"older copies of the backups can still be opened with the files in {old.folder}")
    output.one(
        "break-glass-rotate",
        {
            "outcome": "unfinished" if backups.failed else "rotated",
            "recipient": new.manifest.recipient,
            "replaces": old.manifest.recipient,
            "custodians": done.names,
            "folder": str(new.folder),
            "backups": backups.found,
            "rekeyed": len(backups.done),
            "already_done": len(backups.already_done),
            "failed": len(backups.failed),
            "faults": [reason for _, reason in backups.failed] or None,
        },
    )
    return IntegrityFault.exit_code if backups.failed else 0
