"""`mfa-kit replace`: enroll's options, for a user whose device goes."""

from pathlib import Path

import click

from mfa_kit.cli import options, output
from mfa_kit.cli.enroll import EPILOG, Enroll
from mfa_kit.cli.enroll import making as enrolling


@click.command(cls=Enroll, epilog=EPILOG)
@enrolling
@options.DEVICE
@click.option("--lost", is_flag=True, help="Take the old device away first, for somebody may have it.")
def replace(
    *,
    user: str,
    kind: str,
    name: str | None,
    path: str,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    passphrase: bool,
    passphrase_fd: int | None,
    wanted: str | None,
    lost: bool,
    **own: object,
) -> None:
    """Give USER a new MFA device for an old one, which goes when the new one works."""
    from mfa_kit.cli.deeds.revoke import confirm
    from mfa_kit.cli.method_options import built
    from mfa_kit.enrollment import enroll, revoke
    from mfa_kit.wiring import desk as kit
    from mfa_kit.wiring.methods.recipe import Context
    from mfa_kit.wiring.methods.registry import METHODS
    from mfa_kit.wiring.oath_keys import OathKeys
    from mfa_kit.wiring.sealing import Sealing

    common = options.common()
    sealing = Sealing(
        to=to, to_files=to_files, backup_dir=backup_dir, passphrase=passphrase, passphrase_fd=passphrase_fd
    )
    recipe = METHODS[kind]
    chosen = built(recipe.options, own)
    oath_keys = OathKeys(common, password_stdin=chosen.password_stdin)
    with kit.desk(common, vault=sealing.vault(common, alone=chosen.backup_alone), oath_keys=oath_keys) as (
        desk,
        caller,
    ):
        wish = enroll.Wish(
            user=enroll.user_named(user, caller=caller, inventory=desk.inventory),
            method=recipe.method,
            name=name,
            path=path,
        )
        context = Context(settings=common, inventory=desk.inventory, oath_keys=oath_keys)
        equipment = chosen.equip(context)
        carrier = equipment.carrier
        run = kit.run_id(desk.inventory)
        intent, old = revoke.look_to_replace(wish, carrier, wanted=wanted, lost=lost, caller=caller, desk=desk, run=run)
        row: dict[str, object] = {
            "outcome": "planned",
            "user": wish.user,
            "device": intent.serial,
            "kind": intent.method.name,
            "revoked": old.intent.serial if old else None,
            "backup": desk.vault.place(intent, run) if intent.known_serial is None else None,
            "run": run,
            "listed": None,
        }
        if common.dry_run:
            comes = enroll.steps(intent, backup=desk.vault.place(intent, run))
            goes = revoke.steps(old, lost=lost, desk=desk) if old else []
            row["steps"] = [*goes, *comes] if lost else [*comes, *goes]
        else:
            if old:
                confirm(old, when="before the new one is made" if lost else "when the new one works")
            done = revoke.replace_device(intent, old, carrier, lost=lost, desk=desk, run=run, maker=equipment.maker)
            row |= {
                "outcome": "replaced",
                "revoked": done.revoked.serial if done.revoked else None,
                "listed": done.enrolled.listed,
            }
            if lost and options.form() != "table":  # people were told already
                row["end_sessions"] = done.end_sessions
            for line in recipe.usage(done.enrolled.intent, context):
                desk.progress.note(line)
        output.one("replace", row, output=options.form())
