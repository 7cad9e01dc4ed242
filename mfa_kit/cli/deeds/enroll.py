"""What `mfa-kit enroll` does; the order of things is enrollment's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from mfa_kit.cli import options
from mfa_kit.cli import output as report
from mfa_kit.cli.deeds.kinds import MAKING
from mfa_kit.core.models import Enrolled, Intent, Kind, Outcome, Skipped
from mfa_kit.enrollment import enroll as enrollment
from mfa_kit.enrollment.ports import Vault
from mfa_kit.wiring import desk as kit
from mfa_kit.wiring import sealing as passphrases


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """Where the backup of a new device goes, and for whom, as the command line says it."""

    to: Sequence[str]
    to_files: Sequence[Path]
    backup_dir: Path | None
    passphrase: bool

    def vault(self, own: Mapping[str, Any]) -> Vault:
        """Open the vault, for a kind with these options."""
        return passphrases.vault(
            self.to,
            self.to_files,
            self.backup_dir,
            passphrase=self.passphrase,
            alone=own.get("codes") == "generated",
            settings=options.common(),
        )


def enroll(
    user: str, kind: str, own: Mapping[str, Any], *, sealing: Sealing, name: str | None, path: str, add: bool
) -> int:
    """Give a user a device, and print the outcome; with --dry-run the steps.

    Return 1 where it stands, but IAM does not tell of it what a policy asks for.
    """
    common = options.common()
    vault = sealing.vault(own)
    made = Kind(kind)
    with kit.desk(common, vault=vault) as (desk, caller):
        wish = enrollment.Wish(
            user=enrollment.user_named(user, caller=caller, inventory=desk.inventory),
            kind=made,
            name=name,
            path=path,
            add=add,
        )
        row = MAKING[made]
        carrier = row.carrier(own, desk.inventory)
        run = kit.run_id(desk.inventory)
        outcome: Outcome | Intent
        if common.dry_run:
            outcome = enrollment.look(wish, carrier, caller=caller, desk=desk)
        else:
            outcome = enrollment.enroll(wish, carrier, caller=caller, desk=desk, run=run, maker=row.maker)
        if isinstance(outcome, Enrolled):
            for line in row.usage(outcome.intent):
                desk.progress.note(line)
        sealed = None
        if isinstance(outcome, Intent) and outcome.known_serial is None:
            sealed = vault.place(outcome, run)
        _report(outcome, backup=sealed, output=options.form())
        return int(
            isinstance(outcome, Enrolled) and outcome.registered is not None and bool(outcome.registered.missing)
        )


def root(own: Mapping[str, Any], *, name: str | None, add: bool) -> None:
    """Wait until root has a security key, and print the outcome."""
    from mfa_kit.wiring import fido_console

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), None)) as (desk, caller):
        outcome = fido_console.root(own, name=name or "root-key", add=add, caller=caller, desk=desk)
        if isinstance(outcome, Skipped):
            return _report(outcome, backup=None, output=options.form())
        report.one("enroll", outcome, output=options.form())
        return None


def resume(user: str, keys: Sequence[Path], own: Mapping[str, Any], *, backup_dir: Path | None) -> None:
    """Go on with a half-made device, and print the outcome."""
    from mfa_kit.wiring import backup as backups

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        outcome = enrollment.resume(
            enrollment.user_named(user, caller=caller, inventory=desk.inventory),
            MAKING[Kind.VIRTUAL].carrier(own, desk.inventory),
            opened=lambda entry: backups.open_created(Path(desk.vault.find(entry) or ""), keys),
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
                "kind": intent.kind,
                "hardware": intent.hardware,
                "backup": outcome.backup,
                "run": outcome.run,
                "listed": outcome.listed,
            }
            if outcome.registered:
                from mfa_kit.wiring import fido_console

                row |= fido_console.receipt(outcome.registered)
        case Skipped():
            row = {"outcome": "skipped", "user": outcome.user, "reason": outcome.reason, "devices": outcome.serials}
        case Intent():
            row = {
                "outcome": "planned",
                "user": outcome.user,
                "device": outcome.serial,
                "kind": outcome.kind,
                "backup": backup,
                "steps": enrollment.steps(outcome, backup=backup),
            }
        case _:
            assert_never(outcome)
    report.one("enroll", row, output=output)
