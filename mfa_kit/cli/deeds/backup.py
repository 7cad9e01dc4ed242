"""What the verbs of `mfa-kit backup` do that look after backups."""

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mfa_kit.backups import lifecycle
from mfa_kit.backups.lifecycle import Drill
from mfa_kit.cli import messages, options, output
from mfa_kit.core import otp
from mfa_kit.core.errors import Declined, IntegrityFault, UsageFault
from mfa_kit.core.models import Backup, Intent
from mfa_kit.core.otp import Created
from mfa_kit.wiring import backup as kit
from mfa_kit.wiring import desk as desk_kit
from mfa_kit.wiring.backup_records import custody

NOT_OPENED, NO_KEY = "not opened", "no key that is plugged in holds it"
COPIES = "whoever copied these files before can open the copies with the old key as ever: a rekey heals nothing there"


def verify(files: Sequence[Path], keys: Sequence[Path], *, everything: bool, backup_dir: Path | None) -> int:
    """Try backups, and print what came of each; return 5 where one is no good."""
    common = options.common()
    if everything == bool(files):
        raise UsageFault("which backups are meant is not clear", "name FILES, or give --all for all of this desk")
    chosen = [each.path for each in kit.list_backups(backup_dir)] if everything else files
    tried = kit.verify_backups(messages.counted(chosen, "verify", plain=common.plain), keys)
    rows = [
        {"file": str(each.file), "opens": each.fault is None, "label": each.label, "fault": each.fault}
        for each in tried
    ]
    empty = f"no backups in {desk_kit.backup_dir(backup_dir)}"
    output.many("backup-verify", rows, output=options.form(), empty=empty)
    return 0 if all(row["opens"] for row in rows) else IntegrityFault.exit_code


def drill(files: Sequence[Path], keys: Sequence[Path], *, source: str, wanted: str | None, **where: Any) -> int:
    """Open backups and hold each to a code of its device; return 1 unless at least one was right and none wrong."""
    common = options.common()
    person = common.interaction
    instead = "a terminal, or --from oath with the key plugged in"
    if source == "phone":
        person.check(instead=instead)
    chosen = files or [each.path for each in _of(where["user"], kit.list_backups(where["backup_dir"]))]
    rows = []
    with kit.opening(keys) as (opened, ledger):
        for file in chosen:
            result, why = NOT_OPENED, None
            try:
                created = opened.created(file)
                result = Drill.SKIPPED
                intent = kit.intent_in(file, created, records=custody(ledger))
            except IntegrityFault as fault:
                rows.append(_drilled(file, result, str(fault)))
                continue
            if source == "oath":
                result = _by_key(intent, created, wanted)
                why = NO_KEY if result is Drill.SKIPPED else None
            else:
                person.say(f"type the code that {intent.user}'s phone shows for {intent.name} ({kit.of(created)})")
                result = lifecycle.drill(created.seed, now=time.time, interaction=person, instead=instead)
            if result is not Drill.SKIPPED:
                custody(ledger).drilled(kit.name_of(file), result)
            rows.append(_drilled(file, result, why))
    output.many("backup-drill", rows, output=options.form(), empty="there is no backup to drill")
    results = Counter(row["result"] for row in rows)
    return 0 if results[Drill.PROVED] and not results[Drill.DIFFERS] else 1


def _by_key(intent: Intent, created: Created, wanted: str | None) -> Drill:
    from mfa_kit.wiring import oath_acceptance

    now = time.time()
    shown = oath_acceptance.code_of(intent, wanted, at=now)
    if shown is None:
        return Drill.SKIPPED
    right = next(otp.codes(created.seed, range(otp.step(now), otp.step(now) + 1)))
    return Drill.PROVED if shown == right else Drill.DIFFERS


def _drilled(file: Path, result: str, fault: str | None) -> dict[str, Any]:
    return {"file": str(file), "result": result, "fault": fault}


def _of(user: str | None, found: Sequence[Backup]) -> list[Backup]:
    return [each for each in found if user is None or each.user.lower() == user.lower()]


def _once(found: Sequence[Backup]) -> list[Backup]:
    """Leave out the users' own copies of backups that are there besides."""
    first = {each.name: each for each in reversed(found)}
    return [each for each in found if first[each.name] is each]


def restore_to_phone(file: Path, keys: Sequence[Path]) -> None:
    """Show the QR code of a backup for a phone to scan, until a code proves that it did."""
    from mfa_kit.enrollment.phone import Phone, Way
    from mfa_kit.qr_codes import symbol

    common = options.common()
    person = common.interaction
    person.check(instead=f"mfa-kit backup show {file} -i IDENTITY -o FILE, and show that to the phone")
    intent, created = kit.restorable(file, keys)
    way = Way(typed=1, scan="scan it with the new phone of {user}, then type what it shows for {name}")
    phone = Phone(time.time, interaction=person, draw=symbol.blocks, way=way)
    phone.install(phone.check(intent, sealed=True), created)
    phone.codes(intent)
    row = {"backup": str(file), "outcome": "restored", "label": kit.of(created)}
    output.one("backup-restore", row, output=options.form())


def rekey(keys: Sequence[Path], to: Sequence[str], to_files: Sequence[Path], *, backup_dir: Path | None) -> int:
    """Seal all backups anew, and print how many; return 5 where one failed, which stays as it was."""
    from mfa_kit.wiring import rekey as rekeying

    common = options.common()
    if not (to or to_files):
        raise UsageFault("nobody is said who can open the backups afterwards", "use -r RECIPIENT or -R FILE")
    if common.dry_run:
        found = len(kit.list_backups(backup_dir))
        output.one("backup-rekey", {"outcome": "planned", "backups": found}, output=options.form())
        return 0
    counted = partial(messages.counted, doing="rekey", plain=common.plain)
    done = rekeying.rekey(backup_dir, keys, to, to_files, counted=counted)
    talk = messages.Talk()
    if done.unopened:
        talk.note(
            f"no identity that was given opens {done.unopened} of them now; "
            "see that the new one does: mfa-kit backup verify --all -i IDENTITY"
        )
    if done.done:
        talk.note(f"{COPIES}; mfa-kit backup exposed -r OLD names the devices to replace")
    row = {
        "outcome": "rekeyed",
        "backups": done.found,
        "rekeyed": len(done.done),
        "were": len(done.were),
        "failed": len(done.failed),
        "faults": [reason for _, reason in done.failed] or None,
    }
    output.one("backup-rekey", row, output=options.form())
    return IntegrityFault.exit_code if done.failed else 0


def exposed(recipient: str, *, backup_dir: Path | None) -> None:
    """Print the devices whose seeds a recipient's key opens, or opened once."""
    with kit.remembered() as records:
        seals, gone = records.seals(), {kit.name_of(Path(place)) for place in records.gone()}
    here = _once(kit.list_backups(backup_dir, own=True))
    names = {each.name for each in here}
    elsewhere = kit.by_name(sorted({seal.backup for seal in seals} - names))
    text = kit.recipient_text(recipient)
    rows = [
        {
            "account": each.backup.account,
            "user": each.backup.user,
            "device": each.backup.device,
            "since": options.written(each.since) if each.since else None,
            "until": options.written(each.until) if each.until else None,
            "known": each.since is not None,
            "file": str(each.backup.path) if each.backup.name in names else None,
        }
        for each in lifecycle.exposed(text, [*here, *elsewhere], seals, gone=gone)
    ]
    if unknown := sum(not row["known"] for row in rows):
        messages.Talk().note(f"for whom {unknown} of them are sealed is not on record here, so they are among these")
    if rows:
        messages.Talk().note("give each user a new device: mfa-kit replace USER --mfa-device DEVICE")
    output.many("backup-exposed", rows, output=options.form(), empty="no backup was sealed for it")


def recipients(user: str | None, *, backup_dir: Path | None) -> None:
    """Print who can open which backup, as far as it is on record."""
    with kit.remembered() as records:
        seals = records.seals()
    rows = [
        {
            "account": each.backup.account,
            "user": each.backup.user,
            "device": each.backup.device,
            "made": options.written(each.backup.made),
            "recipients": each.recipients,
        }
        for each in lifecycle.openers(_of(user, _once(kit.list_backups(backup_dir, own=True))), seals)
    ]
    if any(row["recipients"] is None for row in rows):
        messages.Talk().note(
            "where no recipients stand, none are on record: another desk or an earlier version sealed it"
        )
    empty = f"no backups{f' of {user}' if user else ''} in {desk_kit.backup_dir(backup_dir)}"
    output.many("backup-recipients", rows, output=options.form(), empty=empty)


def prune(*, days: int | None, backup_dir: Path | None) -> int:
    """Remove backups that are of use to nobody, after a person said so, and print them; return 5 where one stays."""
    common = options.common()
    with desk_kit.desk(common, vault=desk_kit.vault((), (), backup_dir)) as (desk, caller):
        found = list(
            lifecycle.prunable(
                kit.list_backups(backup_dir, own=True),
                account=caller.account,
                older=None if days is None else days * 86400.0,
                inventory=desk.inventory,
            )
        )
    if found and not (common.dry_run or common.yes):
        person = common.interaction
        for backup, why in found:
            person.say(f"{backup.path}: {why}")
        person.confirm(f"backups that will be removed for good: {len(found)}", typed="prune")
    stay = {} if common.dry_run else kit.prune(backup_dir, [backup for backup, _ in found])
    rows = [
        {
            "outcome": "planned" if common.dry_run else "failed" if backup.path in stay else "removed",
            "user": backup.user,
            "device": backup.device,
            "why": why,
            "file": str(backup.path),
            "fault": stay.get(backup.path),
        }
        for backup, why in found
    ]
    output.many("backup-prune", rows, output=options.form(), empty="there is nothing to prune")
    return IntegrityFault.exit_code if stay else 0


def passphrase(file: Path | None) -> None:
    """Change the passphrase of an identity."""
    from mfa_kit.wiring import passphrase as passphrases
    from mfa_kit.wiring import rekey as rekeying

    common = options.common()
    meant = rekeying.own_identity(file)
    person = common.interaction
    try:
        before = person.ask_secret(f"passphrase of {meant} as it is", instead="a terminal")
        after = passphrases.asked(person)
    except Declined as declined:
        declined.hint = "run this at a terminal: a new passphrase is typed twice"
        raise
    rekeying.change_passphrase(meant, before, after)
    messages.Talk().note(
        f"copies of {meant} from before open with the old passphrase as ever; replace them by this one"
    )
    output.one("backup-passphrase", {"identity": str(meant), "outcome": "changed"}, output=options.form())
