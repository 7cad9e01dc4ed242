"""`mfa-kit enroll`: the kind of device decides its options; the order of things is enrollment's."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, assert_never

import click

from mfa_kit import enrollment
from mfa_kit.cli import flags, report
from mfa_kit.cli.kinds import KINDS
from mfa_kit.cli.kit import backup as backups
from mfa_kit.cli.kit import desk as kit
from mfa_kit.cli.kit.passphrase import vault as making_vault
from mfa_kit.models import Enrolled, Intent, Kind, Outcome, Skipped

EPILOG = (
    "USER is a name, an ARN, or @me.\n\n\b\nKinds, and `mfa-kit enroll --with KIND --help` for the options of one:\n"
    + "\n".join(f"  {kind:<14}{row.help}" for kind, row in KINDS.items())
)


class Enroll(flags.Verb):
    """Takes the options of the kind that `--with` names, and refuses others' by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["kind"] = _kind_in(args) or (Kind.VIRTUAL if RESUME in args else None)
        try:
            left = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            for kind, row in KINDS.items():
                if any(error.option_name in option.opts for option in row.options):
                    raise click.UsageError(f"{error.option_name} belongs to --with {kind}", ctx) from None
            raise
        if ctx.meta["kind"] is None and not ctx.resilient_parsing:
            raise click.MissingParameter(ctx=ctx, param=next(p for p in self.params if p.name == "kind"))
        return left

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        row = KINDS.get(ctx.meta.get("kind", Kind.VIRTUAL))
        return [*(row.options if row else ()), *super().get_params(ctx)]


def _kind_in(args: Sequence[str]) -> Kind | None:
    values = [value for option, value in pairwise(args) if option == "--with"]
    values += [arg.partition("=")[2] for arg in args if arg.startswith("--with=")]
    return next((kind for kind in KINDS if values and kind == values[-1]), None)


# What goes on with a device does not say again what it is.
RESUME = "--resume"
MAKING = (
    click.argument("user"),
    click.option("--with", "kind", type=click.Choice([kind.value for kind in KINDS]), help="Kind of device."),
    click.option("--name", help="Name of the device in IAM [the user's, then USER-2 and so on]."),
    click.option("--path", default="/", help="IAM path of the device."),
    click.option(
        "-r", "--recipient", "to", multiple=True, metavar="RECIPIENT", help="Seal the backup to an age or SSH key."
    ),
    click.option(
        "-R", "--recipients-file", "to_files", multiple=True, type=Path, metavar="FILE", help="Recipients, one a line."
    ),
    click.option(
        "--passphrase", is_flag=True, help="Seal the backup to this desk's identity, which a passphrase opens."
    ),
    flags.BACKUP_DIR,
)


def making(function: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options of every verb that makes a device."""
    for decorate in reversed(MAKING):
        function = decorate(function)
    return function


@click.command(cls=Enroll, epilog=EPILOG)
@making
@click.option("--add", is_flag=True, help="Give one more to a user who has a device.")
@click.option(RESUME, "resume", is_flag=True, help="Go on with a half-made device from its sealed backup; needs -i.")
@flags.identity(required=False)
def enroll(
    *,
    user: str,
    kind: str | None,
    name: str | None,
    path: str,
    add: bool,
    resume: bool,
    keys: tuple[Path, ...],
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    passphrase: bool,
    **own: Any,
) -> None:
    """Give USER an MFA device."""
    common = flags.common()
    if resume:
        if not keys:
            raise click.UsageError(f"{RESUME} opens the sealed backup: say with which identity, -i FILE")
        if common.dry_run or kind not in {None, Kind.VIRTUAL.value}:
            raise click.UsageError(f"{RESUME} goes on with a virtual device, and has no --dry-run")
        _resume(user, keys, own, backup_dir=backup_dir)
        return
    vault = making_vault(
        to, to_files, backup_dir, passphrase=passphrase, alone=own.get("codes") == "generated", flags=common
    )
    made = Kind(str(kind))
    with kit.desk(common, vault=vault) as (desk, caller):
        wish = enrollment.Wish(
            user=enrollment.user_named(user, caller=caller), kind=made, name=name, path=path, add=add
        )
        row = KINDS[made]
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
        _report(outcome, backup=sealed, output=common.output)


def _resume(user: str, keys: Sequence[Path], own: dict[str, Any], *, backup_dir: Path | None) -> None:
    common = flags.common()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        outcome = enrollment.resume(
            enrollment.user_named(user, caller=caller),
            KINDS[Kind.VIRTUAL].carrier(own, desk.inventory),
            opened=lambda entry: backups.open_created(Path(desk.vault.find(entry) or ""), keys),
            caller=caller,
            desk=desk,
        )
        _report(outcome, backup=None, output=common.output)


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
