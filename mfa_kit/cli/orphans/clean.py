"""`mfa-kit orphans clean`: settle interrupted runs, and remove old unassigned devices that other computers created."""

from collections.abc import Sequence

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.backup_options import PASSWORD_STDIN
from mfa_kit.cli.orphans.orphan_row import OLDER_THAN, orphan_row
from mfa_kit.cli.output import Output
from mfa_kit.cli.status_line import counting
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment import orphans as use_case
from mfa_kit.enrollment.orphans import Orphan, OrphanStanding
from mfa_kit.wiring.settings import Settings

EMPTY = "nothing to remove"


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
    store = wiring.stores.open_vault(settings)
    oath_keys = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
    with wiring.ports.open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
        with settings.progress.showing("reading unassigned devices"):
            orphans = use_case.find_orphans(ports=ports)
            orphans += use_case.find_waiting(caller.account, orphans, ports=ports)
        now = ports.iam_reader.now()
        going = [orphan for orphan in orphans if orphan.goes(older_than=older_than, now=now)]
        if settings.dry_run:
            rows = [orphan_row(orphan, older_than=older_than, now=now) for orphan in going]
            output.many("orphans-clean", rows, empty=EMPTY)
            return
        if not settings.yes:
            _confirm(going, settings=settings, progress=ports.progress)
        removed = use_case.remove_orphans(
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
            first.add_note(f"{other}; {other.hint}")
        raise first
