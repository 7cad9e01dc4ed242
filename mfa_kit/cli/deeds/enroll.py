"""What `mfa-kit enroll` does; the order of things is enrollment's."""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from mfa_kit.cli import options
from mfa_kit.cli import output as report
from mfa_kit.cli.method_options import built
from mfa_kit.core.models import Enrolled, Intent, Outcome, Registered, Skipped
from mfa_kit.enrollment import enroll as enrollment
from mfa_kit.enrollment.fido_console import JOINED
from mfa_kit.wiring import desk as kit
from mfa_kit.wiring import fido_console
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.methods.fido2 import Fido2Options
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.sealing import Sealing


def enroll(
    user: str, kind: str, own: Mapping[str, object], *, sealing: Sealing, name: str | None, path: str, add: bool
) -> int:
    """Give a user a device, and print the outcome; with --dry-run the steps.

    Return 1 where it stands, but IAM does not tell of it what a policy asks for.
    """
    common = options.common()
    recipe = METHODS[kind]
    chosen = built(recipe.options, own)
    vault = sealing.vault(common, alone=chosen.backup_alone)
    oath_keys = OathKeys(common, password_stdin=chosen.password_stdin)
    with kit.desk(common, vault=vault, oath_keys=oath_keys) as (desk, caller):
        wish = enrollment.Wish(
            user=enrollment.user_named(user, caller=caller, inventory=desk.inventory),
            method=recipe.method,
            name=name,
            path=path,
            add=add,
        )
        context = Context(settings=common, inventory=desk.inventory, oath_keys=oath_keys)
        equipment = chosen.equip(context)
        run = kit.run_id(desk.inventory)
        outcome: Outcome | Intent
        if common.dry_run:
            outcome = enrollment.look(wish, equipment.carrier, caller=caller, desk=desk)
        else:
            outcome = enrollment.enroll(
                wish, equipment.carrier, caller=caller, desk=desk, run=run, maker=equipment.maker
            )
        if isinstance(outcome, Enrolled):
            for line in recipe.usage(outcome.intent, context):
                desk.progress.note(line)
        sealed = None
        if isinstance(outcome, Intent) and outcome.known_serial is None:
            sealed = vault.place(outcome, run)
        _report(outcome, backup=sealed, output=options.form())
        return int(
            isinstance(outcome, Enrolled) and outcome.registered is not None and bool(outcome.registered.missing)
        )


def root(chosen: Fido2Options, *, name: str | None, add: bool) -> None:
    """Wait until root has a security key, and print the outcome."""
    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), None)) as (desk, caller):
        outcome = fido_console.root(name or "root-key", add=add, seconds=chosen.timeout, caller=caller, desk=desk)
        if isinstance(outcome, Skipped):
            return _report(outcome, backup=None, output=options.form())
        device = outcome.device
        row = {
            "outcome": "enrolled",
            "user": "root",
            "device": device.serial if device else None,
            "kind": "fido2" if device else None,
            "hardware": chosen.asset,
            "joined_by": JOINED if device else "AWS tells that root has MFA, and not which",
        }
        report.one("enroll", row, output=options.form())
        return None


def resume(user: str, identities: Identities, own: Mapping[str, object], *, backup_dir: Path | None) -> None:
    """Go on with a half-made device, and print the outcome."""
    from mfa_kit.wiring import backup as backups

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        chosen = built(METHODS["virtual"].options, own)
        equipment = chosen.equip(Context(settings=common, inventory=desk.inventory, oath_keys=OathKeys(common)))
        outcome = enrollment.resume(
            enrollment.user_named(user, caller=caller, inventory=desk.inventory),
            equipment.carrier,
            opened=lambda entry: backups.open_created(Path(desk.vault.find(entry) or ""), identities),
            caller=caller,
            desk=desk,
        )
        _report(outcome, backup=None, output=options.form())


def _report(outcome: Outcome | Intent, *, backup: str | None, output: str) -> None:
    row: dict[str, object]
    match outcome:
        case Enrolled(intent=intent):
            row = {
                "outcome": "enrolled",
                "user": intent.user,
                "device": intent.serial,
                "kind": intent.method.name,
                "hardware": intent.hardware,
                "backup": outcome.backup,
                "run": outcome.run,
                "listed": outcome.listed,
            }
            if outcome.registered:
                row |= _receipt(outcome.registered)
        case Skipped():
            row = {"outcome": "skipped", "user": outcome.user, "reason": outcome.reason, "devices": outcome.serials}
        case Intent():
            row = {
                "outcome": "planned",
                "user": outcome.user,
                "device": outcome.serial,
                "kind": outcome.method.name,
                "backup": backup,
                "steps": enrollment.steps(outcome, backup=backup),
            }
        case _:
            assert_never(outcome)
    report.one("enroll", row, output=output)


def _receipt(found: Registered) -> dict[str, object]:
    """Return what a receipt says of a security key beside what it says of every device."""
    return {
        "since": options.written(found.since),
        "certifications": found.levels,
        "policy_lacks": found.missing,
        "joined_by": JOINED,
        "warnings": found.warnings,
    }
