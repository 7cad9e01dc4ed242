"""`mfa-kit orphans`: list unassigned devices, settle interrupted runs, and remove old devices of other computers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import PASSWORD_STDIN
from mfa_kit.cli.value_types import Age
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.interaction import Progress, counting
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.text import ResultRow, iso_time
from mfa_kit.enrollment.orphans import Orphan, OrphanStanding, find_orphans, find_waiting, remove_orphans

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.errors import MfaKitError
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.settings import Settings

FORM = RowsForm(
    "orphans-list",
    fields=("device", "standing", "user", "since", "run", "key", "clean"),
    narrow=("device", "standing", "user", "since", "clean"),
    narrow_in_many=("device", "standing", "since"),
    empty="every device is assigned",
)
EMPTY = "nothing to remove"
OLDER_THAN = click.option(
    "--older-than",
    type=Age(),
    default="24h",
    show_default=True,
    help="Minimum age at which devices of other computers are removed.",
)


def orphan_row(orphan: Orphan, *, older_than: float, now: float) -> ResultRow:
    """Return the row of one device. `older_than` is the value of --older-than in seconds; `now` is in Unix seconds."""
    return {
        "device": orphan.serial,
        "standing": orphan.standing,
        "user": orphan.user,
        "since": iso_time(orphan.since) if orphan.since is not None else None,
        "run": orphan.run,
        "key": orphan.key,
        "clean": "removes it" if orphan.goes(older_than=older_than, now=now) else "leaves it",
    }


@click.command("list", cls=options.Verb)
@OLDER_THAN
@account_options(results=False)
def list_orphans(*, older_than: float, accounts: AccountsChoice | None, settings: Settings, output: Output) -> int:
    """List unassigned devices: who created them, how old they are, and whether `orphans clean` would remove them."""
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(account: OrgAccount) -> AccountRows:
            opened = organization.enter(account)
            store = wiring.stores.open_backup_store(settings)
            ports = wiring.ports.enrollment_ports(settings, iam=opened.iam, ledger=organization.ledger, store=store)
            with nullcontext() if accounts else settings.progress.showing("reading unassigned devices"):
                orphans = find_orphans(ports=ports)
                orphans += find_waiting(opened.caller.account, orphans, ports=ports)
            now = opened.iam.now()
            return AccountRows([orphan_row(orphan, older_than=older_than, now=now) for orphan in orphans])

        visits = print_rows(organization, read, FORM, progress=settings.progress, output=output)
    return exit_code(visits, findings=False)


@click.command(cls=options.Verb)
@OLDER_THAN
@click.option(
    "--max",
    "limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="Refuse to remove more than N devices.",
)
@click.option("--lost", metavar="KEY", help="Continue without this key (serial or label), which is lost or was reset.")
@PASSWORD_STDIN
def clean(
    *, older_than: float, limit: int, lost: str | None, password_stdin: bool, settings: Settings, output: Output
) -> None:
    """Remove unassigned devices: those of interrupted runs on this computer, and old devices of other computers."""
    store = wiring.stores.open_backup_store(settings)
    oath_keys = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
    with wiring.ports.open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
        with settings.progress.showing("reading unassigned devices"):
            orphans = find_orphans(ports=ports)
            orphans += find_waiting(caller.account, orphans, ports=ports)
        now = ports.iam_reader.now()
        _report_left(orphans, older_than=older_than, now=now, progress=ports.progress)
        going = [orphan for orphan in orphans if orphan.goes(older_than=older_than, now=now)]
        if settings.dry_run:
            rows = [orphan_row(orphan, older_than=older_than, now=now) for orphan in going]
            output.many("orphans-clean", rows, empty=EMPTY)
            return
        if not settings.yes:
            _confirm(going, settings=settings, progress=ports.progress)
        removed = remove_orphans(
            orphans, account=caller.account, older_than=older_than, limit=limit, ports=ports, lost=lost
        )
        with counting(settings.progress, "removing devices", removed) as counted:
            done = list(counted)
        cleaned = [
            {"device": removal.serial, "ended": removal.ended, "why": str(removal.error) if removal.error else None}
            for removal in done
        ]
        output.many("orphans-clean", cleaned, empty=EMPTY)
        _raise_first([removal.error for removal in done if removal.error])


def _report_left(orphans: Sequence[Orphan], *, older_than: float, now: float, progress: Progress) -> None:
    """Print which devices of other computers are left, why, and from when on this command removes them."""
    for orphan in orphans:
        if orphan.standing is OrphanStanding.DESK and not orphan.goes(older_than=older_than, now=now):
            until = iso_time((orphan.since or now) + older_than)
            why = f"{orphan.serial} is left until {until}, because another computer may be at work on it; if none is"
            age = max(1, int(now - (orphan.since or now)))
            progress.note(suggest(why, "orphans clean --older-than {}", f"{age}s"))


def _confirm(going: Sequence[Orphan], *, settings: Settings, progress: Progress) -> None:
    """Ask the user to confirm by typing how many of these devices other computers created.

    If other computers created none of them, ask nothing. Raise Declined if the user does not confirm.
    """
    others = sum(orphan.standing is OrphanStanding.DESK for orphan in going)
    if not others:
        return
    for orphan in going:
        progress.note(f"to be removed: {orphan.serial}, {orphan.standing}")
    settings.interaction.confirm(
        f"according to their tags, other computers created {others} of these devices", typed=str(others)
    )


def _raise_first(errors: Sequence[MfaKitError]) -> None:
    """If there are errors, raise the first error, with the others as its notes."""
    if errors:
        first, *others = errors
        for other in others:
            first.add_note(clauses([str(other), other.hint]))
        raise first
